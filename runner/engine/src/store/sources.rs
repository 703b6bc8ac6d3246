//! Files of the workspace: known by content without being copied, brought in when a step needs their bytes.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::digest::Digest;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::blobs::open_plain;
use super::hashing::hash;
use super::ingest::{names, read_link, unkeepable};
use super::memo::{Memo, Stat, now_nanos, stat_of};
use super::{Result, Store, StoreError, Take};

/// Entries of a source that are nobody's data. A step does not see them, so that a commit or an import changes no key.
pub(crate) const LEFT_OUT: [&str; 3] = [".git", ".flowrun", "__pycache__"];

impl Store {
    /// The content of a file or folder of the workspace. Listings of folders are kept, files are not copied. `.git`, `.flowrun` and
    /// `__pycache__` inside a folder are left out.
    ///
    /// # Errors
    /// When something cannot be read, changes meanwhile, or cannot be kept.
    pub fn hash_source(&self, given: &Path, memo: &Memo) -> Result<Artifact> {
        let (path, found) = followed(given)?;
        if path != given {
            memo.looks.glance(given);
        }
        self.hash_below(Looked { at: rustix::fs::CWD, name: path.as_os_str(), path: &path, found, depth: 0 }, memo)
    }

    fn hash_below(&self, one: Looked<'_>, memo: &Memo) -> Result<Artifact> {
        match FileType::from_raw_mode(one.found.st_mode) {
            FileType::Symlink => {
                memo.looks.itself(one.path, &stat_of(&one.found));
                let text = read_link(one.path, one.depth)?;
                Ok(Artifact { mode: Mode::Symlink, digest: Digest::of(text.as_bytes()), size: text.len() as u64 })
            }
            FileType::RegularFile => {
                let stat = stat_of(&one.found);
                let digest = match memo.recall(&stat) {
                    Some(digest) => digest,
                    None => hash_anew(one.path, stat, memo)?,
                };
                let mode = if one.found.st_mode & 0o100 != 0 { Mode::Executable } else { Mode::File };
                let artifact = Artifact { mode, digest, size: stat.size };
                memo.looks.file(one.path, &stat, artifact);
                Ok(artifact)
            }
            FileType::Directory => {
                memo.looks.itself(one.path, &stat_of(&one.found));
                self.put_tree(&self.listed(&one, memo)?)
            }
            _ => Err(unkeepable(one.path, "it is neither a file nor a folder")),
        }
    }

    /// A folder's entries are looked at from the folder, so that the system does not find it anew for each.
    fn listed(&self, one: &Looked<'_>, memo: &Memo) -> Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(one.at, one.name, flags, rustix::fs::Mode::empty()).map_err(io(one.path))?;
        let mut entries = Vec::new();
        // The path of the entry that is looked at.
        let mut path = one.path.to_owned();
        for name in names(&folder, one.path, one.depth)? {
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            path.push(&name);
            let found = rustix::fs::statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(io(&path))?;
            let below = Looked { at: folder.as_fd(), name: name.as_ref(), path: &path, found, depth: one.depth + 1 };
            let artifact = self.hash_below(below, memo)?;
            path.pop();
            entries.push((name, artifact));
        }
        Ok(Tree { entries: entries.into_iter().collect() })
    }

    /// Brings in what a step needs of a source, if the store does not have it already.
    ///
    /// # Errors
    /// When the source no longer is what it was when it was hashed.
    pub fn ensure_source(&self, path: &Path, artifact: &Artifact) -> Result<()> {
        let (path, _) = followed(path).map_err(|error| gone(path, error))?;
        self.ensure_below(&path, artifact).map_err(|error| gone(&path, error))
    }

    fn ensure_below(&self, path: &Path, artifact: &Artifact) -> Result<()> {
        match artifact.mode {
            Mode::Folder => {
                let tree = self.tree(&artifact.digest)?;
                tree.entries.iter().try_for_each(|(name, entry)| self.ensure_below(&path.join(name), entry))
            }
            _ if self.has_all(artifact)? => Ok(()),
            Mode::Symlink => {
                let text = std::fs::read_link(path).map_err(StoreError::io(path))?;
                let digest = self.put_bytes(text.as_os_str().as_encoded_bytes())?;
                if digest == artifact.digest { Ok(()) } else { Err(StoreError::SourceChanged(path.to_owned())) }
            }
            Mode::File | Mode::Executable => {
                let taken = self.ingest(path, Take::Copy)?;
                if taken == *artifact { Ok(()) } else { Err(StoreError::SourceChanged(path.to_owned())) }
            }
        }
    }
}

/// The source itself may be a link; what is inside it may not lead out.
fn followed(path: &Path) -> Result<(Cow<'_, Path>, rustix::fs::Stat)> {
    let found = rustix::fs::lstat(path).map_err(io(path))?;
    if !FileType::from_raw_mode(found.st_mode).is_symlink() {
        return Ok((path.into(), found));
    }
    let real = std::fs::canonicalize(path).map_err(StoreError::io(path))?;
    let found = rustix::fs::lstat(&real).map_err(io(&real))?;
    Ok((real.into(), found))
}

/// A file that was there when it was hashed and is not now has changed.
fn gone(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            StoreError::SourceChanged(path.to_owned())
        }
        other => other,
    }
}

/// Something in a folder, and what was found when it was looked at.
struct Looked<'a> {
    at: BorrowedFd<'a>,
    name: &'a OsStr,
    /// The same as a path, for errors and for what is rarely done.
    path: &'a Path,
    found: rustix::fs::Stat,
    /// Folders above it, of the source.
    depth: usize,
}

fn io(path: &Path) -> impl FnOnce(Errno) -> StoreError {
    move |error| StoreError::io(path)(error.into())
}

/// Hashes a file that was in this state when it was looked at.
fn hash_anew(path: &Path, before: Stat, memo: &Memo) -> Result<Digest> {
    let file = open_plain(path).map_err(StoreError::io(path))?;
    let now = now_nanos();
    let (digest, size) = hash(&file).map_err(StoreError::io(path))?;
    let after = stat_of(&rustix::fs::fstat(&file).map_err(io(path))?);
    if before != after || size != after.size {
        return Err(StoreError::SourceChanged(path.to_owned()));
    }
    memo.remember(before, digest, now);
    Ok(digest)
}
