//! One attempt of one step: a private folder, its inputs laid in, the work done, its outputs taken into the store.
//!
//! ```text
//! tmp/RUN/LABEL.ATTEMPT/        the step's folder and its working directory
//!   in/NAME[/FILE]              inputs: hard links of the store's read-only files
//!   out/NAME | out/FILE         what it makes
//!   CODE…                       private copies of its code
//!   values.json                 what a process gives
//!   home/ tmp/                  its HOME and TMPDIR
//! ```
//! What a failed attempt left is thrown away with the folder: it was never in the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flowrun_core::artifact::Artifact;
use flowrun_core::event::Output;
use flowrun_core::key::{Content, Job, Work};
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plan::{Planned, input_path, output_path};
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::look::{StepResult, store_failure};
use super::session::Session;
use crate::store::{How, Take};
use crate::{process, python, wasm};

/// An attempt to be made.
pub(crate) struct Attempt {
    pub(crate) run: String,
    pub(crate) label: String,
    pub(crate) number: u32,
    pub(crate) planned: Planned,
    pub(crate) job: Arc<Job>,
    pub(crate) origins: Vec<(PathBuf, Artifact)>,
    pub(crate) key: flowrun_core::digest::Digest,
}

/// The largest `values.json`: values are metrics and decisions, and stay in memory and in every record.
const LARGEST_VALUES: u64 = 4 << 20;

/// Makes the attempt. Dropping the future stops nothing: cancel `stop`.
pub(crate) async fn attempt(
    session: Arc<Session>,
    attempt: Attempt,
    say: Sender<Say>,
    stop: CancellationToken,
) -> Result<StepResult, Failure> {
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
) -> Result<StepResult, Failure> {
    let slug = format!("{}.{}", attempt.label, attempt.number);
    let folder = session.store.step_folder(&attempt.run, &slug).map_err(store_failure)?;
    let result = in_folder(&session, &attempt, &folder, &say, &stop).await;
    let store = session.store.clone();
    let gone = folder.clone();
    let _ = tokio::task::spawn_blocking(move || store.discard(&gone)).await;
    result
}

async fn in_folder(
    session: &Arc<Session>,
    attempt: &Attempt,
    folder: &Path,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Result<StepResult, Failure> {
    let pinned = fetch_pinned(session, &attempt.job, say).await?;
    let laid = Laying {
        session: session.clone(),
        job: attempt.job.clone(),
        origins: attempt.origins.clone(),
        folder: folder.to_owned(),
    };
    blocking(move || laid.lay(&pinned)).await?;
    let values = work(session, attempt, folder, say, stop).await?;
    if stop.is_cancelled() {
        return Err(Failure::new(FailureKind::Interrupted, "interrupted"));
    }
    let taking = Taking { session: session.clone(), job: attempt.job.clone(), folder: folder.to_owned() };
    let (outputs, strays) = blocking(move || taking.take()).await?;
    if !strays.is_empty() {
        let _ = say.send(Say::log(format!("not declared as outputs, and thrown away: {}", strays.join(", ")))).await;
    }
    Ok(StepResult { outputs, values: declared(values, &attempt.job.values)? })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(FailureKind::Infrastructure, format!("a bug of flowrun's: {error}"))),
    }
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

struct Laying {
    session: Arc<Session>,
    job: Arc<Job>,
    origins: Vec<(PathBuf, Artifact)>,
    folder: PathBuf,
}

impl Laying {
    fn lay(&self, pinned: &BTreeMap<String, PathBuf>) -> Result<(), Failure> {
        self.session.ensure(&self.origins)?;
        for place in ["in", "out", "home", "tmp"] {
            make(&self.folder.join(place))?;
        }
        for (name, input) in &self.job.inputs {
            let place = self.folder.join(input_path(name, input));
            if let Some(parent) = place.parent() {
                make(parent)?;
            }
            match &input.content {
                Content::Known(artifact) => {
                    self.session.store.materialise(artifact, &place, How::Link).map_err(store_failure)?
                }
                Content::Pinned(_) => link_or_copy(&pinned[name], &place)?,
            }
        }
        for (name, _) in self.job.outputs.iter().filter(|(_, kind)| *kind == "dir") {
            make(&self.folder.join("out").join(name))?;
        }
        if let Work::Process { code, .. } = &self.job.work {
            for (name, artifact) in code {
                self.session.store.materialise(artifact, &self.folder.join(name), How::Copy).map_err(store_failure)?;
            }
        }
        Ok(())
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| disk(folder, &error))
}

fn disk(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{}: {error}", path.display()))
}

/// A download is shared between projects, so a step gets its own copy unless the disk can clone it.
fn link_or_copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::copy(from, to).map(drop).map_err(|error| disk(to, &error))
}

async fn work(
    session: &Arc<Session>,
    attempt: &Attempt,
    folder: &Path,
    say: &Sender<Say>,
    stop: &CancellationToken,
) -> Result<Map<String, Json>, Failure> {
    match &attempt.job.work {
        Work::Plugin { name, config, .. } => {
            let plugin = session.plugin(name)?;
            let inputs = attempt.job.inputs.iter().map(|(name, input)| wasm::Place::new(name, input_path(name, input)));
            let outputs =
                attempt.job.outputs.iter().map(|(name, kind)| wasm::Place::new(name, output_path(name, kind)));
            let job = wasm::Job {
                component: plugin.file,
                digest: plugin.digest,
                config: Json::Object(config.clone()).to_string(),
                inputs: inputs.collect(),
                outputs: outputs.collect(),
                dir: folder.to_owned(),
                limits: wasm::Limits::default(),
                seed: seed_of(&attempt.key),
            };
            session.wasm()?.run(&job, say, stop).await
        }
        Work::Process { script, env, secrets, python, .. } => {
            let environment = match (python, &attempt.planned.step.python) {
                (Some(_), Some(python)) => {
                    let lock = session.python_lock(python)?;
                    Some(python::environment(&session.cache, &lock, say).await?)
                }
                _ => None,
            };
            let (command, values) = shell(script, env, secrets, environment.as_ref(), folder)?;
            process::run(&command, say, stop).await?;
            read_values(&values)
        }
        Work::Onnx { settings, .. } => super::detector::run(session, attempt, settings, folder, say, stop).await,
        Work::Gate { message } => Err(Failure::new(FailureKind::Step, message.clone())),
    }
}

/// Randomness of a plugin is a function of its key, so that its outputs are.
fn seed_of(key: &flowrun_core::digest::Digest) -> u64 {
    key.as_bytes().iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// The command of a `run` step and where it writes its values. The base of the environment is the same on every machine; it is
/// documented in the reference.
fn shell(
    script: &str,
    env: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, String>,
    python: Option<&python::Environment>,
    folder: &Path,
) -> Result<(process::Command, PathBuf), Failure> {
    let values = folder.join("values.json");
    let text = |path: &Path| path.display().to_string();
    let path = match python {
        Some(python) => format!("{}:/usr/local/bin:/usr/bin:/bin", text(&python.bin)),
        None => "/usr/local/bin:/usr/bin:/bin".to_owned(),
    };
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), path),
        ("HOME".to_owned(), text(&folder.join("home"))),
        ("TMPDIR".to_owned(), text(&folder.join("tmp"))),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("TZ".to_owned(), "UTC".to_owned()),
        ("PYTHONHASHSEED".to_owned(), "0".to_owned()),
        ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
        ("FLOWRUN_VALUES".to_owned(), text(&values)),
    ]);
    all.extend(env.clone());
    let mut hidden = Vec::new();
    for (name, from) in secrets {
        let value = std::env::var(from).map_err(|_| {
            Failure::new(FailureKind::Infrastructure, format!("the secret `{from}` is not set"))
                .hint(format!("set it where flowrun runs: `export {from}=...`"))
        })?;
        hidden.push(value.clone());
        all.insert(name.clone(), value);
    }
    let argv = ["/bin/sh", "-eu", "-c", script].map(Into::into).to_vec();
    Ok((
        process::Command { argv, dir: folder.to_owned(), env: all, secrets: hidden, ..process::Command::default() },
        values,
    ))
}

fn read_values(path: &Path) -> Result<Map<String, Json>, Failure> {
    let bad = |problem: String| {
        Failure::new(FailureKind::Output, format!("the values that it wrote are not one JSON object: {problem}"))
    };
    match std::fs::symlink_metadata(path) {
        Err(_) => return Ok(Map::new()),
        Ok(found) if !found.is_file() || found.len() > LARGEST_VALUES => {
            return Err(bad(format!("not a file of at most {} MiB", LARGEST_VALUES >> 20)));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
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

struct Taking {
    session: Arc<Session>,
    job: Arc<Job>,
    folder: PathBuf,
}

impl Taking {
    fn take(&self) -> Result<(IndexMap<String, Output>, Vec<String>), Failure> {
        self.inputs_are_whole()?;
        let mut outputs = IndexMap::new();
        for (name, kind) in &self.job.outputs {
            let place = self.folder.join(output_path(name, kind));
            if std::fs::symlink_metadata(&place).is_err() {
                return Err(Failure::new(FailureKind::Output, format!("output `{name}` was declared but not made"))
                    .hint(format!(
                        "it must be written to `{}`, which `{{{{ outputs.{name} }}}}` gives",
                        output_path(name, kind)
                    )));
            }
            let artifact = self.session.store.ingest(&place, Take::Move).map_err(|error| {
                Failure::new(FailureKind::Output, format!("output `{name}` cannot be kept: {error}"))
            })?;
            let is_folder = artifact.mode == flowrun_core::artifact::Mode::Folder;
            if is_folder != (kind == "dir") {
                let found = if is_folder { "a folder" } else { "a file" };
                return Err(Failure::new(
                    FailureKind::Output,
                    format!("output `{name}` is {found}, and was declared otherwise"),
                ));
            }
            let file = if is_folder { name.clone() } else { kind.clone() };
            outputs.insert(name.clone(), Output { artifact, name: file });
        }
        Ok((outputs, self.strays()))
    }

    /// Inputs are the store's own files: a step that wrote into one is found out, and the damaged file goes.
    fn inputs_are_whole(&self) -> Result<(), Failure> {
        for (name, input) in &self.job.inputs {
            let Content::Known(artifact) = &input.content else { continue };
            if !self.session.store.has_all(artifact).map_err(store_failure)? {
                return Err(Failure::new(FailureKind::Step, format!("it changed its input `{name}`"))
                    .hint("inputs are read-only: copy what must be changed into the step's folder first"));
            }
        }
        Ok(())
    }

    fn strays(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("out")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort();
        names.truncate(10);
        names
    }
}
