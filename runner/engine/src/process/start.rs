//! Starting a guard, and what flowrun has of it: one end of its socket, and what comes out of its pipes.
//!
//! On Linux a guard is forked from a server (see [`servers`]) and sees one command after the other through; elsewhere flowrun starts itself for
//! each. Either way the guard has the other end of the socket as its stdin, and gets the pipes over it with its job. Knows nothing of what is
//! said on them.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use rustix::process::Pid;

use super::{GUARD, hand};

#[cfg(target_os = "linux")]
use servers as origin;
#[cfg(not(target_os = "linux"))]
use single as origin;

#[cfg(target_os = "linux")]
mod servers;
#[cfg(not(target_os = "linux"))]
mod single;

use origin::Origin;
#[cfg(all(test, target_os = "linux"))]
pub(super) use servers::dismiss;
#[cfg(target_os = "linux")]
pub(super) use servers::dismiss_all;

/// A guard that was given a job; whether it ever came to be, it tells itself.
pub(super) struct Guard {
    pub(super) socket: UnixStream,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
    /// Its process, where it has told that before.
    pub(super) leader: Option<Pid>,
    is_bound: bool,
    origin: Origin,
}

impl Guard {
    /// Gives a job to a guard that waits for one, or else to a new one. `program` becomes it, and this program where there is none. `is_bound`
    /// says whether the job has a sandbox: what a guard has once given up for one, it cannot give to a job without.
    pub(super) fn start(program: Option<&Path>, is_bound: bool, job: &[u8]) -> io::Result<Self> {
        let (stdout, out) = io::pipe()?;
        let (stderr, err) = io::pipe()?;
        // No other process may keep these, or their end would not be heard: they are closed here when the guard has them.
        let ends = [out.as_fd(), err.as_fd()];
        let origin = Origin::of(program)?;
        while let Some((socket, leader)) = origin.rested(is_bound) {
            // One that died while it waited has no job.
            if hand::give(&socket, job, &ends).is_ok() {
                return Ok(Self { socket, stdout, stderr, leader: Some(leader), is_bound, origin });
            }
        }
        let (socket, theirs) = UnixStream::pair()?;
        let origin = origin.start(theirs.into())?;
        // Where this fails there is no guard, which is found out by whoever waits for it.
        let _ = hand::give(&socket, job, &ends);
        Ok(Self { socket, stdout, stderr, leader: None, is_bound, origin })
    }

    /// It saw its job through, and waits for another where its number is given. One that was not heard to its end ends by its socket.
    pub(super) fn over(self, ready: Option<Pid>) {
        let Self { socket, stdout, stderr, is_bound, origin, .. } = self;
        drop((stdout, stderr));
        match ready {
            Some(leader) => origin.rest(is_bound, socket, leader),
            None => {
                drop(socket);
                origin.ended();
            }
        }
    }

    /// It never came to be.
    pub(super) fn failed(self) {
        self.origin.failed();
    }
}

/// Starts a program as a guard or a server of guards, with this as its stdin.
fn spawn(program: Option<&Path>, stdin: OwnedFd) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut process = Process::new(file(program)?);
    process.arg0("step-guard").arg(GUARD).env_clear().stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    process.spawn()
}

/// The file of this program may have been replaced since it started, so it is named by what runs, where that has a name.
fn file(program: Option<&Path>) -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    match program {
        Some(program) => Ok(program.into()),
        None if running.exists() => Ok(running.into()),
        None => std::env::current_exe(),
    }
}
