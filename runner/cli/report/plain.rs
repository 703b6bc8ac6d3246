//! For logs without a terminal: one line an event, and a sign of life from steps that take long.

use std::collections::BTreeMap;

use flowrun_core::event::{Event, Skip, Stamped};
use flowrun_core::outcome::FailureKind;

use super::{MOST_LISTED, Stage, Stopping, now};
use crate::output;
use crate::show::amount::{count, duration, grouped};
use crate::show::line::{Line, Tone};
use crate::show::reason;
use crate::story::{Step, Story};

/// How long a step may be silent before it is said that it still runs; CI services take ten minutes for a sign of death.
const SIGN_OF_LIFE_MS: u64 = 30_000;

/// The reporter for logs.
pub(crate) struct Plain {
    story: Story,
    stopping: Stopping,
    said: Stage,
    signs: BTreeMap<String, u64>,
    cached: usize,
}

impl Plain {
    /// A reporter that also tells of stopping.
    pub(crate) fn new(stopping: Stopping, story: Story) -> Self {
        Self { story, stopping, said: Stage::Going, signs: BTreeMap::new(), cached: 0 }
    }

    /// The run so far.
    pub(crate) fn story(&self) -> &Story {
        &self.story
    }

    /// Tells of an event.
    pub(crate) fn event(&mut self, event: &Stamped) {
        self.story.take(event);
        let many = self.story.steps.len() > MOST_LISTED;
        if let (Event::Cached { .. }, true) = (&event.event, many) {
            self.cached += 1;
            return;
        }
        if let Event::Repeated { steps, .. } = &event.event {
            self.cached += steps;
        }
        if let (Event::RunFinished { .. }, 1..) = (&event.event, self.cached) {
            output::say_lines(&[words("hit", Tone::Good, &format!("{} steps", grouped(self.cached)))]);
        }
        if let Some(line) = told(&event.event, &self.story) {
            output::say_lines(&[line]);
        }
    }

    /// Tells of stopping, and of steps that still run.
    pub(crate) fn tick(&mut self) {
        let stage = self.stopping.stage();
        if stage > self.said {
            self.said = stage;
            output::say_lines(&[super::frame::stopping(&self.story, stage)]);
        }
        let now = now();
        let due = signs_of_life(&self.story, &mut self.signs, now);
        output::say_lines(&due);
    }
}

/// Lines for steps that were last heard of long ago; `signs` remembers when.
fn signs_of_life(story: &Story, signs: &mut BTreeMap<String, u64>, now: u64) -> Vec<Line> {
    let shown = |step: &Step| step.is_active() || step.is_away();
    signs.retain(|name, _| story.steps.get(name).is_some_and(shown));
    let mut lines = Vec::new();
    for (name, step) in story.steps.iter().filter(|(_, step)| shown(step)) {
        let last = signs.entry(name.clone()).or_insert(step.since);
        if now.saturating_sub(*last) >= SIGN_OF_LIFE_MS {
            *last = now;
            let line = about(story, "still", Tone::Dim, name).plain(duration(now.saturating_sub(step.since)));
            lines.push(match super::frame::doing(step) {
                Some(doing) => line.dim("  ").dim(doing),
                None => line,
            });
        }
    }
    lines
}

fn words(verb: &str, tone: Tone, name: &str) -> Line {
    Line::new().cell(tone, verb, 6).plain(name)
}

/// A line about a step whose rest stands under the rest of others.
fn about(story: &Story, verb: &str, tone: Tone, name: &str) -> Line {
    Line::new().cell(tone, verb, 6).cell(Tone::Plain, name, super::frame::name_width(story)).plain("  ")
}

fn told(event: &Event, story: &Story) -> Option<Line> {
    Some(match event {
        Event::RunStarted { pipeline, run, steps, .. } => {
            let line = Line::new().with(Tone::Strong, pipeline).plain(format!(": {}", count(steps.len(), "step")));
            line.dim(format!("  run {run}{}", super::frame::setting(story)))
        }
        Event::Preparing { what } => words("make", Tone::Dim, what),
        Event::Warned { text } => Line::new().with(Tone::Warn, "warning").plain(": ").plain(text),
        Event::Expanded { step, instances } => {
            about(story, "fan", Tone::Dim, step).dim(count(instances.len(), "instance"))
        }
        Event::Cached { step, took_ms, .. } => {
            about(story, "hit", Tone::Good, step).dim(format!("{} saved", duration(*took_ms)))
        }
        Event::Missed { step, reasons, .. } => about(story, "miss", Tone::Busy, step).dim(reason::line(reasons)),
        Event::ChangedSince { step, run, reasons } => words("since", Tone::Dim, &reason::since(run, step, reasons)),
        Event::Waiting { step, run } => about(story, "wait", Tone::Warn, step).dim(reason::wait(run.as_deref())),
        Event::Started { step, attempt: 1 } => words("run", Tone::Busy, step),
        Event::Started { step, attempt } => about(story, "run", Tone::Busy, step).dim(format!("attempt {attempt}")),
        Event::Retrying { step, failure, delay_ms, .. } => about(story, "retry", Tone::Warn, step)
            .plain(&failure.message)
            .dim(format!("  again in {}", duration(*delay_ms))),
        Event::Finished { step, took_ms, .. } => about(story, "done", Tone::Good, step).plain(duration(*took_ms)),
        Event::Failed { step, failure, took_ms, .. } if failure.kind == FailureKind::Interrupted => {
            about(story, "stop", Tone::Warn, step).plain(duration(*took_ms))
        }
        Event::Failed { step, failure, took_ms, tolerated, .. } => {
            let line = about(story, "fail", if *tolerated { Tone::Warn } else { Tone::Bad }, step);
            // A gate closes at once.
            let line = if *took_ms == 0 { line } else { line.plain(duration(*took_ms)).plain("  ") };
            let line = line.plain(&failure.message);
            if *tolerated { line.dim("  (the run goes on)") } else { line }
        }
        Event::Passed { step } => words("pass", Tone::Good, step),
        Event::Skipped { why: Skip::Stopped | Skip::LeftOut, .. } => return None,
        Event::Skipped { step, why } => about(story, "skip", Tone::Dim, step).dim(reason::skip(why)),
        Event::Progress { .. } | Event::Line { .. } | Event::Metric { .. } => return None,
        Event::Repeated { .. } | Event::Published { .. } | Event::RunFinished { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{started, story};
    use flowrun_core::event::Reason;

    #[test]
    fn a_wait_says_for_whom_and_a_change_since_when() {
        let story = story([(0, started(&["train", "report"]))]);
        let line = |event: Event| told(&event, &story).expect("a line").paint(false);
        let wait = |run: Option<&str>| line(Event::Waiting { step: "train".into(), run: run.map(str::to_owned) });
        assert_eq!(wait(Some("20260102-030405-ab")), "wait  train   for run 20260102-030405-ab");
        assert_eq!(wait(None), "wait  train   for another run");
        let since = |reasons| line(Event::ChangedSince { step: "train".into(), run: "r1".into(), reasons });
        assert_eq!(since(vec![Reason::Forced]), "since run r1: train changed: forced");
        assert_eq!(since(Vec::new()), "since run r1: train changed");
    }

    #[test]
    fn a_step_that_waits_for_another_run_is_heard_of_too() {
        let waiting = Event::Waiting { step: "train".into(), run: Some("r1".into()) };
        let story = story([(0, started(&["train"])), (1000, waiting)]);
        let mut signs = BTreeMap::new();
        assert!(signs_of_life(&story, &mut signs, 1000).is_empty());
        let told: Vec<String> =
            signs_of_life(&story, &mut signs, 31_000).iter().map(|line| line.paint(false)).collect();
        assert_eq!(told, ["still train  30 s  waits for run r1"]);
    }

    #[test]
    fn a_long_step_is_heard_of_every_half_minute() {
        let begun = Event::Started { step: "train".into(), attempt: 1 };
        let progress = Event::Progress { step: "train".into(), done: 3, total: 20, what: "epochs".into() };
        let story = story([(0, started(&["train"])), (1000, begun), (2000, progress)]);
        let mut signs = BTreeMap::new();
        let mut at = |ms| -> Vec<String> {
            signs_of_life(&story, &mut signs, ms).iter().map(|line| line.paint(false)).collect()
        };
        assert!(at(30_999).is_empty());
        assert_eq!(at(31_000), ["still train  30 s  3/20 epochs"]);
        assert!(at(60_999).is_empty());
        assert_eq!(at(61_000), ["still train  1m 00s  3/20 epochs"]);
    }
}
