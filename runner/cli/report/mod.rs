//! What a run says while it runs, told from its events alone, so that a stored run could be told again.
//!
//! | standard error is | reporter | says |
//! |---|---|---|
//! | a terminal | [`live`] | finished steps above, running ones in a small region that is drawn again and again |
//! | anything else | [`plain`] | a line an event, for logs of CI |
//! | (`--json`) | [`json`] | every event as one JSON object a line, on standard output |

mod closing;
mod frame;
mod json;
mod live;
mod plain;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use flowrun_core::event::Stamped;
use flowrun_core::outcome::Failure;
use flowrun_engine::run::Report;

use crate::exit::{self, Exit};
use crate::story::Story;

pub(crate) use closing::tally;
pub(crate) use live::restore_terminal;

/// How far stopping has come: shared between the one who hears signals and the reporter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopping(Arc<AtomicU8>);

/// A stage of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nobody asked.
    Going,
    /// Running steps are asked to end.
    Asked,
    /// Running steps are killed.
    Forced,
}

impl Stopping {
    /// One stage further; returns it.
    pub(crate) fn advance(&self) -> Stage {
        let stage = if self.stage() == Stage::Going { Stage::Asked } else { Stage::Forced };
        self.0.store(stage as u8, Ordering::SeqCst);
        stage
    }

    fn stage(&self) -> Stage {
        match self.0.load(Ordering::SeqCst) {
            0 => Stage::Going,
            1 => Stage::Asked,
            _ => Stage::Forced,
        }
    }
}

/// One of the reporters.
pub(crate) enum Reporter {
    /// For a terminal.
    Live(Box<live::Live>),
    /// For a log.
    Plain(plain::Plain),
    /// For a program.
    Json(json::Json),
}

impl Reporter {
    /// The one that fits: `json` where it was asked for, else by what standard error is. `fans_out` is whether names of
    /// instances will come, so that what is shown before them stands under what is shown after.
    pub(crate) fn new(json: bool, stopping: Stopping, fans_out: bool) -> Self {
        let story = Story { least: if fans_out { NAMES_OF_INSTANCES } else { 0 }, ..Story::default() };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if json {
            Self::Json(json::Json::default())
        } else if io::stderr().is_terminal() && !dumb {
            Self::Live(Box::new(live::Live::new(stopping, story)))
        } else {
            Self::Plain(plain::Plain::new(stopping, story))
        }
    }

    /// Says how it all ended, and with which code to end. `again` is the command that would take the run up.
    pub(crate) fn close(mut self, again: &[String]) -> Exit {
        match &mut self {
            Self::Live(live) => live.clear(),
            Self::Plain(_) | Self::Json(_) => {}
        }
        let story = self.story();
        if !matches!(self, Self::Json(_)) {
            crate::output::say_lines(&closing::lines(story, again));
        }
        let failures: Vec<&Failure> = story.failed().map(|(_, failing)| &failing.failure).collect();
        // A run that never said how it ended was not waited for.
        let exit =
            story.ending.map_or(Exit::Interrupted, |ending| exit::of_run(ending.outcome, failures.iter().copied()));
        if !matches!(self, Self::Live(_)) {
            // It is memory alone, of thousands of steps, and the process is about to end.
            std::mem::forget(self);
        }
        exit
    }

    fn story(&self) -> &Story {
        match self {
            Self::Live(live) => live.story(),
            Self::Plain(plain) => plain.story(),
            Self::Json(json) => json.story(),
        }
    }
}

impl Report for Reporter {
    fn event(&mut self, event: &Stamped) {
        match self {
            Self::Live(live) => live.event(event),
            Self::Plain(plain) => plain.event(event),
            Self::Json(json) => json.event(event),
        }
    }

    fn tick(&mut self) {
        match self {
            Self::Live(live) => live.tick(),
            Self::Plain(plain) => plain.tick(),
            Self::Json(_) => {}
        }
    }
}

/// Milliseconds since 1970, as in the events.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The columns of names such as `train[seed=1]`.
const NAMES_OF_INSTANCES: usize = 14;

/// With more steps than this, those that were cached are counted and not listed one by one.
const MOST_LISTED: usize = 40;
