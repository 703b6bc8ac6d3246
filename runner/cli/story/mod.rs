//! A run as its events tell it so far: the same for one that runs and one that is read back from its record.
//!
//! Knows nothing of terminals. Times are milliseconds since 1970, as in the events.

mod step;

use flowrun_core::event::{Counts, Event, RunOutcome, Skip, Stamped};
use indexmap::IndexMap;

use crate::show::line::width_of;

pub(crate) use step::{Failing, Phase, Step};

/// A run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// Its id.
    pub(crate) run: String,
    /// The pipeline's name.
    pub(crate) pipeline: String,
    /// The pipeline's file, relative to the project.
    pub(crate) file: String,
    /// The profile.
    pub(crate) profile: Option<String>,
    /// The run that it takes up.
    pub(crate) resumed: Option<String>,
    /// When it started.
    pub(crate) started: Option<u64>,
    /// How it ended.
    pub(crate) ending: Option<Ending>,
    /// The steps; instances stand in the place of their fan-out.
    pub(crate) steps: IndexMap<String, Step>,
    /// The columns that names get at least: instances that are not known yet have longer ones.
    pub(crate) least: usize,
    /// The columns of the widest step's name.
    pub(crate) widest: usize,
    /// What is being made ready.
    pub(crate) preparing: Option<String>,
    /// Where results lie: name and path.
    pub(crate) results: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// How.
    pub(crate) outcome: RunOutcome,
    /// Milliseconds it took.
    pub(crate) took_ms: u64,
    /// How many steps ended how.
    pub(crate) counts: Counts,
}

impl Story {
    /// Takes in what happened.
    pub(crate) fn take(&mut self, stamped: &Stamped) {
        let at = stamped.at;
        match &stamped.event {
            Event::RunStarted { run, pipeline, file, profile, steps, resumed, .. } => {
                self.run.clone_from(run);
                self.pipeline.clone_from(pipeline);
                self.file.clone_from(file);
                self.profile.clone_from(profile);
                self.resumed.clone_from(resumed);
                self.started = Some(at);
                self.steps = steps.iter().map(|id| (id.clone(), Step::default())).collect();
                self.measure();
            }
            Event::Preparing { what } => self.preparing = Some(what.clone()),
            Event::Published { name, path } => self.results.push((name.clone(), path.clone())),
            Event::RunFinished { outcome, took_ms, counts } => {
                self.ending = Some(Ending { outcome: *outcome, took_ms: *took_ms, counts: *counts });
            }
            Event::Expanded { step, instances } => self.expand(step, instances),
            other => self.take_step(at, other),
        }
    }

    fn take_step(&mut self, at: u64, event: &Event) {
        let Some(name) = event.step() else { return };
        let known = self.steps.get_index_of(name);
        let index = known.unwrap_or_else(|| self.steps.insert_full(name.to_owned(), Step::default()).0);
        let step = &mut self.steps[index];
        match event {
            Event::Progress { done, total, what, .. } => step.progress = Some((*done, *total, what.clone())),
            Event::Line { text, .. } => step.said = Some(text.clone()),
            Event::Missed { key, reasons, .. } => {
                step.key = *key;
                step.reasons.clone_from(reasons);
                step.enter(at, Phase::Queued);
            }
            Event::Waiting { run, .. } => step.enter(at, Phase::Away(run.clone())),
            Event::Started { attempt, .. } => {
                (step.progress, step.said) = (None, None);
                step.enter(at, Phase::Running(*attempt));
            }
            Event::Retrying { attempt, delay_ms, .. } => step.enter(at, Phase::Pausing(*attempt, at + delay_ms)),
            Event::Cached { key, from, took_ms, outputs, values, .. } => {
                step.made(*key, outputs, values);
                step.enter(at, Phase::Cached(from.clone(), *took_ms));
            }
            Event::Finished { key, took_ms, outputs, values, .. } => {
                step.made(*key, outputs, values);
                step.enter(at, Phase::Finished(*took_ms));
            }
            Event::Failed { failure, took_ms, tolerated, tail, .. } => {
                let failing =
                    Failing { failure: failure.clone(), took_ms: *took_ms, tolerated: *tolerated, tail: tail.clone() };
                step.enter(at, Phase::Failed(Box::new(failing)));
            }
            Event::Passed { .. } => step.enter(at, Phase::Passed),
            Event::Skipped { why, .. } => step.enter(at, Phase::Skipped(why.clone())),
            _ => {}
        }
        if step.is_active() || step.is_away() || step.is_over() {
            self.preparing = None;
        }
    }

    /// Puts the instances in the place of their fan-out; one without any stays.
    fn expand(&mut self, fan: &str, instances: &[String]) {
        if instances.is_empty() {
            return;
        }
        let mut steps = IndexMap::with_capacity(self.steps.len() + instances.len());
        let known = self.steps.contains_key(fan);
        for (name, step) in self.steps.drain(..) {
            if name == fan {
                steps.extend(instances.iter().map(|instance| (instance.clone(), Step::default())));
            } else {
                steps.insert(name, step);
            }
        }
        if !known {
            steps.extend(instances.iter().map(|instance| (instance.clone(), Step::default())));
        }
        self.steps = steps;
        self.measure();
    }

    fn measure(&mut self) {
        self.widest = self.steps.keys().map(|name| width_of(name)).max().unwrap_or(0).max(self.least);
    }

    /// Failed steps that the run did not overlook, in order; not those that were only stopped.
    pub(crate) fn failed(&self) -> impl Iterator<Item = (&str, &Failing)> + Clone {
        self.steps.iter().filter_map(|(name, step)| match &step.phase {
            Phase::Failed(failing) if !failing.tolerated && !failing.is_stop() => Some((name.as_str(), &**failing)),
            _ => None,
        })
    }

    /// How many failures the run overlooked.
    pub(crate) fn tolerated(&self) -> usize {
        self.steps.values().filter(|step| matches!(&step.phase, Phase::Failed(failing) if failing.tolerated)).count()
    }

    /// How many steps were stopped while they ran.
    pub(crate) fn stopped(&self) -> usize {
        self.steps.values().filter(|step| matches!(&step.phase, Phase::Failed(failing) if failing.is_stop())).count()
    }

    /// Steps that did not run because `failed` failed, directly or by others that were skipped for it.
    pub(crate) fn skipped_for(&self, failed: &str) -> Vec<&str> {
        let mut lost = vec![failed];
        let mut skipped = Vec::new();
        // Steps stand after what they wait for, so one pass sees all.
        for (name, step) in &self.steps {
            let because = match &step.phase {
                Phase::Skipped(Skip::Failed { step } | Skip::Skipped { step }) => step,
                _ => continue,
            };
            if lost.iter().any(|lost| *lost == because || lost.split('[').next() == Some(because)) {
                lost.push(name);
                skipped.push(name.as_str());
            }
        }
        skipped
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flowrun_core::outcome::{Failure, FailureKind};
    use serde_json::Map;

    pub(crate) fn started(steps: &[&str]) -> Event {
        Event::RunStarted {
            format: 1,
            run: "20260102-030405-ab".into(),
            pipeline: "demo".into(),
            file: "pipelines/demo.yaml".into(),
            profile: None,
            params: Map::new(),
            steps: steps.iter().map(|step| (*step).to_owned()).collect(),
            resumed: None,
        }
    }

    pub(crate) fn failed(step: &str) -> Event {
        let failure = Failure::new(FailureKind::Step, "exited with 1").hint("look at its log");
        let tail = vec!["Traceback (most recent call last):".into(), "ValueError: \u{1b}[31mno boxes".into()];
        Event::Failed { step: step.into(), failure, took_ms: 1200, tolerated: false, tail }
    }

    pub(crate) fn story(events: impl IntoIterator<Item = (u64, Event)>) -> Story {
        let mut story = Story::default();
        for (at, event) in events {
            story.take(&Stamped { at, event });
        }
        story
    }

    fn skipped(step: &str, why: Skip) -> Event {
        Event::Skipped { step: step.into(), why }
    }

    #[test]
    fn instances_take_the_place_of_their_fan_out() {
        let instances = vec!["train[seed=1]".to_owned(), "train[seed=2]".to_owned()];
        let expanded = Event::Expanded { step: "train".into(), instances };
        let story = story([(0, started(&["a", "train", "b"])), (1, expanded)]);
        assert_eq!(story.steps.keys().collect::<Vec<_>>(), ["a", "train[seed=1]", "train[seed=2]", "b"]);
    }

    #[test]
    fn a_failure_names_all_that_it_kept_from_running() {
        let story = story([
            (0, started(&["train", "other", "predict", "report", "gate"])),
            (1, failed("train")),
            (2, skipped("predict", Skip::Failed { step: "train".into() })),
            (3, skipped("report", Skip::Skipped { step: "predict".into() })),
            (4, skipped("gate", Skip::Condition { expression: "x".into() })),
        ]);
        assert_eq!(story.skipped_for("train"), ["predict", "report"]);
        assert_eq!(story.failed().map(|(name, _)| name).collect::<Vec<_>>(), ["train"]);
    }
}
