//! What a lock is turned into, for people who use other tools.
//!
//! ```text
//! Pins ─┬─ Environment, of a step for a platform ─┬─ requirements()   requirements.txt: each package's version and sha256
//!       │                                         ├─ pylock()         the same as pylock.toml (PEP 751), with where each file lies
//!       │                                         └─ image()          a Dockerfile, and what it needs beside it
//!       └─ cyclonedx()                                                all that a pipeline uses, as a bill of materials
//! ```
//! The same lock gives the same bytes: nothing here holds a date, a random number or anything of the machine. A lock names no address, and
//! neither does what is made of it; only a `pylock.toml` must name one, and is given it.
//!
//! Knows nothing of whether the lock is still what the pipeline asks for: [`crate::pins::drift`] tells.

mod cyclonedx;
mod image;
mod pylock;
mod requirements;
#[cfg(test)]
mod tests;

use crate::stored::lock::{FilePin, PackagePin, Pins};

pub use cyclonedx::{Bill, cyclonedx};
pub use image::{Base, image, is_ours};
pub use pylock::{Place, pylock};
pub use requirements::requirements;

/// The Python environment of a step on a platform, out of a lock.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'a> {
    /// The lock's name, for people.
    pub lock: &'a str,
    /// The step.
    pub step: &'a str,
    /// The platform: `linux-x86_64`.
    pub platform: &'a str,
    /// Which Python was asked for: `3.11`, or `3.11.7`.
    pub python: &'a str,
    /// The oldest glibc that it is for, where that is not the usual one.
    pub glibc: Option<&'a str>,
    /// The exact one that it was locked on, where that is known: `cpython 3.11.7`.
    pub interpreter: Option<&'a str>,
    /// The packages, sorted.
    pub packages: &'a [PackagePin],
}

impl<'a> Environment<'a> {
    /// That of a step under a profile or none; nothing where the lock has none of it for the platform.
    pub fn of(pins: &'a Pins, lock: &'a str, profile: Option<&str>, step: &'a str, platform: &'a str) -> Option<Self> {
        let pin = pins.environments.get(pins.step(profile, step)?.environment.as_ref()?)?;
        let interpreter = pin.interpreters.get(platform).map(String::as_str);
        let packages = pin.resolved.get(platform)?;
        let glibc = pin.wish.glibc.as_deref();
        Some(Self { lock, step, platform, python: &pin.wish.python, glibc, interpreter, packages })
    }

    /// What it is, for the head of a file, where it takes one line.
    fn title(&self) -> String {
        let exactly = self.interpreter.map_or_else(String::new, |exactly| format!(", locked on {exactly}"));
        let Self { lock, step, platform, python, .. } = self;
        one_line(&format!("Python {python} of step `{step}` for {platform}, as {lock} has it{exactly}"))
    }

    /// The packages that are built from their source.
    pub fn built(&self) -> impl Iterator<Item = &'a PackagePin> {
        self.packages.iter().filter(|package| package.is_source())
    }
}

fn is_wheel(file: &FilePin) -> bool {
    file.file.ends_with(".whl")
}

/// Names are other people's: one with a line end would go on as something else than a comment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
