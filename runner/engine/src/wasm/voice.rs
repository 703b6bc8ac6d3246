//! What a guest says: its log calls, its standard output and error, its progress and figures, thinned out to what a
//! record can hold and sent to whoever runs the step.
//!
//! Every call comes from the guest's own thread. It never waits for ever: when the listener is behind it waits until
//! there is room or the step is to stop.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flowrun_core::outcome::{Say, Stream};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc::{Sender, error::TrySendError};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// A line longer than this many bytes is cut: it is a dump, not something a person reads, and it would sit in memory whole.
const LINE: usize = 16 << 10;

/// Progress is shown to a person: more than twenty a second cannot be seen. The last one is always sent.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// How long to wait before looking again whether a listener that is behind has room.
const ROOM: Duration = Duration::from_millis(1);

/// The one voice of a running guest.
pub(super) struct Voice {
    to: Sender<Say>,
    stop: CancellationToken,
    said: Mutex<Said>,
}

/// What has been said so far.
struct Said {
    /// Lines and figures that may still be said.
    left: u64,
    dropped: u64,
    progress_at: Option<Instant>,
    progress: Option<Say>,
}

impl Voice {
    /// A voice that may say `lines` lines and as many figures; what goes beyond is counted and dropped.
    pub(super) fn new(to: Sender<Say>, stop: CancellationToken, lines: u64) -> Arc<Self> {
        let said = Said { left: lines, dropped: 0, progress_at: None, progress: None };
        Arc::new(Self { to, stop, said: Mutex::new(said) })
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says a line, or counts it where there have been too many.
    pub(super) fn line(&self, stream: Stream, text: String) {
        self.counted(|| Say::Line { stream, text });
    }

    /// Records a figure.
    pub(super) fn metric(&self, name: String, value: f64, step: Option<u64>) {
        self.counted(|| Say::Metric { name: shorten(&name), value, step });
    }

    /// Shows how far the guest is.
    pub(super) fn progress(&self, done: u64, total: u64, what: &str) {
        let say = Say::Progress { done, total, what: shorten(what) };
        let mut said = self.said();
        if said.progress_at.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
            said.progress = Some(say);
            return;
        }
        said.progress_at = Some(Instant::now());
        said.progress = None;
        drop(said);
        self.send(say);
    }

    /// Says what was held back, at the end.
    pub(super) fn finish(&self) {
        let (progress, dropped) = {
            let mut said = self.said();
            (said.progress.take(), std::mem::take(&mut said.dropped))
        };
        if let Some(say) = progress {
            self.send(say);
        }
        if dropped > 0 {
            self.send(Say::log(format!("{dropped} more lines and figures were dropped: the step says too much")));
        }
    }

    /// A line of flowrun's own, never dropped.
    pub(super) fn remark(&self, text: &str) {
        self.send(Say::log(shorten(text)));
    }

    fn counted(&self, say: impl FnOnce() -> Say) {
        let mut said = self.said();
        if said.left == 0 {
            said.dropped += 1;
            return;
        }
        said.left -= 1;
        drop(said);
        self.send(say());
    }

    fn send(&self, say: Say) {
        let mut say = say;
        while let Err(TrySendError::Full(back)) = self.to.try_send(say) {
            if self.stop.is_cancelled() {
                return;
            }
            say = back;
            std::thread::sleep(ROOM);
        }
    }
}

/// `text`, cut at [`LINE`] bytes.
pub(super) fn shorten(text: &str) -> String {
    if text.len() <= LINE {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(LINE);
    format!("{}… ({} bytes more)", &text[..end], text.len() - end)
}

/// The guest's standard output or error: bytes in, lines out. Clones share the line that is not complete yet.
#[derive(Clone)]
pub(super) struct Lines {
    voice: Arc<Voice>,
    stream: Stream,
    open: Arc<Mutex<Open>>,
}

/// A line that has not ended yet: its first [`LINE`] bytes, and how many came after them.
#[derive(Default)]
struct Open {
    kept: Vec<u8>,
    lost: usize,
}

impl Lines {
    pub(super) fn new(voice: &Arc<Voice>, stream: Stream) -> Self {
        Self { voice: Arc::clone(voice), stream, open: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE.saturating_sub(open.kept.len());
            let kept = text.len().min(room);
            open.kept.extend_from_slice(&text[..kept]);
            open.lost += text.len() - kept;
            if ended {
                self.say(&mut open);
            }
        }
    }

    fn say(&self, open: &mut Open) {
        let text = String::from_utf8_lossy(&open.kept);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        match open.lost {
            0 => self.voice.line(self.stream, text.to_owned()),
            lost => self.voice.line(self.stream, format!("{text}… ({lost} bytes more)")),
        }
        *open = Open::default();
    }

    /// Says a last line that has no end.
    pub(super) fn finish(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.kept.is_empty() {
            self.say(&mut open);
        }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
