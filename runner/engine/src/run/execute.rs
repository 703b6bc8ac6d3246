//! One attempt of one step: a room, the work done in it, its outputs taken into the store and its result kept.
//!
//! The limit of time is wrapped around here. A `uses` step is made by [`super::plugin`], on one thread, limit and all; what others do goes from
//! one thread that may block to the next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowrun_core::digest::Digest;
use flowrun_core::key::{Content, Job, Manifest, Work};
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plan::Planned;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::look::{Origin, StepResult, store_failure};
use super::room::{Room, Taken, blocking};
use super::session::Session;
use super::{plugin, shard, shell};
use crate::store::{Sandbox, StoredEntry, StoredOutput};
use crate::{process, wasm};

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

/// Makes the attempt, and keeps its result; nothing where it was not to begin. Dropping the future stops nothing: cancel `stop`.
pub(crate) async fn attempt(
    session: Arc<Session>,
    attempt: Attempt,
    say: Sender<Say>,
    stop: CancellationToken,
) -> Result<Option<Made>, Failure> {
    if matches!(attempt.job.work, Work::Plugin { .. }) {
        let (at, ear) = (session.clone(), wasm::ear(say));
        return session.guests.run(move || plugin::attempt(&at, attempt, &ear, &stop)).await;
    }
    let limit = attempt.planned.timeout();
    let timer = stop.child_token();
    let work = within_folder(session, attempt, say, timer.clone());
    let Some(limit) = limit else { return work.await };
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result,
        () = tokio::time::sleep(limit) => {
            timer.cancel();
            // The work itself answers once everything it started is gone.
            match (work.await, stop.is_cancelled()) {
                // It was whole, and kept, at that very moment.
                (Ok(made), _) => Ok(made),
                (Err(_), true) => Err(Failure::new(FailureKind::Interrupted, "interrupted")),
                (Err(_), false) => Err(too_slow(limit)),
            }
        }
    }
}

pub(super) fn too_slow(limit: Duration) -> Failure {
    Failure::new(FailureKind::Timeout, format!("ran past its timeout of {limit:?}"))
        .hint("raise `timeout:` if it needs longer")
}

async fn within_folder(
    session: Arc<Session>,
    mut attempt: Attempt,
    say: Sender<Say>,
    stop: CancellationToken,
) -> Result<Option<Made>, Failure> {
    let (attempt, began) = blocking(move || Ok((attempt.begin(), attempt))).await.map(|(began, one)| (one, began))?;
    let Some(began) = began else { return Ok(None) };
    let room = Room::new(session.store.step_folder(&attempt.run, &attempt.slug()).map_err(store_failure)?);
    let result = match attempt.job.work {
        Work::Gather { .. } => gathered(&session, &attempt, &room).await,
        _ => in_room(&session, &attempt, &room, &say, &stop).await,
    };
    blocking(move || {
        let _ = session.store.discard(room.root());
        result.map(|made| Some(kept(&session, &attempt, made, began)))
    })
    .await
}

/// The parts of a divided step put together: nothing of anybody else's runs.
async fn gathered(session: &Arc<Session>, attempt: &Attempt, room: &Room) -> Result<Made, Failure> {
    let (store, job, scratch) = (session.store.clone(), attempt.job.clone(), room.root().to_owned());
    let result = blocking(move || {
        let Work::Gather { parts, outputs, values } = &job.work else { return Ok(StepResult::default()) };
        shard::gather(&store, &scratch, &job, parts, outputs, values)
    });
    Ok(Made { result: result.await?, warnings: Vec::new(), took_ms: 0 })
}

async fn in_room(
    session: &Arc<Session>,
    attempt: &Attempt,
    room: &Room,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Result<Made, Failure> {
    let pinned = fetch_pinned(session, &attempt.job, say).await?;
    let (at, job, origins, place) = (session.clone(), attempt.job.clone(), attempt.origins.clone(), room.clone());
    blocking(move || place.lay(&at, &job, &origins, &pinned)).await?;
    let Worked { values, notes } = work(session, attempt, room, say, stop).await?;
    if stop.is_cancelled() {
        return Err(Failure::new(FailureKind::Interrupted, "interrupted"));
    }
    let (at, job, place) = (session.clone(), attempt.job.clone(), room.clone());
    let taken = blocking(move || place.take(&at, &job)).await?;
    made(attempt, taken, Worked { values, notes })
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
pub(super) async fn fetch_pinned(
    session: &Session,
    job: &Job,
    say: &Sender<Say>,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut found = BTreeMap::new();
    for (name, input) in &job.inputs {
        if let Content::Pinned(pin) = &input.content {
            found.insert(name.clone(), session.download(pin, say).await?);
        }
    }
    Ok(found)
}

async fn work(
    session: &Arc<Session>,
    attempt: &Attempt,
    room: &Room,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Result<Worked, Failure> {
    match &attempt.job.work {
        Work::Plugin { .. } => {
            Err(Failure::new(FailureKind::Infrastructure, "a plugin away from its thread: a bug of flowrun's"))
        }
        Work::Process { .. } => shell::run(session, attempt, room, say, stop).await,
        Work::Onnx { settings, .. } => {
            super::detector::run(session, attempt, settings, room, say, stop).await.map(Worked::from)
        }
        // Done before there was a room: see `gathered`.
        Work::Gather { .. } => Ok(Worked::default()),
        Work::Gate { message } => Err(Failure::new(FailureKind::Step, message.clone())),
    }
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
