//! The last words of a run: what failed and how to see why, what was kept from running by it, what there is to look at.

use flowrun_core::event::{Counts, RunOutcome};

use crate::show::amount::{count, duration, grouped};
use crate::show::line::{Line, Tone};
use crate::show::{quote, value};
use crate::story::{Failing, Phase, Step, Story};

/// The most failures that are told in full; the rest are named.
const MOST_FAILURES: usize = 5;

/// The most steps whose values are shown.
const MOST_VALUES: usize = 8;

/// All of it; `again` is the command that takes the run up.
pub(super) fn lines(story: &Story, again: &[String]) -> Vec<Line> {
    let Some(ending) = story.ending else { return unfinished(story, again) };
    let mut lines = Vec::new();
    for (step, failing) in story.failed().take(MOST_FAILURES) {
        lines.push(Line::new());
        lines.extend(failure(story, step, failing));
    }
    let more: Vec<&str> = story.failed().skip(MOST_FAILURES).map(|(step, _)| step).collect();
    if !more.is_empty() {
        lines.push(Line::new());
        lines.push(Line::new().with(Tone::Bad, "also failed").plain(": ").plain(names(&more)));
    }
    lines.push(Line::new());
    lines.push(verdict(story, ending.outcome, &ending.counts, ending.took_ms));
    lines.extend(results(story, ending.outcome == RunOutcome::Succeeded));
    // Only gates that closed: they would close again.
    let gates = ending.outcome == RunOutcome::Failed && story.failed().all(|(name, _)| story.steps[name].key.is_none());
    if ending.outcome != RunOutcome::Succeeded && !gates {
        lines.push(go_on(again));
    }
    lines
}

/// After a run that was not waited for.
fn unfinished(story: &Story, again: &[String]) -> Vec<Line> {
    if story.run.is_empty() {
        return Vec::new();
    }
    let killed = story.steps.values().filter(|step| step.is_active()).count();
    let verdict =
        Line::new().with(Tone::Warn, &story.pipeline).plain(format!(": killed {}", count(killed, "running step")));
    vec![Line::new(), verdict, go_on(again)]
}

fn go_on(again: &[String]) -> Line {
    labelled("go on with", &quote::command(again.iter().map(String::as_str)))
}

fn failure(story: &Story, step: &str, failing: &Failing) -> Vec<Line> {
    let mut message = failing.failure.message.lines();
    let first = message.next().unwrap_or_default();
    let title =
        Line::new().with(Tone::Bad, "error").with(Tone::Strong, format!(": {step} failed")).plain(": ").plain(first);
    let mut lines = vec![title];
    lines.extend(message.map(|line| Line::new().plain("  ").plain(line)));
    if let Some(hint) = &failing.failure.hint {
        lines.extend(hint.lines().map(|hint| Line::new().with(Tone::Busy, "  hint").plain(": ").plain(hint)));
    }
    if !failing.tail.is_empty() {
        lines.push(Line::new().dim("  │"));
        lines.extend(failing.tail.iter().map(|text| Line::new().dim("  │ ").plain(text)));
        lines.push(Line::new().dim("  │"));
        let logs = quote::command(["flowrun", "logs", &story.run, step]);
        lines.push(labelled("whole log", &logs));
    }
    let skipped = story.skipped_for(step);
    if !skipped.is_empty() {
        lines.push(labelled("skipped", &names(&skipped)));
    }
    lines
}

/// A line of advice under a failure or a verdict.
fn labelled(label: &str, text: &str) -> Line {
    Line::new().plain("  ").cell(Tone::Dim, label, 12).plain(text)
}

/// The most names in one list.
const MOST_NAMES: usize = 12;

fn names(names: &[&str]) -> String {
    match names.len().checked_sub(MOST_NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {} more", names[..MOST_NAMES].join(", "), grouped(more)),
    }
}

/// `plantdoc: 7 steps: 5 ran, 2 cached in 1m 58s`.
fn verdict(story: &Story, outcome: RunOutcome, counts: &Counts, took_ms: u64) -> Line {
    let tone = match outcome {
        RunOutcome::Succeeded => Tone::Good,
        RunOutcome::Failed => Tone::Bad,
        RunOutcome::Interrupted => Tone::Warn,
    };
    let stopped = if outcome == RunOutcome::Interrupted { ", interrupted after " } else { " in " };
    Line::new().with(tone, &story.pipeline).plain(format!(
        ": {}: {}{stopped}{}",
        count(story.steps.len(), "step"),
        tally(story, counts),
        duration(took_ms)
    ))
}

/// `5 ran, 2 cached`: how many steps ended how, without the ways in which none did.
pub(crate) fn tally(story: &Story, counts: &Counts) -> String {
    let passed = story.steps.values().filter(|step| matches!(step.phase, Phase::Passed)).count();
    let (stopped, tolerated) = (story.stopped(), story.tolerated());
    let parts = [
        (counts.failed.saturating_sub(stopped + tolerated), "failed"),
        (tolerated, "failed but tolerated"),
        (stopped, "stopped"),
        (counts.ran, "ran"),
        (counts.cached, "cached"),
        (passed, "passed"),
        (counts.skipped, "skipped"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", grouped(*n))).collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

/// Where results lie; and the values of steps, which are only noise below a failure.
fn results(story: &Story, values: bool) -> Vec<Line> {
    let told = story.steps.iter().filter(|(_, step)| values && !step.values.is_empty());
    let valued: Vec<(&String, &Step)> = told.collect();
    let listed = if valued.len() > MOST_VALUES { &[] } else { valued.as_slice() };
    let names = listed.iter().map(|(name, _)| name.as_str()).chain(story.results.iter().map(|(name, _)| name.as_str()));
    let width = names.map(crate::show::line::width_of).max().unwrap_or(0).min(32);
    let values = listed.iter().map(|(name, step)| {
        Line::new().plain("  ").cell(Tone::Dim, name, width).plain("  ").plain(value::list(&step.values))
    });
    let paths = story
        .results
        .iter()
        .map(|(name, path)| Line::new().plain("  ").cell(Tone::Dim, name, width).plain("  ").with(Tone::Strong, path));
    values.chain(paths).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{failed, started, story};
    use flowrun_core::digest::Digest;
    use flowrun_core::event::{Event, Skip};

    fn texts(lines: &[Line]) -> String {
        lines.iter().map(|line| line.paint(false).trim_end().to_owned() + "\n").collect()
    }

    fn finished(outcome: RunOutcome, counts: Counts) -> Event {
        Event::RunFinished { outcome, took_ms: 118_000, counts }
    }

    #[test]
    fn a_failure_says_all_a_person_needs() {
        let counts = Counts { ran: 0, cached: 1, failed: 1, skipped: 1 };
        let story = story([
            (0, started(&["check", "train[s=1]", "report"])),
            (1, Event::Missed { step: "train[s=1]".into(), key: Some(Digest::of(b"k")), reasons: Vec::new() }),
            (1, failed("train[s=1]")),
            (2, Event::Skipped { step: "report".into(), why: Skip::Failed { step: "train".into() } }),
            (3, finished(RunOutcome::Failed, counts)),
        ]);
        let again = ["flowrun", "run", "my pipe.yaml", "--resume"].map(str::to_owned);
        let expected = "
error: train[s=1] failed: exited with 1
  hint: look at its log
  │
  │ Traceback (most recent call last):
  │ ValueError: no boxes
  │
  whole log   flowrun logs 20260102-030405-ab 'train[s=1]'
  skipped     report

demo: 3 steps: 1 failed, 1 cached, 1 skipped in 1m 58s
  go on with  flowrun run 'my pipe.yaml' --resume
";
        assert_eq!(texts(&lines(&story, &again)), expected);
    }

    #[test]
    fn results_stand_under_the_verdict() {
        let mut story = story([
            (0, started(&["evaluate", "report"])),
            (1, Event::Published { name: "report".into(), path: "results/demo/report.html".into() }),
            (2, finished(RunOutcome::Succeeded, Counts { ran: 2, ..Counts::default() })),
        ]);
        story.steps[0].values = serde_json::Map::from_iter([("map".to_owned(), 0.3712.into())]);
        let expected = "
demo: 2 steps: 2 ran in 1m 58s
  evaluate  map 0.371
  report    results/demo/report.html
";
        assert_eq!(texts(&lines(&story, &[])), expected);
    }
}
