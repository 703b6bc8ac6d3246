//! Contents by digest: bringing them in, checking them, laying them out.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flowrun_core::artifact::{Artifact, Mode, Tree, is_component};
use flowrun_core::digest::Digest;

use super::{Result, Store, StoreError};

/// Seconds since 1970 that every blob carries as its modification time; see the module's essay.
const STAMP: i64 = 1;

/// How something is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Hard links to the store's read-only files, copies where links cannot be.
    Link,
    /// Private, writable copies (clones where the file system can).
    Copy,
}

/// How something is brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The store takes the file itself; it is gone where it was.
    Move,
    /// The store takes a copy.
    Copy,
}

impl Store {
    pub(super) fn blob(&self, digest: &Digest, executable: bool) -> PathBuf {
        let hex = digest.to_string();
        let suffix = if executable { ".x" } else { "" };
        self.path("blobs").join(&hex[..2]).join(format!("{}{suffix}", &hex[2..]))
    }

    /// Keeps bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.blob(&digest, false);
        if !is_whole(&path, bytes.len() as u64) {
            let aside = self.aside();
            std::fs::write(&aside, bytes).map_err(StoreError::io(&aside))?;
            self.settle(&aside, &path, false)?;
        }
        Ok(digest)
    }

    /// Kept bytes, if they are there and whole. Damaged ones are removed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn get_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.blob(digest, false);
        match std::fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => {
                self.discard(&path)?;
                Ok(None)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path)(error)),
        }
    }

    /// The listing of a kept folder.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn tree(&self, digest: &Digest) -> Result<Tree> {
        let bytes = self.get_bytes(digest)?.ok_or(StoreError::Missing(*digest))?;
        Tree::from_bytes(&bytes).map_err(|_| StoreError::Missing(*digest))
    }

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
            return self.ingest_link(path, depth);
        }
        if kind.is_dir() {
            let mut tree = Tree::default();
            for (name, child) in children(path)? {
                tree.entries.insert(name, self.ingest_below(&child, take, depth + 1)?);
            }
            self.put_bytes(&tree.to_bytes())?;
            return Ok(tree.artifact());
        }
        if !kind.is_file() {
            return Err(StoreError::Unkeepable { path: path.to_owned(), problem: "it is neither a file nor a folder" });
        }
        self.ingest_file(path, take)
    }

    fn ingest_file(&self, path: &Path, take: Take) -> Result<Artifact> {
        let aside = self.aside();
        match take {
            Take::Move => {
                std::fs::rename(path, &aside).or_else(|_| copy(path, &aside)).map_err(StoreError::io(path))?;
            }
            Take::Copy => copy(path, &aside).map_err(StoreError::io(path))?,
        }
        let io = StoreError::io(&aside);
        let found = std::fs::metadata(&aside).map_err(io)?;
        let executable = found.permissions().mode() & 0o100 != 0;
        // Hashed where it lies now: nobody else has this name, and what is kept is what was hashed.
        let digest = hash_file(&aside)?;
        let place = self.blob(&digest, executable);
        if is_whole(&place, found.len()) {
            self.discard(&aside)?;
        } else if found.nlink() > 1 {
            // Somebody else still has this file under another name and may write to it.
            let own = self.aside();
            copy(&aside, &own).map_err(StoreError::io(&own))?;
            self.discard(&aside)?;
            if hash_file(&own)? != digest {
                return Err(StoreError::SourceChanged(path.to_owned()));
            }
            self.settle(&own, &place, executable)?;
        } else {
            self.settle(&aside, &place, executable)?;
        }
        let mode = if executable { Mode::Executable } else { Mode::File };
        Ok(Artifact { mode, digest, size: found.len() })
    }

    fn ingest_link(&self, path: &Path, depth: usize) -> Result<Artifact> {
        let target = std::fs::read_link(path).map_err(StoreError::io(path))?;
        let refuse = |problem| StoreError::Unkeepable { path: path.to_owned(), problem };
        let text = target.to_str().ok_or_else(|| refuse("its link text is not UTF-8"))?;
        if !link_stays_inside(&target, depth) {
            return Err(refuse("it is a link that leads out of the folder"));
        }
        let digest = self.put_bytes(text.as_bytes())?;
        Ok(Artifact { mode: Mode::Symlink, digest, size: text.len() as u64 })
    }

    /// Gives a file its stamp and its name.
    fn settle(&self, aside: &Path, place: &Path, executable: bool) -> Result<()> {
        let stamp = SystemTime::UNIX_EPOCH + Duration::from_secs(STAMP as u64);
        let file = std::fs::File::open(aside).map_err(StoreError::io(aside))?;
        file.set_modified(stamp).map_err(StoreError::io(aside))?;
        let mode = if executable { 0o555 } else { 0o444 };
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(StoreError::io(aside))?;
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(StoreError::io(parent))?;
        }
        std::fs::rename(aside, place).map_err(StoreError::io(place))
    }

    /// Whether everything of an artifact is there and whole. What was touched is hashed again, and removed if it is not what it was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has_all(&self, artifact: &Artifact) -> Result<bool> {
        match artifact.mode {
            Mode::File | Mode::Executable => self.has_file(artifact),
            Mode::Symlink => Ok(self.get_bytes(&artifact.digest)?.is_some()),
            Mode::Folder => match self.tree(&artifact.digest) {
                Ok(tree) => {
                    let mut whole = true;
                    for entry in tree.entries.values() {
                        // All of it, so that every damaged file is found at once.
                        whole &= self.has_all(entry)?;
                    }
                    Ok(whole)
                }
                Err(StoreError::Missing(_)) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    fn has_file(&self, artifact: &Artifact) -> Result<bool> {
        let path = self.blob(&artifact.digest, artifact.mode == Mode::Executable);
        if is_whole(&path, artifact.size) {
            return Ok(true);
        }
        if !path.exists() {
            return Ok(false);
        }
        if hash_file(&path)? != artifact.digest {
            self.discard(&path)?;
            return Ok(false);
        }
        // Only touched. The stamp is set again, so that the next use need not hash it.
        let aside = self.aside();
        copy(&path, &aside).map_err(StoreError::io(&path))?;
        self.settle(&aside, &path, artifact.mode == Mode::Executable)?;
        Ok(true)
    }

    /// Lays an artifact out at a path where nothing is.
    ///
    /// # Errors
    /// When content is missing, or the place cannot be written.
    pub fn materialise(&self, artifact: &Artifact, place: &Path, how: How) -> Result<()> {
        match artifact.mode {
            Mode::Folder => {
                std::fs::create_dir_all(place).map_err(StoreError::io(place))?;
                let tree = self.tree(&artifact.digest)?;
                tree.entries.iter().try_for_each(|(name, entry)| self.materialise(entry, &place.join(name), how))
            }
            Mode::Symlink => {
                let text = self.get_bytes(&artifact.digest)?.ok_or(StoreError::Missing(artifact.digest))?;
                let text = String::from_utf8(text).map_err(|_| StoreError::Missing(artifact.digest))?;
                std::os::unix::fs::symlink(text, place).map_err(StoreError::io(place))
            }
            Mode::File | Mode::Executable => self.materialise_file(artifact, place, how),
        }
    }

    fn materialise_file(&self, artifact: &Artifact, place: &Path, how: How) -> Result<()> {
        if !self.has_file(artifact)? {
            return Err(StoreError::Missing(artifact.digest));
        }
        let executable = artifact.mode == Mode::Executable;
        let blob = self.blob(&artifact.digest, executable);
        // Another file system, or too many links: a copy does as well.
        if how == How::Link && std::fs::hard_link(&blob, place).is_ok() {
            return Ok(());
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

/// Whether a blob has its size and its stamp.
fn is_whole(path: &Path, size: u64) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && found.len() == size && found.mtime() == STAMP && found.mtime_nsec() == 0)
}

/// A private copy; a clone where the file system can.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    // `std::fs::copy` clones where the kernel can, and takes the permissions along; a read-only copy could not be settled.
    std::fs::copy(from, to).map(drop)
}

/// The digest of a file's bytes.
pub(super) fn hash_file(path: &Path) -> Result<Digest> {
    let mut file = std::fs::File::open(path).map_err(StoreError::io(path))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(StoreError::io(path))?;
        if read == 0 {
            return Ok(Digest::from_bytes(*hasher.finalize().as_bytes()));
        }
        hasher.update(&buffer[..read]);
    }
}

/// The entries of a folder by name.
pub(super) fn children(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(StoreError::io(folder))? {
        let entry = entry.map_err(StoreError::io(folder))?;
        let path = entry.path();
        match entry.file_name().into_string() {
            Ok(name) if is_component(&name) => found.push((name, path)),
            _ => return Err(StoreError::Unkeepable { path, problem: "its name is not UTF-8" }),
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a link, `depth` folders below the one that is kept, leads to something inside it.
pub(super) fn link_stays_inside(target: &Path, depth: usize) -> bool {
    let mut level = depth.saturating_sub(1);
    if depth == 0 {
        return false;
    }
    for part in target.components() {
        match part {
            std::path::Component::ParentDir if level == 0 => return false,
            std::path::Component::ParentDir => level -= 1,
            std::path::Component::Normal(_) => level += 1,
            std::path::Component::CurDir => {}
            std::path::Component::RootDir | std::path::Component::Prefix(_) => return false,
        }
    }
    true
}
