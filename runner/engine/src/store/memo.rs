//! The memory of workspace files: (device, inode, size, mtime, ctime) → digest, so that unchanged inputs are not read again.
//!
//! An entry is believed only when all five agree. Three ways in which they could agree and the bytes differ:
//!
//! | how | why it is not believed |
//! |---|---|
//! | an edit that keeps the size and sets mtime back | it moves ctime, which no program can set |
//! | an edit within the clock's grain after the hash ("racily clean", as git calls it) | a file is remembered only when its times were older than [`GRAIN`] before it was hashed: a later edit gets a later time |
//! | an edit while it is hashed | all five are looked at again on the same open file after the hash |
//!
//! What remains: a program that writes through a shared memory map; the kernel moves the times at the first store into a page, not at each.
//! git and make have the same blind spot.
//!
//! One text file, replaced whole; its last line is the digest of the rest, since a memory with one wrong bit would lie for good. Saving
//! takes over what other runs saved meanwhile; two that save at the same instant lose one's additions, which costs a hash.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use flowrun_core::digest::Digest;

use super::{Result, Store};

/// Nanoseconds that a file's times must lie back: two seconds, the coarsest grain of file systems in use (FAT, some network ones).
const GRAIN: i128 = 2_000_000_000;

/// Days after which a file that no run has asked for is forgotten.
const KEPT_DAYS: u64 = 60;

/// Files that are remembered, those asked for last: about 150 bytes each, all read at the start of every run.
const MOST: usize = 300_000;

const HEADER: &str = "flowrun-memo 2";

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

#[derive(Clone, Copy, Debug)]
struct Known {
    stat: Stat,
    digest: Digest,
    /// When a run last asked for it, in days since 1970.
    day: u64,
    /// Whether this run found it out or asked for it first on its day.
    fresh: bool,
}

type Files = HashMap<(u64, u64), Known>;

/// The memory, loaded.
#[derive(Debug)]
pub struct Memo {
    known: Mutex<Files>,
}

impl Memo {
    /// What earlier runs left; empty where there is nothing or it cannot be read.
    pub fn load(store: &Store) -> Self {
        Self { known: Mutex::new(read(store)) }
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
        let mut kept: Vec<&Known> = known.values().filter(|one| one.day >= oldest).collect();
        kept.sort_by_key(|one| (std::cmp::Reverse(one.day), one.stat.dev, one.stat.ino));
        kept.truncate(MOST);
        let mut text = format!("{HEADER}\n");
        for one in kept {
            let Stat { dev, ino, size, mtime, ctime } = one.stat;
            text.push_str(&format!("{dev} {ino} {size} {mtime} {ctime} {} {}\n", one.digest, one.day));
        }
        let sum = Digest::of(text.as_bytes());
        store.write_whole(&store.path("memo"), format!("{text}{sum}\n").as_bytes())
    }

    pub(super) fn recall(&self, stat: &Stat) -> Option<Digest> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.get_mut(&(stat.dev, stat.ino)).filter(|one| one.stat == *stat)?;
        let today = today();
        if one.day != today {
            (one.day, one.fresh) = (today, true);
        }
        Some(one.digest)
    }

    pub(super) fn remember(&self, stat: Stat, digest: Digest, hashed_at: i128) {
        if stat.is_settled(hashed_at) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert((stat.dev, stat.ino), Known { stat, digest, day: today(), fresh: true });
        }
    }
}

fn read(store: &Store) -> Files {
    let text = std::fs::read_to_string(store.path("memo")).unwrap_or_default();
    lines(&text).into_iter().flatten().filter_map(parse).map(|one| ((one.stat.dev, one.stat.ino), one)).collect()
}

/// The lines of a memory that is whole and of this format.
fn lines(text: &str) -> Option<std::str::Lines<'_>> {
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let whole = Digest::of(&text.as_bytes()[..body.len() + 1]);
    (sum.parse::<Digest>().ok()? == whole).then_some(())?;
    let mut lines = body.lines();
    (lines.next()? == HEADER).then_some(lines)
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
    Some(Known { stat, digest: words.next()?.parse().ok()?, day: words.next()?.parse().ok()?, fresh: false })
}

pub(super) fn now_nanos() -> i128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

fn today() -> u64 {
    (now_nanos() / 86_400_000_000_000) as u64
}
