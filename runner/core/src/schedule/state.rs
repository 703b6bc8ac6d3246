//! The words of the scheduler: what it is told of a step, where a step can be, what it orders.

use std::time::Duration;

use crate::lang::graph::Edge;
use crate::outcome::FailureKind;

/// A step, a fan-out or one of its instances, inside one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// What a step takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Graphics processors.
    pub gpu: u64,
}

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The resources; a need is clamped to them, so that a step too large runs alone.
    pub has: Need,
    /// The most steps at once.
    pub jobs: usize,
}

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts: u32,
    /// The pause before the second, doubled for each further one.
    pub backoff: Duration,
    /// The kinds of failure that are tried again.
    pub on: Vec<FailureKind>,
}

/// The longest pause between attempts; doubling would soon be days.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl RetryPolicy {
    /// One attempt.
    pub fn never() -> Self {
        Self { attempts: 1, backoff: Duration::ZERO, on: Vec::new() }
    }

    /// The pause after the n-th attempt failed.
    pub fn pause_after(&self, attempt: u32) -> Duration {
        self.backoff.saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
    }
}

/// A step as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it waits for, and why.
    pub waits: Vec<(NodeId, Edge)>,
    /// What it takes.
    pub need: Need,
    /// When it is tried again.
    pub retry: RetryPolicy,
    /// Whether its failure is no failure of the run.
    pub tolerated: bool,
    /// Whether it is left out of this run.
    pub left_out: bool,
    /// Whether, where it is a fan-out, it looks once more when all its instances have ended well: to put together what they made.
    pub gathers: bool,
}

/// Why a step did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipWhy {
    /// Its own condition was false.
    Condition,
    /// This one failed.
    Failed(NodeId),
    /// This one was skipped, and its outputs are missing.
    Skipped(NodeId),
    /// The run stopped before its turn.
    Stopped,
    /// It was left out of this run.
    LeftOut,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well: ran or cached.
    Succeeded,
    /// With a failure.
    Failed,
    /// With a failure that the run overlooks.
    Tolerated,
    /// Without running.
    Skipped(SkipWhy),
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// For this many others.
    Waiting(usize),
    /// Its key is being made and looked up.
    Looking,
    /// Another step makes the same result; then it looks again.
    Held(NodeId),
    /// Another run makes the same result; when that one has let go, it looks again. It takes no room meanwhile.
    Away,
    /// For this many of its instances.
    Fanned(usize),
    /// Must run, and waits for the machine.
    Queued(u32),
    /// Runs its n-th attempt.
    Running(u32),
    /// Failed its n-th attempt and waits to try again.
    Pausing(u32),
    /// Over.
    Done(End),
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Make its key and look it up, a fan-out that gathers once more when its instances are done; answer with `hit`, `miss`, `skip`, `hold`, `fan` or `ended`.
    Look(NodeId),
    /// Run it; answer with `ended`, or with `hit` or `away` where another run was first.
    Start(NodeId, u32),
    /// Come back with `resume` after the pause.
    Pause(NodeId, u32, Duration),
    /// Tell that it did not run.
    Skip(NodeId, SkipWhy),
}
