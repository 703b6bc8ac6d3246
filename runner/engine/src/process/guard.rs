//! The guard: a process between flowrun and the command (see the module's essay for why).
//!
//! One thread, and no async runtime: a guard is forked in a fraction of a millisecond.

use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, WaitStatus, setsid};

#[cfg(target_os = "linux")]
use super::sandbox::{Rules, leave_network};
#[cfg(target_os = "linux")]
use super::server::{Role, serve};
use super::tree::{kill_all, terminate_all};
use super::watch::{Event, Watch, let_through};
use super::wire::{Job, Report};
use super::{GRACE, Sandbox};

/// How long the guard tries to get rid of what is left before it says that something is. Only what cannot be killed takes that
/// long: a process in an uninterruptible wait for a broken disk, or one that became another user.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the tree while it is being killed.
const ROUND: Duration = Duration::from_millis(5);
/// How much sooner than flowrun the kernel should take the command when memory runs out (of 1000).
const OOM_SCORE: &str = "300";

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
    let mut watch = Watch::begin(incoming)?;
    let command = match start(job) {
        Ok(command) => command,
        Err(report) => return tell(&socket, report),
    };
    if cfg!(not(target_os = "linux")) {
        // flowrun may be gone already, which is found out below: then there is a tree to kill, and nobody to tell.
        let _ = tell(&socket, Report::Started(command.as_raw_nonzero().get()));
    }
    match oversee(command, &mut watch) {
        Ok(reports) => reports.into_iter().for_each(|report| drop(tell(&socket, report))),
        // Whatever went wrong, the command must not outlive it.
        Err(error) => {
            kill_all(command);
            return Err(error);
        }
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
    // SAFETY: between fork and exec the hook makes a system call and allocates nothing, nor does it take a lock.
    unsafe { process.pre_exec(let_through) };
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
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have died before the line above.
        if rustix::process::getppid() == Some(guard) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec the hook makes two system calls and allocates nothing, nor does it take a lock.
    unsafe { process.pre_exec(hook) };
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
fn oversee(command: Pid, watch: &mut Watch) -> io::Result<Vec<Report>> {
    let mut phase = Phase::Running;
    let mut end = None;
    let mut left = true;
    loop {
        let event = match phase {
            Phase::Running => watch.next(None)?,
            Phase::Stopping(until) => watch.next(Some(until.saturating_duration_since(Instant::now())))?,
            Phase::Killing(until) if Instant::now() >= until => break,
            Phase::Killing(_) => watch.next(Some(ROUND))?,
        };
        phase = match (event, phase) {
            (Some(Event::Childless), _) => {
                left = false;
                break;
            }
            (Some(Event::Ended(pid, status)), before) if pid == command => {
                end = Some(status);
                // The children of a shell that was told to stop still have their time; otherwise, what stays is a straggler.
                // Most often there is none, and `Childless` comes before the first round.
                if matches!(before, Phase::Running) { Phase::Killing(Instant::now() + PATIENCE) } else { before }
            }
            (Some(Event::Ended(..)), before) => before,
            (Some(Event::Stop), Phase::Running) => {
                terminate_all(command);
                Phase::Stopping(Instant::now() + GRACE)
            }
            (Some(Event::Stop | Event::Gone), Phase::Killing(until)) => Phase::Killing(until),
            (Some(Event::Stop | Event::Gone) | None, Phase::Running | Phase::Stopping(_)) => {
                kill_all(command);
                Phase::Killing(Instant::now() + PATIENCE)
            }
            (None, Phase::Killing(until)) => {
                kill_all(command);
                Phase::Killing(until)
            }
        };
    }
    if cfg!(not(target_os = "linux")) {
        // No orphan is ours here, so `Childless` says nothing about the group.
        kill_all(command);
    }
    Ok(end.and_then(report).into_iter().chain(left.then_some(Report::Left)).collect())
}

fn report(status: WaitStatus) -> Option<Report> {
    status.exit_status().map(Report::Exited).or_else(|| status.terminating_signal().map(Report::Signalled))
}
