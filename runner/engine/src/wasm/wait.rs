//! Waiting that ends: the calls of `wasi:io` that may block, each given up when the step is to stop.
//!
//! A guest that may see the clock sleeps for real, and one that may reach the network waits for others. Its code does not run then, so the
//! tick does not reach it. Everything is passed on to `wasmtime-wasi`; a call that is given up ends the guest.
//!
//! Knows nothing of what is waited for.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::io::{poll as waiting_poll, streams as waiting};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

/// What the calls work on.
pub(super) struct WaitView<'a> {
    pub(super) table: &'a mut ResourceTable,
    pub(super) stop: &'a CancellationToken,
}

struct Waits;

impl HasData for Waits {
    type Data<'a> = WaitView<'a>;
}

/// Puts these calls in the place of wasmtime's.
pub(super) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> WaitView<'_>,
) -> wasmtime::Result<()> {
    poll::add_to_linker::<T, Waits>(linker, view)?;
    streams::add_to_linker::<T, Waits>(linker, view)
}

/// Waits on this thread, which is the guest's own, until `wait` or the stop is there.
fn until<T>(stop: &CancellationToken, wait: impl Future<Output = T>) -> wasmtime::Result<T> {
    Handle::current().block_on(async {
        tokio::select! {
            biased;
            ended = wait => Ok(ended),
            () = stop.cancelled() => Err(wasmtime::Error::msg("stopped while it waited")),
        }
    })
}

fn stream_until<T>(stop: &CancellationToken, wait: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    until(stop, wait).map_err(StreamError::Trap).flatten()
}

impl poll::Host for WaitView<'_> {
    fn poll(&mut self, all: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        until(self.stop, waiting_poll::Host::poll(self.table, all)).flatten()
    }
}

impl poll::HostPollable for WaitView<'_> {
    fn ready(&mut self, one: Resource<DynPollable>) -> wasmtime::Result<bool> {
        poll::HostPollable::ready(self.table, one)
    }

    fn block(&mut self, one: Resource<DynPollable>) -> wasmtime::Result<()> {
        until(self.stop, waiting_poll::HostPollable::block(self.table, one)).flatten()
    }

    fn drop(&mut self, one: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(self.table, one)
    }
}

impl streams::Host for WaitView<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.table, error)
    }
}

impl streams::HostInputStream for WaitView<'_> {
    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        stream_until(self.stop, waiting::HostInputStream::blocking_read(self.table, stream, len))
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        stream_until(self.stop, waiting::HostInputStream::blocking_skip(self.table, stream, len))
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        until(self.stop, waiting::HostInputStream::drop(self.table, stream)).flatten()
    }

    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::read(self.table, stream, len)
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostInputStream::skip(self.table, stream, len)
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        streams::HostInputStream::subscribe(self.table, stream)
    }
}

impl streams::HostOutputStream for WaitView<'_> {
    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        stream_until(self.stop, waiting::HostOutputStream::blocking_write_and_flush(self.table, stream, bytes))
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        stream_until(self.stop, waiting::HostOutputStream::blocking_write_zeroes_and_flush(self.table, stream, len))
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        stream_until(self.stop, waiting::HostOutputStream::blocking_flush(self.table, stream))
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        stream_until(self.stop, waiting::HostOutputStream::blocking_splice(self.table, to, from, len))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        until(self.stop, waiting::HostOutputStream::drop(self.table, stream)).flatten()
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        streams::HostOutputStream::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        streams::HostOutputStream::write(self.table, stream, bytes)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        streams::HostOutputStream::write_zeroes(self.table, stream, len)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::flush(self.table, stream)
    }

    fn splice(&mut self, to: Resource<DynOutputStream>, from: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostOutputStream::splice(self.table, to, from, len)
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        streams::HostOutputStream::subscribe(self.table, stream)
    }
}
