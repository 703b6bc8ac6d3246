//! A guard that is started for itself, and for one command.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::Pid;

/// The guard's program, and its process once that is started.
pub(super) struct Origin {
    program: Option<PathBuf>,
    process: Option<Child>,
}

impl Origin {
    pub(super) fn of(program: Option<&Path>) -> io::Result<Self> {
        Ok(Self { program: program.map(Path::to_owned), process: None })
    }

    /// No guard waits.
    pub(super) fn rested(&self, _is_bound: bool) -> Option<(UnixStream, Pid)> {
        None
    }

    pub(super) fn start(mut self, socket: OwnedFd) -> io::Result<Self> {
        self.process = Some(super::spawn(self.program.as_deref(), socket)?);
        Ok(self)
    }

    /// The guard is of no more use.
    pub(super) fn rest(self, _is_bound: bool, socket: UnixStream, _leader: Pid) {
        drop(socket);
        self.ended();
    }

    /// The guard ended, and so its number can be given out again.
    pub(super) fn ended(mut self) {
        let _ = self.process.as_mut().map(Child::wait);
    }

    /// The guard never came to be.
    pub(super) fn failed(self) {
        self.ended();
    }
}
