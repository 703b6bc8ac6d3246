//! One attempt of one step: a room, the work done in it, its outputs taken into the store.
//!
//! The limits of time and the end of the room are wrapped around here, in one place for every kind of step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flowrun_core::key::{Content, Job, Work};
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plan::Planned;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::look::{Origin, StepResult, store_failure};
use super::room::{Room, blocking};
use super::session::Session;
use super::{plugin, shard, shell};
use crate::process;
use crate::store::Sandbox;

/// An attempt to be made.
pub(crate) struct Attempt {
    pub(crate) run: String,
    pub(crate) label: String,
    pub(crate) number: u32,
    pub(crate) planned: Planned,
    pub(crate) job: Arc<Job>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) key: flowrun_core::digest::Digest,
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
    /// What a person should hear of it: files that it left undeclared.
    pub(crate) warnings: Vec<String>,
}

/// Makes the attempt. Dropping the future stops nothing: cancel `stop`.
pub(crate) async fn attempt(
    session: Arc<Session>,
    attempt: Attempt,
    say: Sender<Say>,
    stop: CancellationToken,
) -> Result<Made, Failure> {
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
            let _ = work.await;
            match stop.is_cancelled() {
                true => Err(Failure::new(FailureKind::Interrupted, "interrupted")),
                false => Err(too_slow(limit)),
            }
        }
    }
}

fn too_slow(limit: Duration) -> Failure {
    Failure::new(FailureKind::Timeout, format!("ran past its timeout of {limit:?}"))
        .hint("raise `timeout:` if it needs longer")
}

async fn within_folder(
    session: Arc<Session>,
    attempt: Attempt,
    say: Sender<Say>,
    stop: CancellationToken,
) -> Result<Made, Failure> {
    let slug = format!("{}.{}", attempt.label, attempt.number);
    let room = Room::new(session.store.step_folder(&attempt.run, &slug).map_err(store_failure)?);
    if let Work::Gather { .. } = attempt.job.work {
        return gathered(&session, &attempt, &room).await;
    }
    let result = in_room(&session, &attempt, &room, &say, &stop).await;
    let store = session.store.clone();
    let _ = tokio::task::spawn_blocking(move || store.discard(room.root())).await;
    result
}

/// The parts of a divided step put together: nothing of anybody else's runs.
async fn gathered(session: &Arc<Session>, attempt: &Attempt, room: &Room) -> Result<Made, Failure> {
    let (store, job, scratch) = (session.store.clone(), attempt.job.clone(), room.root().to_owned());
    let result = blocking(move || {
        let Work::Gather { parts, outputs, values } = &job.work else { return Ok(StepResult::default()) };
        let result = shard::gather(&store, &scratch, &job, parts, outputs, values);
        let _ = store.discard(&scratch);
        result
    });
    Ok(Made { result: result.await?, warnings: Vec::new() })
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
    Ok(Made { result: StepResult { outputs: taken.outputs, values }, warnings })
}

/// Downloads among the inputs, by input name.
async fn fetch_pinned(session: &Session, job: &Job, say: &Sender<Say>) -> Result<BTreeMap<String, PathBuf>, Failure> {
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
        Work::Plugin { .. } => plugin::run(session, attempt, room, say, stop).await,
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
pub(crate) fn sandbox_of(work: &Work) -> Sandbox {
    match work {
        Work::Process { sandbox: false, .. } => Sandbox::Off,
        Work::Process { .. } | Work::Onnx { .. } if process::sandbox_missing().is_some() => Sandbox::Unavailable,
        Work::Process { .. } | Work::Onnx { .. } => Sandbox::Landlock,
        Work::Plugin { .. } | Work::Gather { .. } | Work::Gate { .. } => Sandbox::None,
    }
}
