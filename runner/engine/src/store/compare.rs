//! Where two kept files begin to differ.

use std::io::{BufRead, BufReader};

use flowrun_core::artifact::{Artifact, Mode};

use super::blobs::open_plain;
use super::{Result, Store, StoreError};

impl Store {
    /// The first byte, counted from 0, at which two kept files differ: the end of the shorter where it begins the longer. Nothing where
    /// they are the same. Neither is held in memory.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn first_difference(&self, old: &Artifact, new: &Artifact) -> Result<Option<u64>> {
        let (mut old, mut new) = (self.reader(old)?, self.reader(new)?);
        let mut at = 0;
        loop {
            let (a, b) = (buffer(&mut old)?, buffer(&mut new)?);
            let most = a.len().min(b.len());
            if let Some(differs) = a[..most].iter().zip(&b[..most]).position(|(a, b)| a != b) {
                return Ok(Some(at + differs as u64));
            }
            if most == 0 {
                return Ok((a.len() != b.len()).then_some(at));
            }
            at += most as u64;
            old.inner.consume(most);
            new.inner.consume(most);
        }
    }

    fn reader(&self, artifact: &Artifact) -> Result<Reader> {
        let path = self.blob(&artifact.digest, artifact.mode == Mode::Executable);
        // Large reads: both files are read once, from end to end.
        let inner = BufReader::with_capacity(1 << 20, open_plain(&path).map_err(StoreError::io(&path))?);
        Ok(Reader { path, inner })
    }
}

struct Reader {
    path: std::path::PathBuf,
    inner: BufReader<std::fs::File>,
}

fn buffer(reader: &mut Reader) -> Result<&[u8]> {
    reader.inner.fill_buf().map_err(StoreError::io(&reader.path))
}

#[cfg(test)]
mod tests {
    use super::super::Take;
    use super::super::tests::bed;

    #[test]
    fn the_first_byte_that_differs_is_found_however_the_files_end() {
        let bed = bed();
        let keep = |bytes: &[u8]| {
            let path = bed.root.join("file");
            std::fs::write(&path, bytes).expect("write");
            bed.store.ingest(&path, Take::Copy).expect("ingest")
        };
        let large = vec![7; (1 << 20) + 10];
        let mut other = large.clone();
        other[(1 << 20) + 5] = 8;
        for (old, new, at) in [
            (&b"same"[..], &b"same"[..], None),
            (b"", b"", None),
            (b"", b"x", Some(0)),
            (b"abc", b"ab", Some(2)),
            (b"abc", b"axc", Some(1)),
            (&large, &other, Some((1 << 20) + 5)),
            (&large, &large[..1 << 20], Some(1 << 20)),
        ] {
            let (old, new) = (keep(old), keep(new));
            assert_eq!(bed.store.first_difference(&old, &new).expect("reads"), at);
            assert_eq!(bed.store.first_difference(&new, &old).expect("reads"), at);
        }
    }
}
