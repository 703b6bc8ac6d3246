//! Files of a source that nobody remembers, read and hashed by all processors.
//!
//! The walk hands them over as it meets them; they wait until there are enough to keep all threads busy, or until the walk is at its end. A thread
//! has one file open at a time. Files that are large are hashed one after the other, each by all threads (`hashing.rs`).
//!
//! Each costs four calls: it is opened, read, looked at again and closed. That it is what the walk looked at, and did not change while it was
//! read, is one comparison: all five of the memory (`memo.rs`), as the walk saw them and as the open file has them after it was read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;

use super::super::blobs::open_plain;
use super::super::hashing::{LARGE, Reader, THREADS};
use super::super::memo::{Memo, Stat, now_nanos, stat_of};
use super::super::{Result, StoreError};

/// So many files wait at most: half a megabyte of paths, and some ten milliseconds of work between two starts of threads.
const MOST: usize = 4096;
/// To open a file and the rest that has nothing to do with its size take as long as to hash so many bytes.
const OPENING: u64 = 16 << 10;
/// So much is worth a thread: it takes ten times as long as to start one.
const PORTION: u64 = 1 << 20;

/// Those that wait, and the digests of those that were read.
pub(super) struct Unread<'a> {
    memo: &'a Memo,
    waiting: Vec<Found>,
    digests: Vec<Digest>,
}

/// A file as the walk found it.
struct Found {
    path: PathBuf,
    stat: Stat,
    mode: Mode,
}

impl<'a> Unread<'a> {
    pub(super) fn new(memo: &'a Memo) -> Self {
        Self { memo, waiting: Vec::new(), digests: Vec::new() }
    }

    /// Adds one, and says where its digest will be.
    ///
    /// # Errors
    /// Those of [`Unread::read`], for files that were added before it.
    pub(super) fn add(&mut self, path: &Path, stat: Stat, mode: Mode) -> Result<usize> {
        if self.waiting.len() >= MOST {
            self.read()?;
        }
        self.waiting.push(Found { path: path.to_owned(), stat, mode });
        Ok(self.digests.len() + self.waiting.len() - 1)
    }

    /// Reads all that wait.
    ///
    /// # Errors
    /// That of the first that cannot be read, or is not what it was when it was looked at.
    pub(super) fn read(&mut self) -> Result<()> {
        let files = std::mem::take(&mut self.waiting);
        let round = Round::new(&files, self.memo);
        round.read(threads(&files));
        self.digests.reserve(files.len());
        // Nobody reads on behind a failure: what is missing comes after it.
        round.results.into_iter().map_while(OnceLock::into_inner).try_for_each(|result| {
            self.digests.push(result?);
            Ok(())
        })
    }

    /// The digest at a place, after all were read.
    pub(super) fn digest(&self, place: usize) -> Digest {
        self.digests[place]
    }
}

/// How many threads are worth while.
fn threads(files: &[Found]) -> usize {
    let small = files.iter().filter(|file| !file.is_large());
    let work: u64 = small.map(|file| OPENING + file.stat.size).sum();
    ((work / PORTION) as usize).clamp(1, *THREADS)
}

/// Files that are read together.
struct Round<'a> {
    files: &'a [Found],
    memo: &'a Memo,
    results: Vec<OnceLock<Result<Digest>>>,
    /// The first that nobody has taken.
    next: AtomicUsize,
    /// The first that failed, of those that were read.
    failed: AtomicUsize,
}

impl<'a> Round<'a> {
    fn new(files: &'a [Found], memo: &'a Memo) -> Self {
        let results = files.iter().map(|_| OnceLock::new()).collect();
        Self { files, memo, results, next: AtomicUsize::new(0), failed: AtomicUsize::new(usize::MAX) }
    }

    fn read(&self, threads: usize) {
        thread::scope(|scope| {
            for _ in 1..threads {
                // Where the system has no more threads to give, fewer do it.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.read_small());
            }
            self.read_small();
        });
        let mut reader = Reader::default();
        let large = (0..self.files.len()).filter(|at| self.files[*at].is_large());
        large.take_while(|at| !self.is_over(*at)).for_each(|at| self.read_one(at, &mut reader));
    }

    /// Reads small files that nobody has taken, until none is left.
    fn read_small(&self) {
        let mut reader = Reader::default();
        let next = || Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|at| !self.is_over(*at));
        for at in std::iter::from_fn(next).filter(|at| !self.files[*at].is_large()) {
            self.read_one(at, &mut reader);
        }
    }

    /// Whether there is none at this place, or no need to read it, since one before it failed.
    fn is_over(&self, at: usize) -> bool {
        at >= self.files.len() || at > self.failed.load(Ordering::Relaxed)
    }

    fn read_one(&self, at: usize, reader: &mut Reader) {
        let result = self.files[at].read(reader, self.memo);
        if result.is_err() {
            self.failed.fetch_min(at, Ordering::Relaxed);
        }
        // Each place is taken once.
        let _ = self.results[at].set(result);
    }
}

impl Found {
    fn is_large(&self) -> bool {
        self.stat.size >= LARGE
    }

    fn read(&self, reader: &mut Reader, memo: &Memo) -> Result<Digest> {
        let io = |error| StoreError::io(&self.path)(error);
        let changed = || StoreError::SourceChanged(self.path.clone());
        let file = open_plain(&self.path).map_err(io)?;
        let now = now_nanos();
        let (digest, size) = reader.hash(&file, self.stat.size).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => changed(),
            _ => io(error),
        })?;
        let after = stat_of(&rustix::fs::fstat(&file).map_err(|error| io(error.into()))?);
        if self.stat != after || size != after.size {
            return Err(changed());
        }
        memo.remember(self.stat, digest, now);
        memo.looks.file(&self.path, &self.stat, Artifact { mode: self.mode, digest, size });
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use flowrun_core::artifact::Mode;
    use flowrun_core::digest::Digest;

    use super::super::super::memo::{Memo, stat_of};
    use super::super::super::{Result, Store, StoreError};
    use super::{MOST, OPENING, Unread, threads};
    use crate::store::hashing::{LARGE, THREADS};

    struct Bed {
        root: tempfile::TempDir,
        memo: Memo,
    }

    impl Bed {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            let memo = Memo::load(&Store::open(root.path()).expect("a store"));
            Self { root, memo }
        }

        fn path(&self, at: usize) -> PathBuf {
            self.root.path().join(format!("{at:05}"))
        }

        /// So many files of different sizes and bytes, as a walk would hand them over.
        fn found(&self, files: usize) -> Unread<'_> {
            let mut unread = Unread::new(&self.memo);
            for at in 0..files {
                std::fs::write(self.path(at), bytes(at)).expect("written");
                let stat = stat_of(&rustix::fs::lstat(self.path(at)).expect("looked at"));
                assert_eq!(unread.add(&self.path(at), stat, Mode::File).expect("added"), at);
            }
            unread
        }
    }

    fn bytes(at: usize) -> Vec<u8> {
        at.to_le_bytes().repeat(1 + at * 37 % 400)
    }

    #[test]
    fn each_has_the_digest_of_its_own_bytes() {
        let bed = Bed::new();
        let mut unread = bed.found(MOST + 200);
        assert_eq!(unread.waiting.len(), 200, "others wait no longer");
        std::fs::write(bed.path(9), vec![9; LARGE as usize + 1]).expect("written");
        let stat = stat_of(&rustix::fs::lstat(bed.path(9)).expect("looked at"));
        let large = unread.add(&bed.path(9), stat, Mode::File).expect("added");
        unread.read().expect("read");
        assert_eq!(unread.digest(large), Digest::of(&vec![9; LARGE as usize + 1]));
        (0..large).for_each(|at| assert_eq!(unread.digest(at), Digest::of(&bytes(at)), "{at}"));
    }

    fn refused(result: Result<()>) -> StoreError {
        result.expect_err("one is not as it was")
    }

    #[test]
    fn the_first_that_cannot_be_read_is_named() {
        let bed = Bed::new();
        for _ in 0..20 {
            let mut unread = bed.found(300);
            [77, 78, 290].iter().for_each(|at| std::fs::remove_file(bed.path(*at)).expect("removed"));
            let told = refused(unread.read());
            assert!(matches!(&told, StoreError::Io { path, .. } if *path == bed.path(77)), "{told}");
        }
    }

    #[test]
    fn one_that_changed_since_it_was_looked_at_is_refused() {
        let bed = Bed::new();
        for (at, change) in [(0, "longer".repeat(900)), (150, String::new()), (299, "x".repeat(bytes(299).len()))] {
            let mut unread = bed.found(300);
            std::fs::write(bed.path(at), change).expect("written");
            let told = refused(unread.read());
            assert!(matches!(&told, StoreError::SourceChanged(path) if *path == bed.path(at)), "{told}");
        }
        let mut unread = bed.found(1);
        std::fs::write(bed.path(0), vec![0; LARGE as usize]).expect("written");
        unread.waiting[0].stat = stat_of(&rustix::fs::lstat(bed.path(0)).expect("looked at"));
        std::fs::File::options().write(true).open(bed.path(0)).and_then(|file| file.set_len(LARGE - 1)).expect("cut");
        assert!(matches!(refused(unread.read()), StoreError::SourceChanged(_)));
    }

    #[test]
    fn a_handful_is_not_worth_a_thread() {
        let bed = Bed::new();
        let of = |files: usize| threads(&bed.found(files).waiting);
        assert_eq!((of(0), of(1), of(60)), (1, 1, 1));
        assert_eq!(of(2 * (1 << 20) / OPENING as usize), 2.min(*THREADS));
        assert!(of(MOST) <= *THREADS);
    }
}
