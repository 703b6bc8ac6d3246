//! Taking up a run that did not succeed: whether it can be, and what it had.
//!
//! The record of the run is what is taken up, not the cache: what a step made in that run is what the next steps of that run saw, even where
//! the step is never cached, or another run has made it anew since. A run that took up another has carried over what it had not come to
//! itself, so its own record is enough, however often runs die.
//!
//! | a step was, in that run | and now | then |
//! |---|---|---|
//! | made or cached | has the same key | it stays as that run had it, also with `cache: false` |
//! | made or cached | has the same key, and its outputs are lost | it runs, and says so |
//! | made or cached | has another key | it is said what changed; it is looked up like any other |
//! | made or cached | is named by `--force` or `--from` | it runs: what a person says now comes first |
//! | anything else | | it is looked up like any other |

use std::collections::BTreeMap;

use flowrun_core::digest::Digest;
use flowrun_core::event::{Event, Output, RunOutcome, Stamped};
use flowrun_core::lang::params::{self, Set};
use flowrun_core::stored::record;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::now_ms;
use crate::project::Project;
use crate::store::{RunInfo, Store, StoreError};

/// What a step had in the run that is taken up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) key: Digest,
    pub(crate) outputs: IndexMap<String, Output>,
    pub(crate) values: Map<String, Json>,
    /// The run that made it.
    pub(crate) from: String,
    /// Milliseconds it took then.
    pub(crate) took_ms: u64,
}

/// A run that is taken up.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) run: String,
    pub(crate) params: Map<String, Json>,
    /// What ended well, by label.
    pub(crate) steps: BTreeMap<String, Kept>,
}

/// Why a run cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is none of this pipeline.
    #[error("nothing to resume: there is no earlier run of `{pipeline}` here")]
    None {
        /// The pipeline.
        pipeline: String,
    },
    /// There is none by that name.
    #[error("nothing to resume: {0}")]
    Unknown(String),
    /// It has not ended.
    #[error("nothing to resume: run {run} is still running")]
    Live {
        /// The run.
        run: String,
    },
    /// It has done all it had to.
    #[error("nothing to resume: run {run} has succeeded")]
    Succeeded {
        /// The run.
        run: String,
    },
    /// It died before it said what it was to do.
    #[error("nothing to resume: run {run} ended before it began")]
    Empty {
        /// The run.
        run: String,
    },
    /// It is a run of another pipeline.
    #[error("run {run} is one of `{theirs}`, not of `{ours}`")]
    OtherPipeline {
        /// The run.
        run: String,
        /// Its pipeline.
        theirs: String,
        /// The file of that, relative to the project.
        file: String,
        /// The pipeline that was to take it up.
        ours: String,
    },
    /// It was run with another profile.
    #[error("run {run} was run with {}", profile_text(.profile.as_deref()))]
    OtherProfile {
        /// The run.
        run: String,
        /// Its profile.
        profile: Option<String>,
    },
    /// The pipeline no longer takes its params.
    #[error("{}", params_text(.run, .problems))]
    Params {
        /// The run.
        run: String,
        /// What does not fit.
        problems: Vec<String>,
    },
}

impl Refusal {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::None { .. } | Self::Succeeded { .. } | Self::Empty { .. } => {
                "start a new run without `--resume`: what is cached stays cached".into()
            }
            Self::Unknown(_) => "`flowrun runs` lists them".into(),
            Self::Live { .. } => {
                "wait until it has ended, or name another with `--resume RUN`: `flowrun runs` lists them".into()
            }
            Self::OtherPipeline { run, file, .. } => format!("take it up with `flowrun run {file} --resume {run}`"),
            Self::OtherProfile { profile: Some(name), .. } => format!("take it up with `--profile {name}`"),
            Self::OtherProfile { profile: None, .. } => "take it up without `--profile`".into(),
            Self::Params { .. } => {
                "start a new run without `--resume` and set params with `--set`: what is cached stays cached".into()
            }
        }
    }
}

fn profile_text(profile: Option<&str>) -> String {
    profile.map_or_else(|| "no profile".to_owned(), |name| format!("the profile `{name}`"))
}

fn params_text(run: &str, problems: &[String]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("run {run} cannot be taken up: {problem}")).collect();
    lines.join("\n")
}

/// What a record says.
#[derive(Default)]
struct Told {
    start: Option<Start>,
    succeeded: bool,
    steps: BTreeMap<String, Kept>,
}

struct Start {
    pipeline: String,
    file: String,
    profile: Option<String>,
    params: Map<String, Json>,
}

impl Resumed {
    /// The run that `asked` names; without a name the newest of this pipeline.
    pub(crate) fn find(store: &Store, project: &Project, asked: Option<&str>) -> Result<Self, Refusal> {
        if let Some(name) = asked {
            let run = store.resolve(name).map_err(|error| Refusal::Unknown(error.to_string()))?;
            return Self::take_up(store, project, &run);
        }
        let runs = store.runs().map_err(|error| Refusal::Unknown(error.to_string()))?;
        for RunInfo { id, meta, .. } in runs {
            if meta.get("pipeline").is_some_and(|pipeline| *pipeline != *project.name) {
                continue;
            }
            match Self::take_up(store, project, &id) {
                // The first of a record is damaged, or the run died before it did anything: there may be one before it.
                Err(Refusal::OtherPipeline { .. } | Refusal::Empty { .. }) => {}
                found => return found,
            }
        }
        Err(Refusal::None { pipeline: project.name.clone() })
    }

    fn take_up(store: &Store, project: &Project, run: &str) -> Result<Self, Refusal> {
        if store.is_live(run) {
            return Err(Refusal::Live { run: run.to_owned() });
        }
        let told = Told::read(store, run).map_err(|error| Refusal::Unknown(error.to_string()))?;
        let Some(start) = told.start else { return Err(Refusal::Empty { run: run.to_owned() }) };
        let run = run.to_owned();
        if start.pipeline != project.name {
            let Start { pipeline: theirs, file, .. } = start;
            return Err(Refusal::OtherPipeline { run, theirs, file, ours: project.name.clone() });
        }
        if told.succeeded {
            return Err(Refusal::Succeeded { run });
        }
        if start.profile != project.program.profile {
            return Err(Refusal::OtherProfile { run, profile: start.profile });
        }
        match settle(project, start.params) {
            Ok(params) => Ok(Self { run, params, steps: told.steps }),
            Err(problems) => Err(Refusal::Params { run, problems }),
        }
    }

    /// What a run that takes this one up carries over into its own record.
    pub(crate) fn lines(&self) -> Vec<String> {
        let event = |(step, kept): (&String, &Kept)| Event::Cached {
            step: step.clone(),
            key: kept.key,
            from: kept.from.clone(),
            took_ms: kept.took_ms,
            outputs: kept.outputs.clone(),
            values: kept.values.clone(),
        };
        let stamped = self.steps.iter().map(event).map(|event| Stamped { at: now_ms(), event });
        stamped.filter_map(|stamped| serde_json::to_string(&stamped).ok()).collect()
    }
}

/// The params of the run as the file takes them now; what is new in the file has its default.
fn settle(project: &Project, params: Map<String, Json>) -> Result<Map<String, Json>, Vec<String>> {
    let sets = params.into_iter().map(|(name, value)| (name, Set::Data(value))).collect();
    params::resolve(&project.program.pipeline, project.program.profile.as_deref(), &sets)
}

impl Told {
    fn read(store: &Store, run: &str) -> Result<Self, StoreError> {
        let mut told = Self::default();
        let (carried, own) = (store.carried(run)?, store.events(run)?);
        for line in carried.iter().chain(&own) {
            // Lines that this flowrun does not know are skipped.
            if let Some(stamped) = record::event(line) {
                told.hear(run, stamped.event);
            }
        }
        Ok(told)
    }

    fn hear(&mut self, run: &str, event: Event) {
        match event {
            Event::RunStarted { pipeline, file, profile, params, .. } => {
                self.start = Some(Start { pipeline, file, profile, params });
            }
            Event::RunFinished { outcome, .. } => self.succeeded = outcome == RunOutcome::Succeeded,
            // What it had before, it did not want any more.
            Event::Missed { step, .. } => drop(self.steps.remove(&step)),
            Event::Finished { step, key, took_ms, outputs, values } => {
                self.steps.insert(step, Kept { key, outputs, values, from: run.to_owned(), took_ms });
            }
            Event::Cached { step, key, from, took_ms, outputs, values } => {
                self.steps.insert(step, Kept { key, outputs, values, from, took_ms });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(told: &mut Told, run: &str, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| told.hear(run, event));
    }

    fn finished(step: &str, key: &str) -> Event {
        let (outputs, values) = (IndexMap::new(), Map::from_iter([("n".to_owned(), Json::from(key.len()))]));
        Event::Finished { step: step.into(), key: Digest::of(key.as_bytes()), took_ms: 7, outputs, values }
    }

    fn missed(step: &str) -> Event {
        Event::Missed { step: step.into(), key: None, reasons: Vec::new() }
    }

    #[test]
    fn what_ended_well_is_kept_and_what_was_begun_anew_is_not() {
        let mut told = Told::default();
        hear(&mut told, "r1", [missed("a"), finished("a", "one"), missed("b"), finished("b", "x"), missed("b")]);
        assert_eq!(told.steps.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((told.steps["a"].from.as_str(), told.steps["a"].key), ("r1", Digest::of(b"one")));
    }

    #[test]
    fn what_is_carried_over_names_the_run_that_made_it() {
        let mut first = Told::default();
        hear(&mut first, "r1", [finished("a", "one"), finished("b", "two")]);
        let second = Resumed { run: "r1".into(), params: Map::new(), steps: first.steps };
        let mut third = Told::default();
        let carried =
            second.lines().into_iter().map(|line| serde_json::from_str::<Stamped>(&line).expect("event").event);
        hear(&mut third, "r2", carried);
        hear(&mut third, "r2", [missed("b"), finished("b", "other")]);
        assert_eq!(third.steps["a"], second.steps["a"]);
        assert_eq!((third.steps["b"].from.as_str(), third.steps["b"].key), ("r2", Digest::of(b"other")));
    }
}
