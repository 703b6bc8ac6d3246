//! The process that guards are forked from.
//!
//! Starting flowrun costs milliseconds, most of them in the dynamic loader; forking one that runs costs a tenth of that. So flowrun
//! starts one of itself that waits, and is forked for as many guards as there are commands at once (CPython's `multiprocessing` calls that a
//! fork server):
//!
//! ```text
//!   flowrun ──spawn──► server ──fork──► guard ──► a command ──► another ──► …
//!      │──control socket──►│  └─fork──► guard ──► …
//!      │◄── a socket each, sent over the control socket ──►
//! ```
//!
//! It has one thread, so what it forks is whole: no lock is held by a thread that is not there. At each fork it has the socket of one guard
//! alone, so that no guard keeps that of another, and the guard puts it in the place of the control socket. It knows nothing of jobs.

use std::io;

use rustix::io::retry_on_intr;
use rustix::process::{WaitOptions, wait};
use rustix::stdio::dup2_stdin;

use super::hand;
use super::wire::Report;

/// What this process is when [`serve`] returns.
pub(super) enum Role {
    /// The server, at its end.
    Server,
    /// A guard, whose socket is its stdin.
    Guard,
}

/// Forks a guard for each request on stdin, the control socket, until that is closed.
pub(super) fn serve() -> io::Result<Role> {
    // So that `pkill -9 flowrun` kills flowrun alone.
    let _ = rustix::thread::set_name(c"guard-server");
    // A byte is a request: longer reads would take the next one's with it.
    while let (mut fds, 1) = hand::take(io::stdin(), &mut [0])? {
        // Those that ended since the last request: no more than ran at once.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let Some(socket) = fds.pop() else { continue };
        // SAFETY: no other thread runs in this process, so that the child may do whatever its parent may.
        match unsafe { libc::fork() } {
            0 => {
                dup2_stdin(&socket)?;
                return Ok(Role::Guard);
            }
            -1 => {
                let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                super::guard::tell(&socket.into(), &[Report::Unforked(errno)]).ok();
            }
            _ => {}
        }
    }
    // So that what they took of the processors is counted.
    while retry_on_intr(|| wait(WaitOptions::empty())).is_ok() {}
    Ok(Role::Server)
}
