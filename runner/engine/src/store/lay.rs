//! Laying contents out where somebody wants to see them.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flowrun_core::artifact::{Artifact, Mode};

use super::blobs::copy;
use super::ingest::{DEEPEST, link_stays_inside, unkeepable};
use super::{Result, Store, StoreError};

/// How something is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Hard links to the store's read-only files, copies where links cannot be.
    Link,
    /// Private, writable copies (clones where the file system can).
    Copy,
}

impl Store {
    /// Lays an artifact out at a path where nothing is; an empty folder will do for a folder.
    ///
    /// # Errors
    /// When content is missing or damaged, or the place cannot be written, or something is there.
    pub fn materialise(&self, artifact: &Artifact, place: &Path, how: How) -> Result<()> {
        if artifact.mode == Mode::Folder {
            std::fs::create_dir_all(place).map_err(StoreError::io(place))?;
            return self.lay_children(artifact, place, how, 0);
        }
        self.lay(artifact, place, how, 0)
    }

    fn lay(&self, artifact: &Artifact, place: &Path, how: How, depth: usize) -> Result<()> {
        match artifact.mode {
            Mode::Folder => {
                // Never into something that is there: it may be a link to elsewhere.
                std::fs::create_dir(place).map_err(StoreError::io(place))?;
                self.lay_children(artifact, place, how, depth)
            }
            Mode::Symlink => self.lay_link(artifact, place, depth),
            Mode::File | Mode::Executable => self.lay_file(artifact, place, how),
        }
    }

    fn lay_children(&self, artifact: &Artifact, place: &Path, how: How, depth: usize) -> Result<()> {
        // Folders that were joined lie a little deeper than those that were brought in.
        if depth > 2 * DEEPEST {
            return Err(unkeepable(place, "it lies more than 400 folders deep"));
        }
        let tree = self.tree(&artifact.digest)?;
        tree.entries.iter().try_for_each(|(name, entry)| self.lay(entry, &place.join(name), how, depth + 1))
    }

    fn lay_link(&self, artifact: &Artifact, place: &Path, depth: usize) -> Result<()> {
        let text = self.get_bytes(&artifact.digest)?.ok_or(StoreError::Missing(artifact.digest))?;
        let text = String::from_utf8(text).map_err(|_| StoreError::Missing(artifact.digest))?;
        if !link_stays_inside(Path::new(&text), depth) {
            return Err(unkeepable(place, "it is a link that leads out of the part of the folder that was asked for"));
        }
        std::os::unix::fs::symlink(text, place).map_err(StoreError::io(place))
    }

    fn lay_file(&self, artifact: &Artifact, place: &Path, how: How) -> Result<()> {
        if !self.has_file(artifact)? {
            return Err(StoreError::Missing(artifact.digest));
        }
        let executable = artifact.mode == Mode::Executable;
        let blob = self.blob(&artifact.digest, executable);
        if how == How::Link {
            match link(&blob, place) {
                Ok(()) => return Ok(()),
                // Another file system, too many links, or a file system or a kernel that wants none: a copy does as well.
                Err(error) if wants_a_copy(error.kind()) => {}
                Err(error) => return Err(StoreError::io(place)(error)),
            }
        }
        copy(&blob, place).map_err(StoreError::io(place))?;
        let mode = match (how, executable) {
            (How::Link, false) => 0o444,
            (How::Link, true) => 0o555,
            (How::Copy, false) => 0o644,
            (How::Copy, true) => 0o755,
        };
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).map_err(StoreError::io(place))
    }
}

/// How often a blob may be replaced by its like between the kernel's look at its name and its link. Each time somebody else brought the same
/// bytes in.
const REPLACED: usize = 100;

/// Links a blob. Of two who bring the same bytes in at once the later's file takes the name; who links the earlier's at that instant hears
/// that it is not there, and finds the other at the next try.
fn link(blob: &Path, place: &Path) -> std::io::Result<()> {
    for _ in 0..REPLACED {
        match std::fs::hard_link(blob, place) {
            Err(error) if error.kind() == ErrorKind::NotFound && blob.exists() => {}
            done => return done,
        }
    }
    std::fs::hard_link(blob, place)
}

fn wants_a_copy(kind: ErrorKind) -> bool {
    use ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(kind, CrossesDevices | TooManyLinks | PermissionDenied | Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same bytes come in over and over, each time as a file that takes the blob's name, while it is linked.
    #[test]
    fn a_blob_that_is_replaced_by_its_like_is_linked_all_the_same() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| folder.path().join(name);
        let (blob, aside) = (path("blob"), path("aside"));
        std::fs::write(&blob, "bytes").expect("write");
        std::thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                for _ in 0..1_000 {
                    std::fs::write(&aside, "bytes").and_then(|()| std::fs::rename(&aside, &blob)).expect("replaced");
                }
            });
            for number in 0.. {
                link(&blob, &path(&number.to_string())).unwrap_or_else(|error| panic!("link {number}: {error}"));
                if replacing.is_finished() {
                    break;
                }
            }
        });
    }
}
