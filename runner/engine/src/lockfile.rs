//! The lock beside a pipeline, `NAME.lock`, as a file: [`flowrun_core::stored::lock`] says what is in it. Written whole through a temporary
//! file, and only when it changed.

use std::path::{Path, PathBuf};

use flowrun_core::stored::lock::{BadLock, Pins};

/// The largest lock that is read: a hundred environments of a hundred packages are a tenth of it.
const LARGEST: u64 = 64 << 20;

/// A pipeline's lock, in memory.
#[derive(Clone, Debug)]
pub struct Lockfile {
    path: PathBuf,
    /// What it pins.
    pub pins: Pins,
    /// The text that is there.
    text: Option<String>,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error("cannot use the lock {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not one that this flowrun reads.
    #[error("{path}{source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BadLock,
    },
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => None,
            Self::Unreadable { source: BadLock::Newer(_), .. } => Some("a newer flowrun reads it"),
            Self::Unreadable { source: BadLock::Damaged { .. }, .. } => Some(
                "take the last good one from version control, or remove it and run `flowrun lock`: then everything is looked up anew",
            ),
        }
    }
}

/// Where the lock of a pipeline file is.
pub fn path_of(pipeline: &Path) -> PathBuf {
    pipeline.with_extension("lock")
}

impl Lockfile {
    /// The lock of a pipeline file; empty where there is none yet.
    ///
    /// # Errors
    /// When it is there but cannot be used.
    pub fn of(pipeline: &Path) -> Result<Self, LockError> {
        let path = path_of(pipeline);
        let io = |source| LockError::Io { path: path.clone(), source };
        let text = match std::fs::metadata(&path) {
            Ok(found) if found.len() > LARGEST => return Err(io(std::io::Error::other("it is too large to be one"))),
            // Where git turns line ends into those of another system, it is the same lock.
            Ok(_) => Some(std::fs::read_to_string(&path).map_err(io)?.replace("\r\n", "\n")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        let pins = match &text {
            Some(text) => Pins::parse(text).map_err(|source| LockError::Unreadable { path: path.clone(), source })?,
            None => Pins::default(),
        };
        Ok(Self { path, pins, text })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.text.is_some()
    }

    /// Whether it is of an earlier format.
    pub fn is_old(&self) -> bool {
        self.text.as_ref().is_some_and(|text| text.trim_start().starts_with('{'))
    }

    /// Whether what is in memory would be written otherwise than what is there.
    pub fn is_changed(&self) -> bool {
        match &self.text {
            Some(text) => *text != self.pins.to_text(),
            None => self.pins != Pins { platforms: self.pins.platforms.clone(), ..Pins::default() },
        }
    }

    /// Writes what changed, and says whether anything did. A pipeline that uses nothing that can be pinned has no lock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<bool, LockError> {
        if !self.is_changed() {
            return Ok(false);
        }
        let io = |source| LockError::Io { path: self.path.clone(), source };
        let text = self.pins.to_text();
        let temporary = self.path.with_extension(format!("lock.{}", std::process::id()));
        let written = std::fs::write(&temporary, &text).and_then(|()| std::fs::rename(&temporary, &self.path));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&temporary);
            io(error)
        })?;
        self.text = Some(text);
        Ok(true)
    }
}
