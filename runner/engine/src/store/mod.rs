//! The store beside a project: contents by digest, results by key, runs as append-only records.
//!
//! ```text
//! .flowrun/
//!   CACHEDIR.TAG  .gitignore          backups and git leave it alone
//!   v1/                               the version of everything below
//!     lock                            shared by every open store, exclusive for gc
//!     blobs/ab/cdef…[.x]              bytes by blake3, read-only; .x are executable     put, ingest
//!     entries/ab/cdef….json           results by step key                                save_entry
//!     history/TAG                     keys that a step had, a line each, newest last     save_entry
//!     runs/ID/                        meta.json events.jsonl logs/ lock                  RunRecord
//!     memo                            digests of workspace files                         Memo
//!     tmp/RUN/…                       folders of running steps, half-written things      step_folder
//! ```
//! **Two versions.** A flowrun that finds another `vN` folder than its own ignores it and makes its own: old and new never read each
//! other's bytes. Inside a version, unknown keys of entries and unknown events are skipped, so that small additions need no new one.
//!
//! **Crashes.** Everything is made aside and renamed into place, so a name either holds the whole or is not there. After SIGKILL only
//! work is lost. After a power loss a file may be there with a wrong length or zeros: blobs carry their size and a stamp (below) that are
//! checked at each use, entries end with their own digest, so both are found out and made again. Nothing is fsynced.
//!
//! **Stamps.** A blob's modification time is set to one second after 1970. Anything that writes into it, through whatever hard link,
//! moves that time; a use that finds another stamp hashes the file again and throws it away when it is not what its name says.
//!
//! Knows nothing of steps, keys' leaves or pipelines: manifests are opaque here.

mod blobs;
mod entries;
mod gc;
mod memo;
mod record;
mod sources;
#[cfg(test)]
mod tests;
mod trees;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowrun_core::digest::Digest;

pub use blobs::{How, Take};
pub use entries::{Lookup, StoredEntry, StoredOutput};
pub use gc::{GcPolicy, GcReport};
pub use memo::Memo;
pub use record::{RunInfo, RunRecord, new_run_id};
pub use trees::Change;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of it, or one that goes into it, cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Content that should be there is not, or is damaged.
    #[error("the store has lost {0}: the step that made it must run again")]
    Missing(Digest),
    /// A file changed between two looks at it.
    #[error("{0} changed while flowrun was reading it: run again when it is still")]
    SourceChanged(PathBuf),
    /// Something that cannot be kept.
    #[error("{path} cannot be kept: {problem}")]
    Unkeepable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: &'static str,
    },
    /// A run that is not there, or a name that fits several.
    #[error("{0}")]
    NoSuchRun(String),
    /// Somebody uses the store.
    #[error("a run is using the store: try again when it has ended")]
    Busy,
}

impl StoreError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// The result of a use of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// An open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `.flowrun/v1`.
    root: PathBuf,
    /// Held shared as long as the store is open.
    _lock: std::fs::File,
}

impl Store {
    /// Opens the store of a project, making it where there is none, and sweeps what dead runs left.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(project: &Path) -> Result<Self> {
        let outer = match std::env::var_os("FLOWRUN_HOME") {
            Some(home) if !home.is_empty() => PathBuf::from(home),
            _ => project.join(".flowrun"),
        };
        let root = outer.join("v1");
        for folder in ["blobs", "entries", "history", "runs", "tmp"] {
            let path = root.join(folder);
            std::fs::create_dir_all(&path).map_err(StoreError::io(&path))?;
        }
        for (name, text) in [(".gitignore", "*\n"), ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")] {
            let path = outer.join(name);
            if !path.exists() {
                std::fs::write(&path, text).map_err(StoreError::io(&path))?;
            }
        }
        let path = root.join("lock");
        let lock = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(StoreError::io(&path))?;
        lock.lock_shared().map_err(StoreError::io(&path))?;
        let store = Self { inner: Arc::new(Inner { root, _lock: lock }) };
        store.sweep();
        Ok(store)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.root.join(name)
    }

    /// A fresh place for something half-written.
    fn aside(&self) -> PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.path(&format!("tmp/.{}-{number}", std::process::id()))
    }

    /// Writes a file whole: aside, then into place.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let aside = self.aside();
        std::fs::write(&aside, bytes).map_err(StoreError::io(&aside))?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(StoreError::io(parent))?;
        }
        std::fs::rename(&aside, path).map_err(StoreError::io(path))
    }

    /// A fresh, empty folder for an attempt at a step.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn step_folder(&self, run: &str, slug: &str) -> Result<PathBuf> {
        let folder = self.path("tmp").join(run).join(file_name(slug));
        self.discard(&folder)?;
        std::fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        Ok(folder)
    }

    /// Removes a file or folder, also one whose folders were made read-only; that it is not there is fine.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn discard(&self, path: &Path) -> Result<()> {
        let found = match std::fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io(path)(error)),
        };
        if !found.is_dir() {
            return std::fs::remove_file(path).map_err(StoreError::io(path));
        }
        if std::fs::remove_dir_all(path).is_err() {
            make_writable(path);
            std::fs::remove_dir_all(path).map_err(StoreError::io(path))?;
        }
        Ok(())
    }

    /// Removes folders of runs that are dead. Best effort: what cannot be removed now will be next time.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.path("tmp")) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let dead = match name.strip_prefix('.').and_then(|rest| rest.split('-').next()) {
                Some(pid) => !Path::new("/proc").join(pid).exists() && Path::new("/proc/self").exists(),
                None => !self.is_live(&name),
            };
            if dead {
                let _ = self.discard(&path);
            }
        }
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

/// A label as one file name: short, without separators, and different for different labels.
fn file_name(label: &str) -> String {
    let plain: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() || "._-=,[]".contains(c) { c } else { '_' }).collect();
    // 255 bytes is what file systems take; a label that was changed or cut gets its digest, so that no two share a name.
    if plain == label && plain.len() <= 120 && !plain.starts_with('.') {
        return plain;
    }
    let cut: String = plain.trim_start_matches('.').chars().take(100).collect();
    format!("{cut}~{}", Digest::of(label.as_bytes()).short())
}
