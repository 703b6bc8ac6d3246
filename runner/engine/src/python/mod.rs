//! Python environments that are the same everywhere they are made: locked to the hash of every wheel, built by uv, shared.
//!
//! ```text
//! PythonWish ── resolve() ──► packages ── PythonLock ── environment() ──► Environment
//! as written    uv pip compile    in the lock,           uv venv, uv pip sync   a folder with bin/python
//!               (index, once)     a platform each        (cache, once)
//! ```
//!
//! An environment's folder is named by the digest of its lock and its interpreter, so steps and pipelines that agree share it, and
//! one that exists is found by two stats. It holds absolute paths, so it is built where it stays: its marker is written last, and
//! a folder without one is wiped. Its files may be hard links into uv's cache: nothing may write in it, which is the sandbox's
//! matter; a step that runs in one holds a lock on it, so that nobody removes it; bytecode is compiled beforehand so that nothing wants to.
//!
//! What is hashed into an environment's name: the sha256 of every wheel, the interpreter's full version, kind, platform and
//! path (the environment points at it). What never is: the requirements as written, the index they came from, the date.
//!
//! uv is told what the user set for pip, since it reads none of it: see `settings`. Credentials are masked in all that uv says.
//! Packages named in `no_binary` are built once, when they are locked, and are wheels from then on: see `build`.
//! Knows nothing of steps, lockfiles or keys.

mod addresses;
mod build;
mod elsewhere;
mod environment;
mod intact;
mod interpreter;
mod local;
mod pylock;
mod requirement;
mod resolve;
mod settings;
mod tags;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may")]
mod tests;
mod unfit;
mod uv;

use flowrun_core::digest::Digest;
use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::{PackagePin, PythonWish};
use serde::{Deserialize, Serialize};

use crate::fetch::{Platform, checked_name, refused};

pub use environment::{Environment, environment, remove_unused};
pub use interpreter::{Interpreter, interpreter};
pub use resolve::lock;

pub(crate) use addresses::addresses;
pub(crate) use build::{Source, bring, build};
pub(crate) use environment::held;
pub(crate) use interpreter::{exact, known};
pub(crate) use resolve::{Question, Unresolved, resolve};

/// A Python environment for one platform: every package by version and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonLock {
    /// Which Python: `3.11`, or `3.11.7`.
    pub python: String,
    /// The platform it holds for, such as `linux-x86_64`.
    pub platform: String,
    /// The packages, sorted.
    pub packages: Vec<PackagePin>,
}

impl PythonLock {
    /// Of these packages.
    pub fn of(python: &str, platform: Platform, packages: Vec<PackagePin>) -> Self {
        Self { python: python.to_owned(), platform: platform.to_string(), packages }
    }

    /// One line a package: `NAME==VERSION --hash=sha256:…`.
    pub fn lines(&self) -> Vec<String> {
        self.packages.iter().map(PackagePin::line).collect()
    }
}

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
}

/// Whether it asks for something that can be looked for.
fn check(wish: &PythonWish) -> Result<(), Failure> {
    check_version(&wish.python)?;
    wish.requirements.iter().try_for_each(|requirement| requirement::check(requirement))?;
    wish.no_binary.iter().try_for_each(|name| checked_name(name).map(drop))
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
