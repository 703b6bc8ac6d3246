//! How a step ended, and what it says while it runs.
//!
//! A failed step is an outcome, not an error of flowrun's: it is data that the scheduler, the record and the terminal
//! all read. Knows nothing of processes or plugins.

use serde::{Deserialize, Serialize};

/// What went wrong, by whose remedy it needs. `retry.on` names these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The step's own code failed: a non-zero exit, a plugin's error or trap, a gate that closed.
    Step,
    /// The step ended well but did not keep its word: a declared output or value is missing or wrong.
    Output,
    /// It ran past its `timeout`.
    Timeout,
    /// The machine or the network failed it: could not start, out of memory or disk, a download that broke.
    Infrastructure,
    /// flowrun was asked to stop.
    Interrupted,
}

/// A step's failure, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// Lower-case fragment: `exited with 1`, `output `model` was not made`.
    pub message: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of `kind`, without a hint.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same failure with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Where a line of a step's log comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// The plugin's `log`, or flowrun's own words about the step.
    Log,
}

/// What a running step says. Kept in the run's record (lines in the step's log), shown live, never part of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum Say {
    /// One line of log, without its line end.
    Line {
        /// Where it comes from.
        stream: Stream,
        /// The text; bytes that are not UTF-8 arrive replaced.
        text: String,
    },
    /// How far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all; 0 where it is not known.
        total: u64,
        /// What the units are, or what is being done.
        what: String,
    },
    /// A figure at a moment: a loss, a rate.
    Metric {
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
        /// The training step or epoch, where there is one.
        step: Option<u64>,
    },
}

impl Say {
    /// A line of flowrun's own.
    pub fn log(text: impl Into<String>) -> Self {
        Self::Line { stream: Stream::Log, text: text.into() }
    }
}
