//! The process that guards are forked from.
//!
//! Starting flowrun costs milliseconds, most of them in the dynamic loader; forking one that runs costs a tenth of that. So flowrun
//! starts one of itself that waits, and is forked for each command (CPython's `multiprocessing` calls that a fork server):
//!
//! ```text
//!   flowrun ──spawn──► server ──fork──► guard ──► a command
//!      │──control socket──►│  └─fork──► guard ──► another
//!      │◄── a socket and two pipes each, sent over the control socket ──►
//! ```
//!
//! It has one thread, so what it forks is whole: no lock is held by a thread that is not there. At each fork it has the ends of one guard
//! alone, so that no guard keeps those of another, and the guard puts them in the place of the control socket. It knows nothing of jobs.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{WaitOptions, wait};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::wire::Report;

/// What this process is when [`serve`] returns.
pub(super) enum Role {
    /// The server, at its end.
    Server,
    /// A guard, whose socket and pipes are its stdin, stdout and stderr.
    Guard,
}

/// Forks a guard for each request on stdin, the control socket, until that is closed.
pub(super) fn serve() -> io::Result<Role> {
    // So that `pkill -9 flowrun` kills flowrun alone.
    let _ = rustix::thread::set_name(c"guard-server");
    while let Some(ends) = next()? {
        // Those that ended since the last request: no more than ran at once.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let Ok([socket, stdout, stderr]) = <[OwnedFd; 3]>::try_from(ends) else { continue };
        // SAFETY: no other thread runs in this process, so that the child may do whatever its parent may.
        match unsafe { libc::fork() } {
            0 => {
                dup2_stdin(&socket)?;
                dup2_stdout(&stdout)?;
                dup2_stderr(&stderr)?;
                return Ok(Role::Guard);
            }
            -1 => {
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                super::guard::tell(&socket.into(), Report::Unforked(errno)).ok();
            }
            _ => {}
        }
    }
    // So that what they took of the processors is counted.
    while retry_on_intr(|| wait(WaitOptions::empty())).is_ok() {}
    Ok(Role::Server)
}

/// The descriptors of the next request, which close themselves on `exec`; `None` at the end.
fn next() -> io::Result<Option<Vec<OwnedFd>>> {
    let stdin = io::stdin();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    // A byte is a request: longer reads would take the next one's with it.
    let mut byte = [0];
    let received = retry_on_intr(|| {
        recvmsg(stdin.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let fds = rights.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(Some(fds.flatten().collect()))
}
