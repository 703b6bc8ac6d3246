//! Trouble that the machine has with a guest's files: a broken disk, a full one, no descriptors left. It ends the guest.
//!
//! A guest that only heard of it could go on without what it could not read, and be right to: a picture that cannot be read is a finding.
//! What it made then would be kept under a key that says nothing of the trouble, and be served long after the disk was mended.
//!
//! Errors that a guest can cause by what it asks for (no such file, not a folder, not permitted) stay its own.

use bytes::Bytes;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Code;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{DynInputStream, InputStream, Pollable, StreamError, StreamResult};

/// What the machine could not do. Ends the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A file could not be read or written, and it is not the guest's doing.
    #[error("the machine could not read or write a file of the step: input/output error")]
    Io,
    /// The disk is full.
    #[error("the disk is full: No space left on device")]
    Space,
    /// There is no memory for it.
    #[error("the machine has no memory left for a file of the step")]
    Memory,
}

impl Fault {
    /// Whether an error is the machine's. What has no code of its own, such as too many open files, is `Io` to WASI.
    pub(super) fn of(code: ErrorCode) -> Option<Self> {
        match code {
            ErrorCode::Io => Some(Self::Io),
            ErrorCode::InsufficientSpace => Some(Self::Space),
            ErrorCode::InsufficientMemory => Some(Self::Memory),
            _ => None,
        }
    }

    /// What to do about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Io => "look at the disk, and at the limit of open files (`ulimit -n`); then run again",
            Self::Space => "make room on the disk; `flowrun gc --older-than 7d` gives back what old results take",
            Self::Memory => "run fewer steps at once: `--jobs 1`",
        }
    }
}

/// A stream's error, a trap where it is the machine's.
pub(super) fn of_stream(error: StreamError) -> StreamError {
    let StreamError::LastOperationFailed(error) = error else { return error };
    let code = error.downcast_ref::<std::io::Error>().map(|error| ErrorCode::from(Code::from(error)));
    let fault = code.and_then(Fault::of);
    match fault {
        Some(fault) => StreamError::Trap(wasmtime::Error::new(fault)),
        None => StreamError::LastOperationFailed(error),
    }
}

/// A stream out of a file that ends the guest where the machine fails.
pub(super) struct Sound(pub(super) DynInputStream);

#[wasmtime_wasi::async_trait]
impl Pollable for Sound {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Sound {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.read(size).map_err(of_stream)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.blocking_read(size).await.map_err(of_stream)
    }

    fn skip(&mut self, size: usize) -> StreamResult<usize> {
        self.0.skip(size).map_err(of_stream)
    }

    async fn blocking_skip(&mut self, size: usize) -> StreamResult<usize> {
        self.0.blocking_skip(size).await.map_err(of_stream)
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    /// A file on a disk that gives this error.
    struct Broken(Errno);

    #[wasmtime_wasi::async_trait]
    impl Pollable for Broken {
        async fn ready(&mut self) {}
    }

    impl InputStream for Broken {
        fn read(&mut self, _: usize) -> StreamResult<Bytes> {
            Err(StreamError::LastOperationFailed(std::io::Error::from(self.0).into()))
        }
    }

    #[test]
    fn a_broken_disk_ends_the_guest_and_its_own_errors_do_not() {
        let read = |errno| Sound(Box::new(Broken(errno))).read(1).expect_err("broken");
        for (errno, fault) in [
            (Errno::IO, Fault::Io),
            (Errno::MFILE, Fault::Io),
            (Errno::NOSPC, Fault::Space),
            (Errno::NOMEM, Fault::Memory),
        ] {
            let StreamError::Trap(error) = read(errno) else { panic!("{errno}: the guest hears of it") };
            assert_eq!(error.downcast_ref::<Fault>(), Some(&fault));
        }
        for errno in [Errno::NOENT, Errno::ISDIR, Errno::INVAL, Errno::ACCESS] {
            assert!(matches!(read(errno), StreamError::LastOperationFailed(_)), "{errno}: the guest is ended");
        }
    }
}
