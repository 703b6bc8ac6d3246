//! Measuring: a program's time, processor time and memory; medians; a row of the table.

use std::fmt;
use std::mem::MaybeUninit;
use std::process::Command;
use std::time::Instant;

use serde::Serialize;

/// What a program took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Seconds that went by.
    pub(crate) wall: f64,
    /// Seconds of processors, in the program and in the kernel for it.
    pub(crate) cpu: f64,
    /// Bytes of memory at its fullest.
    pub(crate) peak: f64,
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 * 1e-6
}

fn cpu_of(usage: &libc::rusage) -> f64 {
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Runs a program to its end, which must be a good one.
#[expect(clippy::zombie_processes, reason = "it is waited for by `wait4`, which tells what it took")]
pub(crate) fn run(command: &mut Command) -> Cost {
    let began = Instant::now();
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = libc::pid_t::try_from(child.id()).expect("a process id");
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::uninit());
    // SAFETY: both places are ours and large enough; the child is ours and nobody else waits for it, `child` is never used again.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, pid, "{command:?}: {}", std::io::Error::last_os_error());
    let wall = began.elapsed().as_secs_f64();
    assert_eq!(status, 0, "{command:?} did not end well");
    // SAFETY: it was filled in by a call that succeeded.
    let usage = unsafe { usage.assume_init() };
    Cost { wall, cpu: cpu_of(&usage), peak: usage.ru_maxrss as f64 * 1024.0 }
}

/// Seconds of processors that this process has taken.
pub(crate) fn own_cpu() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the place is ours and large enough, and is read only after the call succeeded.
    unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        cpu_of(usage.assume_init_ref())
    }
}

/// The value in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
}

impl Row {
    /// A figure and its unit.
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, at_most: None, at_least: None }
    }

    /// The same with a goal.
    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.at_most = Some(goal);
        self
    }

    /// The same with a goal that is to be exceeded.
    pub(crate) fn at_least(mut self, goal: f64) -> Self {
        self.at_least = Some(goal);
        self
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<58} {:>10.2} {:<4}", self.what, self.value, self.unit)?;
        match (self.at_most, self.at_least) {
            (Some(goal), _) => write!(f, " {} {goal}", if self.value <= goal { "<=" } else { "MISSED: >" }),
            (None, Some(goal)) => write!(f, " {} {goal}", if self.value >= goal { ">=" } else { "MISSED: <" }),
            (None, None) => Ok(()),
        }
    }
}
