//! What a step may write: bytes and files, counted on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::Limits;
use super::fault::of_stream;

/// What a step may still write.
pub(super) struct Budget {
    limits: Limits,
    bytes: AtomicU64,
    files: AtomicU64,
}

/// The step wrote more than it may. Ends the guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum OverBudget {
    /// Too many bytes.
    #[error("it wrote more than {} to its outputs", super::bytes(*.0))]
    Bytes(u64),
    /// Too many files.
    #[error("it made more than {0} files and folders")]
    Files(u64),
}

impl OverBudget {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "raise `limits.output` if it is to write that much",
            Self::Files(_) => "raise `limits.files` if it is to make that many",
        }
    }
}

impl Budget {
    /// Lets as much be written as `limits` says, counting every write, also a second one to the same place.
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, bytes: AtomicU64::new(limits.output), files: AtomicU64::new(limits.files) })
    }

    pub(super) fn write(&self, bytes: u64) -> Result<(), OverBudget> {
        take(&self.bytes, bytes).ok_or(OverBudget::Bytes(self.limits.output))
    }

    pub(super) fn create(&self) -> Result<(), OverBudget> {
        take(&self.files, 1).ok_or(OverBudget::Files(self.limits.files))
    }
}

fn take(from: &AtomicU64, amount: u64) -> Option<()> {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount)).ok().map(drop)
}

/// A stream into a file that counts what goes through it.
pub(super) struct Counted {
    pub(super) inner: DynOutputStream,
    pub(super) budget: Arc<Budget>,
}

impl Counted {
    fn count(&self, bytes: &Bytes) -> StreamResult<()> {
        self.budget.write(bytes.len() as u64).map_err(|error| StreamError::Trap(wasmtime::Error::new(error)))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Counted {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Counted {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.count(&bytes)?;
        self.inner.write(bytes).map_err(of_stream)
    }

    // The file's own way, which stays on this thread: what the trait would do instead hands each write to another and waits for it.
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.count(&bytes)?;
        self.inner.blocking_write_and_flush(bytes).await.map_err(of_stream)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush().map_err(of_stream)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write().map_err(of_stream)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
