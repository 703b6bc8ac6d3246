//! Python environments that are the same everywhere they are made: locked to the hash of every wheel, built by uv, shared.
//!
//! ```text
//! PythonSpec ── lock() ──► PythonLock ── environment() ──► Environment
//! as written     uv pip compile   in the lockfile,   uv venv, uv pip sync   a folder with bin/python
//!                (index, once)    a platform each    (cache, once)
//! ```
//!
//! An environment's folder is named by the digest of its lock and its interpreter, so steps and pipelines that agree share it, and
//! one that exists is found by two stats. It holds absolute paths, so it is built where it stays: its marker is written last, and
//! a folder without one is wiped. Its files may be hard links into uv's cache: nothing may write in it, which is the sandbox's
//! matter; bytecode is compiled beforehand so that nothing wants to.
//!
//! What is hashed into an environment's name: the lock's lines, `no_binary`, the interpreter's full version, kind, platform and
//! path (the environment points at it). What never is: the requirements as written, the index they came from, the date.
//!
//! uv is told what the user set for pip, since it reads none of it: see `settings`. Credentials are masked in all that uv says.
//! Packages named in `no_binary` are built here from source: their own content is locked, their build tools are not.
//! Knows nothing of steps, lockfiles or keys.

mod environment;
mod interpreter;
mod lock;
mod requirement;
mod settings;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may")]
mod tests;
mod uv;

use flowrun_core::digest::Digest;
use flowrun_core::outcome::Failure;
use serde::{Deserialize, Serialize};

use crate::fetch::{checked_name, refused};

pub use environment::{Environment, environment};
pub use flowrun_core::stored::lock::PythonLock;
pub use interpreter::{Interpreter, interpreter};
pub use lock::lock;

/// The Python a step asks for, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonSpec {
    /// Which Python: `3.11`, or `3.11.7` for exactly that.
    pub version: String,
    /// What to install: PEP 508 requirements by name; nothing that names a place.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// The packages that may be built from source, since they have no wheel.
    #[serde(default)]
    pub no_binary: Vec<String>,
}

impl PythonSpec {
    /// The digest of all that was asked for: another digest needs another lock.
    pub fn digest(&self) -> Digest {
        // Vectors and strings alone: there is nothing in it that could fail to become JSON.
        Digest::of(&serde_json::to_vec(&("python 1", self)).unwrap_or_default())
    }

    /// Whether it asks for something that can be looked for.
    pub fn check(&self) -> Result<(), Failure> {
        check_version(&self.version)?;
        self.requirements.iter().try_for_each(|requirement| requirement::check(requirement))?;
        self.no_binary.iter().try_for_each(|name| checked_name(name).map(drop))
    }
}

/// `3.11` or `3.11.7`.
fn check_version(version: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = version.split('.').collect();
    let number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(number) && parts[0] == "3" {
        return Ok(());
    }
    Err(refused(format!("`{}` is not a version of Python", version.escape_debug())).hint("write `3.11`, or `3.11.7`"))
}
