//! The memory of workspace files: (device, inode, size, mtime, ctime) → digest, so that unchanged inputs are not read again.
//!
//! A file is believed to be as it was only when all five agree. Three ways in which they could agree and the bytes differ:
//!
//! | how | why it is not believed |
//! |---|---|
//! | an edit that keeps the size and sets mtime back | it moves ctime, which no program can set |
//! | an edit within the clock's grain after the hash ("racily clean", as git calls it) | a file is remembered only when its times lay two seconds back as it was hashed ([`Stat::is_settled`]): a later edit gets a later time |
//! | an edit while it is hashed | all five are looked at again on the same open file after the hash |
//!
//! What remains: a program that writes through a shared memory map; the kernel moves the times at the first store into a page, not at each.
//! git and make have the same blind spot.
//!
//! One text file ([`flowrun_core::stored::memo`]), replaced whole. Saving takes over what other runs saved meanwhile; two that save at the
//! same instant lose one's additions, which costs a hash.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use flowrun_core::digest::Digest;
use flowrun_core::stored::memo::{self as text, Known};

use super::{Result, Store};
use crate::looks::Looks;

pub(super) use flowrun_core::stored::memo::Stat;

/// Days after which a file that no run has asked for is forgotten.
const KEPT_DAYS: u64 = 60;

/// Files that are remembered, those asked for last: about 150 bytes each, all read at the start of every run.
const MOST: usize = 300_000;

/// The state of a file that was looked at.
#[allow(clippy::allow_attributes, clippy::unnecessary_cast, reason = "the numbers are of other kinds on macOS")]
pub(crate) fn stat_of(found: &rustix::fs::Stat) -> Stat {
    let nanos = |seconds, nanos| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Stat {
        dev: found.st_dev as u64,
        ino: found.st_ino as u64,
        size: found.st_size as u64,
        mtime: nanos(found.st_mtime, found.st_mtime_nsec as i64),
        ctime: nanos(found.st_ctime, found.st_ctime_nsec as i64),
    }
}

/// The same of what the standard library found.
pub(super) fn stat_of_std(found: &std::fs::Metadata) -> Stat {
    use std::os::unix::fs::MetadataExt;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Stat {
        dev: found.dev(),
        ino: found.ino(),
        size: found.size(),
        mtime: nanos(found.mtime(), found.mtime_nsec()),
        ctime: nanos(found.ctime(), found.ctime_nsec()),
    }
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    file: Known,
    /// Whether this run found it out or asked for it first on its day.
    fresh: bool,
}

type Files = HashMap<(u64, u64), Remembered>;

/// The memory, loaded.
#[derive(Debug)]
pub struct Memo {
    known: Mutex<Files>,
    /// Who wants to know what was looked at.
    pub(super) looks: Looks,
}

impl Memo {
    /// What earlier runs left; empty where there is nothing or it cannot be read.
    pub fn load(store: &Store) -> Self {
        Self { known: Mutex::new(read(store)), looks: Looks::default() }
    }

    /// The same, for a run whose looks are taken down.
    pub(crate) fn watched(store: &Store, looks: Looks) -> Self {
        Self { looks, ..Self::load(store) }
    }

    /// Writes it down where something is new.
    ///
    /// # Errors
    /// When it cannot be written; only time is lost then.
    pub fn save(&self, store: &Store) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.values().any(|one| one.fresh) {
            return Ok(());
        }
        for (file, one) in read(store) {
            if !known.get(&file).is_some_and(|ours| ours.fresh) {
                known.insert(file, one);
            }
        }
        let oldest = today().saturating_sub(KEPT_DAYS);
        let mut kept: Vec<&Known> = known.values().map(|one| &one.file).filter(|file| file.day >= oldest).collect();
        kept.sort_by_key(|file| (std::cmp::Reverse(file.day), file.stat.dev, file.stat.ino));
        kept.truncate(MOST);
        store.write_whole(&store.path("memo"), text::to_text(kept).as_bytes())
    }

    pub(super) fn recall(&self, stat: &Stat) -> Option<Digest> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.get_mut(&(stat.dev, stat.ino)).filter(|one| one.file.stat == *stat)?;
        let today = today();
        if one.file.day != today {
            (one.file.day, one.fresh) = (today, true);
        }
        Some(one.file.digest)
    }

    pub(super) fn remember(&self, stat: Stat, digest: Digest, hashed_at: i128) {
        if stat.is_settled(hashed_at) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let file = Known { stat, digest, day: today() };
            known.insert((stat.dev, stat.ino), Remembered { file, fresh: true });
        }
    }
}

fn read(store: &Store) -> Files {
    let files = std::fs::read(store.path("memo")).ok().and_then(|bytes| text::parse(&bytes)).unwrap_or_default();
    files.into_iter().map(|file| ((file.stat.dev, file.stat.ino), Remembered { file, fresh: false })).collect()
}

pub(crate) fn now_nanos() -> i128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

fn today() -> u64 {
    (now_nanos() / 86_400_000_000_000) as u64
}
