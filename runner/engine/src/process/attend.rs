//! flowrun's side of a guard at work: passes a stop on, reads what the guard reports and what the command says, until both are over.
//!
//! One thread does all of it, asleep in `poll` between: a light command ends within a millisecond, and each further thread that had to be
//! woken for it would cost as much as all that is done here. The thread never waits for a listener: while that has no room, the pipe in question is
//! not read, which holds the command up, and all else goes on.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

use flowrun_core::outcome::{Say, Stream};
use rustix::process::Pid;
use tokio_util::sync::CancellationToken;

use super::Ear;
use super::bell::{Bell, Ready, wait};
use super::lines::{HOLD, Lines};
use super::mask::Mask;
use super::start::Guard;
use super::wire::{Report, STOP};

/// How long the pipes are read on when the guard has ended. All that could write has ended, so there is an end of file at once;
/// only what left the tree and kept a pipe makes this wait, and it gets no more.
const DRAIN: Duration = Duration::from_millis(200);
/// How long to wait before looking again whether a listener that is behind has room.
const ROOM: Duration = Duration::from_millis(1);
/// As large as a pipe of Linux.
const PIPE: usize = 64 << 10;
/// More than all that a guard reports.
const REPORTS: usize = 512;

/// What became of a guard.
#[derive(Debug, Default)]
pub(super) struct Attended {
    /// The guard, if it ever came to be.
    pub(super) leader: Option<Pid>,
    /// The command, where the guard told of its start.
    pub(super) started: Option<Pid>,
    /// The guard's last word on the command.
    pub(super) ended: Option<Report>,
    /// The command was asked to stop.
    pub(super) stopping: bool,
    /// Nothing was waited for any more.
    pub(super) abandoned: bool,
    /// The guard waits for another job.
    pub(super) ready: bool,
}

/// Sees a guard through that was given its job. When `kill` is cancelled it returns at once, and whoever lets go of the guard then ends it.
pub(super) fn attend(
    guard: &Guard,
    mask: &Mask,
    say: &Ear<'_>,
    stop: &CancellationToken,
    kill: &CancellationToken,
) -> io::Result<Attended> {
    let bell = Bell::of_thread()?;
    let mut context = Context::from_waker(bell.waker());
    let (mut stopped, mut killed) = (pin!(stop.cancelled()), pin!(kill.cancelled()));
    let mut out = Voice::new(&guard.stdout, Stream::Stdout, mask);
    let mut err = Voice::new(&guard.stderr, Stream::Stderr, mask);
    let mut reports =
        Reports { so_far: Attended { leader: guard.leader, ..Attended::default() }, ..Reports::default() };
    loop {
        if killed.as_mut().poll(&mut context).is_ready() {
            reports.so_far.abandoned = true;
            return Ok(reports.so_far);
        }
        let asked = reports.over || reports.so_far.stopping;
        if !asked && stopped.as_mut().poll(&mut context).is_ready() {
            reports.so_far.stopping = true;
            // Where this fails the guard is gone, which is found out below.
            let _ = io::Write::write_all(&mut &guard.socket, &[STOP]);
        }
        let now = Instant::now();
        out.speak(say, now);
        err.speak(say, now);
        if reports.over && out.is_over() && err.is_over() {
            return Ok(reports.so_far);
        }
        let socket = (!reports.over).then(|| guard.socket.as_fd());
        let limit = [out.limit(reports.over), err.limit(reports.over)].into_iter().flatten().min();
        let limit = limit.map(|limit| limit.saturating_duration_since(now));
        let [rung, report, said, complained] = wait([Some(bell.as_fd()), socket, out.fd(), err.fd()], limit)?;
        if rung == Ready::Read {
            bell.silence();
        }
        out.hear(said, reports.over);
        err.hear(complained, reports.over);
        if report != Ready::No && reports.hear(guard) {
            out.say_left(reports.left);
            let until = Instant::now() + DRAIN;
            (out.until, err.until) = (Some(until), Some(until));
        }
    }
}

/// What a guard has reported.
#[derive(Default)]
struct Reports {
    so_far: Attended,
    line: Vec<u8>,
    left: bool,
    over: bool,
}

impl Reports {
    /// Reads on. Whether this was the end.
    fn hear(&mut self, guard: &Guard) -> bool {
        let mut bytes = [0; REPORTS];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&guard.socket, &mut bytes)).unwrap_or(0);
        self.over = read == 0;
        for &byte in &bytes[..read] {
            self.line.push(byte);
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take(std::str::from_utf8(&line).ok().and_then(Report::decode));
            }
        }
        self.over |= self.so_far.ready;
        self.over
    }

    fn take(&mut self, report: Option<Report>) {
        match report {
            Some(Report::Guarding(pid)) => self.so_far.leader = Pid::from_raw(pid),
            Some(Report::Started(pid)) => self.so_far.started = Pid::from_raw(pid),
            Some(Report::Left) => self.left = true,
            Some(Report::Ready) => self.so_far.ready = true,
            other => self.so_far.ended = other.or(self.so_far.ended),
        }
    }
}

/// One pipe of the command, and what comes out of it.
struct Voice<'a> {
    /// None at its end.
    pipe: Option<&'a PipeReader>,
    stream: Stream,
    lines: Lines,
    buffer: Vec<u8>,
    found: Vec<String>,
    /// What is to be said.
    waiting: VecDeque<Say>,
    /// When a line that is held back is let go.
    release: Option<Instant>,
    /// Until when it is read on although the guard has ended.
    until: Option<Instant>,
}

impl<'a> Voice<'a> {
    fn new(pipe: &'a PipeReader, stream: Stream, mask: &Mask) -> Self {
        Self {
            pipe: Some(pipe),
            stream,
            lines: Lines::new(mask.clone()),
            buffer: Vec::new(),
            found: Vec::new(),
            waiting: VecDeque::new(),
            release: None,
            until: None,
        }
    }

    /// The pipe, where it may be read: not while a listener is behind.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.filter(|_| self.waiting.is_empty()).map(|pipe| pipe.as_fd())
    }

    fn is_over(&self) -> bool {
        self.pipe.is_none() && self.waiting.is_empty()
    }

    /// When to look after it again, if nothing comes.
    fn limit(&self, over: bool) -> Option<Instant> {
        let room = (!self.waiting.is_empty()).then(|| Instant::now() + ROOM);
        let drained = self.until.filter(|_| over && self.pipe.is_some() && self.waiting.is_empty());
        [room, self.release, drained].into_iter().flatten().min()
    }

    /// Takes what has come.
    fn hear(&mut self, ready: Ready, over: bool) {
        let Some(pipe) = self.pipe.filter(|_| self.waiting.is_empty()) else { return };
        let read = match ready {
            Ready::No if over && self.until.is_some_and(|until| Instant::now() >= until) => 0,
            Ready::No => return,
            Ready::End => 0,
            Ready::Read => {
                self.buffer.clear();
                self.buffer.reserve(PIPE);
                let read = || rustix::io::read(pipe, rustix::buffer::spare_capacity(&mut self.buffer));
                rustix::io::retry_on_intr(read).unwrap_or(0)
            }
        };
        if read > 0 {
            self.lines.feed(&self.buffer, &mut self.found);
            self.until = over.then(|| Instant::now() + DRAIN);
            self.release = self.lines.holds().then(|| self.release.unwrap_or_else(|| Instant::now() + HOLD));
        } else {
            self.pipe = None;
            self.release = None;
            self.lines.end(&mut self.found);
        }
    }

    /// Says what there is to be said, as far as there is room for it.
    fn speak(&mut self, say: &Ear<'_>, now: Instant) {
        if self.release.is_some_and(|due| now >= due) {
            self.lines.release(&mut self.found);
            self.release = None;
        }
        let stream = self.stream;
        self.waiting.extend(self.found.drain(..).map(|text| Say::Line { stream, text }));
        while let Some(next) = self.waiting.pop_front() {
            if let Some(back) = say(next) {
                self.waiting.push_front(back);
                return;
            }
        }
    }

    fn say_left(&mut self, left: bool) {
        if left {
            self.waiting.push_back(Say::log("something that the command started could not be killed, and stays"));
        }
    }
}
