//! The digest of what is in an open file: of a small one as it is read, of a large one by all processors at once.
//!
//! blake3 is a tree over pieces of the content, so that the parts of a large file can be read and hashed apart and their values be joined
//! (`blake3::hazmat`). Each thread reads a piece into memory of its own and hashes it there, while it still is in its processor's cache. It is
//! read and not mapped: who cuts off a file that is mapped kills whoever looks at it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use flowrun_core::digest::Digest;

/// What is read at once of a small file: large enough for blake3 to use all of SIMD and for few system calls, small enough to stay in the cache.
const SMALL: usize = 128 << 10;
/// The same of a large one. A power of two, so that each piece is a tree of its own; two of them fit into the second cache of most processors.
const PIECE: usize = 512 << 10;
/// From here on it is worth to start threads, which takes 50 us: this much takes 3 ms.
const LARGE: u64 = 8 << 20;
/// More threads read no faster than memory gives.
const MOST_THREADS: usize = 16;

/// The digest of an open file's bytes, and how many they are.
///
/// # Errors
/// When it cannot be read, or becomes shorter meanwhile.
pub(super) fn hash(file: &File) -> io::Result<(Digest, u64)> {
    let size = file.metadata()?.len();
    match threads(size) {
        1 => small(file, size),
        threads => Ok((large(file, size, threads)?, size)),
    }
}

/// How many threads hash a file of this size. That of processors is asked for only where it counts, since the answer is in files.
fn threads(size: u64) -> usize {
    match size >= LARGE {
        true => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS),
        false => 1,
    }
}

fn small(mut file: &File, size: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    // Most are much smaller.
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(SMALL).clamp(1, SMALL)];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), hasher.count())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}

/// What was added since its size was looked at is not in it: whoever asks looks at the size again.
fn large(file: &File, size: u64, threads: usize) -> io::Result<Digest> {
    let next = AtomicU64::new(0);
    let taken = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(|| pieces(file, size, &next))).collect();
        let results =
            readers.into_iter().map(|reader| reader.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        results.collect::<io::Result<Vec<_>>>()
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
    fn a_file_that_is_cut_off_meanwhile_is_an_error() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(LARGE).expect("sparse");
        let cut = large(&file, LARGE + 1, 2).expect_err("there is less");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
