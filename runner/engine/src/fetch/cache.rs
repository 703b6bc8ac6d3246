//! The user's cache: what was brought once, found again by its sha256.
//!
//! ```text
//! ROOT/                    $FLOWRUN_CACHE, else $XDG_CACHE_HOME/flowrun, else ~/.cache/flowrun; mode 0700
//!   v1/                    another layout is another folder: two flowruns of different age share ROOT in peace
//!     wheels/SHA256/       NAME.whl, stamp.json, members/PATTERN/…
//!     urls/SHA256/         content, stamp.json
//!     components/SHA256/   component.wasm, stamp.json: plugins of registries
//!     plugins/             DIGEST.wasm: those of the binary, laid out as files
//!     wasm/                what components were compiled to for this machine: see `wasm/compiled.rs`
//!     built/               DIGEST.wasm: components by the digest of the source that they were built of
//!     tools/               compilers of plugins
//!     pins/                NAME-VERSION-PLATFORM.json: which wheel an unpinned wish brought
//!     pythons/             VERSION.json: which interpreter fits, and how its file looked
//!     environments/        DIGEST/: Python environments, whole where they hold their marker
//!     uv/                  uv's own cache, on the same file system so that environments are hard links into it
//!     bundles/DIGEST/      the projects of bundles, by the digest of their tables of contents; whole where they are there
//!     locks/               empty files, locked by who works on what they name; the kernel frees those of the dead
//!     tmp/                 work in progress; what is older than a day is nobody's
//! ```
//!
//! A file is written under `tmp/`, flushed, renamed into place, then stamped. A crash in between leaves a file without a stamp,
//! which is hashed before it is used. A stamped file is taken for whole while its size and time are the stamp's: a check of
//! some microseconds against accidents, not against someone who may write here, who could replace flowrun as well.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flowrun_core::outcome::Failure;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{infrastructure, touch};

/// Between two tries for a lock that another flowrun holds.
const LOCK_ROUND: Duration = Duration::from_millis(50);
/// What lies under `tmp/` so long, and nobody holds, was left by a flowrun that was killed. A shorter time would take the folder of one that
/// has made it and does not hold it yet.
const STALE: Duration = Duration::from_secs(60);

/// The user's cache. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// How a kept file looked when it was known to be whole.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    file: String,
    size: u64,
    modified: u128,
}

impl Stamp {
    /// How `path` looks now; `None` where it is no file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let modified = found.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos();
        Some(Self { file: path.file_name()?.to_str()?.to_owned(), size: found.len(), modified })
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }
}

/// A private folder, gone when dropped. While it is there it is locked, so that others know it from one that was left.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    _held: File,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Cache {
    /// The cache of whoever runs this.
    pub fn of_user() -> Result<Self, Failure> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = folder("FLOWRUN_CACHE")
            .or_else(|| folder("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("flowrun")))
            .or_else(|| std::env::home_dir().filter(|path| path.is_absolute()).map(|path| path.join(".cache/flowrun")));
        let root = root.ok_or_else(|| {
            infrastructure("there is no place for a cache").hint("set FLOWRUN_CACHE to a folder, or HOME")
        })?;
        Self::at(root)
    }

    /// A cache in `root`, which is made where it does not exist.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, Failure> {
        let root = root.into();
        let trouble = |error: io::Error| {
            infrastructure(format!("cannot use the cache `{}`: {error}", root.display()))
                .hint("set FLOWRUN_CACHE to a folder you may write to")
        };
        let root = std::path::absolute(&root).map_err(trouble)?;
        make_private(&root).and_then(|()| make_private(&root.join("v1"))).map_err(trouble)?;
        Ok(Self { root: root.join("v1") })
    }

    /// The folder of one kind of thing.
    pub(crate) fn folder(&self, kind: &str) -> Result<PathBuf, Failure> {
        let folder = self.root.join(kind);
        make_private(&folder).map_err(|error| self.trouble(&error))?;
        Ok(folder)
    }

    /// The path of something in the cache, which may not exist.
    pub(crate) fn path(&self, parts: &[&str]) -> PathBuf {
        parts.iter().fold(self.root.clone(), |path, part| path.join(part))
    }

    pub(crate) fn trouble(&self, error: &io::Error) -> Failure {
        infrastructure(format!("cannot use the cache `{}`: {error}", self.root.display()))
            .hint("is its disk full? FLOWRUN_CACHE names another place")
    }

    /// A private folder to work in, on the cache's file system, gone when dropped.
    pub(crate) fn scratch(&self) -> Result<Scratch, Failure> {
        let folder = self.folder("tmp")?;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
            let nobodys = || File::open(entry.path()).is_ok_and(|held| held.try_lock().is_ok());
            if age.is_some_and(|age| age > STALE) && nobodys() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let made = || {
            let folder = tempfile::Builder::new().prefix("w").tempdir_in(folder)?;
            let held = File::open(folder.path())?;
            // Where the file system has no locks, one that was left stays.
            let _ = held.try_lock();
            Ok(Scratch { folder, _held: held })
        };
        made().map_err(|error| self.trouble(&error))
    }

    /// Waits until nobody else works on `name`, here or in another flowrun.
    pub(crate) async fn lock(&self, name: &str) -> Result<Lock, Failure> {
        self.locked(name, File::try_lock).await
    }

    /// Waits until nobody works on `name`; others may use it at the same time.
    pub(crate) async fn share(&self, name: &str) -> Result<Lock, Failure> {
        self.locked(name, File::try_lock_shared).await
    }

    /// The same for who must wait here: for no longer than something of that name is taken away.
    pub(crate) fn share_now(&self, name: &str) -> Result<Lock, Failure> {
        loop {
            match self.try_locked(name, File::try_lock_shared)? {
                Some(lock) => return Ok(lock),
                None => std::thread::sleep(LOCK_ROUND),
            }
        }
    }

    async fn locked(&self, name: &str, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Lock, Failure> {
        loop {
            match self.try_locked(name, lock)? {
                Some(lock) => return Ok(lock),
                None => tokio::time::sleep(LOCK_ROUND).await,
            }
        }
    }

    /// The lock of `name`, where nobody works on it or uses it.
    pub(crate) fn lock_if_free(&self, name: &str) -> Result<Option<Lock>, Failure> {
        self.try_locked(name, File::try_lock)
    }

    fn try_locked(&self, name: &str, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Option<Lock>, Failure> {
        let path = self.folder("locks")?.join(format!("{name}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| self.trouble(&error))?;
        match lock(&file) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.trouble(&error)),
        }
    }

    /// The kept file `file` of content `sha256`, if it is there and whole. A damaged one is removed.
    pub(crate) fn find(&self, kind: &str, sha256: &str, file: &str) -> Option<PathBuf> {
        let folder = self.path(&[kind, sha256]);
        let path = folder.join(file);
        let seen = Stamp::of(&path)?;
        let stamp = folder.join("stamp.json");
        if read_json::<Stamp>(&stamp).is_some_and(|known| known == seen) {
            touch(&stamp);
            return Some(path);
        }
        if sha256_of(&path).is_ok_and(|found| found == sha256) {
            let _ = write_json(&stamp, &seen);
            return Some(path);
        }
        let _ = fs::remove_dir_all(&folder);
        None
    }

    /// Keeps `from`, a file under `tmp/` whose content has that `sha256`, under the name `file`.
    pub(crate) fn keep(&self, from: &Path, kind: &str, sha256: &str, file: &str) -> Result<PathBuf, Failure> {
        let folder = self.folder(kind)?.join(sha256);
        let place = || {
            make_private(&folder)?;
            File::open(from)?.sync_all()?;
            let path = folder.join(file);
            fs::rename(from, &path)?;
            if let Some(seen) = Stamp::of(&path) {
                write_json(&folder.join("stamp.json"), &seen)?;
            }
            Ok(path)
        };
        place().map_err(|error| self.trouble(&error))
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The sha256 of a file, in hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> io::Result<String> {
    copy_hashed(&mut File::open(path)?, &mut io::sink())
}

/// Copies everything, and gives its sha256.
pub(crate) fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex(hasher)),
            length => {
                hasher.update(&buffer[..length]);
                to.write_all(&buffer[..length])?;
            }
        }
    }
}

pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a small file of ours says; `None` where there is none, or it says something else.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a small file of ours, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_private(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, value)?;
    file.persist(path)?;
    Ok(())
}
