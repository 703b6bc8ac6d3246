//! Files of the workspace: known by content without being copied, brought in when a step needs their bytes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::digest::Digest;

use super::blobs::{children, hash_file, link_stays_inside};
use super::memo::{Memo, Stat, now_nanos};
use super::{Result, Store, StoreError, Take};

/// Folders inside a source that are nobody's data.
const LEFT_OUT: [&str; 3] = [".git", ".flowrun", "__pycache__"];

impl Store {
    /// The content of a file or folder of the workspace. Listings of folders are kept, files are not copied.
    ///
    /// # Errors
    /// When something cannot be read, changes meanwhile, or cannot be kept.
    pub fn hash_source(&self, path: &Path, memo: &Memo) -> Result<Artifact> {
        // The source itself may be a link; what is inside it may not lead out.
        let path = std::fs::canonicalize(path).map_err(StoreError::io(path))?;
        self.hash_below(&path, memo, 0)
    }

    fn hash_below(&self, path: &Path, memo: &Memo, depth: usize) -> Result<Artifact> {
        let found = std::fs::symlink_metadata(path).map_err(StoreError::io(path))?;
        let kind = found.file_type();
        if kind.is_symlink() {
            return hash_link(path, depth);
        }
        if kind.is_dir() {
            let mut tree = Tree::default();
            for (name, child) in children(path)? {
                if !LEFT_OUT.contains(&name.as_str()) {
                    tree.entries.insert(name, self.hash_below(&child, memo, depth + 1)?);
                }
            }
            self.put_bytes(&tree.to_bytes())?;
            return Ok(tree.artifact());
        }
        if !kind.is_file() {
            return Err(StoreError::Unkeepable { path: path.to_owned(), problem: "it is neither a file nor a folder" });
        }
        let digest = hash_known(path, &found, memo)?;
        let mode = if found.permissions().mode() & 0o100 != 0 { Mode::Executable } else { Mode::File };
        Ok(Artifact { mode, digest, size: found.len() })
    }

    /// Brings in what a step needs of a source, if the store does not have it already.
    ///
    /// # Errors
    /// When the source no longer is what it was when it was hashed.
    pub fn ensure_source(&self, path: &Path, artifact: &Artifact) -> Result<()> {
        let path = std::fs::canonicalize(path).map_err(StoreError::io(path))?;
        self.ensure_below(&path, artifact)
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
                same(path, digest, artifact)
            }
            Mode::File | Mode::Executable => {
                let taken = self.ingest(path, Take::Copy)?;
                if taken.mode != artifact.mode {
                    return Err(StoreError::SourceChanged(path.to_owned()));
                }
                same(path, taken.digest, artifact)
            }
        }
    }
}

fn same(path: &Path, digest: Digest, artifact: &Artifact) -> Result<()> {
    if digest == artifact.digest { Ok(()) } else { Err(StoreError::SourceChanged(path.to_owned())) }
}

fn hash_link(path: &Path, depth: usize) -> Result<Artifact> {
    let target = std::fs::read_link(path).map_err(StoreError::io(path))?;
    match target.to_str().filter(|_| link_stays_inside(&target, depth)) {
        Some(text) => {
            Ok(Artifact { mode: Mode::Symlink, digest: Digest::of(text.as_bytes()), size: text.len() as u64 })
        }
        None => {
            Err(StoreError::Unkeepable { path: path.to_owned(), problem: "it is a link that leads out of the folder" })
        }
    }
}

fn hash_known(path: &Path, found: &std::fs::Metadata, memo: &Memo) -> Result<Digest> {
    let before = Stat::of(found);
    if let Some(digest) = memo.recall(&before) {
        return Ok(digest);
    }
    let now = now_nanos();
    let digest = hash_file(path)?;
    let after = Stat::of(&std::fs::metadata(path).map_err(StoreError::io(path))?);
    if before != after {
        return Err(StoreError::SourceChanged(path.to_owned()));
    }
    memo.remember(before, digest, now);
    Ok(digest)
}
