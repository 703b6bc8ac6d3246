//! The birth of a command: a process that shares its guard's memory until it becomes the command, as `posix_spawn` makes one.
//!
//! A guard that forked would copy its memory map only to throw it away, and `posix_spawn` cannot put a process into a sandbox. The guard
//! sleeps until the child has become the command or has ended (`CLONE_VFORK`), so nobody else uses the memory meanwhile. The child makes system
//! calls and nothing else: it neither allocates nor takes a lock nor panics.

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use super::rules::Rules;
use super::wire::{Job, Report};

/// The child's stack: it calls little, but `execvpe` copies the arguments' places where a script has no first line.
const STACK: usize = 64 << 10;

/// What the child needs, made before it is there.
struct Plan<'a> {
    program: CString,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    dir: CString,
    streams: [RawFd; 3],
    rules: Option<&'a Rules>,
    guard: Pid,
    /// Why the child could not become the command; it says so here.
    failed: Option<Failed>,
}

#[derive(Clone, Copy)]
enum Failed {
    Errno(c_int),
    Unconfined,
}

/// Starts the job's command with these as its stdin, stdout and stderr, as the leader of a group of its own, in a sandbox where there are rules.
pub(super) fn bear(job: &Job, streams: [BorrowedFd<'_>; 3], rules: Option<&Rules>) -> Result<Pid, Report> {
    let invalid = |_| Report::Failed(libc::EINVAL);
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let argv = job.argv.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let env = job.env.iter().map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
    let env = env.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let places = |all: &[CString]| all.iter().map(|one| one.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let mut plan = Plan {
        program: text(job.program.as_os_str()).map_err(invalid)?,
        argv: places(&argv),
        env: places(&env),
        dir: text(job.dir.as_os_str()).map_err(invalid)?,
        streams: streams.map(|stream| stream.as_raw_fd()),
        rules,
        guard: getpid(),
        failed: None,
    };
    born(&mut plan)
}

fn born(plan: &mut Plan<'_>) -> Result<Pid, Report> {
    let mut stack = vec![0_u128; (STACK + plan.argv.len() * size_of::<*const c_char>()) / size_of::<u128>() + 1];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is as long as said, aligned, and used by nobody else; plan and stack outlive the child's use of them, since this thread
    // sleeps until the child has ended or become another program. The child's signal handlers and descriptors are its own.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(child, top.cast(), flags, std::ptr::from_mut(plan).cast())
    };
    let Some(pid) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else {
        return Err(Report::Failed(io::Error::last_os_error().raw_os_error().unwrap_or(0)));
    };
    // SAFETY: the place is ours; that the child wrote to it is not seen by the compiler.
    match unsafe { std::ptr::read_volatile(&raw const plan.failed) } {
        None => Ok(pid),
        Some(failed) => {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            Err(match failed {
                Failed::Errno(errno) => Report::Failed(errno),
                Failed::Unconfined => Report::Unconfined,
            })
        }
    }
}

/// What the child does. It returns only where it could not become the command.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: it is the plan of `born`, which nobody else uses meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    plan.failed = Some(become_command(plan));
    // SAFETY: ends this process, without what others would do at their end.
    unsafe { libc::_exit(127) }
}

fn become_command(plan: &Plan<'_>) -> Failed {
    if let Err(errno) = prepare(plan) {
        return Failed::Errno(errno.raw_os_error());
    }
    if plan.rules.is_some_and(|rules| rules.take_on().is_err()) {
        return Failed::Unconfined;
    }
    // SAFETY: all of these end as they must, and outlive the call.
    unsafe {
        libc::execvpe(plan.program.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr());
        Failed::Errno(*libc::__errno_location())
    }
}

fn prepare(plan: &Plan<'_>) -> rustix::io::Result<()> {
    let last = || {
        rustix::io::Errno::from_raw_os_error(
            // SAFETY: this thread's own.
            unsafe { *libc::__errno_location() },
        )
    };
    for (number, stream) in plan.streams.iter().enumerate() {
        // SAFETY: both are numbers of this process alone, and what they were is needed no more.
        if unsafe { libc::dup2(*stream, number as c_int) } < 0 {
            return Err(last());
        }
    }
    // SAFETY: the path ends as it must; the set is ours and written first; a signal's default is no handler.
    unsafe {
        if libc::chdir(plan.dir.as_ptr()) < 0 || libc::setpgid(0, 0) < 0 {
            return Err(last());
        }
        // What the guard holds back and ignores is not the command's.
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    // The kernel kills the command when the guard dies. It is the thread's death that counts, and that is the guard's main thread.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before the line above.
    if getppid() == Some(plan.guard) { Ok(()) } else { Err(rustix::io::Errno::SRCH) }
}
