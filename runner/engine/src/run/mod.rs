//! A run: from a checked project and the wishes of a person to results, told as events.
//!
//! What happens, in order: the store is opened and dead runs' leftovers swept; params are settled; the lock is completed where it
//! does not pin something yet; the plan is driven ([`driver`]); results are put in their place; what was made is written out to the disk.
//! Knows nothing of terminals: a [`Report`] hears everything.

mod cuda;
mod detector;
mod driver;
mod execute;
mod explain;
mod fetch;
mod look;
mod plugin;
mod prepare;
mod publish;
mod refused;
mod repeat;
mod resume;
mod room;
mod session;
mod shard;
mod shell;
mod stop;
mod supply;
mod toolset;
mod verify;
mod why;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use flowrun_core::event::{Counts, Event, FORMAT, RunOutcome, Stamped};
use flowrun_core::lang::finding::did_you_mean;
use flowrun_core::lang::written::{Step, Switch};
use flowrun_core::outcome::Failure;
use flowrun_core::plan::Plan;
use flowrun_core::schedule::{Machine, Need, NodeId, Scheduler};
use serde_json::{Map, Value as Json, json};

pub use explain::{Explanation, explain};
pub use fetch::fetch;
pub use repeat::{Again, Asked, Words};
pub use resume::Refusal;
pub use stop::Stop;
pub use verify::{OutputDiffers, Place, Told, Verdict, Verification, Verified, verify};

use crate::lockfile::LockError;
use crate::locking::Unlockable;
use crate::process;
use crate::project::{Project, REMEDY};
use crate::store::{RunRecord, Store, StoreError};
use driver::{Driver, Wishes};
use prepare::{Locking, prepare};
use resume::Resumed;
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
    /// Nothing is used that the lock does not hold.
    pub locked: bool,
    /// How it was asked for, where it may leave what the next run can repeat.
    pub asked: Option<Asked>,
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
    /// The same, for what the pipeline asks for.
    #[error(transparent)]
    Unlockable(#[from] Box<Unlockable>),
    /// The lock does not hold what the pipeline asks for, and nothing else may be used.
    #[error("{}", .0.join("\n"))]
    Drift(Vec<String>),
    /// The run cannot be taken up.
    #[error(transparent)]
    Resume(#[from] Refusal),
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
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Prepare(failure) => failure.hint.clone(),
            Self::Unlockable(unlockable) => unlockable.failure.hint.clone(),
            Self::Lock(error) => error.hint().map(str::to_owned),
            Self::Drift(_) => Some(REMEDY.to_owned()),
            Self::UnknownStep { hint, .. } => hint.clone(),
            Self::Resume(refusal) => Some(refusal.hint()),
            _ => None,
        }
    }
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
    let (began, at) = (Instant::now(), now_ms());
    let store = Store::open(&project.root)?;
    let plan = Plan::new(&project.program);
    let (chosen, forced) = choose(&plan, &options)?;
    let resumed = options.resume.as_ref().map(|asked| Resumed::find(&store, project, asked.as_deref())).transpose()?;
    let params = resumed.as_ref().map_or(options.params, |resumed| resumed.params.clone());
    let lock = if options.locked { Locking::Held } else { Locking::Completed { written: !options.dry_run } };
    let (session, notes) = prepare(project, params, store, &plan, lock, report).await?;
    let (id, record) = begin_record(&session.store, project, options.dry_run)?;
    let carried = match (&record, &resumed) {
        (Some(record), Some(resumed)) => record.carry(&resumed.lines()),
        _ => Ok(()),
    };
    let resumed_run = resumed.as_ref().map(|resumed| resumed.run.clone());
    let wishes = Wishes { dry_run: options.dry_run, recalled: false, keep_going: options.keep_going, forced, resumed };
    let machine = machine(options.jobs);
    let scheduler = Scheduler::new(plan.specs(chosen.as_ref()), machine, options.keep_going || options.dry_run);
    let session = Arc::new(session);
    let mut driver = Driver::new(session.clone(), &plan, scheduler, wishes, record, id.clone(), report, stop.clone());
    driver.emit(Event::RunStarted {
        format: FORMAT,
        run: id.clone(),
        pipeline: project.name.clone(),
        file: project.file_in_project(),
        profile: project.program.profile.clone(),
        params: session.params.clone(),
        steps: plan.steps.iter().map(|step| step.id.clone()).collect(),
        resumed: resumed_run,
    });
    if let Err(error) = carried {
        let text = format!("if this run is interrupted, it cannot be taken up whole: {error}");
        driver.emit(Event::Warned { text });
    }
    notes.into_iter().for_each(|event| driver.emit(event));
    warn_of_large_steps(&plan, machine).into_iter().for_each(|event| driver.emit(event));
    warn_of_no_sandbox(&plan, process::sandbox_missing()).into_iter().for_each(|event| driver.remark(event));
    let (outcome, counts) = driver.drive().await;
    let results = match options.dry_run || stop.is_forced() {
        true => Vec::new(),
        false => put_results(&mut driver, &session),
    };
    session.save_memo();
    if let Some(asked) = options.asked.filter(|_| outcome == RunOutcome::Succeeded) {
        driver.leave_repeat(&asked, at, counts);
    }
    if !stop.is_forced() {
        session.store.discard_run(&id);
    }
    if counts.ran > 0 {
        driver.settle().await;
    }
    driver.emit(Event::RunFinished { outcome, took_ms: began.elapsed().as_millis() as u64, counts });
    let failures = driver.leave();
    Ok(Ran { run: id, outcome, counts, failures, results })
}

/// Puts results where a person finds them, and tells of it.
fn put_results(driver: &mut Driver<'_>, session: &Session) -> Vec<(String, PathBuf)> {
    let (published, warnings) = publish::publish(session, &driver.made());
    warnings.into_iter().for_each(|text| driver.emit(Event::Warned { text }));
    for (name, path) in &published {
        let shown = path.strip_prefix(&session.project.root).unwrap_or(path).display().to_string();
        driver.emit(Event::Published { name: name.clone(), path: shown });
    }
    published
}

/// A new run id and its record; a dry run leaves none.
fn begin_record(store: &Store, project: &Project, dry_run: bool) -> Result<(String, Option<RunRecord>), RunError> {
    if dry_run {
        return Ok((new_id(0), None));
    }
    let meta = json!({"pipeline": project.name, "file": project.file_in_project()});
    let (id, record) = new_record(store, &meta)?;
    Ok((id, Some(record)))
}

fn new_record(store: &Store, meta: &Json) -> Result<(String, RunRecord), StoreError> {
    let mut round = 0;
    loop {
        let id = new_id(round);
        match RunRecord::create(store, &id, meta) {
            Ok(record) => return Ok((id, record)),
            // Two runs of one millisecond may get the same id; the folder decides whose it is.
            Err(error) if round < 8 && error.is_there_already() => round += 1,
            Err(error) => return Err(error),
        }
    }
}

fn new_id(round: u64) -> String {
    crate::store::new_run_id(now_ms(), u64::from(std::process::id()) << 8 | round)
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
    let large = plan.steps.iter().filter(|step| {
        let (need, has) = (step.need(), machine.has);
        need.cpu > has.cpu || need.memory > has.memory || need.gpu > has.gpu
    });
    large
        .map(|step| Event::Warned {
            text: format!("step `{}` asks for more than this machine has: it runs alone, with what there is", step.id),
        })
        .collect()
}

/// Once a run, where its steps count on a sandbox that is not there.
fn warn_of_no_sandbox(plan: &Plan, missing: Option<&str>) -> Option<Event> {
    let counts_on_it = |step: &Step| step.run.is_some() && step.sandbox != Some(Switch::Off);
    let why = missing.filter(|_| plan.steps.iter().any(|planned| counts_on_it(&planned.step)))?;
    let text = format!(
        "`run` steps have no sandbox here: {why}. They can read files that they do not declare, which no key holds: a \
         cached result may then be a stale one. Results that are made so are marked"
    );
    Some(Event::Warned { text })
}
