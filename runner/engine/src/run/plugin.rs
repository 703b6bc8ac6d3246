//! A `uses` step, all of it on the thread of its guest: claimed, laid out, run, taken in, stored. A light step's own work takes less time
//! than to hand it from thread to thread.

use std::sync::Arc;

use flowrun_core::digest::Digest;
use flowrun_core::key::{Work, canonical};
use flowrun_core::lang::{units, written};
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::plan::{input_path, output_path};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::execute::{self, Attempt, Made, Worked};
use super::look::store_failure;
use super::room::Room;
use super::session::Session;
use super::shell;
use crate::wasm::{self, Ear};

/// Makes the attempt; blocks. Nothing where it was not to begin.
pub(super) fn attempt(
    session: &Arc<Session>,
    mut attempt: Attempt,
    say: &Ear,
    stop: &CancellationToken,
) -> Result<Option<Made>, Failure> {
    let Some(began) = attempt.begin() else { return Ok(None) };
    let (timer, limit) = (stop.child_token(), attempt.planned.timeout());
    let ends = limit.and_then(|limit| began.checked_add(limit)).map(|ends| (ends, timer.clone()));
    let _ticking = session.wasm()?.ticking(ends);
    let room = Room::new(session.store.step_place(&attempt.run, &attempt.slug()).map_err(store_failure)?);
    let made = in_room(session, &attempt, &room, say, &timer);
    // What cannot be removed now will be when the run is over.
    let _ = session.store.discard(room.root());
    match (made, limit) {
        (Ok(made), _) => Ok(Some(execute::kept(session, &attempt, made, began))),
        (Err(_), Some(limit)) if timer.is_cancelled() && !stop.is_cancelled() => Err(execute::too_slow(limit)),
        (Err(failure), _) => Err(failure),
    }
}

fn in_room(
    session: &Arc<Session>,
    attempt: &Attempt,
    room: &Room,
    say: &Ear,
    stop: &CancellationToken,
) -> Result<Made, Failure> {
    let pinned = execute::pinned(session, &attempt.job, say)?;
    room.lay(session, &attempt.job, &attempt.origins, &pinned)?;
    let job = job(session, attempt, room)?;
    let values = session.wasm()?.run_here(&job, say, stop)?;
    if stop.is_cancelled() {
        return Err(Failure::new(FailureKind::Interrupted, "interrupted"));
    }
    execute::made(attempt, room.take(session, &attempt.job)?, Worked::from(values))
}

/// What its component is given, and what it may use.
fn job(session: &Session, attempt: &Attempt, room: &Room) -> Result<wasm::Job, Failure> {
    let Work::Plugin { name, config, allow, env, secrets, .. } = &attempt.job.work else {
        return Err(Failure::new(FailureKind::Infrastructure, "not a plugin: a bug of flowrun's"));
    };
    let mut granted = wasm::Granted { allow: allow.clone(), env: env.clone(), secrets: Vec::new() };
    for (name, value) in shell::resolved(secrets)? {
        granted.secrets.push(value.clone());
        granted.env.insert(name, value);
    }
    let plugin = session.plugin(name)?;
    let inputs = attempt.job.inputs.iter().map(|(name, input)| wasm::Place::new(name, input_path(name, input)));
    let outputs = attempt.job.outputs.iter().map(|(name, kind)| wasm::Place::new(name, output_path(name, kind)));
    Ok(wasm::Job {
        component: plugin.file,
        digest: plugin.digest,
        config: canonical(&Json::Object(config.clone())),
        inputs: by_name(inputs),
        outputs: by_name(outputs),
        part: attempt.job.part.map(|(index, count)| wasm::Part { index, count }),
        dir: room.work(),
        granted,
        limits: limits(attempt.planned.step.limits.as_ref()),
        seed: seed_of(&attempt.key),
    })
}

/// In the order of names: the one they were written in is in no key.
fn by_name(places: impl Iterator<Item = wasm::Place>) -> Vec<wasm::Place> {
    let mut places: Vec<_> = places.collect();
    places.sort_by(|a, b| a.name.cmp(&b.name));
    places
}

/// Randomness of a plugin is a function of its key, so that its outputs are.
fn seed_of(key: &Digest) -> u64 {
    key.as_bytes().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// The limits as written, and what is usual for the others. Sizes were checked with the file.
fn limits(written: Option<&written::Limits>) -> wasm::Limits {
    let usual = wasm::Limits::default();
    let Some(written) = written else { return usual };
    let size = |text: &Option<String>| text.as_deref().and_then(units::size);
    let memory = size(&written.memory).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    wasm::Limits {
        memory: memory.unwrap_or(usual.memory),
        output: size(&written.output).unwrap_or(usual.output),
        files: written.files.unwrap_or(usual.files),
        lines: written.log.unwrap_or(usual.lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_written_and_the_usual_ones() {
        let written = |json: &str| limits(Some(&serde_json::from_str(json).expect("limits")));
        let usual = wasm::Limits::default();
        assert_eq!(limits(None), usual);
        assert_eq!(written("{}"), usual);
        assert_eq!(written(r#"{"memory": "1GiB", "log": 0}"#), wasm::Limits { memory: 1 << 30, lines: 0, ..usual });
        assert_eq!(written(r#"{"output": "5MB", "files": 7}"#), wasm::Limits { output: 5_000_000, files: 7, ..usual });
    }
}
