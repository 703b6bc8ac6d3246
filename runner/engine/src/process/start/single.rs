//! A guard that is started for itself.

use std::io;
use std::path::Path;
use std::process::Child;

use super::Ends;

/// The guard's process.
pub(in super::super) struct Origin(Child);

impl Origin {
    pub(super) fn start(program: Option<&Path>, ends: Ends) -> io::Result<Self> {
        let Ends { socket, stdout, stderr } = ends;
        let child = super::spawn(program, socket, |process| {
            process.stdout(stdout).stderr(stderr);
        })?;
        Ok(Self(child))
    }

    /// The guard ended, and so its number can be given out again.
    pub(in super::super) fn ended(mut self) {
        let _ = self.0.wait();
    }

    /// The guard never came to be.
    pub(in super::super) fn failed(self) {
        self.ended();
    }
}
