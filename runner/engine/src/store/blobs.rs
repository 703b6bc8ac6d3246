//! Contents by digest: where they lie, how they get there, whether they are whole.

use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::digest::Digest;
use rustix::fs::FileType;

use super::hashing::hash;
use super::{Result, Store, StoreError, into_place};

/// Seconds since 1970 that every blob carries as its modification time; see the module's essay.
const STAMP: u64 = 1;

impl Store {
    pub(super) fn blob(&self, digest: &Digest, executable: bool) -> PathBuf {
        self.fanned("blobs", digest, if executable { ".x" } else { "" })
    }

    /// Keeps bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if is_whole(&self.blob(&digest, false), bytes.len() as u64, false) {
            return Ok(digest);
        }
        let aside = self.aside();
        let kept = std::fs::write(&aside, bytes)
            .map_err(StoreError::io(&aside))
            .and_then(|()| self.keep(&aside, false))
            .and_then(
                |(kept, _)| if kept == digest { Ok(digest) } else { Err(StoreError::SourceChanged(aside.clone())) },
            );
        self.unless_kept(&aside, kept)
    }

    /// Keeps a folder's listing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn put_tree(&self, tree: &Tree) -> Result<Artifact> {
        Ok(tree.artifact_of(self.put_bytes(&tree.to_bytes())?))
    }

    /// Gives a finished file its stamp and its name. Nobody else may have a name for it.
    ///
    /// The stamp comes first, then the hash, then another look at the stamp: what a late writer, who still has the file open, adds after the
    /// stamp moves the time and is seen here or at the next use; what it added before is in the hash.
    pub(super) fn keep(&self, aside: &Path, executable: bool) -> Result<(Digest, u64)> {
        let io = |error| StoreError::io(aside)(error);
        std::fs::set_permissions(aside, Permissions::from_mode(permissions(executable))).map_err(io)?;
        let file = open_plain(aside).map_err(io)?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(STAMP)).map_err(io)?;
        let (digest, size) = hash(&file).map_err(io)?;
        if !has_stamp(&file.metadata().map_err(io)?, size) {
            return Err(StoreError::SourceChanged(aside.to_owned()));
        }
        let place = self.blob(&digest, executable);
        match is_whole(&place, size, executable) {
            // The one that is there stays: others are linked to it.
            true => self.discard(aside)?,
            false => into_place(aside, &place)?,
        }
        Ok((digest, size))
    }

    /// Kept bytes, if they are there and whole. Damaged ones are removed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn get_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        for executable in [false, true] {
            let path = self.blob(digest, executable);
            match std::fs::read(&path) {
                Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(Some(bytes)),
                Ok(_) => self.discard(&path)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io(&path)(error)),
            }
        }
        Ok(None)
    }

    /// The listing of a kept folder.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn tree(&self, digest: &Digest) -> Result<Tree> {
        let bytes = self.get_bytes(digest)?.ok_or(StoreError::Missing(*digest))?;
        Tree::from_bytes(&bytes).map_err(|_| StoreError::Missing(*digest))
    }

    /// Whether everything of an artifact is there and whole. What was touched is hashed again, and removed if it is not what it was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has_all(&self, artifact: &Artifact) -> Result<bool> {
        if matches!(artifact.mode, Mode::File | Mode::Executable) {
            return self.has_file(artifact);
        }
        let mut whole = true;
        let mut seen = HashSet::new();
        let mut pending = vec![*artifact];
        // All of it, also after the first loss, so that every damaged file is found at once. Each once: folders may share much.
        while let Some(next) = pending.pop() {
            if !seen.insert(next) {
                continue;
            }
            whole &= match next.mode {
                Mode::File | Mode::Executable => self.has_file(&next)?,
                Mode::Symlink => self.get_bytes(&next.digest)?.is_some(),
                Mode::Folder => match self.tree(&next.digest) {
                    Ok(tree) => {
                        pending.extend(tree.entries.values());
                        true
                    }
                    Err(StoreError::Missing(_)) => false,
                    Err(error) => return Err(error),
                },
            };
        }
        Ok(whole)
    }

    /// Whether one file is there and whole: a look at its size, time and mode, and at its bytes only where those are not as it was kept.
    pub(super) fn has_file(&self, artifact: &Artifact) -> Result<bool> {
        let executable = artifact.mode == Mode::Executable;
        let path = self.blob(&artifact.digest, executable);
        Ok(is_whole(&path, artifact.size, executable) || self.mend(&path, artifact)?)
    }

    /// Keeps again what was only touched, as a file of its own, since whoever touched it has a name for the old one. Removes the rest.
    fn mend(&self, path: &Path, artifact: &Artifact) -> Result<bool> {
        let aside = self.aside();
        let copied = copy(path, &aside).or_else(|error| {
            if error.kind() != std::io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            // A step has taken the right to read it from everybody, through its own name for it.
            std::fs::set_permissions(path, Permissions::from_mode(permissions(artifact.mode == Mode::Executable)))?;
            copy(path, &aside)
        });
        match copied {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io(path)(error)),
        }
        let same = hash_file(&aside).map(|(digest, size)| digest == artifact.digest && size == artifact.size);
        if self.unless_kept(&aside, same)? {
            let kept = self.keep(&aside, artifact.mode == Mode::Executable);
            return self.unless_kept(&aside, kept).map(|(digest, _)| digest == artifact.digest);
        }
        self.discard(&aside)?;
        // Somebody may have put a whole one there since.
        if is_whole(path, artifact.size, artifact.mode == Mode::Executable) {
            return Ok(true);
        }
        self.discard(path)?;
        Ok(false)
    }
}

const fn permissions(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

/// Whether a blob is as it was kept, without reading it.
fn is_whole(path: &Path, size: u64, executable: bool) -> bool {
    let mode = if executable { Mode::Executable } else { Mode::File };
    rustix::fs::lstat(path).is_ok_and(|found| is_kept(&found, mode, size))
}

/// Whether a look at a blob finds it as it was kept.
#[allow(clippy::allow_attributes, clippy::unnecessary_cast, reason = "the numbers are of other kinds on macOS")]
pub(crate) fn is_kept(found: &rustix::fs::Stat, mode: Mode, size: u64) -> bool {
    let kind = FileType::from_raw_mode(found.st_mode);
    let stamped = found.st_mtime as i64 == STAMP as i64 && found.st_mtime_nsec as i64 == 0;
    let may = found.st_mode as u32 & 0o777 == permissions(mode == Mode::Executable);
    kind.is_file() && found.st_size as u64 == size && stamped && may
}

fn has_stamp(found: &std::fs::Metadata, size: u64) -> bool {
    found.len() == size && found.mtime() == STAMP as i64 && found.mtime_nsec() == 0
}

/// Opens a file to read it, and nothing that took its place since somebody looked: no link is followed, no pipe waited for.
pub(super) fn open_plain(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    File::options().read(true).custom_flags(flags.bits() as i32).open(path)
}

/// A private copy at a path where nothing is. The standard library's copy clones or copies inside the kernel where that can.
pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = open_plain(from)?;
    // Never over something: what is there may be a link to a blob.
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    match std::io::copy(&mut source, &mut target) {
        Ok(_) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(to);
            Err(error)
        }
    }
}

pub(super) fn hash_file(path: &Path) -> Result<(Digest, u64)> {
    open_plain(path).and_then(|file| hash(&file)).map_err(StoreError::io(path))
}
