//! Files of the workspace: known by content without being copied, brought in when a step needs their bytes.

mod unread;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::digest::Digest;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use super::ingest::{names, read_link, unkeepable};
use super::memo::{Memo, stat_of};
use super::{Result, Store, StoreError, Take};
use unread::Unread;

/// Entries of a source that are nobody's data. A step does not see them, so that a commit or an import changes no key.
pub(crate) const LEFT_OUT: [&str; 3] = [".git", ".flowrun", "__pycache__"];

impl Store {
    /// The content of a file or folder of the workspace. Listings of folders are kept, files are not copied. `.git`, `.flowrun` and
    /// `__pycache__` inside a folder are left out.
    ///
    /// # Errors
    /// When something cannot be read, changes meanwhile, or cannot be kept: the first of those, in the order of paths.
    pub fn hash_source(&self, given: &Path, memo: &Memo) -> Result<Artifact> {
        let (path, found) = followed(given)?;
        if path != given {
            memo.looks.glance(given);
        }
        let mut walk = Walk { store: self, memo, unread: Unread::new(memo) };
        let seen = walk.see(Looked { at: rustix::fs::CWD, name: path.as_os_str(), path: &path, found, depth: 0 });
        // Files that wait to be read come before what the walk stopped at.
        walk.unread.read()?;
        walk.settled(seen?)
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

/// What is known of something once it was looked at.
enum Seen {
    Known(Artifact),
    /// A file whose digest is at this place, when it was read.
    Unread {
        mode: Mode,
        size: u64,
        place: usize,
    },
    /// A folder with such a file below it.
    Folder(Vec<(String, Seen)>),
}

/// A walk over a source. It only looks: files that nobody remembers are read many at once.
struct Walk<'a> {
    store: &'a Store,
    memo: &'a Memo,
    unread: Unread<'a>,
}

impl Walk<'_> {
    fn see(&mut self, one: Looked<'_>) -> Result<Seen> {
        match FileType::from_raw_mode(one.found.st_mode) {
            FileType::Symlink => {
                self.memo.looks.itself(one.path, &stat_of(&one.found));
                let text = read_link(one.path, one.depth)?;
                let digest = Digest::of(text.as_bytes());
                Ok(Seen::Known(Artifact { mode: Mode::Symlink, digest, size: text.len() as u64 }))
            }
            FileType::RegularFile => {
                let stat = stat_of(&one.found);
                let (mode, size) = (file_mode(&one.found), stat.size);
                Ok(match self.memo.recall(&stat) {
                    Some(digest) => {
                        let artifact = Artifact { mode, digest, size };
                        self.memo.looks.file(one.path, &stat, artifact);
                        Seen::Known(artifact)
                    }
                    None => Seen::Unread { mode, size, place: self.unread.add(one.path, stat, mode)? },
                })
            }
            FileType::Directory => {
                self.memo.looks.itself(one.path, &stat_of(&one.found));
                let entries = self.entries(&one)?;
                let known = entries.iter().all(|(_, seen)| matches!(seen, Seen::Known(_)));
                let folder = Seen::Folder(entries);
                if known { self.settled(folder).map(Seen::Known) } else { Ok(folder) }
            }
            _ => Err(unkeepable(one.path, "it is neither a file nor a folder")),
        }
    }

    /// A folder's entries are looked at from the folder, so that the system does not find it anew for each.
    fn entries(&mut self, one: &Looked<'_>) -> Result<Vec<(String, Seen)>> {
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
            let seen = self.see(below)?;
            path.pop();
            entries.push((name, seen));
        }
        Ok(entries)
    }

    /// The same once all files were read.
    fn settled(&self, seen: Seen) -> Result<Artifact> {
        match seen {
            Seen::Known(artifact) => Ok(artifact),
            Seen::Unread { mode, size, place } => Ok(Artifact { mode, digest: self.unread.digest(place), size }),
            Seen::Folder(entries) => {
                let settled = |(name, seen)| Ok((name, self.settled(seen)?));
                let entries = entries.into_iter().map(settled).collect::<Result<_>>()?;
                self.store.put_tree(&Tree { entries })
            }
        }
    }
}

fn file_mode(found: &rustix::fs::Stat) -> Mode {
    if found.st_mode & 0o100 != 0 { Mode::Executable } else { Mode::File }
}

fn io(path: &Path) -> impl FnOnce(Errno) -> StoreError {
    move |error| StoreError::io(path)(error.into())
}
