//! The digest of what is in an open file: of a small one as it is read, of a large one by all processors at once.
//!
//! blake3 is a tree over pieces of the content, so that the parts of a large file can be read and hashed apart and their values be joined
//! (`blake3::hazmat`). Each thread reads a piece into memory of its own and hashes it there, while it still is in its processor's cache. It is
//! read and not mapped: who cuts off a file that is mapped kills whoever looks at it.
//!
//! Many small files are hashed by several threads too, each its own: see `sources/unread.rs`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use flowrun_core::digest::Digest;

/// What is read at once of a small file: large enough for blake3 to use all of SIMD and for few system calls, small enough to stay in the cache.
const SMALL: usize = 128 << 10;
/// The same of a large one. A power of two, so that each piece is a tree of its own; two of them fit into the second cache of most processors.
const PIECE: usize = 512 << 10;
/// From here on it is worth to start threads, which takes 50 us: this much takes 3 ms.
pub(super) const LARGE: u64 = 8 << 20;
/// More threads read no faster than memory gives.
const MOST_THREADS: usize = 16;

/// Threads that hash at once. To ask for it takes as long as to hash a small file: the system is asked for three files.
pub(super) static THREADS: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS));

/// The digest of an open file's bytes, and how many they are. What is added meanwhile may not be among them: whoever asks looks at the size
/// again.
///
/// # Errors
/// When it cannot be read, or becomes shorter meanwhile.
pub(super) fn hash(file: &File) -> io::Result<(Digest, u64)> {
    Reader::default().hash(file, file.metadata()?.len())
}

/// What a thread needs to hash files: kept, since to have it anew for each takes as long as to hash a small one.
#[derive(Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// The same as [`hash`] for a file that had so many bytes when it was looked at.
    pub(super) fn hash(&mut self, file: &File, size: u64) -> io::Result<(Digest, u64)> {
        match size >= LARGE && *THREADS > 1 {
            true => Ok((large(file, size, *THREADS)?, size)),
            false => self.small(file, size),
        }
    }

    fn small(&mut self, file: &File, size: u64) -> io::Result<(Digest, u64)> {
        // One more than there should be, so that the read that takes all also sees whether that is all.
        let room = (size + 1).min(SMALL as u64) as usize;
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        let buffer = &mut self.buffer[..room];
        let mut read = read_some(file, buffer)?;
        if read as u64 == size {
            return Ok((Digest::of(&buffer[..read]), size));
        }
        let mut hasher = blake3::Hasher::new();
        while read > 0 {
            hasher.update(&buffer[..read]);
            read = if hasher.count() < size { read_some(file, buffer)? } else { 0 };
        }
        Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), hasher.count()))
    }
}

fn read_some(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// What was added since its size was looked at is not in it.
fn large(file: &File, size: u64, threads: usize) -> io::Result<Digest> {
    let next = AtomicU64::new(0);
    let taken = thread::scope(|scope| {
        // Where the system has no more threads to give, fewer do it.
        let start = |_| thread::Builder::new().spawn_scoped(scope, || pieces(file, size, &next)).ok();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let own = pieces(file, size, &next);
        let others = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        others.chain([own]).collect::<io::Result<Vec<_>>>()
    })?;
    let mut values = vec![ChainingValue::default(); size.div_ceil(PIECE as u64) as usize];
    for (place, value) in taken.into_iter().flatten() {
        values[place as usize] = value;
    }
    let (left, right) = Part { values: &values, size }.halves();
    Ok(Digest::from_bytes(*merge_subtrees_root(&left.joined(), &right.joined(), Mode::Hash).as_bytes()))
}

/// Hashes pieces that nobody has taken, until none is left.
fn pieces(file: &File, size: u64, next: &AtomicU64) -> io::Result<Vec<(u64, ChainingValue)>> {
    let mut buffer = vec![0; PIECE];
    let mut done = Vec::new();
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let start = place * PIECE as u64;
        if start >= size {
            return Ok(done);
        }
        let piece = &mut buffer[..(size - start).min(PIECE as u64) as usize];
        file.read_exact_at(piece, start)?;
        done.push((place, blake3::Hasher::new().set_input_offset(start).update(piece).finalize_non_root()));
    }
}

/// Neighbouring pieces, and the bytes that are in them.
struct Part<'a> {
    values: &'a [ChainingValue],
    size: u64,
}

impl<'a> Part<'a> {
    /// The two trees that blake3 makes of so many bytes.
    fn halves(&self) -> (Self, Self) {
        let left = left_subtree_len(self.size);
        let (first, second): (&'a [_], &'a [_]) = self.values.split_at((left / PIECE as u64) as usize);
        (Self { values: first, size: left }, Self { values: second, size: self.size - left })
    }

    fn joined(&self) -> ChainingValue {
        if let [one] = self.values {
            return *one;
        }
        let (left, right) = self.halves();
        merge_subtrees_non_root(&left.joined(), &right.joined(), Mode::Hash)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_large_file_has_the_digest_of_its_bytes() {
        let piece = PIECE as u64;
        for size in [
            piece + 1,
            2 * piece,
            3 * piece - 1,
            7 * piece,
            8 * piece,
            LARGE - 1,
            LARGE,
            LARGE + 1,
            2 * LARGE + piece + 5,
        ] {
            let mut bytes = vec![0; size as usize];
            blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof().fill(&mut bytes);
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("written");
            for threads in [1, 2, 5] {
                assert_eq!(
                    large(&file, size, threads).expect("read"),
                    Digest::of(&bytes),
                    "{size} bytes, {threads} threads"
                );
            }
            std::io::Seek::rewind(&mut file).expect("rewound");
            assert_eq!(hash(&file).expect("read"), (Digest::of(&bytes), size));
        }
    }

    #[test]
    fn a_small_file_has_the_digest_of_its_bytes_whatever_was_read_before() {
        let mut reader = Reader::default();
        for size in [0, 1, 1000, SMALL - 1, SMALL, SMALL + 1, 3, 5 * SMALL + 7, 0] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("written");
            // As many as there were when it was looked at, and fewer.
            for looked_at in [size, size + 1, 2 * size + SMALL] {
                std::io::Seek::rewind(&mut file).expect("rewound");
                let (digest, read) = reader.hash(&file, looked_at as u64).expect("read");
                assert!(read == size as u64 && digest == Digest::of(&bytes), "{size} bytes, {looked_at} looked at");
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_meanwhile_is_an_error() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(LARGE).expect("sparse");
        let cut = large(&file, LARGE + 1, 2).expect_err("there is less");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
