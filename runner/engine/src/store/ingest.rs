//! Bringing finished files and folders in.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path};

use flowrun_core::artifact::{Artifact, Mode, Tree, is_component};

use super::blobs::copy;
use super::{Result, Store, StoreError};

/// Folders inside one another that are kept. Real data sets have fewer than 20; far more would overflow the stack of whoever walks them.
pub(super) const DEEPEST: usize = 200;

/// How something is brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The store takes the file itself; it is gone where it was.
    Move,
    /// The store takes a copy.
    Copy,
}

impl Store {
    /// Brings a file or folder in.
    ///
    /// # Errors
    /// When something in it cannot be read, or cannot be kept: a device, a link that leads out, a name that is not text.
    pub fn ingest(&self, path: &Path, take: Take) -> Result<Artifact> {
        self.ingest_below(path, take, 0)
    }

    fn ingest_below(&self, path: &Path, take: Take, depth: usize) -> Result<Artifact> {
        let found = std::fs::symlink_metadata(path).map_err(StoreError::io(path))?;
        let kind = found.file_type();
        if kind.is_symlink() {
            let text = read_link(path, depth)?;
            let digest = self.put_bytes(text.as_bytes())?;
            return Ok(Artifact { mode: Mode::Symlink, digest, size: text.len() as u64 });
        }
        if kind.is_file() {
            return self.ingest_file(path, take);
        }
        if !kind.is_dir() {
            return Err(unkeepable(path, "it is neither a file nor a folder"));
        }
        let mut tree = Tree::default();
        let folder = std::fs::File::open(path).map_err(StoreError::io(path))?;
        for name in names(&folder, path, depth)? {
            let kept = self.ingest_below(&path.join(&name), take, depth + 1)?;
            tree.entries.insert(name, kept);
        }
        self.put_tree(&tree)
    }

    fn ingest_file(&self, path: &Path, take: Take) -> Result<Artifact> {
        let aside = self.aside();
        let kept = self.make_own(path, take, &aside).and_then(|executable| {
            let (digest, size) = self.keep(&aside, executable).map_err(|error| told_of(path, error))?;
            let mode = if executable { Mode::Executable } else { Mode::File };
            Ok(Artifact { mode, digest, size })
        });
        self.unless_kept(&aside, kept)
    }

    /// Puts a file aside, where nobody else has a name for it. Whether it is executable.
    fn make_own(&self, path: &Path, take: Take, aside: &Path) -> Result<bool> {
        let executable = |found: &std::fs::Metadata| found.permissions().mode() & 0o100 != 0;
        if take == Take::Move && std::fs::rename(path, aside).is_ok() {
            let found = std::fs::symlink_metadata(aside).map_err(StoreError::io(path))?;
            if !found.is_file() {
                return Err(unkeepable(path, "it changed while it was looked at"));
            }
            // Somebody may still have this file under another name and write to it; or own it, and it cannot be stamped.
            if found.nlink() != 1 || found.uid() != rustix::process::geteuid().as_raw() {
                let theirs = self.aside();
                std::fs::rename(aside, &theirs).map_err(StoreError::io(path))?;
                let copied = copy(&theirs, aside).map_err(StoreError::io(path));
                self.discard(&theirs)?;
                copied?;
            }
            return Ok(executable(&found));
        }
        let found = std::fs::symlink_metadata(path).map_err(StoreError::io(path))?;
        copy(path, aside).map(|()| executable(&found)).map_err(StoreError::io(path))
    }
}

/// An error about a file that was put aside, as one about the file that the user knows.
fn told_of(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Io { source, .. } => StoreError::io(path)(source),
        StoreError::SourceChanged(_) => StoreError::SourceChanged(path.to_owned()),
        other => other,
    }
}

pub(super) fn unkeepable(path: &Path, problem: &'static str) -> StoreError {
    StoreError::Unkeepable { path: path.to_owned(), problem }
}

/// The names of what is in an open folder, sorted; `path` is the folder's.
pub(super) fn names(folder: impl AsFd, path: &Path, depth: usize) -> Result<Vec<String>> {
    if depth >= DEEPEST {
        return Err(unkeepable(path, "it lies more than 200 folders deep"));
    }
    let io = |error: rustix::io::Errno| StoreError::io(path)(error.into());
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => match std::str::from_utf8(name) {
                Ok(name) if is_component(name) => found.push(name.to_owned()),
                _ => return Err(unkeepable(&path.join(OsStr::from_bytes(name)), "its name is not UTF-8")),
            },
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The text of a link, `depth` levels below the folder that is kept.
pub(super) fn read_link(path: &Path, depth: usize) -> Result<String> {
    let target = std::fs::read_link(path).map_err(StoreError::io(path))?;
    let text = target.to_str().ok_or_else(|| unkeepable(path, "its link text is not UTF-8"))?;
    match link_stays_inside(&target, depth) {
        true => Ok(text.to_owned()),
        false => Err(unkeepable(path, "it is a link that leads out of the folder, or may")),
    }
}

/// Whether a link, `depth` levels below the folder that is kept, leads to something inside it: see the essay on links.
pub(super) fn link_stays_inside(target: &Path, depth: usize) -> bool {
    let parts: Vec<Component> = target.components().filter(|part| *part != Component::CurDir).collect();
    let up = parts.iter().take_while(|part| **part == Component::ParentDir).count();
    up < depth && parts[up..].iter().all(|part| matches!(part, Component::Normal(_)))
}
