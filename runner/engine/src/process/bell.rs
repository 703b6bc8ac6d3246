//! What a thread that sleeps in `poll` can be woken by: a pipe into which a waker writes. So a thread without a runtime waits for pipes and for
//! futures at once. Knows nothing of what is waited for.

use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use rustix::fs::OFlags;

/// A bell, and the ear at its pipe.
pub(super) struct Bell {
    rung: PipeReader,
    waker: Waker,
}

struct Clapper(PipeWriter);

impl Wake for Clapper {
    fn wake(self: Arc<Self>) {
        // A pipe that is full has been rung.
        let _ = (&self.0).write(&[0]);
    }
}

impl Bell {
    /// This thread's. A waker of an earlier wait may still ring it, which is a look for nothing.
    pub(super) fn of_thread() -> io::Result<Rc<Self>> {
        thread_local! { static BELL: RefCell<Option<Rc<Bell>>> = const { RefCell::new(None) } }
        BELL.with_borrow_mut(|known| match known {
            Some(bell) => Ok(bell.clone()),
            None => Ok(known.insert(Rc::new(Self::new()?)).clone()),
        })
    }

    fn new() -> io::Result<Self> {
        let (rung, clapper) = io::pipe()?;
        rustix::fs::fcntl_setfl(&clapper, OFlags::NONBLOCK)?;
        Ok(Self { rung, waker: Arc::new(Clapper(clapper)).into() })
    }

    /// Rings it.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Makes it silent; it must have been heard.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.rung, &mut [0; 64]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rung.as_fd()
    }
}

/// What a descriptor that was waited for is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ready {
    /// Nothing.
    #[default]
    No,
    /// It can be read; at its end that gives nothing.
    Read,
    /// Its other end is closed, and there is nothing to be read.
    End,
}

/// Waits until one of these can be read, or for so long; those that are `None` are not waited for. In doubt nothing is ready.
pub(super) fn wait<const N: usize>(
    for_: [Option<BorrowedFd<'_>>; N],
    limit: Option<Duration>,
) -> io::Result<[Ready; N]> {
    // The kernel passes over what has a negative number.
    let number = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
    let mut all = for_.map(|fd| libc::pollfd { fd: number(fd), events: libc::POLLIN, revents: 0 });
    // Rounded up: one that is too early finds nothing to do.
    let millis = limit.map_or(-1, |limit| limit.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX));
    // SAFETY: the places are ours, as many as is said, and outlive the call, as do the descriptors.
    match unsafe { libc::poll(all.as_mut_ptr(), N as libc::nfds_t, millis) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok([Ready::No; N]),
            error => Err(error),
        },
        _ => Ok(all.map(|one| match one.revents {
            0 => Ready::No,
            events if events & libc::POLLIN != 0 => Ready::Read,
            _ => Ready::End,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_heard_until_it_is_silenced() {
        let bell = Bell::new().expect("a pipe");
        let heard = || wait([Some(bell.as_fd()), None], Some(Duration::ZERO)).expect("waited");
        assert_eq!(heard(), [Ready::No, Ready::No]);
        let waker = bell.waker().clone();
        std::thread::spawn(move || waker.wake()).join().expect("rung");
        assert_eq!(wait([Some(bell.as_fd())], None).expect("waited"), [Ready::Read]);
        bell.silence();
        assert_eq!(heard(), [Ready::No, Ready::No]);
        let (end, other) = io::pipe().expect("a pipe");
        drop(other);
        assert_eq!(wait([Some(end.as_fd())], None).expect("waited"), [Ready::End]);
    }
}
