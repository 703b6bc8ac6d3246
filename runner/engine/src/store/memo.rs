//! The memory of workspace files: (device, inode, size, mtime, ctime) → digest, so that unchanged inputs are not read again.
//!
//! An entry is believed only when all five agree. A file that was changed within the clock's grain after it was hashed could agree and
//! still differ ("racily clean", as git calls it): so a file is remembered only when its times were older than [`GRAIN`] when it was
//! hashed. An edit that sets size and mtime back is seen by ctime, which no program can set.
//!
//! One text file, replaced whole. Two runs that save at once lose one's additions, which costs a hash. A damaged line is skipped.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use flowrun_core::digest::Digest;

use super::{Result, Store};

/// Nanoseconds that a file's times must lie back: two seconds, the coarsest grain of file systems in use (FAT, some network ones).
const GRAIN: i128 = 2_000_000_000;

/// Days after which a file that no run has asked for is forgotten.
const KEPT_DAYS: u64 = 60;

const HEADER: &str = "flowrun-memo 1";

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime: i128,
    pub(super) ctime: i128,
}

impl Stat {
    pub(super) fn of(found: &std::fs::Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            dev: found.dev(),
            ino: found.ino(),
            size: found.len(),
            mtime: nanos(found.mtime(), found.mtime_nsec()),
            ctime: nanos(found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether its times lie far enough back at `now` for another change to show.
    pub(super) fn is_settled(&self, now: i128) -> bool {
        self.mtime.max(self.ctime) + GRAIN < now
    }
}

#[derive(Clone, Copy)]
struct Known {
    stat: Stat,
    digest: Digest,
    day: u64,
}

/// The memory, loaded.
pub struct Memo {
    known: Mutex<(HashMap<(u64, u64), Known>, bool)>,
}

impl Memo {
    /// What earlier runs left; empty where there is nothing or it cannot be read.
    pub fn load(store: &Store) -> Self {
        let text = std::fs::read_to_string(store.path("memo")).unwrap_or_default();
        let mut lines = text.lines();
        let known = match lines.next() {
            Some(HEADER) => lines.filter_map(parse).map(|known| ((known.stat.dev, known.stat.ino), known)).collect(),
            _ => HashMap::new(),
        };
        Self { known: Mutex::new((known, false)) }
    }

    /// Writes it down where something is new.
    ///
    /// # Errors
    /// When it cannot be written; only time is lost then.
    pub fn save(&self, store: &Store) -> Result<()> {
        let guard = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (known, changed) = &*guard;
        if !changed {
            return Ok(());
        }
        let oldest = today().saturating_sub(KEPT_DAYS);
        let mut text = String::from(HEADER);
        for one in known.values().filter(|known| known.day >= oldest) {
            let Stat { dev, ino, size, mtime, ctime } = one.stat;
            text.push_str(&format!("\n{dev} {ino} {size} {mtime} {ctime} {} {}", one.digest, one.day));
        }
        text.push('\n');
        store.write_whole(&store.path("memo"), text.as_bytes())
    }

    pub(super) fn recall(&self, stat: &Stat) -> Option<Digest> {
        let guard = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.0.get(&(stat.dev, stat.ino)).filter(|known| known.stat == *stat).map(|known| known.digest)
    }

    pub(super) fn remember(&self, stat: Stat, digest: Digest, hashed_at: i128) {
        if !stat.is_settled(hashed_at) {
            return;
        }
        let mut guard = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.0.insert((stat.dev, stat.ino), Known { stat, digest, day: today() });
        guard.1 = true;
    }
}

fn parse(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let stat = Stat {
        dev: words.next()?.parse().ok()?,
        ino: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        mtime: words.next()?.parse().ok()?,
        ctime: words.next()?.parse().ok()?,
    };
    Some(Known { stat, digest: words.next()?.parse().ok()?, day: words.next()?.parse().ok()? })
}

pub(super) fn now_nanos() -> i128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

fn today() -> u64 {
    (now_nanos() / 86_400_000_000_000) as u64
}
