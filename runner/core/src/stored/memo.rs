//! The memory of workspace files, as text: a line a file, so that a start with a hundred thousand of them takes a moment.
//!
//! ```text
//! flowrun-memo 2
//! DEV INO SIZE MTIME CTIME DIGEST DAY      decimal, times in nanoseconds since 1970, DAY in days
//! 8f…                                      the blake3 of all lines above, with their line feeds
//! ```
//!
//! A memory with one wrong bit would lie for good, so it is believed whole or not at all. One of another header is none: it costs a hash.
//! More words on a line, and lines that are no such line, are skipped, so that a later flowrun can add to it under the same header.
//!
//! Knows nothing of when a file's state may be believed, but for [`Stat::is_settled`].

use super::{is_digest_of, last_line};
use crate::digest::Digest;

const HEADER: &str = "flowrun-memo 2\n";

/// Nanoseconds that a file's times must lie back: two seconds, the coarsest grain of file systems in use (FAT, some network ones).
const GRAIN: i128 = 2_000_000_000;

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The file system.
    pub dev: u64,
    /// The file on it.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// When its bytes changed last: nanoseconds since 1970.
    pub mtime: i128,
    /// When anything of it changed last.
    pub ctime: i128,
}

impl Stat {
    /// Whether its times lie far enough back at `now` (nanoseconds since 1970) for another change to show.
    pub fn is_settled(&self, now: i128) -> bool {
        self.mtime.max(self.ctime).saturating_add(GRAIN) < now
    }
}

/// A file that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its state then.
    pub stat: Stat,
    /// Its content then.
    pub digest: Digest,
    /// When a run last asked for it, in days since 1970.
    pub day: u64,
}

/// The stored text.
pub fn to_text<'a>(files: impl IntoIterator<Item = &'a Known>) -> String {
    let mut text = String::from(HEADER);
    for Known { stat: Stat { dev, ino, size, mtime, ctime }, digest, day } in files {
        text.push_str(&format!("{dev} {ino} {size} {mtime} {ctime} {digest} {day}\n"));
    }
    let sum = Digest::of(text.as_bytes());
    text.push_str(&format!("{sum}\n"));
    text
}

/// Reads the stored text; nothing where it is not whole, or of another header.
pub fn parse(bytes: &[u8]) -> Option<Vec<Known>> {
    let (lines, sum) = last_line(bytes)?;
    if !is_digest_of(sum, lines.as_bytes()) {
        return None;
    }
    Some(lines.strip_prefix(HEADER)?.lines().filter_map(known).collect())
}

fn known(line: &str) -> Option<Known> {
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
