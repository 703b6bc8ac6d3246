//! The guard: a process between flowrun and the command (see the module's essay for why).
//!
//! One thread, and no async runtime: a guard is forked in a fraction of a millisecond. It sees one command after the other through: when a command
//! is over nothing of it is left below the guard, which the kernel tells, and on the guard it never had a hold.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, WaitStatus, setsid};

use super::GRACE;
#[cfg(target_os = "linux")]
use super::birth::bear;
#[cfg(target_os = "linux")]
use super::conditions::Conditions;
use super::hand::Incoming;
#[cfg(target_os = "linux")]
use super::rules::{Known, Rules, leave_network};
#[cfg(target_os = "linux")]
use super::server::{Role, serve};
use super::tree::{kill_all, terminate_all};
use super::watch::{Event, Watch};
use super::wire::{Job, Report};

/// There is nothing to remember.
#[cfg(not(target_os = "linux"))]
type Known = ();

/// Each command has a guard of its own.
#[cfg(not(target_os = "linux"))]
#[derive(PartialEq, Eq)]
struct Conditions;

#[cfg(not(target_os = "linux"))]
impl Conditions {
    fn now() -> Self {
        Self
    }
}

/// How long the guard tries to get rid of what is left before it says that something is. Only what cannot be killed takes that
/// long: a process in an uninterruptible wait for a broken disk, or one that became another user.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the tree while it is being killed.
const ROUND: Duration = Duration::from_millis(5);
/// How much sooner than flowrun the kernel should take the command when memory runs out (of 1000).
const OOM_SCORE: &str = "300";

/// Becomes a guard: runs the jobs that stdin, a socket, brings, one after the other, and reports on the same socket. On Linux first the server
/// that guards are forked from. The exit code tells whether it could.
pub fn guard_main() -> i32 {
    match begin() {
        Ok(()) => 0,
        // Nobody would hear of it here, and flowrun hears that it ended.
        Err(_) => 1,
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
    tell(&socket, &[Report::Guarding(rustix::process::getpid().as_raw_nonzero().get())])?;
    let mut watch = Watch::begin(Incoming::new(socket.try_clone()?))?;
    let mut known = Known::default();
    let born = Conditions::now();
    while let Some(fds) = watch.incoming().receive()? {
        let Ok(pipes) = <[OwnedFd; 2]>::try_from(fds) else { return Err(io::ErrorKind::InvalidData.into()) };
        let job = Job::decode(watch.incoming())?;
        // What a command of its own network or a pipe to feed leaves on a guard is not for the next one's; nor is a guard that a command without a
        // sandbox could lay hands on.
        let once = cfg!(not(target_os = "linux")) || job.offline || job.stdin.is_some() || job.sandbox.is_none();
        let reports = see_through(job, &pipes, &mut watch, &mut known, &socket)?;
        let ended = matches!(reports.as_slice(), [Report::Exited(_) | Report::Signalled(_)]);
        let is_whole = ended && !once && !watch.incoming().holds() && born == Conditions::now();
        let ready = is_whole.then_some(Report::Ready);
        tell(&socket, &reports.into_iter().chain(ready).collect::<Vec<_>>())?;
        // Last: each would wake flowrun before there is anything to tell it.
        drop(pipes);
        if !is_whole {
            break;
        }
    }
    Ok(())
}

/// Starts a job's command and sees it to its end; what there is to report.
fn see_through(
    job: Job,
    pipes: &[OwnedFd; 2],
    watch: &mut Watch,
    known: &mut Known,
    socket: &UnixStream,
) -> io::Result<Vec<Report>> {
    let command = match start(job, pipes, known) {
        Ok(command) => command,
        Err(report) => return Ok(vec![report]),
    };
    if cfg!(not(target_os = "linux")) {
        // flowrun may be gone already, which is found out below: then there is a tree to kill, and nobody to tell.
        let _ = tell(socket, &[Report::Started(command.as_raw_nonzero().get())]);
    }
    oversee(command, watch).inspect_err(|error| {
        // Whatever went wrong, the command must not outlive it.
        kill_all(command);
        let text = format!("flowrun's guard failed: {error}\n");
        // The only place where anyone may look.
        let _ = rustix::io::write(&pipes[1], text.as_bytes());
    })
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

pub(super) fn tell(mut socket: &UnixStream, reports: &[Report]) -> io::Result<()> {
    let text: String = reports.iter().map(|report| report.encode()).collect();
    socket.write_all(text.as_bytes())
}

/// Starts the command as the leader of a group of its own, in its sandbox; or says why not.
#[cfg(target_os = "linux")]
fn start(job: Job, [stdout, stderr]: &[OwnedFd; 2], known: &mut Known) -> Result<Pid, Report> {
    let failed = |error: io::Error| Report::Failed(error.raw_os_error().unwrap_or(0));
    if job.offline {
        leave_network().map_err(|error| Report::Online(error.raw_os_error().unwrap_or(0)))?;
        known.is_elsewhere();
    }
    if job.sandbox.is_none() && known.is_bound() {
        // flowrun never asks this of it.
        return Err(Report::Failed(libc::EINVAL));
    }
    let rules = job.sandbox.as_ref().map(|sandbox| Rules::new(sandbox, known)).transpose();
    let rules = rules.map_err(|_| Report::Unconfined)?;
    let (stdin, feeding) = match &job.stdin {
        None => (std::fs::File::open("/dev/null").map_err(failed)?.into(), None),
        Some(_) => io::pipe().map(|(stdin, feeding)| (OwnedFd::from(stdin), Some(feeding))).map_err(failed)?,
    };
    let command = bear(&job, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], rules.as_ref())?;
    let _ = std::fs::write(format!("/proc/{}/oom_score_adj", command.as_raw_nonzero()), OOM_SCORE);
    if let (Some(pipe), Some(bytes)) = (feeding, job.stdin) {
        feed(pipe, bytes).map_err(|error| {
            kill_all(command);
            failed(error)
        })?;
    }
    Ok(command)
}

/// Writes what a command reads. It need not read what it is given: a broken pipe is its own business.
fn feed(mut pipe: impl Write + Send + 'static, bytes: Vec<u8>) -> io::Result<()> {
    std::thread::Builder::new().name("feed".into()).spawn(move || pipe.write_all(&bytes).ok()).map(drop)
}

/// The same; there are no sandboxes, and flowrun asks for one only where there are.
#[cfg(not(target_os = "linux"))]
fn start(job: Job, [stdout, stderr]: &[OwnedFd; 2], _known: &mut Known) -> Result<Pid, Report> {
    if job.offline {
        let errno = rustix::io::Errno::NOTSUP;
        return Err(Report::Online(errno.raw_os_error()));
    }
    if job.sandbox.is_some() {
        return Err(Report::Unconfined);
    }
    start_in(job, stdout, stderr).map_err(|error| Report::Failed(error.raw_os_error().unwrap_or(0)))
}

#[cfg(not(target_os = "linux"))]
fn start_in(job: Job, stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<Pid> {
    use std::os::unix::process::CommandExt;
    use std::process::{Command as Process, Stdio};
    let mut process = Process::new(&job.program);
    if let Some((name, args)) = job.argv.split_first() {
        process.arg0(name).args(args);
    }
    process.env_clear().envs(job.env).current_dir(&job.dir).process_group(0);
    process.stdin(if job.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    process.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    // SAFETY: between fork and exec the hook makes a system call and allocates nothing, nor does it take a lock.
    unsafe { process.pre_exec(super::watch::let_through) };
    let mut child = process.spawn()?;
    if let (Some(pipe), Some(bytes)) = (child.stdin.take(), job.stdin) {
        feed(pipe, bytes).inspect_err(|_| drop(child.kill()))?;
    }
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a process without a number"))
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
