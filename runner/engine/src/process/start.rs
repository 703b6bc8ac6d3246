//! Starting a guard, and what flowrun has of it: one end of its socket, and what comes out of its pipes.
//!
//! On Linux a guard is forked from a server (see [`servers`]); elsewhere flowrun starts itself for each. Either way the guard has the
//! other end of the socket as its stdin, and the pipes as its stdout and stderr. Knows nothing of what is said on them.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process};

use super::GUARD;

#[cfg(target_os = "linux")]
use servers as origin;
#[cfg(not(target_os = "linux"))]
use single as origin;

#[cfg(target_os = "linux")]
mod servers;
#[cfg(not(target_os = "linux"))]
mod single;

pub(super) use origin::Origin;
#[cfg(all(test, target_os = "linux"))]
pub(super) use servers::dismiss;
#[cfg(target_os = "linux")]
pub(super) use servers::dismiss_all;

/// A guard that was asked for; whether it came to be, it tells itself.
pub(super) struct Guard {
    pub(super) socket: UnixStream,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
    pub(super) origin: Origin,
}

/// What the guard gets. No other process may keep any of it, or its end would not be heard: all are closed by `exec`, and by whoever
/// hands them on.
struct Ends {
    socket: OwnedFd,
    stdout: PipeWriter,
    stderr: PipeWriter,
}

impl Guard {
    /// Asks for a guard; `program` becomes it, and this program where there is none.
    pub(super) fn start(program: Option<&Path>) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let (stdout, out) = io::pipe()?;
        let (stderr, err) = io::pipe()?;
        let origin = Origin::start(program, Ends { socket: theirs.into(), stdout: out, stderr: err })?;
        Ok(Self { socket, stdout, stderr, origin })
    }

    /// Nobody waits for it any more. What was its is closed first: a guard that was not heard to its end ends by that.
    pub(super) fn over(self) {
        let Self { socket, stdout, stderr, origin } = self;
        drop((socket, stdout, stderr));
        origin.ended();
    }
}

/// Starts a program as a guard or a server of guards, with this as its stdin; `set` says the rest.
fn spawn(program: Option<&Path>, stdin: OwnedFd, set: impl FnOnce(&mut Process)) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut process = Process::new(file(program)?);
    process.arg0("step-guard").arg(GUARD).env_clear().stdin(stdin);
    set(&mut process);
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
