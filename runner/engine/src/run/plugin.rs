//! A `uses` step: what its component is given, and what it may use.

use std::sync::Arc;

use flowrun_core::digest::Digest;
use flowrun_core::key::{Work, canonical};
use flowrun_core::lang::units;
use flowrun_core::lang::written;
use flowrun_core::outcome::{Failure, Say};
use flowrun_core::plan::{input_path, output_path};
use serde_json::Value as Json;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::execute::{Attempt, Worked};
use super::room::Room;
use super::session::Session;
use super::shell;
use crate::wasm;

/// Runs the step's component.
pub(crate) async fn run(
    session: &Arc<Session>,
    attempt: &Attempt,
    room: &Room,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Result<Worked, Failure> {
    let Work::Plugin { name, config, allow, env, secrets, .. } = &attempt.job.work else {
        return Ok(Worked::default());
    };
    let mut granted = wasm::Granted { allow: allow.clone(), env: env.clone(), secrets: Vec::new() };
    for (name, value) in shell::resolved(secrets)? {
        granted.secrets.push(value.clone());
        granted.env.insert(name, value);
    }
    let plugin = session.plugin(name)?;
    let inputs = attempt.job.inputs.iter().map(|(name, input)| wasm::Place::new(name, input_path(name, input)));
    let outputs = attempt.job.outputs.iter().map(|(name, kind)| wasm::Place::new(name, output_path(name, kind)));
    let job = wasm::Job {
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
    };
    session.wasm()?.run(&job, say, stop).await.map(Worked::from)
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
