//! A run: from a checked project and the wishes of a person to results, told as events.
//!
//! What happens, in order: the store is opened and dead runs' leftovers swept; params are settled; the lock is completed where it
//! does not pin something yet; the plan is driven ([`driver`]); results are put in their place.
//! Knows nothing of terminals: a [`Report`] hears everything.

mod detector;
mod driver;
mod execute;
mod explain;
mod look;
mod publish;
mod session;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use flowrun_core::digest::Digest;
use flowrun_core::event::{Counts, Event, FORMAT, RunOutcome, Stamped};
use flowrun_core::lang::finding::did_you_mean;
use flowrun_core::outcome::Failure;
use flowrun_core::plan::Plan;
use flowrun_core::schedule::{Machine, Need, NodeId, Scheduler};
use serde_json::{Map, Value as Json, json};

pub use explain::{Explanation, explain};
pub use stop::Stop;

use crate::fetch::{Cache, Platform};
use crate::lockfile::{LockError, Lockfile};
use crate::project::Project;
use crate::store::{RunRecord, Store, StoreError};
use driver::{Driver, Wishes};
use session::Session;

/// What a run is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Every param's value.
    pub params: Map<String, Json>,
    /// The most steps at once; as many as there are cores where it is not given.
    pub jobs: Option<usize>,
    /// Whether steps that do not depend on a failed one still run.
    pub keep_going: bool,
    /// Steps that run although their result is there.
    pub force: Vec<String>,
    /// Only these steps and what they need.
    pub only: Vec<String>,
    /// These steps and everything after them run anew.
    pub from: Vec<String>,
    /// Take up a run: this one, or the last that did not succeed.
    pub resume: Option<Option<String>>,
    /// Only tell what would run, and why.
    pub dry_run: bool,
}

/// Hears what happens.
pub trait Report: Send {
    /// Something happened.
    fn event(&mut self, event: &Stamped);
    /// Ten times a second while steps run.
    fn tick(&mut self) {}
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its id.
    pub run: String,
    /// How it ended.
    pub outcome: RunOutcome,
    /// How many steps ended how.
    pub counts: Counts,
    /// What failed and was not tolerated.
    pub failures: Vec<(String, Failure)>,
    /// Results by name, and where they are.
    pub results: Vec<(String, PathBuf)>,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something that must be pinned could not be found out.
    #[error("{}", .0.message)]
    Prepare(Failure),
    /// There is no run to take up.
    #[error("nothing to resume: {0}")]
    NothingToResume(String),
    /// The run that is taken up was run with another profile.
    #[error("run {run} was run with {}", profile_text(.profile.as_deref()))]
    OtherProfile {
        /// The run.
        run: String,
        /// Its profile.
        profile: Option<String>,
    },
    /// A step was named that the pipeline does not have.
    #[error("no step `{name}`")]
    UnknownStep {
        /// The name.
        name: String,
        /// A better one.
        hint: Option<String>,
    },
    /// A step cannot be explained.
    #[error("`{step}` has no key yet: {problem}")]
    Unknown {
        /// The step or instance.
        step: String,
        /// Why.
        problem: String,
    },
}

impl RunError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Prepare(failure) => failure.hint.clone(),
            Self::UnknownStep { hint, .. } => hint.clone(),
            Self::OtherProfile { profile: Some(name), .. } => Some(format!("take it up with `--profile {name}`")),
            Self::OtherProfile { profile: None, .. } => Some("take it up without `--profile`".into()),
            Self::NothingToResume(_) => Some("start a new run without `--resume`: what is cached stays cached".into()),
            _ => None,
        }
    }
}

fn profile_text(profile: Option<&str>) -> String {
    profile.map_or_else(|| "no profile".to_owned(), |name| format!("the profile `{name}`"))
}

/// Milliseconds since 1970, UTC.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Runs a pipeline.
///
/// # Errors
/// When it cannot begin. A step that fails is in [`Ran`].
pub async fn run(project: &Project, options: Options, report: &mut dyn Report, stop: Stop) -> Result<Ran, RunError> {
    let began = Instant::now();
    let store = Store::open(&project.root)?;
    let plan = Plan::new(&project.program);
    let (chosen, forced) = choose(&plan, &options)?;
    let resumed = options.resume.as_ref().map(|asked| Resumed::find(&store, project, asked.as_deref())).transpose()?;
    let params = resumed.as_ref().map_or(options.params, |resumed| resumed.params.clone());
    let (session, notes) = prepare(project, params, store, &plan, options.dry_run, report).await?;
    let (id, record) = begin_record(&session.store, project, options.dry_run)?;
    let wishes = Wishes {
        dry_run: options.dry_run,
        forced,
        resumed: resumed.as_ref().map(|resumed| resumed.keys.clone()).unwrap_or_default(),
    };
    let machine = machine(options.jobs);
    let scheduler = Scheduler::new(plan.specs(chosen.as_ref()), machine, options.keep_going || options.dry_run);
    let session = Arc::new(session);
    let mut driver = Driver::new(session.clone(), &plan, scheduler, wishes, record, id.clone(), report, stop);
    driver.emit(Event::RunStarted {
        format: FORMAT,
        run: id.clone(),
        pipeline: project.name.clone(),
        file: project.file_in_project(),
        profile: project.program.profile.clone(),
        params: session.params.clone(),
        steps: plan.steps.iter().map(|step| step.id.clone()).collect(),
        resumed: resumed.map(|resumed| resumed.run),
    });
    notes.into_iter().for_each(|event| driver.emit(event));
    warn_of_large_steps(&plan, machine).into_iter().for_each(|event| driver.emit(event));
    let (outcome, counts) = driver.drive().await;
    let mut results = Vec::new();
    if !options.dry_run {
        let (published, warnings) = publish::publish(&session, &driver.made());
        warnings.into_iter().for_each(|text| driver.emit(Event::Warned { text }));
        for (name, path) in &published {
            let shown = path.strip_prefix(&project.root).unwrap_or(path).display().to_string();
            driver.emit(Event::Published { name: name.clone(), path: shown });
        }
        results = published;
    }
    session.save_memo();
    driver.emit(Event::RunFinished { outcome, took_ms: began.elapsed().as_millis() as u64, counts });
    Ok(Ran { run: id, outcome, counts, failures: std::mem::take(&mut driver.failures), results })
}

/// A new run id and its record; a dry run leaves none.
fn begin_record(store: &Store, project: &Project, dry_run: bool) -> Result<(String, Option<RunRecord>), RunError> {
    let id = |round: u64| crate::store::new_run_id(now_ms(), u64::from(std::process::id()) << 8 | round);
    if dry_run {
        return Ok((id(0), None));
    }
    let meta = json!({"pipeline": project.name, "file": project.file_in_project()});
    let mut round = 0;
    loop {
        let id = id(round);
        match RunRecord::create(store, &id, &meta) {
            Ok(record) => return Ok((id, Some(record))),
            // Two runs of one millisecond may get the same id; the folder decides whose it is.
            Err(_) if round < 8 => round += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A session whose lock pins everything, and what was done for it.
async fn prepare(
    project: &Project,
    params: Map<String, Json>,
    store: Store,
    plan: &Plan,
    dry_run: bool,
    report: &mut dyn Report,
) -> Result<(Session, Vec<Event>), RunError> {
    let cache = Cache::of_user().map_err(RunError::Prepare)?;
    let platform = Platform::current().map_err(RunError::Prepare)?;
    let mut lock = Lockfile::of(&project.file)?;
    let mut notes = Vec::new();
    let (say, mut said) = tokio::sync::mpsc::channel(256);
    // Nobody reads the tools' own words here; what they come to is told as an event.
    let listener = tokio::spawn(async move { while said.recv().await.is_some() {} });
    let locked = session::complete_lock(&mut lock, plan, project, &cache, platform, &say, |what| {
        let event = Event::Preparing { what };
        report.event(&Stamped { at: now_ms(), event });
    })
    .await;
    drop(say);
    let _ = listener.await;
    locked.map_err(RunError::Prepare)?;
    let interpreters = session::interpreters(plan, &cache).await.map_err(RunError::Prepare)?;
    if !dry_run && lock.save()? {
        notes.push(Event::Preparing { what: format!("wrote {}", project.file.with_extension("lock").display()) });
    }
    Ok((Session::new(project.clone(), params, store, cache, platform, lock, interpreters), notes))
}

/// The steps that take part, where not all do, and those that run although their result is there.
fn choose(plan: &Plan, options: &Options) -> Result<(Option<BTreeSet<NodeId>>, BTreeSet<NodeId>), RunError> {
    let only = find_all(plan, &options.only)?;
    let mut forced: BTreeSet<NodeId> = find_all(plan, &options.force)?.into_iter().collect();
    forced.extend(plan.with_dependents(&find_all(plan, &options.from)?));
    let chosen = (!only.is_empty()).then(|| plan.with_ancestors(&only));
    Ok((chosen, forced))
}

fn find_all(plan: &Plan, names: &[String]) -> Result<Vec<NodeId>, RunError> {
    let find = |name: &String| {
        plan.find(name).ok_or_else(|| RunError::UnknownStep {
            name: name.clone(),
            hint: did_you_mean(name, plan.steps.iter().map(|step| step.id.as_str())),
        })
    };
    names.iter().map(find).collect()
}

/// What this machine has.
fn machine(jobs: Option<usize>) -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = memory_bytes().unwrap_or(u64::MAX);
    let has = Need { cpu: cores as u64 * 1000, memory, gpu: gpus() };
    Machine { has, jobs: jobs.unwrap_or(cores).max(1) }
}

/// Memory of the machine, from `/proc/meminfo`; `None` where there is none to ask.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// NVIDIA processors that the driver shows.
fn gpus() -> u64 {
    std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |entries| entries.count() as u64)
}

fn warn_of_large_steps(plan: &Plan, machine: Machine) -> Vec<Event> {
    let specs = plan.specs(None);
    let large = specs.iter().zip(&plan.steps).filter(|(spec, _)| {
        spec.need.cpu > machine.has.cpu || spec.need.memory > machine.has.memory || spec.need.gpu > machine.has.gpu
    });
    large
        .map(|(_, step)| Event::Warned {
            text: format!("step `{}` asks for more than this machine has: it runs alone, with what there is", step.id),
        })
        .collect()
}

/// A run that is taken up.
struct Resumed {
    run: String,
    params: Map<String, Json>,
    profile: Option<String>,
    keys: BTreeMap<String, Digest>,
}

impl Resumed {
    fn find(store: &Store, project: &Project, asked: Option<&str>) -> Result<Self, RunError> {
        let runs = match asked {
            Some(name) => vec![store.resolve(name).map_err(|error| RunError::NothingToResume(error.to_string()))?],
            None => store.runs()?.into_iter().map(|run| run.id).collect(),
        };
        let mut why = format!("there is no earlier run of `{}` here", project.name);
        for run in runs {
            let events = read_events(store, &run);
            let Some(resumed) = Self::of(&run, &events, project) else { continue };
            if store.is_live(&run) {
                why = format!("run {run} is still running");
            } else if asked.is_none() && succeeded(&events) {
                why = format!("run {run} has succeeded");
            } else {
                return resumed.of_profile(project);
            }
            break;
        }
        Err(RunError::NothingToResume(why))
    }

    fn of_profile(self, project: &Project) -> Result<Self, RunError> {
        if self.profile == project.program.profile {
            return Ok(self);
        }
        Err(RunError::OtherProfile { run: self.run, profile: self.profile })
    }

    fn of(run: &str, events: &[Event], project: &Project) -> Option<Self> {
        let (params, profile) = events.iter().find_map(|event| match event {
            Event::RunStarted { pipeline, params, profile, .. } if *pipeline == project.name => {
                Some((params.clone(), profile.clone()))
            }
            _ => None,
        })?;
        let keys = events.iter().filter_map(|event| match event {
            Event::Finished { step, key, .. } | Event::Cached { step, key, .. } => Some((step.clone(), *key)),
            _ => None,
        });
        Some(Self { run: run.to_owned(), params, profile, keys: keys.collect() })
    }
}

fn succeeded(events: &[Event]) -> bool {
    matches!(events.last(), Some(Event::RunFinished { outcome: RunOutcome::Succeeded, .. }))
}

/// The events of a recorded run; lines that this flowrun does not know are skipped.
pub fn read_events(store: &Store, run: &str) -> Vec<Event> {
    let lines = store.events(run).unwrap_or_default();
    lines.iter().filter_map(|line| flowrun_core::stored::record::event(line)).map(|stamped| stamped.event).collect()
}
