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

use super::rate::{Bucket, RATE};
use crate::process::Mask;

/// A line longer than this many bytes is cut: it is a dump, not something a person reads, and it would sit in memory whole.
const LINE: usize = 16 << 10;

/// Progress is shown to a person: more than twenty a second cannot be seen. The last one is always sent.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// How long to wait before looking again whether a listener that is behind has room.
const ROOM: Duration = Duration::from_millis(1);

/// Hears what a step says. It gives back what it has no room for now; what nobody hears any more it lets go.
pub(crate) type Ear = Arc<dyn Fn(Say) -> Option<Say> + Send + Sync>;

/// The ear at the other end of a channel.
pub(crate) fn ear(to: Sender<Say>) -> Ear {
    Arc::new(move |say| match to.try_send(say) {
        Err(TrySendError::Full(back)) => Some(back),
        Ok(()) | Err(TrySendError::Closed(_)) => None,
    })
}

/// Says something as soon as there is room for it, unless `stop` comes first.
pub(super) fn tell(ear: &Ear, say: Say, stop: &CancellationToken) {
    let mut left = ear(say);
    while let Some(say) = left.take_if(|_| !stop.is_cancelled()) {
        std::thread::sleep(ROOM);
        left = ear(say);
    }
}

/// The one voice of a running guest.
pub(super) struct Voice {
    to: Ear,
    stop: CancellationToken,
    mask: Mask,
    said: Mutex<Said>,
}

/// What has been said so far.
struct Said {
    limit: u64,
    /// Lines and figures that may still be said.
    left: u64,
    dropped: u64,
    bucket: Bucket,
    progress_at: Option<Instant>,
    progress: Option<Say>,
}

impl Voice {
    /// A voice that may say `lines` lines and as many figures; what goes beyond is counted and dropped.
    pub(super) fn new(to: Ear, stop: CancellationToken, lines: u64, mask: Mask) -> Arc<Self> {
        let bucket = Bucket::new(Instant::now());
        let said = Said { limit: lines, left: lines, dropped: 0, bucket, progress_at: None, progress: None };
        Arc::new(Self { to, stop, mask, said: Mutex::new(said) })
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A text of the guest's as it may be shown: without secrets, and not too long.
    pub(super) fn shown(&self, text: &str) -> String {
        if text.len() <= LINE {
            return self.mask.text(text);
        }
        let kept = &text.as_bytes()[..text.len().min(LINE + self.mask.longest())];
        cut(self.mask.apply(kept, LINE), text.len() - LINE)
    }

    /// Says a line, or counts it where there have been too many, or too many just now.
    pub(super) fn line(&self, stream: Stream, text: String) {
        if self.said().bucket.take(Instant::now()) {
            self.counted(|| Say::Line { stream, text });
        }
    }

    /// Records a figure.
    pub(super) fn metric(&self, name: String, value: f64, step: Option<u64>) {
        self.counted(|| Say::Metric { name: self.shown(&name), value, step });
    }

    /// Shows how far the guest is.
    pub(super) fn progress(&self, done: u64, total: u64, what: &str) {
        let say = Say::Progress { done, total, what: self.shown(what) };
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
        let (progress, dropped, hasty, limit) = {
            let mut said = self.said();
            let hasty = std::mem::take(&mut said.bucket.dropped);
            (said.progress.take(), std::mem::take(&mut said.dropped), hasty, said.limit)
        };
        if let Some(say) = progress {
            self.send(say);
        }
        if hasty > 0 {
            self.send(Say::log(format!("{hasty} lines were dropped: the step says more than {RATE} a second")));
        }
        if dropped > 0 {
            let more = "more lines and figures were dropped: the step says more than";
            self.send(Say::log(format!("{dropped} {more} the {limit} of `limits.log`")));
        }
    }

    /// A line of flowrun's own, never dropped.
    pub(super) fn remark(&self, text: &str) {
        self.send(Say::log(self.shown(text)));
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
        tell(&self.to, say, &self.stop);
    }
}

/// A text that was cut, with how much is missing.
fn cut(kept: String, lost: usize) -> String {
    format!("{kept}… ({lost} bytes more)")
}

/// The guest's standard output or error: bytes in, lines out. Clones share the line that is not complete yet.
#[derive(Clone)]
pub(super) struct Lines {
    voice: Arc<Voice>,
    stream: Stream,
    open: Arc<Mutex<Open>>,
}

/// A line that has not ended yet: its first [`LINE`] bytes, so many more as a secret may have, and how long it is.
#[derive(Default)]
struct Open {
    kept: Vec<u8>,
    length: usize,
}

impl Lines {
    pub(super) fn new(voice: &Arc<Voice>, stream: Stream) -> Self {
        Self { voice: Arc::clone(voice), stream, open: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.voice.stop.is_cancelled() {
                return;
            }
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = (LINE + self.voice.mask.longest()).saturating_sub(open.kept.len());
            open.kept.extend_from_slice(&text[..text.len().min(room)]);
            open.length += text.len();
            if ended {
                self.say(&mut open);
            }
        }
    }

    fn say(&self, open: &mut Open) {
        let text = self.voice.mask.apply(&open.kept, LINE);
        let text = match open.length.saturating_sub(LINE) {
            0 => text.strip_suffix('\r').unwrap_or(&text).to_owned(),
            lost => cut(text, lost),
        };
        self.voice.line(self.stream, text);
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
