//! An `onnx` step: a child of flowrun itself that loads the locked ONNX Runtime, since a process can load only one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use flowrun_core::lang::written::Step;
use flowrun_core::outcome::{Failure, FailureKind, Say, Stream};
use flowrun_core::plan::{input_path, output_path};
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;

use super::cuda;
use super::execute::Attempt;
use super::room::Room;
use super::session::Session;
use crate::onnx::{self, OnnxJob};
use crate::{fetch, locking, process};

/// The hidden verb by which flowrun starts itself for this.
pub(crate) const CHILD: &str = "__onnx";

pub(crate) async fn run(
    session: &Session,
    attempt: &Attempt,
    settings: &Map<String, Json>,
    room: &Room,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Result<Map<String, Json>, Failure> {
    let job = job(session, attempt, settings, room, say).await?;
    let stdin = serde_json::to_vec(&job).map_err(|error| broken(&error.to_string()))?;
    let program = std::env::current_exe().map_err(|error| broken(&error.to_string()))?;
    let home = room.home().display().to_string();
    let command = process::Command {
        argv: vec![program.clone().into(), CHILD.into()],
        dir: room.work(),
        env: BTreeMap::from([("HOME".to_owned(), home), ("LANG".to_owned(), "C.UTF-8".to_owned())]),
        stdin: Some(stdin),
        sandbox: process::sandbox_missing().is_none().then(|| sandbox(&job, &program, room)),
        ..process::Command::default()
    };
    let (own, mut heard) = mpsc::channel(256);
    let onward = say.clone();
    let listener = tokio::spawn(async move {
        while let Some(say) = heard.recv().await {
            let _ = onward.send(understood(say)).await;
        }
    });
    let ran = process::run(&command, &own, stop).await;
    drop(own);
    let _ = listener.await;
    match (ran, job.ended()) {
        // Why it was stopped is known here; the child could not say.
        (Err(failure), _) if failure.kind != FailureKind::Step => Err(failure),
        (_, ended) => ended,
    }
}

/// A model is other people's data to a large parser: it sees no more than a script would.
fn sandbox(job: &OnnxJob, program: &Path, room: &Room) -> process::Sandbox {
    let real = std::fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    // The runtime loads its providers from beside it.
    let folders: BTreeSet<&Path> =
        [&job.library].into_iter().chain(&job.preload).filter_map(|file| file.parent()).collect();
    process::Sandbox {
        read: folders.into_iter().map(Into::into).chain([room.inputs()]).collect(),
        run: vec![real],
        write: vec![room.work(), room.home(), room.tmp()],
        gpu: job.settings.provider == onnx::Provider::Cuda,
    }
}

async fn job(
    session: &Session,
    attempt: &Attempt,
    settings: &Map<String, Json>,
    room: &Room,
    say: &Sender<Say>,
) -> Result<OnnxJob, Failure> {
    let (library, preload) = libraries(session, &attempt.planned.step, say).await?;
    let input = |name: &str| {
        attempt
            .job
            .inputs
            .get(name)
            .map(|input| room.root().join(input_path(name, input)))
            .ok_or_else(|| broken("an input is missing"))
    };
    let output = attempt.job.outputs.get("detections").ok_or_else(|| broken("an output is missing"))?;
    let settings: onnx::Settings = serde_json::from_value(Json::Object(settings.clone()))
        .map_err(|error| Failure::new(FailureKind::Step, format!("the settings under `onnx` do not fit: {error}")))?;
    let threads = attempt.planned.step.resources.as_ref().and_then(|resources| resources.cpu).unwrap_or(1.0);
    Ok(OnnxJob {
        library,
        preload,
        model: input("model")?,
        images: input("images")?,
        output: room.work().join(output_path("detections", output)),
        result: room.home().join("result.json"),
        settings,
        threads: (threads.ceil() as usize).max(1),
    })
}

/// ONNX Runtime and what is loaded before it. Nothing large is fetched for a machine that could not use it.
pub(super) async fn libraries(
    session: &Session,
    step: &Step,
    say: &Sender<Say>,
) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    if locking::is_on_cuda(step) {
        cuda::driver().await?;
    }
    brought(session, step, say).await
}

/// The same for whoever will run it, here or elsewhere.
pub(super) async fn brought(
    session: &Session,
    step: &Step,
    say: &Sender<Say>,
) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let wheels = session.runtime_pins(step)?;
    if locking::is_on_cuda(step) {
        return fetch::onnxruntime_cuda(&session.cache, &wheels, say).await;
    }
    let wheel = wheels.first().ok_or_else(|| broken("the runtime is not pinned"))?;
    let (library, _) = fetch::onnxruntime(&session.cache, &wheel.version, Some(wheel)).await?;
    Ok((library, Vec::new()))
}

fn understood(say: Say) -> Say {
    match &say {
        Say::Line { stream: Stream::Stdout, text } => onnx::parse_child_line(text).unwrap_or(say),
        _ => say,
    }
}

fn broken(problem: &str) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("cannot start ONNX Runtime: {problem}"))
}
