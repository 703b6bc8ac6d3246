//! The guard: a process between flowrun and the command (see the module's essay for why).
//!
//! Three threads, one of which decides: one waits for children, one reads the socket, both tell the first. No async runtime:
//! a guard is forked in a fraction of a millisecond.

use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, setsid, wait};

#[cfg(target_os = "linux")]
use super::sandbox::{Rules, leave_network};
#[cfg(target_os = "linux")]
use super::server::{Role, serve};
use super::tree::{kill_all, terminate_all};
use super::wire::{Job, Report, STOP};
use super::{GRACE, Sandbox};

/// How long the guard tries to get rid of what is left before it says that something is. Only what cannot be killed takes that
/// long: a process in an uninterruptible wait for a broken disk, or one that became another user.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the tree while it is being killed.
const ROUND: Duration = Duration::from_millis(5);
/// How much sooner than flowrun the kernel should take the command when memory runs out (of 1000).
const OOM_SCORE: &str = "300";

/// What the deciding thread is told.
enum Event {
    /// A child ended: the command, or an orphan of its.
    Ended(Pid, WaitStatus),
    /// No child is left.
    Childless,
    /// flowrun asks for a kind stop.
    Stop,
    /// flowrun is gone.
    Gone,
}

/// Becomes a guard: runs the one job that stdin, a socket, brings, and reports on the same socket. On Linux first the server that guards
/// are forked from. The exit code tells whether it could.
pub fn guard_main() -> i32 {
    match begin() {
        Ok(()) => 0,
        Err(error) => {
            // The pipe of the step's stderr: the only place where anyone may look.
            let _ = writeln!(io::stderr(), "flowrun's guard failed: {error}");
            1
        }
    }
}

fn begin() -> io::Result<()> {
    // What a command makes must not depend on who started flowrun.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    keep_to_ourselves();
    #[cfg(target_os = "linux")]
    {
        // The server's own session: a terminal's Ctrl-C is for flowrun.
        let _ = setsid();
        if let Role::Server = serve()? {
            return Ok(());
        }
    }
    guard()
}

fn guard() -> io::Result<()> {
    // It fails where this process leads a group already: a person called `flowrun __guard` by hand.
    let _ = setsid();
    #[cfg(target_os = "linux")]
    {
        // So that `pkill -9 flowrun` kills flowrun, and the guard sees to the rest.
        let _ = rustix::thread::set_name(c"step-guard");
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Before all else: who hears nothing of a guard may ask for another, since nothing was started.
    tell(&socket, Report::Guarding(rustix::process::getpid().as_raw_nonzero().get()))?;
    let mut incoming = BufReader::new(socket.try_clone()?);
    let job = Job::decode(&mut incoming)?;
    let command = match start(job) {
        Ok(command) => command,
        Err(report) => return tell(&socket, report),
    };
    // Whatever goes wrong from here on, the command must not outlive it.
    let overseen = oversee_all(command, &socket, incoming);
    if overseen.is_err() {
        kill_all(command);
    }
    overseen
}

fn oversee_all(command: Pid, socket: &UnixStream, incoming: BufReader<UnixStream>) -> io::Result<()> {
    if cfg!(not(target_os = "linux")) {
        // flowrun may be gone already, which the listening thread finds out: then there is a tree to kill, and nobody to tell.
        let _ = tell(socket, Report::Started(command.as_raw_nonzero().get()));
    }
    let (events, inbox) = channel();
    let for_waiting = events.clone();
    std::thread::Builder::new().name("wait".into()).spawn(move || await_children(&for_waiting))?;
    std::thread::Builder::new().name("listen".into()).spawn(move || listen(incoming, &events))?;
    for report in oversee(command, &inbox) {
        let _ = tell(socket, report);
    }
    Ok(())
}

/// Closes to the command what flowrun's own caller left open: a CI runner's pipes, a build tool's tokens.
fn keep_to_ourselves() {
    let entries = std::fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: the number is used for this one call, which changes a flag of it, or fails where it is closed already (that of
        // the folder above). No other thread runs yet.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
}

pub(super) fn tell(mut socket: &UnixStream, report: Report) -> io::Result<()> {
    socket.write_all(report.encode().as_bytes())
}

/// Starts the command as the leader of a group of its own, in its sandbox; or says why not.
fn start(job: Job) -> Result<Pid, Report> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
    let mut process = Process::new(&job.program);
    if job.offline {
        leave_network().map_err(|error| Report::Online(errno(error)))?;
    }
    if let Some(sandbox) = &job.sandbox {
        confine(&mut process, sandbox)?;
    }
    start_in(process, job).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Report::Unconfined,
        _ => Report::Failed(errno(error)),
    })
}

/// Puts the rules of a sandbox between the fork and the exec of a process.
#[cfg(target_os = "linux")]
fn confine(process: &mut Process, sandbox: &Sandbox) -> Result<(), Report> {
    let mut rules = Rules::new(sandbox).map_err(|_| Report::Unconfined)?;
    // SAFETY: no other thread runs in this process, so nothing that the hook uses can be locked by one; where it goes well it makes two
    // system calls and allocates nothing.
    unsafe { process.pre_exec(move || rules.take_on()) };
    Ok(())
}

/// flowrun asks for a sandbox only where there is one.
#[cfg(not(target_os = "linux"))]
fn confine(_process: &mut Process, _sandbox: &Sandbox) -> Result<(), Report> {
    Err(Report::Unconfined)
}

#[cfg(not(target_os = "linux"))]
fn leave_network() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn start_in(mut process: Process, job: Job) -> io::Result<Pid> {
    if let Some((name, args)) = job.argv.split_first() {
        process.arg0(name).args(args);
    }
    process.env_clear().envs(job.env).current_dir(&job.dir).process_group(0);
    process.stdin(if job.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    #[cfg(target_os = "linux")]
    die_with_guard(&mut process);
    let mut child = process.spawn()?;
    let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE);
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), job.stdin) {
        // A command need not read what it is given: a broken pipe is its own business.
        let feed = std::thread::Builder::new().name("feed".into()).spawn(move || pipe.write_all(&bytes).ok());
        if let Err(error) = feed {
            let _ = child.kill();
            return Err(error);
        }
    }
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a process without a number"))
}

/// The kernel kills the command when the guard dies. It is the thread's death that counts, and this is the main thread.
#[cfg(target_os = "linux")]
fn die_with_guard(process: &mut Process) {
    let guard = rustix::process::getpid();
    let hook = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before the line above.
        if rustix::process::getppid() == Some(guard) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec the hook makes two system calls and allocates nothing, nor does it take a lock.
    unsafe { process.pre_exec(hook) };
}

fn await_children(events: &Sender<Event>) {
    loop {
        let event = match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => Event::Ended(pid, status),
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(_) => Event::Childless,
        };
        let last = matches!(event, Event::Childless);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn listen(mut incoming: impl Read, events: &Sender<Event>) {
    loop {
        let mut byte = [0];
        let event = match incoming.read(&mut byte) {
            Ok(1) if byte[0] == STOP => Event::Stop,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => Event::Gone,
        };
        let last = matches!(event, Event::Gone);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

/// What is being done about the tree.
enum Phase {
    /// It runs.
    Running,
    /// It was asked to stop, and has until then.
    Stopping(Instant),
    /// It is being killed, until then.
    Killing(Instant),
}

/// Sees the command through to its end and its tree to nothing. The one place that decides.
fn oversee(command: Pid, inbox: &Receiver<Event>) -> Vec<Report> {
    let mut phase = Phase::Running;
    let mut end = None;
    let mut left = true;
    loop {
        let event = match phase {
            Phase::Running => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Phase::Stopping(until) => inbox.recv_timeout(until.saturating_duration_since(Instant::now())),
            Phase::Killing(until) if Instant::now() >= until => break,
            Phase::Killing(_) => inbox.recv_timeout(ROUND),
        };
        phase = match (event, phase) {
            (Ok(Event::Childless), _) => {
                left = false;
                break;
            }
            (Ok(Event::Ended(pid, status)), before) if pid == command => {
                end = Some(status);
                // The children of a shell that was told to stop still have their time; otherwise, what stays is a straggler.
                // Most often there is none, and `Childless` comes before the first round.
                if matches!(before, Phase::Running) { Phase::Killing(Instant::now() + PATIENCE) } else { before }
            }
            (Ok(Event::Ended(..)), before) => before,
            (Ok(Event::Stop), Phase::Running) => {
                terminate_all(command);
                Phase::Stopping(Instant::now() + GRACE)
            }
            (Ok(Event::Stop | Event::Gone), Phase::Killing(until)) => Phase::Killing(until),
            (Ok(Event::Stop | Event::Gone) | Err(_), Phase::Running | Phase::Stopping(_)) => {
                kill_all(command);
                Phase::Killing(Instant::now() + PATIENCE)
            }
            (Err(_), Phase::Killing(until)) => {
                kill_all(command);
                Phase::Killing(until)
            }
        };
    }
    if cfg!(not(target_os = "linux")) {
        // No orphan is ours here, so `Childless` says nothing about the group.
        kill_all(command);
    }
    end.and_then(report).into_iter().chain(left.then_some(Report::Left)).collect()
}

fn report(status: WaitStatus) -> Option<Report> {
    status.exit_status().map(Report::Exited).or_else(|| status.terminating_signal().map(Report::Signalled))
}
