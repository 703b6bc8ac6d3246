//! `flowrun plan`: what would run, and why.

use std::collections::BTreeSet;

use clap::Args;
use flowrun_core::event::{Event, Reason, Stamped};
use flowrun_core::lang::written::{Pipeline, Switch};
use flowrun_engine::run::{self, Options, Report, Stop};

use super::pipeline::{PipelineArgs, StepArgs};
use crate::error::Error;
use crate::exit::{self, Exit};
use crate::output;
use crate::show::amount::{count, duration, grouped};
use crate::show::line::{Line, Tone};
use crate::show::reason;
use crate::show::table::{Cell, Columns, cell};
use crate::story::{Phase, Step, Story};

/// Show which steps would run and why, without running anything
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    steps: StepArgs,
    /// Write the events as one JSON object a line
    #[arg(long)]
    json: bool,
    /// Of a run that uses nothing that the lock does not hold.
    #[arg(skip)]
    locked: bool,
}

/// The most lines of detail below a step; `explain` shows all.
const MOST_BELOW: usize = 12;

/// The most lines of detail below one reason, so that a long one leaves room for the others.
const MOST_DETAIL: usize = 8;

#[derive(Default)]
struct Listener {
    story: Story,
    /// Every event, where they are what is asked for.
    events: Option<Vec<Stamped>>,
    warnings: Vec<String>,
}

impl Report for Listener {
    fn event(&mut self, event: &Stamped) {
        self.story.take(event);
        if let Event::Warned { text } = &event.event {
            self.warnings.push(text.clone());
        }
        if let Some(events) = &mut self.events {
            events.push(event.clone());
        }
    }
}

impl Plan {
    /// The plan of a `run --dry-run`.
    pub(crate) fn new(pipeline: PipelineArgs, steps: StepArgs, json: bool, locked: bool) -> Self {
        Self { pipeline, steps, json, locked }
    }

    /// Shows it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let project = if self.locked { self.pipeline.open_locked()? } else { self.pipeline.open()? };
        let params = self.pipeline.params(&project)?;
        let locked = self.locked;
        let StepArgs { force, only, from } = self.steps;
        let options = Options { params, force, only, from, dry_run: true, locked, ..Options::default() };
        let mut listener = Listener { events: self.json.then(Vec::new), ..Listener::default() };
        super::runtime()?.block_on(run::run(&project, options, &mut listener, Stop::new()))?;
        if let Some(events) = &listener.events {
            let mut text = String::new();
            for event in events {
                text.push_str(&serde_json::to_string(event).unwrap_or_default());
                text.push('\n');
            }
            output::text(&text)?;
        } else {
            for warning in &listener.warnings {
                output::say_lines(&[Line::new().with(Tone::Warn, "warning").plain(": ").plain(warning)]);
            }
            output::each_line(lines(&listener.story, &without_sandbox(&project.program.pipeline)))?;
        }
        // What is certain to fail is said now, also to the shell.
        let failures: Vec<_> = listener.story.failed().map(|(_, failing)| &failing.failure).collect();
        Ok(if failures.is_empty() {
            Exit::Ok
        } else {
            exit::of_run(flowrun_core::event::RunOutcome::Failed, failures.into_iter())
        })
    }
}

/// Steps that can see what no key holds.
fn without_sandbox(pipeline: &Pipeline) -> BTreeSet<&str> {
    let off = pipeline.steps.iter().filter(|(_, step)| step.run.is_some() && step.sandbox == Some(Switch::Off));
    off.map(|(id, _)| id.as_str()).collect()
}

/// The plan a line after the other: of 100,000 steps all would take as much memory as the steps.
fn lines<'a>(story: &'a Story, open: &'a BTreeSet<&str>) -> impl Iterator<Item = Line> + use<'a> {
    let would = story.steps.values().filter(|step| matches!(step.phase, Phase::Queued)).count();
    let all = count(story.steps.len(), "step");
    let title = match would {
        0 => format!("nothing to run, {all}"),
        some => format!("{} of {all} would run", grouped(some)),
    };
    let title = Line::new().with(Tone::Strong, &story.pipeline).plain(": ").plain(title);
    let mut columns = Columns::default();
    story.steps.iter().for_each(|(name, step)| columns.measure([&**name, phase(step).1]));
    let about = move |(name, step): (&'a String, &'a Step)| {
        let line = Line::new().plain("  ").join(columns.line(row(name, step)));
        // An instance of a fan-out is `step[label]`.
        let is_open = name.split('[').next().is_some_and(|id| open.contains(id));
        let odd = || Line::new().plain("    ").with(Tone::Warn, "sandbox: off").dim("  it can see what no key holds");
        std::iter::once(line).chain(is_open.then(odd)).chain(below(step))
    };
    [title, Line::new()].into_iter().chain(story.steps.iter().flat_map(about))
}

/// Where a step is, in a word.
fn phase(step: &Step) -> (Tone, &'static str) {
    match &step.phase {
        Phase::Queued => (Tone::Busy, "runs"),
        Phase::Cached(..) => (Tone::Good, "cached"),
        Phase::Passed => (Tone::Good, "passes"),
        Phase::Skipped(_) => (Tone::Dim, "skipped"),
        Phase::Failed(_) => (Tone::Bad, "fails"),
        _ => (Tone::Dim, "waits"),
    }
}

fn row(name: &str, step: &Step) -> [Cell; 3] {
    let why = match &step.phase {
        Phase::Queued => reason::line(&step.reasons),
        Phase::Cached(from, ms) => format!("from {from}, {} saved", duration(*ms)),
        Phase::Skipped(why) => reason::skip(why),
        Phase::Failed(failing) => failing.failure.message.clone(),
        _ => String::new(),
    };
    let (tone, word) = phase(step);
    let (name_tone, why_tone) =
        if matches!(step.phase, Phase::Queued) { (Tone::Strong, Tone::Plain) } else { (Tone::Plain, Tone::Dim) };
    [cell(name_tone, name), cell(tone, word), cell(why_tone, why)]
}

/// What the step's own line did not have room for: the first reason's detail, and every other reason with its own as far as that has room.
fn below(step: &Step) -> Vec<Line> {
    if !matches!(step.phase, Phase::Queued) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let (mut room, mut left_out) = (MOST_BELOW, 0);
    for (index, reason) in step.reasons.iter().enumerate() {
        if index > 0 {
            lines.push(Line::new().plain("    ").plain(reason::one(reason)));
        }
        let detail: Vec<Line> = reason::detail_lines(reason).skip(told(reason)).collect();
        let shown = detail.len().min(MOST_DETAIL).min(room);
        room -= shown;
        left_out += detail.len() - shown;
        lines.extend(detail.into_iter().take(shown).map(|line| Line::new().plain("      ").join(line)));
    }
    if left_out > 0 {
        let text = format!("      and {}; `flowrun explain` shows all", count(left_out, "more line"));
        lines.push(Line::new().dim(text));
    }
    lines
}

/// How many lines of a reason's detail its own line has told: the first file of a folder, or a diff of one short line.
fn told(reason: &Reason) -> usize {
    match reason::detail(reason) {
        [head, old, new] if head.starts_with("@@ ") && reason::is_told(old) && reason::is_told(new) => 3,
        [first, ..] if !first.starts_with("@@ ") => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{started, story};
    use flowrun_core::key::{Difference, Leaf};

    #[test]
    fn a_plan_is_a_list_with_reasons() {
        let text = |text: &str| Some(Leaf::Text(text.to_owned()));
        let difference = Difference { leaf: "with.copies".into(), old: text("3"), new: text("4") };
        let changed = vec![Reason::Changed { difference, detail: Vec::new() }];
        let missed = |step: &str, reasons| Event::Missed { step: step.into(), key: None, reasons };
        let story = story([
            (0, started(&["augment", "train"])),
            (1, missed("augment", changed)),
            (2, missed("train", vec![Reason::After { steps: vec!["augment".into()] }])),
        ]);
        let texts: Vec<String> = lines(&story, &BTreeSet::from(["train"])).map(|line| line.paint(false)).collect();
        let expected = [
            "demo: 2 of 2 steps would run",
            "",
            "  augment  runs  with.copies: 3 → 4",
            "  train    runs  after augment",
            "    sandbox: off  it can see what no key holds",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn every_reason_is_named_below_and_details_take_turns() {
        let text = |text: &str| Some(Leaf::Text(text.to_owned()));
        let reason = |leaf: &str, detail: Vec<String>| Reason::Changed {
            difference: Difference { leaf: leaf.into(), old: text("a\nb"), new: text("a\nc") },
            detail,
        };
        let long = || [vec!["@@ -1,9 +1,10 @@".to_owned()], (0..9).map(|n| format!("+{n}")).collect()].concat();
        let short = vec!["@@ -1 +1 @@".to_owned(), "-b".to_owned(), "+c".to_owned()];
        let reasons =
            vec![reason("run", long()), reason("env.A", long()), reason("env.B", long()), reason("env.C", short)];
        let step = Step { phase: Phase::Queued, reasons, ..Step::default() };
        let texts: Vec<String> = below(&step).iter().map(|line| line.paint(false)).collect();
        let named: Vec<&String> = texts.iter().filter(|line| line.starts_with("    env.")).collect();
        assert_eq!(
            named,
            ["    env.A: + 0 (and 8 more lines)", "    env.B: + 0 (and 8 more lines)", "    env.C: b → c"]
        );
        assert_eq!(texts.iter().filter(|line| line.starts_with("      ")).count(), MOST_BELOW + 1);
        assert_eq!(texts.last().map(String::as_str), Some("      and 18 more lines; `flowrun explain` shows all"));
    }
}
