//! What happens in a run, as data. The terminal, the run's record, `--json` and `logs` all read these.
//!
//! Each is one JSON object a line: `{"at": MILLISECONDS SINCE 1970, "event": KIND, ...}`. Readers skip kinds and keys that they do not
//! know; a kind or key that is here never changes its meaning.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::key::Difference;
use crate::outcome::Failure;

/// The version of the event format, in [`Event::RunStarted`].
pub const FORMAT: u32 = 1;

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Milliseconds since 1970, UTC.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// An output as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its content.
    pub artifact: Artifact,
    /// The file's name; the output's for a folder.
    pub name: String,
}

/// Why a step has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// It never ran here.
    New,
    /// Something it can see changed since its nearest earlier result.
    Changed {
        /// The leaf that differs.
        difference: Difference,
        /// More about it, a line each: the files of a folder, a unified diff of texts.
        detail: Vec<String>,
    },
    /// It asked for it with `cache: false`.
    Uncached,
    /// `--force` named it.
    Forced,
    /// A step before it will run, so its inputs are not known yet (only in plans).
    After {
        /// The steps before it.
        steps: Vec<String>,
    },
    /// Its stored result is gone or damaged.
    Damaged {
        /// What was found.
        problem: String,
    },
}

/// Why a step did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum Skip {
    /// Its `if` was false.
    Condition {
        /// The expression.
        expression: String,
    },
    /// A step it waits for failed.
    Failed {
        /// That step.
        step: String,
    },
    /// A step whose outputs it reads was skipped.
    Skipped {
        /// That step.
        step: String,
    },
    /// The run stopped before its turn.
    Stopped,
    /// `--only` or `--from` left it out.
    LeftOut,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every step ended well, was cached, or was skipped by its own condition.
    Succeeded,
    /// A step failed.
    Failed,
    /// It was asked to stop.
    Interrupted,
}

/// How many steps ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Ran and ended well.
    pub ran: usize,
    /// Taken from the cache.
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The first event of a run.
    RunStarted {
        /// [`FORMAT`].
        format: u32,
        /// The run's id.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// The pipeline's file, relative to the project.
        file: String,
        /// The profile.
        profile: Option<String>,
        /// Every param's value.
        params: Map<String, Json>,
        /// The steps, in order.
        steps: Vec<String>,
        /// The run that this one takes up.
        resumed: Option<String>,
    },
    /// flowrun makes something ready before steps run, or sure after: locks, downloads, writing to the disk.
    Preparing {
        /// What it does.
        what: String,
    },
    /// Something a person should know that does not stop the run.
    Warned {
        /// What it is.
        text: String,
    },
    /// A fan-out is known.
    Expanded {
        /// The step.
        step: String,
        /// Its instances.
        instances: Vec<String>,
    },
    /// A step's result was there.
    Cached {
        /// The step.
        step: String,
        /// Its key.
        key: Digest,
        /// The run that made it.
        from: String,
        /// Milliseconds it took then.
        took_ms: u64,
        /// What it made.
        outputs: IndexMap<String, Output>,
        /// What it gave.
        values: Map<String, Json>,
    },
    /// Nothing has changed since a run that found so many steps in the cache: they were not looked at one by one, and have what they had there.
    Repeated {
        /// That run.
        run: String,
        /// How many: those without values, where they are too many to be told. The others stand before this.
        steps: usize,
    },
    /// A step must run, and why.
    Missed {
        /// The step.
        step: String,
        /// Its key; nothing where a plan cannot know it yet.
        key: Option<Digest>,
        /// Why, the most telling first.
        reasons: Vec<Reason>,
    },
    /// A step is not as it was in the run that is taken up.
    ChangedSince {
        /// The step.
        step: String,
        /// That run.
        run: String,
        /// What differs, the most telling first; nothing where it is not known any more.
        reasons: Vec<Reason>,
    },
    /// Another run makes what a step would make: it waits for that.
    Waiting {
        /// The step.
        step: String,
        /// That run; nothing where it is not known.
        run: Option<String>,
    },
    /// A step runs.
    Started {
        /// The step.
        step: String,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// A step said how far it is. Not kept in the record.
    Progress {
        /// The step.
        step: String,
        /// Units done.
        done: u64,
        /// Units in all, 0 where it is not known.
        total: u64,
        /// What the units are.
        what: String,
    },
    /// A line of a step's log. Kept in the step's log, not in the record.
    Line {
        /// The step.
        step: String,
        /// The text.
        text: String,
    },
    /// A step gave a figure.
    Metric {
        /// The step.
        step: String,
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
        /// Epoch or iteration.
        iteration: Option<u64>,
    },
    /// An attempt failed and another will follow.
    Retrying {
        /// The step.
        step: String,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How it failed.
        failure: Failure,
        /// Milliseconds until the next one.
        delay_ms: u64,
    },
    /// A step ended well.
    Finished {
        /// The step.
        step: String,
        /// Its key.
        key: Digest,
        /// Milliseconds it took.
        took_ms: u64,
        /// What it made.
        outputs: IndexMap<String, Output>,
        /// What it gave.
        values: Map<String, Json>,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: String,
        /// How.
        failure: Failure,
        /// Milliseconds it took.
        took_ms: u64,
        /// Whether the run goes on as if it had not been.
        tolerated: bool,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// A gate is open.
    Passed {
        /// The step.
        step: String,
    },
    /// A step did not run.
    Skipped {
        /// The step.
        step: String,
        /// Why.
        why: Skip,
    },
    /// A result lies where the pipeline asked for it.
    Published {
        /// The result's name.
        name: String,
        /// The path, relative to the project.
        path: String,
    },
    /// The last event of a run.
    RunFinished {
        /// How it ended.
        outcome: RunOutcome,
        /// Milliseconds it took.
        took_ms: u64,
        /// How many steps ended how.
        counts: Counts,
    },
}

impl Event {
    /// Whether it belongs in the run's record; lines and progress are for the moment.
    pub fn is_kept(&self) -> bool {
        !matches!(self, Self::Line { .. } | Self::Progress { .. })
    }

    /// Whether it is one of those that are counted where they are many: a result that was there and gave no values.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Cached { values, .. } if values.is_empty())
    }

    /// The step it is about.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Expanded { step, .. }
            | Self::Cached { step, .. }
            | Self::Missed { step, .. }
            | Self::ChangedSince { step, .. }
            | Self::Waiting { step, .. }
            | Self::Started { step, .. }
            | Self::Progress { step, .. }
            | Self::Line { step, .. }
            | Self::Metric { step, .. }
            | Self::Retrying { step, .. }
            | Self::Finished { step, .. }
            | Self::Failed { step, .. }
            | Self::Passed { step }
            | Self::Skipped { step, .. } => Some(step),
            _ => None,
        }
    }
}
