//! Files of the workspace: known by content without being copied, brought in when a step needs their bytes.

use std::borrow::Cow;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::digest::Digest;

use super::blobs::{hash, open_plain};
use super::ingest::{children, read_link, unkeepable};
use super::memo::{Memo, now_nanos, stat_of};
use super::{Result, Store, StoreError, Take};

/// Entries of a source that are nobody's data. A step does not see them, so that a commit or an import changes no key.
pub(crate) const LEFT_OUT: [&str; 3] = [".git", ".flowrun", "__pycache__"];

impl Store {
    /// The content of a file or folder of the workspace. Listings of folders are kept, files are not copied. `.git`, `.flowrun` and
    /// `__pycache__` inside a folder are left out.
    ///
    /// # Errors
    /// When something cannot be read, changes meanwhile, or cannot be kept.
    pub fn hash_source(&self, path: &Path, memo: &Memo) -> Result<Artifact> {
        let (path, found) = followed(path)?;
        self.hash_found(&path, &found, memo, 0)
    }

    fn hash_below(&self, path: &Path, memo: &Memo, depth: usize) -> Result<Artifact> {
        let found = std::fs::symlink_metadata(path).map_err(StoreError::io(path))?;
        self.hash_found(path, &found, memo, depth)
    }

    fn hash_found(&self, path: &Path, found: &Metadata, memo: &Memo, depth: usize) -> Result<Artifact> {
        let kind = found.file_type();
        if kind.is_symlink() {
            let text = read_link(path, depth)?;
            return Ok(Artifact { mode: Mode::Symlink, digest: Digest::of(text.as_bytes()), size: text.len() as u64 });
        }
        if kind.is_file() {
            let digest = hash_known(path, found, memo)?;
            let mode = if found.permissions().mode() & 0o100 != 0 { Mode::Executable } else { Mode::File };
            return Ok(Artifact { mode, digest, size: found.len() });
        }
        if !kind.is_dir() {
            return Err(unkeepable(path, "it is neither a file nor a folder"));
        }
        let mut tree = Tree::default();
        for (name, child) in children(path, depth)? {
            if !LEFT_OUT.contains(&name.as_str()) {
                tree.entries.insert(name, self.hash_below(&child, memo, depth + 1)?);
            }
        }
        self.put_bytes(&tree.to_bytes())?;
        Ok(tree.artifact())
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
fn followed(path: &Path) -> Result<(Cow<'_, Path>, Metadata)> {
    let found = std::fs::symlink_metadata(path).map_err(StoreError::io(path))?;
    if !found.is_symlink() {
        return Ok((path.into(), found));
    }
    let real = std::fs::canonicalize(path).map_err(StoreError::io(path))?;
    let found = std::fs::symlink_metadata(&real).map_err(StoreError::io(&real))?;
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

fn hash_known(path: &Path, found: &Metadata, memo: &Memo) -> Result<Digest> {
    let before = stat_of(found);
    if let Some(digest) = memo.recall(&before) {
        return Ok(digest);
    }
    let io = |error| StoreError::io(path)(error);
    let file = open_plain(path).map_err(io)?;
    let now = now_nanos();
    let (digest, size) = hash(&file).map_err(io)?;
    let after = stat_of(&file.metadata().map_err(io)?);
    if before != after || size != after.size {
        return Err(StoreError::SourceChanged(path.to_owned()));
    }
    memo.remember(before, digest, now);
    Ok(digest)
}
