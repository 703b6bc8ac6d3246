//! flowrun's side of a running command: starts the guard, reads the lines, hears the end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flowrun_core::outcome::{Failure, FailureKind, Say, Stream};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command as Process};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::lines::{HOLD, Lines};
use super::mask::Mask;
use super::tree::kill_session;
use super::wire::{Job, Report, STOP};
use super::{Command, GUARD, end, which};

/// How long the pipes are read on when the guard is gone. All that could write has ended, so there is an end of file at once;
/// only what left the tree and kept a pipe makes this wait, and it gets no more.
const DRAIN: Duration = Duration::from_millis(200);
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
    let (mut guard, socket) = start(command.guard.as_deref()).map_err(|error| {
        Failure::new(FailureKind::Infrastructure, format!("cannot start the process that guards the command: {error}"))
    })?;
    let (stdout, stderr) = (guard.stdout.take(), guard.stderr.take());
    let over = CancellationToken::new();
    let (ended, (), ()) = tokio::join!(
        async {
            let _over = over.clone().drop_guard();
            oversee(&mut guard, socket, &job, stop, say).await
        },
        listen(stdout, Stream::Stdout, mask.clone(), say, &over),
        listen(stderr, Stream::Stderr, mask.clone(), say, &over),
    );
    ended.map_err(hidden)
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

/// Starts the guard. Its file may have been replaced since flowrun started, so it is named by what runs, where that has a name.
fn start(program: Option<&Path>) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let running = Path::new("/proc/self/exe");
    let program = match program {
        Some(program) => PathBuf::from(program),
        None if running.exists() => PathBuf::from(running),
        None => std::env::current_exe()?,
    };
    let guard = Process::new(program)
        .arg0(OsStr::new("step-guard"))
        .arg(GUARD)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok((guard, UnixStream::from_std(ours)?))
}

/// Hands the job over, passes `stop` on, and waits for the guard's end.
async fn oversee(
    guard: &mut Child,
    socket: UnixStream,
    job: &Job,
    stop: &CancellationToken,
    say: &Sender<Say>,
) -> Result<(), Failure> {
    let (incoming, mut outgoing) = socket.into_split();
    // Where this fails the guard is gone, which the loop below finds out.
    let _ = outgoing.write_all(&job.encode()).await;
    let mut reports = BufReader::new(incoming);
    let (mut started, mut ended, mut stopping) = (None, None, false);
    let mut line = String::new();
    loop {
        tokio::select! {
            read = reports.read_line(&mut line) => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
                match Report::decode(&line) {
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
    let leader = guard.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let killed = guard.wait().await.is_ok_and(|status| status.signal().is_some());
    match ended {
        _ if stopping => Err(end::interrupted()),
        Some(Report::Exited(code)) => end::exited(code),
        Some(Report::Signalled(signal)) => Err(end::signalled(signal)),
        Some(Report::Unconfined) => Err(end::unconfined()),
        Some(Report::Online(errno)) => Err(end::online(errno)),
        Some(Report::Failed(errno)) => Err(end::unstartable(&job.program, &job.dir, errno)),
        _ => {
            leader.into_iter().for_each(kill_session);
            if let Some(group) = started.filter(|_| cfg!(not(target_os = "linux"))) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(end::unguarded(killed || started.is_some()))
        }
    }
}

/// Says the lines of `pipe` until its end, or until all is `over` and nothing more comes.
async fn listen(
    pipe: Option<impl AsyncRead + Unpin>,
    stream: Stream,
    mask: Mask,
    say: &Sender<Say>,
    over: &CancellationToken,
) {
    let Some(mut pipe) = pipe else { return };
    let mut lines = Lines::new(mask);
    let mut buffer = vec![0; PIPE];
    let mut found = Vec::new();
    let mut release = None;
    loop {
        let read = tokio::select! {
            biased;
            read = pipe.read(&mut buffer) => Some(read),
            () = sleep_until(release.unwrap_or_else(Instant::now)), if release.is_some() => None,
            () = over.cancelled() => Some(timeout(DRAIN, pipe.read(&mut buffer)).await.unwrap_or(Ok(0))),
        };
        match read {
            None => {}
            Some(Ok(length @ 1..)) => lines.feed(&buffer[..length], &mut found),
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
