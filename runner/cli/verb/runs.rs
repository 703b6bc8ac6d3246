//! `flowrun runs`: the runs of a project.

use clap::Args;
use flowrun_core::event::RunOutcome;
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::past::Past;
use crate::report::{now, tally};
use crate::show::amount::{age, duration};
use crate::show::line::{Line, Tone};
use crate::show::table::{Cell, cell, figure, rows};
use crate::story::Story;

/// List the runs of this project, the newest first
#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// List at most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Write a JSON array
    #[arg(long)]
    json: bool,
}

impl Runs {
    /// Lists them.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let past = Past::here()?;
        let mut stories = Vec::new();
        for run in past.runs()?.into_iter().take(self.limit) {
            let live = past.is_live(&run);
            stories.push((past.story(&run)?, live));
        }
        if self.json {
            output::json(&stories.iter().map(|(story, live)| describe(story, *live)).collect::<Vec<_>>())?;
        } else if stories.is_empty() {
            output::say("no runs here yet");
        } else {
            output::lines(&table(&stories, now()))?;
        }
        Ok(Exit::Ok)
    }
}

fn outcome(story: &Story, live: bool) -> (Tone, &'static str) {
    match story.ending.map(|ending| ending.outcome) {
        Some(RunOutcome::Succeeded) => (Tone::Good, "succeeded"),
        Some(RunOutcome::Failed) => (Tone::Bad, "failed"),
        Some(RunOutcome::Interrupted) => (Tone::Warn, "interrupted"),
        None if live => (Tone::Busy, "running"),
        None => (Tone::Warn, "killed"),
    }
}

fn describe(story: &Story, live: bool) -> serde_json::Value {
    let ending = story.ending.as_ref();
    json!({
        "run": story.run,
        "pipeline": story.pipeline,
        "file": story.file,
        "profile": story.profile,
        "started": story.started,
        "took_ms": ending.map(|ending| ending.took_ms),
        "outcome": outcome(story, live).1,
        "counts": ending.map(|ending| ending.counts),
    })
}

fn table(stories: &[(Story, bool)], now: u64) -> Vec<Line> {
    let title = |text: &str| cell(Tone::Dim, text);
    let mut table = vec![vec![
        title("RUN"),
        title("PIPELINE"),
        title("WHEN"),
        figure(Tone::Dim, "TOOK"),
        title("OUTCOME"),
        title("STEPS"),
    ]];
    table.extend(stories.iter().map(|(story, live)| row(story, *live, now)));
    rows(table)
}

fn row(story: &Story, live: bool, now: u64) -> Vec<Cell> {
    let when = story.started.map(|started| age(now.saturating_sub(started))).unwrap_or_default();
    let took = story.ending.map(|ending| duration(ending.took_ms)).unwrap_or_default();
    let (tone, word) = outcome(story, live);
    vec![
        cell(Tone::Plain, &story.run),
        cell(Tone::Strong, &story.pipeline),
        cell(Tone::Plain, when),
        figure(Tone::Plain, took),
        cell(tone, word),
        cell(Tone::Dim, steps(story)),
    ]
}

fn steps(story: &Story) -> String {
    let Some(ending) = story.ending else {
        let over = story.steps.values().filter(|step| step.is_over()).count();
        return format!("{over} of {}", story.steps.len());
    };
    tally(story, &ending.counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{started, story};
    use flowrun_core::event::{Counts, Event};

    #[test]
    fn a_run_without_an_end_runs_or_was_killed() {
        let counts = Counts { ran: 1, cached: 2, ..Counts::default() };
        let ended = Event::RunFinished { outcome: RunOutcome::Succeeded, took_ms: 118_000, counts };
        let whole = story([(0, started(&["a", "b", "c"])), (5, ended)]);
        let part = story([(0, started(&["a", "b"]))]);
        let texts: Vec<String> = table(&[(whole, false), (part.clone(), true), (part, false)], 360_000)
            .iter()
            .map(|line| line.paint(false))
            .collect();
        let expected = [
            "RUN                 PIPELINE  WHEN          TOOK  OUTCOME    STEPS",
            "20260102-030405-ab  demo      6 min ago  1m 58s  succeeded  1 ran, 2 cached",
            "20260102-030405-ab  demo      6 min ago          running    0 of 2",
            "20260102-030405-ab  demo      6 min ago          killed     0 of 2",
        ];
        assert_eq!(texts, expected.map(|line| line.replace("WHEN          TOOK", "WHEN         TOOK")));
    }
}
