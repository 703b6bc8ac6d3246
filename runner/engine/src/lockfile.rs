//! The lock beside a pipeline, `NAME.lock`, as a file: [`flowrun_core::stored::lock`] says what is in it. Written whole through a temporary
//! file, and only when it changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flowrun_core::stored::lock::{BadLock, Pins, PluginPin, PythonLock, WheelPin};

/// A pipeline's lock, in memory.
#[derive(Clone, Debug)]
pub struct Lockfile {
    path: PathBuf,
    pins: Pins,
    read: Pins,
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
    #[error("the lock {path} {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BadLock,
    },
}

impl Lockfile {
    /// The lock of a pipeline file; empty where there is none yet.
    ///
    /// # Errors
    /// When it is there but cannot be used.
    pub fn of(pipeline: &Path) -> Result<Self, LockError> {
        let path = pipeline.with_extension("lock");
        let pins = match std::fs::read_to_string(&path) {
            Ok(text) => Pins::parse(&text).map_err(|source| LockError::Unreadable { path: path.clone(), source })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Pins::default(),
            Err(source) => return Err(LockError::Io { path, source }),
        };
        Ok(Self { path, read: pins.clone(), pins })
    }

    /// The pin of a wheel.
    pub fn wheel(&self, pin: &str, platform: &str) -> Option<&WheelPin> {
        self.pins.wheels.get(&format!("{pin}@{platform}"))
    }

    /// Pins a wheel.
    pub fn pin_wheel(&mut self, pin: &str, platform: &str, wheel: WheelPin) {
        self.pins.wheels.insert(format!("{pin}@{platform}"), wheel);
    }

    /// The lock of a Python environment.
    pub fn python(&self, spec: &str, platform: &str) -> Option<&PythonLock> {
        self.pins.python.get(&format!("{spec}@{platform}"))
    }

    /// Pins a Python environment.
    pub fn pin_python(&mut self, spec: &str, platform: &str, lock: PythonLock) {
        self.pins.python.insert(format!("{spec}@{platform}"), lock);
    }

    /// Drops the environments that no step asks for any more, so that a lock does not only grow.
    pub fn keep_python(&mut self, specs: &[String]) {
        let wanted = |key: &String| specs.iter().any(|spec| key.split('@').next() == Some(spec));
        self.pins.python.retain(|key, _| wanted(key));
    }

    /// The pin of a registry's plugin.
    pub fn plugin(&self, uses: &str) -> Option<&PluginPin> {
        self.pins.plugins.get(uses)
    }

    /// Pins a registry's plugin.
    pub fn pin_plugin(&mut self, uses: &str, pin: PluginPin) {
        self.pins.plugins.insert(uses.to_owned(), pin);
    }

    /// Drops the plugins that no step uses any more.
    pub fn keep_plugins(&mut self, used: &BTreeSet<String>) {
        self.pins.plugins.retain(|uses, _| used.contains(uses));
    }

    /// Writes what changed, and says whether anything did.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<bool, LockError> {
        if self.pins == self.read {
            return Ok(false);
        }
        let io = |source| LockError::Io { path: self.path.clone(), source };
        let temporary = self.path.with_extension(format!("lock.{}", std::process::id()));
        std::fs::write(&temporary, self.pins.to_text())
            .and_then(|()| std::fs::rename(&temporary, &self.path))
            .map_err(io)?;
        self.read = self.pins.clone();
        Ok(true)
    }
}
