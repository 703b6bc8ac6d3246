//! Whether cached steps make the same again: each is run once more, aside, and what it makes is compared with its result.
//!
//! ```text
//! dry run ──► cached steps ──► job again ──► attempt in a folder of its own ──► digests, values
//!                  │                                                               │
//!                  └──────────── the stored result ─────────── compared ◄──────────┘ ──► same, or what differs and where
//! ```
//! The stored result stays what it is: nothing is written under its key, into the history of its step, or into the records of runs. What
//! the second run made lies in the store by content until `gc`, since nothing refers to it. Steps run one after the other, so that each
//! has the machine that it asks for.
//!
//! That two runs agree proves little; that they differ proves that somebody else's result may differ from the one that is shared.
//! Knows nothing of how that is told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;
use flowrun_core::event::{Event, Output, Reason, RunOutcome, Skip, Stamped};
use flowrun_core::lang::finding::did_you_mean;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plan::Plan;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::driver::Found;
use super::execute::{self, Attempt};
use super::explain::{id_of, survey};
use super::look::StepResult;
use super::session::Session;
use super::why::Bytes;
use super::{Locking, Options, Report, RunError, Stop, find_all, prepare};
use crate::project::Project;
use crate::store::{Change, Store, StoredEntry};

/// Files of a folder that are compared byte by byte and named; a step that makes all of its files anew is told by a few.
const MOST_PLACES: usize = 20;

/// Lines of a step's log that its failure shows.
const TAIL: usize = 20;

/// A step that was run again, or was not.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The step, or an instance of a fan-out.
    pub step: String,
    /// What its result is stored under, where it was run again.
    pub key: Option<Digest>,
    /// Milliseconds that the second run took.
    pub took_ms: u64,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of running a step again.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It made and gave the same.
    Same,
    /// It did not.
    Differs {
        /// Outputs that differ.
        outputs: Vec<OutputDiffers>,
        /// Values that differ: name, the stored one, the new one.
        values: Vec<(String, Json, Json)>,
    },
    /// The second run failed.
    Failed {
        /// How.
        failure: Failure,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// It was not run again.
    NotRun {
        /// Why not.
        why: String,
    },
}

/// An output that came out differently.
#[derive(Clone, Debug)]
pub struct OutputDiffers {
    /// Its name.
    pub name: String,
    /// As it is stored.
    pub old: Output,
    /// As it was made again.
    pub new: Output,
    /// The files that differ: itself, or those of a folder.
    pub places: Vec<Place>,
    /// How many more files of a folder differ.
    pub more: usize,
    /// A diff, where one small text differs and nothing else.
    pub diff: Vec<String>,
}

/// A file that differs.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it was and is.
    pub change: Change,
    /// The first byte that differs, from 0, where it is a file both times.
    pub at: Option<u64>,
}

/// What happens while steps are verified.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// Something is made ready first.
    Preparing(&'a str),
    /// A step begins; its result took so many milliseconds to make.
    Begins(&'a str, u64),
    /// A step is over.
    Ended(&'a Verified),
}

/// Steps that were verified, and how that ended.
#[derive(Clone, Debug)]
pub struct Verification {
    /// In the order of the plan.
    pub steps: Vec<Verified>,
    /// Succeeded where all that were run again made the same.
    pub outcome: RunOutcome,
}

/// Runs cached steps again and compares: these, or all. An instance of a fan-out is `train[seed=1]`, `train` is all of them.
///
/// # Errors
/// When it cannot begin.
pub async fn verify(
    project: &Project,
    options: Options,
    steps: &[String],
    stop: Stop,
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Verification, RunError> {
    let plan = Plan::new(&project.program);
    let ids: Vec<String> = steps.iter().map(|step| id_of(step).to_owned()).collect();
    let wanted = find_all(&plan, &ids)?;
    let store = Store::open(&project.root)?;
    let mut survey = Survey { tell, states: HashMap::new(), instances: HashMap::new() };
    let (session, _) =
        prepare(project, options.params, store, &plan, Locking::Completed { written: false }, &mut survey).await?;
    let session = Arc::new(session);
    let all = (0..plan.steps.len()).map(flowrun_core::schedule::NodeId).collect();
    let chosen = if steps.is_empty() { all } else { plan.with_ancestors(&wanted) };
    let mut driver = self::survey(session.clone(), &plan, &chosen, &mut survey).await;
    let found: HashMap<String, Found> = driver.all_found().collect();
    drop(driver);
    let labels = survey.labels(&plan, steps)?;
    let verification = each(&session, labels, found, &mut survey, &stop).await;
    session.save_memo();
    Ok(verification)
}

/// Hears from a dry run which steps are not cached, and why.
struct Survey<'a> {
    tell: &'a mut (dyn FnMut(Told<'_>) + Send),
    states: HashMap<String, String>,
    instances: HashMap<String, Vec<String>>,
}

impl Report for Survey<'_> {
    fn event(&mut self, event: &Stamped) {
        let why = match &event.event {
            Event::Preparing { what } => return (self.tell)(Told::Preparing(what)),
            Event::Expanded { step, instances } => {
                self.instances.insert(step.clone(), instances.clone());
                return;
            }
            Event::Missed { reasons, .. } => missed(reasons),
            Event::Passed { .. } => "a gate".to_owned(),
            Event::Failed { failure, .. } => failure.message.clone(),
            Event::Skipped { why: Skip::Condition { expression }, .. } => format!("skipped: `{expression}` is false"),
            Event::Skipped { why: Skip::Failed { step } | Skip::Skipped { step }, .. } => format!("waits for {step}"),
            _ => return,
        };
        if let Some(step) = event.event.step() {
            self.states.insert(step.to_owned(), why);
        }
    }
}

fn missed(reasons: &[Reason]) -> String {
    match reasons {
        [Reason::Uncached] => "`cache: false`".to_owned(),
        [Reason::After { steps }] => format!("not cached: {} would run before it", steps.join(", ")),
        [Reason::Damaged { problem }] => format!("not cached: {problem}"),
        _ => "not cached".to_owned(),
    }
}

impl Survey<'_> {
    /// The steps that were asked for, instances in the place of their fan-out, each once.
    fn labels(&self, plan: &Plan, asked: &[String]) -> Result<Vec<String>, RunError> {
        let mut labels = Vec::new();
        for id in plan.steps.iter().map(|step| &step.id) {
            let own = std::slice::from_ref(id);
            labels.extend_from_slice(self.instances.get(id).map_or(own, Vec::as_slice));
        }
        if let Some(name) = asked.iter().find(|name| name.contains('[') && !labels.contains(name)) {
            let hint = did_you_mean(name, labels.iter().map(String::as_str));
            return Err(RunError::UnknownStep { name: name.clone(), hint });
        }
        labels.retain(|label| asked.is_empty() || asked.iter().any(|name| name == label || name == id_of(label)));
        Ok(labels)
    }
}

async fn each(
    session: &Arc<Session>,
    labels: Vec<String>,
    mut found: HashMap<String, Found>,
    survey: &mut Survey<'_>,
    stop: &Stop,
) -> Verification {
    let mut steps = Vec::new();
    for label in labels {
        let ready = match found.remove(&label).filter(|found| found.cached) {
            Some(found) => ready(session, &label, found),
            None => Err(survey.states.get(&label).cloned().unwrap_or_else(|| "it runs for nothing here".to_owned())),
        };
        let verified = match ready {
            Err(why) => Verified { step: label, key: None, took_ms: 0, verdict: Verdict::NotRun { why } },
            Ok(_) if stop.is_asked() => break,
            Ok((entry, attempt)) => {
                (survey.tell)(Told::Begins(&label, entry.took_ms));
                again(session, label, entry, attempt, stop).await
            }
        };
        if matches!(&verified.verdict, Verdict::Failed { failure, .. } if failure.kind == FailureKind::Interrupted) {
            break;
        }
        (survey.tell)(Told::Ended(&verified));
        steps.push(verified);
    }
    let same = |step: &Verified| matches!(step.verdict, Verdict::Same | Verdict::NotRun { .. });
    let outcome = match stop.is_asked() {
        true => RunOutcome::Interrupted,
        false if steps.iter().all(same) => RunOutcome::Succeeded,
        false => RunOutcome::Failed,
    };
    Verification { steps, outcome }
}

/// The stored result of a step and an attempt that would make it again; or why there is none.
fn ready(session: &Session, label: &str, found: Found) -> Result<(StoredEntry, Attempt), String> {
    let key = found.manifest.key();
    let (job, origins) = session.job(&found.question).map_err(|failure| failure.message)?;
    if job.manifest().key() != key {
        return Err("its inputs have changed meanwhile".to_owned());
    }
    let entry = session.store.peek_entry(&key)?.ok_or("its result is gone")?;
    let attempt = Attempt {
        run: session.store.unrecorded(),
        label: label.to_owned(),
        number: 1,
        planned: found.question.planned,
        job: Arc::new(job),
        origins,
        key,
        manifest: None,
        gate: None,
    };
    Ok((entry, attempt))
}

fn begun<T>(made: Option<T>) -> Result<T, Failure> {
    made.ok_or_else(|| Failure::new(FailureKind::Infrastructure, "it did not begin: a bug of flowrun's"))
}

/// Runs a step again and compares.
async fn again(session: &Arc<Session>, step: String, entry: StoredEntry, attempt: Attempt, stop: &Stop) -> Verified {
    let began = Instant::now();
    let (say, mut said) = mpsc::channel(256);
    let listener = tokio::spawn(async move {
        let mut tail = VecDeque::new();
        while let Some(say) = said.recv().await {
            if let Say::Line { text, .. } = say {
                tail.push_back(text);
                if tail.len() > TAIL {
                    tail.pop_front();
                }
            }
        }
        Vec::from(tail)
    });
    let made = tokio::select! {
        made = execute::attempt(session.clone(), attempt, say, stop.token()) => made.and_then(begun),
        // What still runs dies with this process.
        () = stop.forced() => Err(Failure::new(FailureKind::Interrupted, "interrupted")),
    };
    let took_ms = began.elapsed().as_millis() as u64;
    let key = Some(entry.key);
    let verdict = match made {
        Ok(made) => {
            let session = session.clone();
            let compared = tokio::task::spawn_blocking(move || compare(&session, &entry, &made.result)).await;
            compared.unwrap_or_else(|bug| {
                let failure = Failure::new(FailureKind::Infrastructure, format!("a bug of flowrun's: {bug}"));
                Verdict::Failed { failure, tail: Vec::new() }
            })
        }
        Err(failure) if failure.kind == FailureKind::Interrupted => Verdict::Failed { failure, tail: Vec::new() },
        Err(failure) => Verdict::Failed { failure, tail: listener.await.unwrap_or_default() },
    };
    Verified { step, key, took_ms, verdict }
}

fn compare(session: &Session, entry: &StoredEntry, made: &StepResult) -> Verdict {
    let outputs: Vec<OutputDiffers> = entry
        .outputs
        .iter()
        .filter_map(|(name, old)| {
            let (old, new) = (old.clone().into_event(), made.outputs.get(name)?.clone());
            (old.artifact != new.artifact).then(|| output(&session.store, name, old, new))
        })
        .collect();
    let values: Vec<(String, Json, Json)> = entry
        .values
        .iter()
        .filter_map(|(name, old)| {
            let new = made.values.get(name).cloned().unwrap_or_default();
            (*old != new).then(|| (name.clone(), old.clone(), new))
        })
        .collect();
    if outputs.is_empty() && values.is_empty() { Verdict::Same } else { Verdict::Differs { outputs, values } }
}

fn output(store: &Store, name: &str, old: Output, new: Output) -> OutputDiffers {
    let (before, after) = (old.artifact, new.artifact);
    let mut changes = match before.mode {
        // What cannot be listed still differs.
        Mode::Folder => store.diff(&before, &after, usize::MAX).unwrap_or_default(),
        _ => vec![Change { path: old.name.clone(), old: Some(before), new: Some(after) }],
    };
    let more = changes.len().saturating_sub(MOST_PLACES);
    changes.truncate(MOST_PLACES);
    let diff = match changes.as_slice() {
        [Change { old: Some(old), new: Some(new), .. }] => {
            Bytes { store, origins: &[], told: &Default::default() }.contents(old, new)
        }
        _ => Vec::new(),
    };
    let places = changes.into_iter().map(|change| Place { at: first_difference(store, &change), change }).collect();
    OutputDiffers { name: name.to_owned(), old, new, places, more, diff }
}

fn first_difference(store: &Store, change: &Change) -> Option<u64> {
    let is_file = |artifact: &Artifact| matches!(artifact.mode, Mode::File | Mode::Executable);
    let (old, new) = (change.old.filter(is_file)?, change.new.filter(is_file)?);
    store.first_difference(&old, &new).ok().flatten()
}
