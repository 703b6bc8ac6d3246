//! Room for half-written things: one folder for each open store, and the sweeping of what dead ones left.
//!
//! Whether the owner of a folder still lives is asked of a lock, which the kernel takes back at death, and not of a process number, which
//! means nothing in another container. A folder and its lock cannot come to be at one instant, so both making and sweeping hold
//! `tmp/.sweep`; what is dead is only renamed away under it, and removed after, so that nobody waits for that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use super::{Result, StoreError};

/// A folder of this open store's own. Gone when the store is closed.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Scratch {
    /// Makes one, and sweeps what dead stores and dead runs left.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let tmp = root.join("tmp");
        let path = tmp.join(".sweep");
        let sweep = File::options().create(true).append(true).open(&path).map_err(StoreError::io(&path))?;
        sweep.lock().map_err(StoreError::io(&path))?;
        let scratch = Self::make(&tmp)?;
        let dead = scratch.take_dead(root, &tmp);
        drop(sweep);
        for folder in dead {
            // What cannot be removed now will be next time.
            let _ = discard(&folder);
        }
        Ok(scratch)
    }

    fn make(tmp: &Path) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let nanos = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let folder = tmp.join(format!(".{}-{nanos}-{number}", std::process::id()));
        std::fs::create_dir(&folder).map_err(StoreError::io(&folder))?;
        let path = folder.join("lock");
        let lock = File::create_new(&path).map_err(StoreError::io(&path))?;
        lock.lock().map_err(StoreError::io(&path))?;
        Ok(Self { folder, next: AtomicU64::new(0), _lock: lock })
    }

    /// Its name below `tmp`.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A path in it that was not given before.
    pub(super) fn fresh(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn take_dead(&self, root: &Path, tmp: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(tmp) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| is_dead(root, path)).filter_map(|path| self.take(&path)).collect()
    }

    fn take(&self, path: &Path) -> Option<PathBuf> {
        let taken = self.fresh();
        if std::fs::rename(path, &taken).is_err() {
            // A read-only folder cannot be moved to another.
            make_writable(path);
            std::fs::rename(path, &taken).ok()?;
        }
        Some(taken)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // While the lock is still held: nobody else sweeps it meanwhile.
        let _ = discard(&self.folder);
    }
}

/// Whether somebody alive holds a lock. In doubt (no more open files, a file system without locks) yes: what is held is left alone.
pub(super) fn is_held(lock: &Path) -> bool {
    match File::open(lock) {
        Ok(lock) => lock.try_lock_shared().is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn is_dead(root: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return true };
    match name.strip_prefix('.') {
        Some("sweep") => false,
        Some(_) => !is_held(&path.join("lock")),
        None => !is_held(&root.join("runs").join(name).join("lock")),
    }
}

/// Removes a file or folder, also one whose folders were made read-only; that it is not there is fine. Follows no link.
pub(super) fn discard(path: &Path) -> Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(path)(error)),
    };
    let first = if found.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match first {
        Ok(()) => Ok(()),
        // Somebody else removed it, which is as well.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) if found.is_dir() => {
            make_writable(path);
            std::fs::remove_dir_all(path).map_err(StoreError::io(path))
        }
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

fn make_writable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}
