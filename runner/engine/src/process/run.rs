//! flowrun's side of a running command: what is to be started, by a guard that comes to be, and what its end means.

use std::ffi::OsString;
use std::io;

use flowrun_core::outcome::{Failure, FailureKind, Say};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::mpsc::{self, Sender, error::TrySendError};
use tokio_util::sync::CancellationToken;

use super::attend::{Attended, attend};
use super::mask::Mask;
use super::start::Guard;
use super::tree::kill_session;
use super::wire::{Job, Report};
use super::{Command, Ear, end, which};

/// How many guards a command may ask for, where none comes to be: one, another where the server that forks them died, and one more. Without
/// an end, a program that is no guard would be started for ever.
const TRIES: usize = 3;
/// Lines that wait for a listener; its own channel may be shorter.
const LINES: usize = 256;

/// Runs `command` to its end, with nothing of it left behind, and says each of its lines (see the module's essay).
///
/// A full `say` holds the command up, by its pipe; lines are never dropped. When nobody listens to `say` any more, the command
/// runs on unheard. Cancelling `stop` ends it kindly; dropping the future kills it.
pub async fn run(command: &Command, say: &Sender<Say>, stop: &CancellationToken) -> Result<(), Failure> {
    let (own, mut heard) = mpsc::channel(LINES);
    let (command, stop, kill) = (command.clone(), stop.clone(), CancellationToken::new());
    let _dropped = kill.clone().drop_guard();
    let running = tokio::task::spawn_blocking(move || {
        let say = move |say| match own.try_send(say) {
            Err(TrySendError::Full(back)) => Some(back),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        };
        run_here(&command, &say, &stop, &kill)
    });
    while let Some(line) = heard.recv().await {
        // Nobody listens: the pipes are emptied all the same, or the command would hang on them.
        let _ = say.send(line).await;
    }
    running.await.unwrap_or_else(|_| Err(end::unguarded(true)))
}

/// The same on this thread. Cancelling `kill` kills it at once.
pub fn run_here(
    command: &Command,
    say: &Ear<'_>,
    stop: &CancellationToken,
    kill: &CancellationToken,
) -> Result<(), Failure> {
    let mask = Mask::new(&command.secrets);
    guarded(command, &mask, say, stop, kill).map_err(|failure| Failure {
        message: mask.text(&failure.message),
        hint: failure.hint.map(|hint| mask.text(&hint)),
        ..failure
    })
}

fn guarded(
    command: &Command,
    mask: &Mask,
    say: &Ear<'_>,
    stop: &CancellationToken,
    kill: &CancellationToken,
) -> Result<(), Failure> {
    if stop.is_cancelled() {
        return Err(end::interrupted());
    }
    let job = job(command)?;
    let bytes = job.encode();
    for _ in 0..TRIES {
        let guard = Guard::start(command.guard.as_deref(), job.sandbox.is_some(), &bytes)
            .map_err(|error| end::unforked(&error))?;
        let attended = attend(&guard, mask, say, stop, kill).map_err(|error| end::unforked(&error))?;
        let (leader, is_ready) = (attended.leader, attended.ready && !attended.stopping);
        if let Some(ended) = outcome(attended, &job) {
            guard.over(leader.filter(|_| is_ready));
            return ended;
        }
        guard.failed();
    }
    Err(end::unguarded(false))
}

/// What the end of a guard means; `None` where it never came to be, so that nothing was started.
fn outcome(attended: Attended, job: &Job) -> Option<Result<(), Failure>> {
    let Attended { leader, started, ended, stopping, abandoned, .. } = attended;
    match ended {
        _ if stopping || abandoned => Some(Err(end::interrupted())),
        Some(report) => Some(told(report, job)),
        None => leader.map(|leader| Err(lost(leader, started))),
    }
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
        Report::Guarding(_) | Report::Started(_) | Report::Left | Report::Ready => Err(end::unguarded(true)),
    }
}

/// The guard ended without a word about the command: kills what it left. Its number cannot be another's meanwhile: either something of its
/// session is left, and then the kernel keeps the number, or nothing is, and there is nothing to kill.
fn lost(leader: Pid, started: Option<Pid>) -> Failure {
    kill_session(leader);
    if let Some(group) = started.filter(|_| cfg!(not(target_os = "linux"))) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    end::unguarded(true)
}
