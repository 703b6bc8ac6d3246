//! The lock beside a pipeline, `NAME.lock`: what was found out once and must stay so until someone asks for new.
//!
//! JSON with sorted keys, to be committed. A reader of this version refuses a newer one, since ignoring pins it does not know would
//! be running something else than was locked. Written whole through a temporary file, and only when it changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fetch::WheelPin;
use crate::python::PythonLock;

const VERSION: u32 = 1;

/// The pins of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pins {
    flowrun_lock: u32,
    /// Wheels by `name==version@platform`.
    #[serde(default)]
    wheels: BTreeMap<String, WheelPin>,
    /// Python environments by `digest of what was asked for@platform`.
    #[serde(default)]
    python: BTreeMap<String, PythonLock>,
}

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
    /// It is not a lock.
    #[error("the lock {path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It is a later flowrun's.
    #[error("the lock {path} is of version {found}, and this flowrun reads {VERSION}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
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
            Ok(text) => serde_json::from_str::<Pins>(&text)
                .map_err(|error| LockError::Damaged { path: path.clone(), problem: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Pins { flowrun_lock: VERSION, ..Pins::default() }
            }
            Err(source) => return Err(LockError::Io { path, source }),
        };
        if pins.flowrun_lock > VERSION {
            return Err(LockError::Newer { path, found: pins.flowrun_lock });
        }
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

    /// Writes what changed, and says whether anything did.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<bool, LockError> {
        if self.pins == self.read {
            return Ok(false);
        }
        let io = |source| LockError::Io { path: self.path.clone(), source };
        let mut text = serde_json::to_string_pretty(&self.pins).map_err(|error| io(error.into()))?;
        text.push('\n');
        let temporary = self.path.with_extension(format!("lock.{}", std::process::id()));
        std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &self.path)).map_err(io)?;
        self.read = self.pins.clone();
        Ok(true)
    }
}
