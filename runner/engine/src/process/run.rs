//! flowrun's side of a running command: starts the guard, reads the lines, hears the end.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use flowrun_core::outcome::{Failure, FailureKind, Say, Stream};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::lines::{HOLD, Lines};
use super::mask::Mask;
use super::start::Guard;
use super::tree::kill_session;
use super::wire::{Job, Report, STOP};
use super::{Command, end, which};

/// How long the pipes are read on when the guard is gone. All that could write has ended, so there is an end of file at once;
/// only what left the tree and kept a pipe makes this wait, and it gets no more.
const DRAIN: Duration = Duration::from_millis(200);
/// How many guards a command may ask for, where none comes to be: one, another where the server that forks them died, and one more. Without
/// an end, a program that is no guard would be started for ever.
const TRIES: usize = 3;
/// As large as a pipe of Linux.
const PIPE: usize = 64 << 10;

/// Runs `command` to its end, with nothing of it left behind, and says each of its lines (see the module's essay).
///
/// A full `say` holds the command up, by its pipe; lines are never dropped. When nobody listens to `say` any more, the command
/// runs on unheard. Cancelling `stop` ends it kindly; dropping the future kills it.
pub async fn run(command: &Command, say: &Sender<Say>, stop: &CancellationToken) -> Result<(), Failure> {
    let mask = Mask::new(&command.secrets);
    let hidden = |failure: Failure| Failure {
        message: mask.text(&failure.message),
        hint: failure.hint.map(|hint| mask.text(&hint)),
        ..failure
    };
    if stop.is_cancelled() {
        return Err(end::interrupted());
    }
    let job = job(command).map_err(hidden)?;
    for _ in 0..TRIES {
        let mut guard = Guard::start(command.guard.as_deref()).map_err(|error| end::unforked(&error))?;
        if let Some(ended) = attend(&mut guard, &job, &mask, say, stop).await {
            guard.origin.ended();
            return ended.map_err(hidden);
        }
        guard.origin.failed();
    }
    Err(end::unguarded(false))
}

/// Sees the job through with this guard; `None` where that never came to be, so that nothing was started.
async fn attend(
    guard: &mut Guard,
    job: &Job,
    mask: &Mask,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Option<Result<(), Failure>> {
    let over = CancellationToken::new();
    let Guard { socket, stdout, stderr, .. } = guard;
    let (ended, (), ()) = tokio::join!(
        async {
            let _over = over.clone().drop_guard();
            oversee(socket, job, stop, say).await
        },
        listen(stdout, Stream::Stdout, mask.clone(), say, &over),
        listen(stderr, Stream::Stderr, mask.clone(), say, &over),
    );
    ended
}

/// What the guard is to start.
fn job(command: &Command) -> Result<Job, Failure> {
    let dir = std::path::absolute(&command.dir).unwrap_or_else(|_| command.dir.clone());
    let path = command.env.get("PATH").map_or("", String::as_str);
    let Some(name) = command.argv.first() else {
        return Err(Failure::new(FailureKind::Infrastructure, "there is no command to run"));
    };
    let program = which(name, path.as_ref(), &dir).ok_or_else(|| end::missing(&name.to_string_lossy(), path))?;
    let env = command.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    Ok(Job {
        program,
        argv: command.argv.clone(),
        dir,
        env,
        stdin: command.stdin.clone(),
        sandbox: command.sandbox.clone(),
        offline: command.offline,
    })
}

/// Hands the job over, passes `stop` on, and waits for the guard's end. `None` where there never was a guard.
async fn oversee(
    socket: &mut UnixStream,
    job: &Job,
    stop: &CancellationToken,
    say: &Sender<Say>,
) -> Option<Result<(), Failure>> {
    let (incoming, mut outgoing) = socket.split();
    // Where this fails the guard is gone, which the loop below finds out.
    let _ = outgoing.write_all(&job.encode()).await;
    let mut reports = BufReader::new(incoming);
    let (mut leader, mut started, mut ended, mut stopping) = (None, None, None, false);
    let mut line = String::new();
    loop {
        tokio::select! {
            read = reports.read_line(&mut line) => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
                match Report::decode(&line) {
                    Some(Report::Guarding(pid)) => leader = Pid::from_raw(pid),
                    Some(Report::Started(pid)) => started = Pid::from_raw(pid),
                    Some(Report::Left) => {
                        let _ = say.send(Say::log("something that the command started could not be killed, and stays")).await;
                    }
                    other => ended = other.or(ended),
                }
                line.clear();
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                let _ = outgoing.write_all(&[STOP]).await;
            }
        }
    }
    match ended {
        _ if stopping => Some(Err(end::interrupted())),
        Some(report) => Some(told(report, job)),
        None => leader.map(|leader| Err(abandoned(leader, started))),
    }
}

/// What a guard's last word says of the command.
fn told(report: Report, job: &Job) -> Result<(), Failure> {
    match report {
        Report::Exited(code) => end::exited(code),
        Report::Signalled(signal) => Err(end::signalled(signal)),
        Report::Unconfined => Err(end::unconfined()),
        Report::Online(errno) => Err(end::online(errno)),
        Report::Failed(errno) => Err(end::unstartable(&job.program, &job.dir, errno)),
        Report::Unforked(errno) => Err(end::unforked(&io::Error::from_raw_os_error(errno))),
        // No last words: the loop that hears them keeps them to itself.
        Report::Guarding(_) | Report::Started(_) | Report::Left => Err(end::unguarded(true)),
    }
}

/// The guard ended without a word about the command: kills what it left. Its number cannot be another's meanwhile: either something of its
/// session is left, and then the kernel keeps the number, or nothing is, and there is nothing to kill.
fn abandoned(leader: Pid, started: Option<Pid>) -> Failure {
    kill_session(leader);
    if let Some(group) = started.filter(|_| cfg!(not(target_os = "linux"))) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    end::unguarded(true)
}

/// Says the lines of `pipe` until its end, or until all is `over` and nothing more comes.
async fn listen(
    pipe: &mut (impl AsyncRead + Unpin),
    stream: Stream,
    mask: Mask,
    say: &Sender<Say>,
    over: &CancellationToken,
) {
    let mut lines = Lines::new(mask);
    let mut buffer = Vec::with_capacity(PIPE);
    let mut found = Vec::new();
    let mut release = None;
    loop {
        buffer.clear();
        let read = tokio::select! {
            biased;
            read = pipe.read_buf(&mut buffer) => Some(read),
            () = sleep_until(release.unwrap_or_else(Instant::now)), if release.is_some() => None,
            () = over.cancelled() => Some(timeout(DRAIN, pipe.read_buf(&mut buffer)).await.unwrap_or(Ok(0))),
        };
        match read {
            None => {}
            Some(Ok(1..)) => lines.feed(&buffer, &mut found),
            Some(_) => break,
        }
        // Also where the pipe never runs dry.
        if release.is_some_and(|due| Instant::now() >= due) {
            lines.release(&mut found);
            release = None;
        }
        release = lines.holds().then(|| release.unwrap_or_else(|| Instant::now() + HOLD));
        pass_on(&mut found, stream, say).await;
        // A pipe that is always full must not keep a stop from being heard.
        tokio::task::yield_now().await;
    }
    lines.end(&mut found);
    pass_on(&mut found, stream, say).await;
}

async fn pass_on(found: &mut Vec<String>, stream: Stream, say: &Sender<Say>) {
    for text in found.drain(..) {
        // Nobody listens: the pipe is emptied all the same, or the command would hang on it.
        let _ = say.send(Say::Line { stream, text }).await;
    }
}
