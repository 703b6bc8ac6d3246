//! Descriptors handed from process to process over a socket, with bytes: one call for both (unix(7), `SCM_RIGHTS`). Knows nothing of what
//! they are for.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// The most descriptors that are handed over at once.
const MOST: usize = 2;
/// What is received at once: more than a light command's job.
const ROOM: usize = 8 << 10;

/// Sends bytes, of which there must be some, and descriptors with the first of them.
pub(super) fn give(to: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(fds));
    let sent = retry_on_intr(|| sendmsg(to, &[IoSlice::new(bytes)], &mut rights, no_signal()))?;
    io::Write::write_all(&mut &*to, &bytes[sent..])
}

#[cfg(not(target_os = "macos"))]
fn no_signal() -> SendFlags {
    SendFlags::NOSIGNAL
}

/// There a program ignores the signal, as Rust's do, or dies of it.
#[cfg(target_os = "macos")]
fn no_signal() -> SendFlags {
    SendFlags::empty()
}

/// What comes over a socket: bytes, and descriptors before them.
pub(super) struct Incoming {
    socket: UnixStream,
    bytes: Vec<u8>,
    at: usize,
}

impl Incoming {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, bytes: Vec::with_capacity(ROOM), at: 0 }
    }

    /// Whether bytes wait that were received already.
    pub(super) fn holds(&self) -> bool {
        self.at < self.bytes.len()
    }

    /// Receives descriptors, which close themselves on `exec`, and the first bytes that follow them; `None` at the end.
    pub(super) fn receive(&mut self) -> io::Result<Option<Vec<OwnedFd>>> {
        self.bytes.resize(ROOM, 0);
        let (fds, received) = take(&self.socket, &mut self.bytes)?;
        self.bytes.truncate(received);
        self.at = 0;
        Ok((received > 0).then_some(fds))
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.holds() {
            return self.socket.read(buffer);
        }
        let read = (&self.bytes[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

impl AsFd for Incoming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Receives descriptors and bytes; none of either at the end.
pub(super) fn take(from: impl AsFd, bytes: &mut [u8]) -> io::Result<(Vec<OwnedFd>, usize)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| recvmsg(&from, &mut [IoSliceMut::new(bytes)], &mut rights, closing()))?;
    let fds = rights.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = fds.flatten().collect();
    if cfg!(target_os = "macos") {
        for fd in &fds {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
        }
    }
    Ok((fds, received.bytes))
}

#[cfg(not(target_os = "macos"))]
fn closing() -> RecvFlags {
    RecvFlags::CMSG_CLOEXEC
}

/// macOS cannot do that at once; nothing is started meanwhile, since who receives has one thread.
#[cfg(target_os = "macos")]
fn closing() -> RecvFlags {
    RecvFlags::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_bytes_arrive_together() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut read, write) = io::pipe().expect("a pipe");
        let long = vec![7; 3 * ROOM];
        let sent = long.clone();
        let giving = std::thread::spawn(move || give(&ours, &sent, &[write.as_fd()]));
        let mut incoming = Incoming::new(theirs);
        let fds = incoming.receive().expect("received").expect("something");
        assert_eq!(fds.len(), 1);
        let mut bytes = vec![0; long.len()];
        incoming.read_exact(&mut bytes).expect("read");
        assert_eq!(bytes, long);
        assert!(!incoming.holds());
        giving.join().expect("joined").expect("given");
        drop(fds);
        assert_eq!(read.read(&mut [0]).expect("read"), 0, "nobody else has it");
        assert!(incoming.receive().expect("received").is_none(), "the end");
    }
}
