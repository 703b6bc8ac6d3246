//! One attempt of one step: a room, the work done in it, its outputs taken into the store and its result kept.
//!
//! All of it happens on one thread, which may block: most steps are light, and to hand one from thread to thread costs as much as its
//! work. The limit of time is wrapped around here, but for a `uses` step, which [`super::plugin`] makes, limit and all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowrun_core::digest::Digest;
use flowrun_core::key::{Content, Job, Manifest, Work};
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plan::Planned;
use serde_json::{Map, Value as Json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::look::{Origin, StepResult, store_failure};
use super::room::{Room, Taken};
use super::session::Session;
use super::{detector, plugin, shard, shell};
use crate::process;
use crate::store::{Sandbox, StoredEntry, StoredOutput};
use crate::wasm::{self, Ear};

/// An attempt to be made.
pub(crate) struct Attempt {
    pub(crate) run: String,
    pub(crate) label: String,
    pub(crate) number: u32,
    pub(crate) planned: Arc<Planned>,
    pub(crate) job: Arc<Job>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) key: Digest,
    /// What its result is stored with; nothing where it is not to be stored.
    pub(crate) manifest: Option<Arc<Manifest>>,
    /// Asked first, where it may block, whether it is to begin at all.
    pub(crate) gate: Option<Gate>,
}

/// Says whether an attempt is to begin.
pub(crate) type Gate = Box<dyn FnOnce() -> bool + Send + Sync>;

impl Attempt {
    /// When it began; nothing where it is not to begin. May block.
    pub(super) fn begin(&mut self) -> Option<Instant> {
        let begins = self.gate.take().is_none_or(|gate| gate());
        begins.then(Instant::now)
    }

    /// The name of its folder.
    pub(super) fn slug(&self) -> String {
        format!("{}.{}", self.label, self.number)
    }
}

/// What the work of a step gave, beside its outputs.
#[derive(Debug, Default)]
pub(crate) struct Worked {
    /// Its values, declared or not.
    pub(crate) values: Map<String, Json>,
    /// What a person should hear although it ended well.
    pub(crate) notes: Vec<String>,
}

impl From<Map<String, Json>> for Worked {
    fn from(values: Map<String, Json>) -> Self {
        Self { values, notes: Vec::new() }
    }
}

/// What an attempt came to.
pub(crate) struct Made {
    pub(crate) result: StepResult,
    /// What a person should hear of it: files that it left undeclared; that its result could not be kept.
    pub(crate) warnings: Vec<String>,
    /// Milliseconds that it took, without keeping its result.
    pub(crate) took_ms: u64,
}

/// Makes the attempt, and keeps its result; nothing where it was not to begin. Dropping the future kills what runs.
pub(crate) async fn attempt(
    session: Arc<Session>,
    attempt: Attempt,
    say: Sender<Say>,
    stop: CancellationToken,
) -> Result<Option<Made>, Failure> {
    let (at, kill) = (session.clone(), CancellationToken::new());
    let _dropped = kill.clone().drop_guard();
    session.guests.run(move || attempt_here(&at, attempt, &wasm::ear(say), &stop, &kill)).await
}

/// The same on this thread, which is one of the session's. `stop` ends it kindly, `kill` at once.
pub(crate) fn attempt_here(
    session: &Arc<Session>,
    attempt: Attempt,
    say: &Ear,
    stop: &CancellationToken,
    kill: &CancellationToken,
) -> Result<Option<Made>, Failure> {
    if matches!(attempt.job.work, Work::Plugin { .. }) {
        return plugin::attempt(session, attempt, say, stop);
    }
    let limit = attempt.planned.timeout();
    let timer = Timer::start(limit, stop);
    let made = within_folder(session, attempt, say, Ends { stop: &timer.token, kill });
    match (made, limit) {
        // The work itself answers once everything it started is gone.
        (Err(_), Some(limit)) if timer.token.is_cancelled() && !stop.is_cancelled() => Err(too_slow(limit)),
        (made, _) => made,
    }
}

/// By what an attempt is ended before its time.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    /// Kindly.
    pub(super) stop: &'a CancellationToken,
    /// At once.
    pub(super) kill: &'a CancellationToken,
}

/// A stop that also comes when time is up.
struct Timer {
    token: CancellationToken,
    ticking: Option<JoinHandle<()>>,
}

impl Timer {
    fn start(limit: Option<Duration>, stop: &CancellationToken) -> Self {
        let token = stop.child_token();
        let ends = token.clone();
        let ticking = limit.map(|limit| {
            Handle::current().spawn(async move {
                tokio::time::sleep(limit).await;
                ends.cancel();
            })
        });
        Self { token, ticking }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.ticking.iter().for_each(JoinHandle::abort);
    }
}

/// Waits on this thread for what is done elsewhere; what is said of it meanwhile goes to the ear.
pub(super) fn waited<T>(say: &Ear, work: impl AsyncFnOnce(Sender<Say>) -> T) -> T {
    let (tell, mut told) = mpsc::channel(256);
    let hear = async {
        while let Some(mut line) = told.recv().await {
            // The ear of a driver that is behind has room again soon.
            while let Some(back) = say(line) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                line = back;
            }
        }
    };
    Handle::current().block_on(async { tokio::join!(work(tell), hear).0 })
}

pub(super) fn too_slow(limit: Duration) -> Failure {
    Failure::new(FailureKind::Timeout, format!("ran past its timeout of {limit:?}"))
        .hint("raise `timeout:` if it needs longer")
}

fn within_folder(
    session: &Arc<Session>,
    mut attempt: Attempt,
    say: &Ear,
    ends: Ends<'_>,
) -> Result<Option<Made>, Failure> {
    let Some(began) = attempt.begin() else { return Ok(None) };
    let room = Room::new(session.store.step_folder(&attempt.run, &attempt.slug()).map_err(store_failure)?);
    let made = match &attempt.job.work {
        Work::Gather { .. } => gathered(session, &attempt, &room),
        _ => in_room(session, &attempt, &room, say, ends),
    };
    room.leave(session, &attempt.job);
    made.map(|made| Some(kept(session, &attempt, made, began)))
}

/// The parts of a divided step put together: nothing of anybody else's runs.
fn gathered(session: &Session, attempt: &Attempt, room: &Room) -> Result<Made, Failure> {
    let Work::Gather { parts, outputs, values } = &attempt.job.work else { return Err(bug("not a gathering")) };
    let result = shard::gather(&session.store, room.root(), &attempt.job, parts, outputs, values)?;
    Ok(Made { result, warnings: Vec::new(), took_ms: 0 })
}

fn in_room(session: &Arc<Session>, attempt: &Attempt, room: &Room, say: &Ear, ends: Ends<'_>) -> Result<Made, Failure> {
    let pinned = pinned(session, &attempt.job, say)?;
    room.lay(session, &attempt.job, &attempt.origins, &pinned)?;
    let worked = work(session, attempt, room, say, ends)?;
    if ends.stop.is_cancelled() {
        return Err(Failure::new(FailureKind::Interrupted, "interrupted"));
    }
    made(attempt, room.take(session, &attempt.job)?, worked)
}

/// What the work and its outputs come to.
pub(super) fn made(attempt: &Attempt, taken: Taken, worked: Worked) -> Result<Made, Failure> {
    let Worked { values, notes } = worked;
    let undeclared = |strays: &Vec<String>| {
        format!(
            "`{}` left what it does not declare as outputs, and it was thrown away: {}",
            attempt.label,
            strays.join(", ")
        )
    };
    let told = notes.into_iter().map(|note| format!("`{}`: {note}", attempt.label));
    let strays = Some(&taken.strays).filter(|strays| !strays.is_empty()).map(undeclared);
    let warnings = told.chain(strays).collect();
    let values = declared(values, &attempt.job.values)?;
    Ok(Made { result: StepResult { outputs: taken.outputs, values }, warnings, took_ms: 0 })
}

/// Keeps what was made, where it is to be kept, and says how long it took to make.
pub(super) fn kept(session: &Session, attempt: &Attempt, mut made: Made, began: Instant) -> Made {
    made.took_ms = began.elapsed().as_millis() as u64;
    let Some(manifest) = &attempt.manifest else { return made };
    let stored = |(name, output): (&String, &_)| (name.clone(), StoredOutput::of(output));
    let entry = StoredEntry {
        key: attempt.key,
        manifest: serde_json::to_value(&**manifest).unwrap_or_default(),
        outputs: made.result.outputs.iter().map(stored).collect(),
        values: made.result.values.clone(),
        run: attempt.run.clone(),
        took_ms: made.took_ms,
        created_unix_ms: super::now_ms(),
        sandbox: sandbox_of(&attempt.job.work),
    };
    if let Err(error) = session.store.save_entry(&entry, &session.tag(&attempt.label)) {
        made.warnings.push(format!("the result of `{}` is not in the cache: {error}", attempt.label));
    }
    made
}

/// Downloads among the inputs, by input name.
pub(super) fn pinned(session: &Session, job: &Job, say: &Ear) -> Result<BTreeMap<String, PathBuf>, Failure> {
    if !job.inputs.values().any(|input| matches!(input.content, Content::Pinned(_))) {
        return Ok(BTreeMap::new());
    }
    waited(say, async |tell| {
        let mut found = BTreeMap::new();
        for (name, input) in &job.inputs {
            if let Content::Pinned(pin) = &input.content {
                found.insert(name.clone(), session.download(pin, &tell).await?);
            }
        }
        Ok(found)
    })
}

fn work(session: &Arc<Session>, attempt: &Attempt, room: &Room, say: &Ear, ends: Ends<'_>) -> Result<Worked, Failure> {
    match &attempt.job.work {
        Work::Plugin { .. } => Err(bug("a plugin away from its thread")),
        Work::Process { .. } => shell::run(session, attempt, room, say, ends),
        Work::Onnx { settings, .. } => waited(say, async |tell| {
            let run = detector::run(session, attempt, settings, room, &tell, ends.stop);
            tokio::select! {
                values = run => values.map(Worked::from),
                () = ends.kill.cancelled() => Err(Failure::new(FailureKind::Interrupted, "killed")),
            }
        }),
        // Done before there was a room: see `gathered`.
        Work::Gather { .. } => Ok(Worked::default()),
        Work::Gate { message } => Err(Failure::new(FailureKind::Step, message.clone())),
    }
}

fn bug(problem: &str) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{problem}: a bug of flowrun's"))
}

/// The values that were promised, and no others.
fn declared(mut values: Map<String, Json>, names: &[String]) -> Result<Map<String, Json>, Failure> {
    let mut kept = Map::new();
    for name in names {
        let value = values.remove(name).ok_or_else(|| {
            Failure::new(FailureKind::Output, format!("value `{name}` was declared but not given"))
                .hint("a `run` step writes one JSON object to the file that `$FLOWRUN_VALUES` names")
        })?;
        kept.insert(name.clone(), value);
    }
    Ok(kept)
}

/// What kept a step from seeing more than its key holds, for its entry.
fn sandbox_of(work: &Work) -> Sandbox {
    match work {
        Work::Process { sandbox: false, .. } => Sandbox::Off,
        Work::Process { .. } | Work::Onnx { .. } if process::sandbox_missing().is_some() => Sandbox::Unavailable,
        Work::Process { .. } | Work::Onnx { .. } => Sandbox::Landlock,
        Work::Plugin { .. } | Work::Gather { .. } | Work::Gate { .. } => Sandbox::None,
    }
}
