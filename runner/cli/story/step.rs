//! A step of a run: where it is, and what it made.

use flowrun_core::digest::Digest;
use flowrun_core::event::{Output, Reason, Skip};
use flowrun_core::outcome::{Failure, FailureKind};
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

/// A step of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Where it is.
    pub(crate) phase: Phase,
    /// When it came there.
    pub(crate) since: u64,
    /// Why it runs.
    pub(crate) reasons: Vec<Reason>,
    /// Its key.
    pub(crate) key: Option<Digest>,
    /// How far it is: units done, units in all, what they are.
    pub(crate) progress: Option<(u64, u64, String)>,
    /// The last line it said.
    pub(crate) said: Option<String>,
    /// What it made.
    pub(crate) outputs: IndexMap<String, Output>,
    /// What it gave.
    pub(crate) values: Map<String, Json>,
}

/// Where a step is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Phase {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// It must run, and waits for room.
    Queued,
    /// Another run makes the same result, and it waits for that: the run, where it is known.
    Away(Option<String>),
    /// It runs: the attempt, from 1.
    Running(u32),
    /// An attempt failed: the attempt and the moment of the next.
    Pausing(u32, u64),
    /// It ended well: milliseconds it took.
    Finished(u64),
    /// Its result was there: the run that made it, and milliseconds it took then.
    Cached(String, u64),
    /// It failed.
    Failed(Box<Failing>),
    /// A gate, open.
    Passed,
    /// It did not run.
    Skipped(Skip),
}

/// A step's failure.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    /// What happened.
    pub(crate) failure: Failure,
    /// Milliseconds it took.
    pub(crate) took_ms: u64,
    /// Whether the run goes on as if it had not been.
    pub(crate) tolerated: bool,
    /// The last lines of its log.
    pub(crate) tail: Vec<String>,
}

impl Failing {
    pub(super) fn is_stop(&self) -> bool {
        self.failure.kind == FailureKind::Interrupted
    }
}

impl Step {
    /// Whether nothing more will happen to it.
    pub(crate) fn is_over(&self) -> bool {
        !matches!(self.phase, Phase::Waiting | Phase::Queued | Phase::Away(_)) && !self.is_active()
    }

    /// Whether it is at work, or will be again after a pause.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Running(_) | Phase::Pausing(..))
    }

    /// Whether another run makes what it would make.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self.phase, Phase::Away(_))
    }

    /// Milliseconds it took: when its result was made, where that was earlier.
    pub(crate) fn took_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Finished(ms) | Phase::Cached(_, ms) => Some(*ms),
            Phase::Failed(failing) => Some(failing.took_ms),
            _ => None,
        }
    }

    /// One word for where it is, as `artifacts --json` tells it.
    pub(crate) fn word(&self) -> &'static str {
        match &self.phase {
            Phase::Waiting | Phase::Queued | Phase::Away(_) => "waiting",
            Phase::Running(_) | Phase::Pausing(..) => "running",
            Phase::Finished(_) => "ran",
            Phase::Cached(..) => "cached",
            Phase::Failed(failing) if failing.is_stop() => "stopped",
            Phase::Failed(_) => "failed",
            Phase::Passed => "passed",
            Phase::Skipped(_) => "skipped",
        }
    }
}

impl Step {
    pub(super) fn enter(&mut self, at: u64, phase: Phase) {
        self.since = at;
        self.phase = phase;
    }

    pub(super) fn made(&mut self, key: Digest, outputs: &IndexMap<String, Output>, values: &Map<String, Json>) {
        self.key = Some(key);
        self.outputs.clone_from(outputs);
        self.values.clone_from(values);
    }
}
