//! What a guard waits for: its children's ends, which the kernel tells by SIGCHLD, and what flowrun says on the socket. One thread does
//! both, since a light command takes less time than to start a thread.
//!
//! SIGCHLD is held back except while this sleeps: one that comes between the look for children and the sleep ends the sleep at once.
//! Knows nothing of what is done about it.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::hand::Incoming;
use super::wire::STOP;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A child ended: the command, or an orphan of its.
    Ended(Pid, WaitStatus),
    /// No child is left.
    Childless,
    /// flowrun asks for a kind stop.
    Stop,
    /// flowrun is gone.
    Gone,
}

/// Where it is told.
pub(super) struct Watch {
    incoming: Incoming,
    /// Nothing more comes from the socket once flowrun is gone.
    gone: bool,
    /// The signals that are held back while this sleeps.
    asleep: libc::sigset_t,
}

impl Watch {
    /// Begins to hold SIGCHLD back. To be called before there is a child, by the only thread. What is started from here on must
    /// let through again what it inherits.
    pub(super) fn begin(incoming: Incoming) -> io::Result<Self> {
        let (mut child, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the sets are ours, and each is written by the first call that gets it; the handler does nothing. An action of zeroes is one
        // without flags, so that the sleep ends with the signal.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
            libc::sigemptyset(child.as_mut_ptr());
            libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
            if libc::sigprocmask(libc::SIG_BLOCK, child.as_ptr(), before.as_mut_ptr()) != 0
                || libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) != 0
            {
                return Err(io::Error::last_os_error());
            }
            libc::sigdelset(before.as_mut_ptr(), libc::SIGCHLD);
            Ok(Self { incoming, gone: false, asleep: before.assume_init() })
        }
    }

    /// What comes from flowrun, while there is no child.
    pub(super) fn incoming(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    /// The next event; `None` where nothing happens for so long. Without a limit it waits for ever.
    pub(super) fn next(&mut self, limit: Option<Duration>) -> io::Result<Option<Event>> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => return Ok(Some(Event::Ended(pid, status))),
                Err(Errno::CHILD) => return Ok(Some(Event::Childless)),
                Ok(None) | Err(_) => {}
            }
            let heard = self.incoming.holds();
            if heard || self.sleep(until)? {
                return self.hear().map(Some);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
        }
    }

    fn hear(&mut self) -> io::Result<Event> {
        let mut byte = [0];
        let stop =
            matches!(rustix::io::retry_on_intr(|| read(&mut self.incoming, &mut byte)), Ok(1)) && byte[0] == STOP;
        self.gone = !stop;
        Ok(if stop { Event::Stop } else { Event::Gone })
    }

    /// Sleeps until there is something on the socket, which it tells, or a child ended, or it is time.
    fn sleep(&self, until: Option<Instant>) -> io::Result<bool> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(|left| libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let socket = self.incoming.as_fd().as_raw_fd();
        let mut readable = MaybeUninit::uninit();
        // SAFETY: the set is ours and written first; the socket's number is far below the set's 1024, since a guard has a handful of files;
        // the time and the signals outlive the call.
        let found = unsafe {
            libc::FD_ZERO(readable.as_mut_ptr());
            if !self.gone {
                libc::FD_SET(socket, readable.as_mut_ptr());
            }
            let limit = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            let none = std::ptr::null_mut();
            libc::pselect(socket + 1, readable.as_mut_ptr(), none, none, limit, &raw const self.asleep)
        };
        match found {
            -1 => match io::Error::last_os_error() {
                // A child.
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
            found => Ok(found > 0),
        }
    }
}

fn read(socket: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Errno> {
    socket.read(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Lets SIGCHLD through again, between fork and exec.
#[cfg(not(target_os = "linux"))]
pub(super) fn let_through() -> io::Result<()> {
    let mut child = MaybeUninit::uninit();
    // SAFETY: the set is ours, and written by the first call that gets it.
    let done = unsafe {
        libc::sigemptyset(child.as_mut_ptr());
        libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_UNBLOCK, child.as_ptr(), std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Only what is handled, and not ignored, ends a sleep.
extern "C" fn ignore(_: libc::c_int) {}
