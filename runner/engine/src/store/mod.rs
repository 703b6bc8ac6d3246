//! The store beside a project: contents by digest, results by key, runs as append-only records.
//!
//! ```text
//! .flowrun/                           or $FLOWRUN_HOME
//!   CACHEDIR.TAG  .gitignore          backups and git leave it alone
//!   v1/                               the version of everything below
//!     lock                            shared by every open store, exclusive for gc
//!     blobs/ab/cdef…[.x]              bytes by blake3, 0444; .x are executable, 0555
//!     entries/ab/cdef….json           results by step key
//!     history/TAG                     keys that a step had, a line each, newest last
//!     runs/ID/                        meta.json carried.jsonl repeated.jsonl events.jsonl logs/ lock
//!     claims/KEY                      a result that a run is making, held by a link and a lock: see `claims.rs`
//!     memo                            digests of workspace files
//!     repeats/ASKED                   what a run with nothing to do looked at and told
//!     tmp/RUN/STEP.ATTEMPT/           folders of running steps
//!     tmp/.PID-TIME/                  an open store's half-written things, and its lock
//!     tmp/.sweep                      held while such folders are made or swept
//! ```
//!
//! | what | who writes it | how | a reader finds it torn |
//! |---|---|---|---|
//! | blob | `put_bytes`, `ingest` | aside, stamped, hashed, renamed | other size or stamp: hashed again, removed |
//! | entry | `save_entry` | aside, renamed | its last line is not its digest: a loud miss |
//! | history | `save_entry` | one append a result | the line is no key: skipped |
//! | events | the run that holds `runs/ID/lock` | one append an event, or several that were noted | the line is no JSON: skipped |
//! | carried events | a run that takes up another, before its first event | aside, renamed | the line is no JSON: skipped |
//! | claim | the run that makes the result | a link to a file that was written before | never |
//! | memo | `Memo::save` | aside, renamed | its last line is not its digest: empty |
//! | repeat | a run that had nothing to do | aside, renamed | its last line is not its digest: every step is looked at |
//! | repeated events | a run that repeats another, before its first event | a link to the other's events, or a copy | the line is no JSON: skipped |
//! | anything, to remove it | `gc` alone, under the exclusive lock; a reader only what it found damaged; a claim who holds it | | |
//!
//! **Two versions.** Folders `vN` stand side by side:
//!
//! | | old data (`v1`) | new data (`v2`) |
//! |---|---|---|
//! | old flowrun | reads and writes it | does not look at it |
//! | new flowrun | does not look at it: every step is new once | reads and writes it |
//!
//! So neither can misread the other, and going back finds everything as it was. Inside a version, additions are keys of entries and kinds of
//! events that older readers skip; an entry or memo that says another `format` is not believed.
//!
//! **Crashes.** Everything is made aside and renamed into place, so a name either holds the whole or is not there; blobs come before the
//! entry that refers to them, and `gc` removes entries before blobs. After SIGKILL, at any instant, only work is lost.
//!
//! **Power.** The promise: after the last line of a run, what it made survives a power loss; before that a power loss costs work, never truth.
//! The first half is one [`Store::settle`] at the end of a run that made something, which writes out the whole file system. The second half
//! needs no writing out: a file that was written since may be short, empty or gone, and is found so, since blobs are checked by size and stamp
//! at each use, entries and the memo by their own digest. What remains: a disk or file system that keeps a file's size and time but not its
//! bytes. [`Store::check`] reads them all and finds that too.
//!
//! Why not an fsync a step: a step makes an entry and any number of blobs in any number of folders, and each of them, and each folder that got a
//! new name, would have to be written out for the promise to hold a step earlier. A disk does some hundred of these a second, so that a
//! run of thousands of light steps would wait for the disk and for little else, to save at best the work of the last minutes before a power loss.
//! Nor is the order of what reaches the disk needed: whatever comes first, an entry without its blobs is a miss.
//!
//! **Stamps.** A blob's modification time is one second after 1970. It is set before the bytes are hashed and looked at again after, so a
//! late writer cannot slip in between. Whatever writes into a blob later, through whatever hard link, moves that time; a use that finds
//! another stamp, size or mode hashes the file again and throws it away when it is not what its name says. What remains: a program that
//! overwrites a read-only file in place, keeps its size and sets its time back. A step's folder should not let it.
//!
//! **Links** are kept when they are relative and stay inside the folder that is kept. Only leading `..` are taken: `a/../..` climbs from
//! wherever `a` leads, which names alone do not tell. They are checked again when they are laid out, since a folder inside a kept one can be
//! laid out by itself.
//!
//! Knows nothing of steps, keys' leaves or pipelines: manifests are opaque here, but for contents that they name.

mod blobs;
mod check;
mod claims;
mod compare;
mod entries;
mod gc;
mod hashing;
mod history;
mod ingest;
mod lay;
mod memo;
mod record;
mod referred;
mod repeats;
mod scratch;
mod sources;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_damage;
mod trees;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowrun_core::digest::Digest;

use claims::Badges;
use scratch::Scratch;

pub(crate) use blobs::is_kept;
pub use check::{Flaw, Problem};
pub use claims::{Claim, Claimed, Holder};
pub use entries::Lookup;
pub use flowrun_core::stored::entry::{Sandbox, StoredEntry, StoredOutput, StoredResult};
pub use gc::{GcPolicy, GcReport, StoreSize};
pub use ingest::Take;
pub use lay::How;
pub use memo::Memo;
pub(crate) use memo::{now_nanos, stat_of};
pub use record::{RunInfo, RunRecord, new_run_id};
pub(crate) use repeats::read_repeat;
pub use scratch::Laid;
pub(crate) use sources::LEFT_OUT;
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
    /// Whether something has the name that was to be made.
    pub(crate) fn is_there_already(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        use std::io::ErrorKind;
        let Self::Io { source, .. } = self else { return None };
        if source.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) {
            return Some("allow more open files: `ulimit -n 1024`; or run fewer steps at once: `--jobs 1`");
        }
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Some("make room on the disk; `flowrun gc --older-than 7d` gives back what old results take")
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                Some("flowrun must be able to write beside the project, or where `FLOWRUN_HOME` says")
            }
            _ => None,
        }
    }

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
    lock: std::fs::File,
    badges: Badges,
    scratch: Scratch,
}

impl Store {
    /// Opens the store of a project, making it where there is none, and sweeps what dead runs left.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(project: &Path) -> Result<Self> {
        let root = root_of(project);
        for folder in ["blobs", "claims", "entries", "history", "runs", "tmp"] {
            let path = root.join(folder);
            std::fs::create_dir_all(&path).map_err(StoreError::io(&path))?;
        }
        for (name, text) in [(".gitignore", "*\n"), ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")] {
            let path = root.with_file_name(name);
            if !path.exists() {
                std::fs::write(&path, text).map_err(StoreError::io(&path))?;
            }
        }
        let path = root.join("lock");
        let lock = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(StoreError::io(&path))?;
        lock.lock_shared().map_err(StoreError::io(&path))?;
        let scratch = Scratch::open(&root)?;
        Ok(Self { inner: Arc::new(Inner { root, lock, badges: Badges::default(), scratch }) })
    }

    /// Returns when everything that was kept is on the disk: see the essay on power. It takes as long as the disk needs for all that any
    /// program has written to that file system.
    ///
    /// # Errors
    /// When something could not be written out.
    pub fn settle(&self) -> Result<()> {
        write_out(&self.inner.lock).map_err(|error| StoreError::io(&self.inner.root)(error.into()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.root.join(name)
    }

    /// A file that is named by a digest: `PART/ab/cdef…`.
    fn fanned(&self, part: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let hex = digest.to_string();
        let (first, rest) = hex.split_at(2);
        let mut path = OsString::with_capacity(self.inner.root.as_os_str().len() + 96);
        path.push(&self.inner.root);
        for piece in ["/", part, "/", first, "/", rest, suffix] {
            path.push(piece);
        }
        path.into()
    }

    /// A fresh place for something half-written, on the same file system as everything else.
    fn aside(&self) -> PathBuf {
        self.inner.scratch.fresh()
    }

    /// Writes a file whole: aside, then into place.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let aside = self.aside();
        let written =
            std::fs::write(&aside, bytes).map_err(StoreError::io(&aside)).and_then(|()| into_place(&aside, path));
        self.unless_kept(&aside, written)
    }

    /// Passes a result on, and on failure takes away what was half-written, so that a full disk does not fill further.
    fn unless_kept<T>(&self, aside: &Path, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let _ = std::fs::remove_file(aside);
        }
        result
    }

    /// A name that [`Store::step_folder`] takes as a run's, for work that leaves no record: its folders live and die with this open store.
    pub fn unrecorded(&self) -> String {
        self.inner.scratch.name()
    }

    /// A fresh, empty folder for an attempt at a step.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn step_folder(&self, run: &str, slug: &str) -> Result<PathBuf> {
        let folder = self.step_path(run, slug);
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => self.discard(&folder)?,
        }
        std::fs::create_dir_all(&folder).map_err(StoreError::io(&folder))?;
        Ok(folder)
    }

    /// Where an attempt at a step may make its folder: nothing is there.
    ///
    /// # Errors
    /// When something was, and cannot be removed.
    pub fn step_place(&self, run: &str, slug: &str) -> Result<PathBuf> {
        let folder = self.step_path(run, slug);
        self.discard(&folder)?;
        Ok(folder)
    }

    fn step_path(&self, run: &str, slug: &str) -> PathBuf {
        self.path("tmp").join(run).join(file_name(slug))
    }

    /// Removes the folders of a run that is over. What cannot be removed now will be when the store is next opened.
    pub fn discard_run(&self, run: &str) {
        let _ = self.discard(&self.path("tmp").join(run));
    }

    /// Removes a file or folder, also one whose folders were made read-only; that it is not there is fine.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn discard(&self, path: &Path) -> Result<()> {
        scratch::discard(path)
    }

    /// The same for a folder in which this was laid out.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn discard_laid(&self, folder: &Path, laid: &[Laid<'_>]) -> Result<()> {
        scratch::discard_laid(folder, laid)
    }
}

/// Where the store of a project is.
fn root_of(project: &Path) -> PathBuf {
    let outer = match std::env::var_os("FLOWRUN_HOME") {
        // Steps run elsewhere, and are told paths below it.
        Some(home) if !home.is_empty() => std::path::absolute(&home).unwrap_or_else(|_| PathBuf::from(home)),
        _ => project.join(".flowrun"),
    };
    outer.join("v1")
}

/// Writes out the file system that a file is on.
#[cfg(target_os = "linux")]
fn write_out(file: &std::fs::File) -> rustix::io::Result<()> {
    rustix::fs::syncfs(file)
}

/// Elsewhere only all of them can be, and whether that went well is not told.
#[cfg(not(target_os = "linux"))]
fn write_out(_file: &std::fs::File) -> rustix::io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// Renames a finished file to its name, making the folders above it.
fn into_place(aside: &Path, place: &Path) -> Result<()> {
    match std::fs::rename(aside, place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        done => return done.map_err(StoreError::io(place)),
    }
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).map_err(StoreError::io(parent))?;
    }
    std::fs::rename(aside, place).map_err(StoreError::io(place))
}

/// A label as one file name: short, without separators, and different for different labels.
fn file_name(label: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '=' | ',' | '[' | ']');
    let mut plain = String::with_capacity(label.len() + 16);
    plain.extend(label.chars().map(|c| if is_plain(c) { c } else { '_' }));
    // 255 bytes is what file systems take; a label that was changed or cut gets its digest, so that no two share a name.
    if plain == label && (1..=120).contains(&plain.len()) && !plain.starts_with('.') {
        return plain;
    }
    let cut: String = plain.trim_start_matches('.').chars().take(100).collect();
    format!("{cut}~{}", Digest::of(label.as_bytes()).short())
}
