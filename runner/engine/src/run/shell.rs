//! A `run` step: its command, its environment, what it may reach, the values it gives, and what a refusal is told as.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use flowrun_core::key::Work;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use serde_json::{Map, Value as Json};

use super::execute::{self, Attempt, Ends, Worked};
use super::refused::{Limits, Refusals};
use super::room::Room;
use super::session::Session;
use super::toolset::Farm;
use crate::fetch::Lock;
use crate::process::{self, Sandbox};
use crate::python;
use crate::tools;
use crate::wasm::Ear;

/// The largest `values.json`: values are metrics and decisions, and stay in memory and in every record.
const LARGEST_VALUES: u64 = 4 << 20;

/// Runs the step's script.
pub(super) fn run(
    session: &Session,
    attempt: &Attempt,
    room: &Room,
    say: &Ear,
    ends: Ends<'_>,
) -> Result<Worked, Failure> {
    let Work::Process { script, .. } = &attempt.job.work else { return Ok(Worked::default()) };
    let (python, _held) = environment(session, attempt, say)?.unzip();
    let tools = session.tools_of(&attempt.job.work)?;
    let farm = session.tools_farm(&attempt.run, &tools)?;
    let shell = Shell { session, attempt, room, farm: &farm, python: python.as_ref() };
    let command = shell.command(script)?;
    let refusals = RefCell::new(Refusals::new(Limits {
        sandbox: command.sandbox.clone(),
        offline: command.offline,
        dir: room.work(),
        project: session.project.path("."),
        inputs: room.inputs(),
        tools: tools.keys().cloned().collect(),
    }));
    let hear = |line: Say| {
        if let Say::Line { text, .. } = &line {
            refusals.borrow_mut().hear(text);
        }
        say(line)
    };
    let ran = process::run_here(&command, &hear, ends.stop, ends.kill);
    let (refusals, path) = (refusals.into_inner(), session.toolbox.path());
    if let Err(failure) = ran {
        return Err(without_room(refusals.explain(failure, &path), &room.work()));
    }
    session.tools_are_the_same(&tools)?;
    Ok(Worked { values: read_values(&room.values())?, notes: refusals.notes(&path) })
}

/// Room on a disk below which it is full for whoever works there: less than a page for each of a few files.
const FULL: u64 = 64 << 10;

/// The failure with a word on a disk that is full. Programs do not all say so: to dash it is an `I/O error`.
fn without_room(failure: Failure, work: &Path) -> Failure {
    match rustix::fs::statvfs(work) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < FULL => failure.hint(
            "No space left on the disk that the step works on: make room; `flowrun gc --older-than 7d` gives back what old results take",
        ),
        _ => failure,
    }
}

fn environment(
    session: &Session,
    attempt: &Attempt,
    say: &Ear,
) -> Result<Option<(python::Environment, Lock)>, Failure> {
    let Some(python) = &attempt.planned.step.python else { return Ok(None) };
    let lock = session.python_lock(python)?;
    execute::waited(say, async |tell| python::held(&session.cache, &lock, &tell).await).map(Some)
}

/// Secrets taken from flowrun's own environment: variable to value.
pub(crate) fn resolved(secrets: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    let taken = |(name, from): (&String, &String)| match std::env::var(from) {
        Ok(value) => Ok((name.clone(), value)),
        Err(_) => Err(no_secret(from)),
    };
    secrets.iter().map(taken).collect()
}

struct Shell<'a> {
    session: &'a Session,
    attempt: &'a Attempt,
    room: &'a Room,
    farm: &'a Farm,
    python: Option<&'a python::Environment>,
}

impl Shell<'_> {
    fn command(&self, script: &str) -> Result<process::Command, Failure> {
        let Work::Process { env, secrets, sandbox, network, .. } = &self.attempt.job.work else {
            return Err(Failure::new(FailureKind::Infrastructure, "not a process: a bug of flowrun's"));
        };
        let mut all = self.base(*sandbox);
        all.extend(env.clone());
        let secrets = resolved(secrets)?;
        let hidden = secrets.values().cloned().collect();
        all.extend(secrets);
        Ok(process::Command {
            argv: ["sh", "-eu", "-c", script].map(Into::into).to_vec(),
            dir: self.room.work(),
            env: all,
            secrets: hidden,
            sandbox: (*sandbox && process::sandbox_missing().is_none()).then(|| self.sandbox()),
            offline: !network,
            ..process::Command::default()
        })
    }

    /// The variables that every step has: the same on every machine, but for the folders. Documented in the reference.
    fn base(&self, sandbox: bool) -> BTreeMap<String, String> {
        let text = |path: &Path| path.display().to_string();
        let mut path: Vec<String> = self.python.iter().map(|python| text(&python.bin)).collect();
        path.push(text(&self.farm.folder));
        if !sandbox {
            path.push(self.session.toolbox.path());
        }
        [
            ("PATH", path.join(":")),
            ("HOME", text(&self.room.home())),
            ("TMPDIR", text(&self.room.tmp())),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("PYTHONHASHSEED", "0".to_owned()),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("FLOWRUN_VALUES", text(&self.room.values())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn sandbox(&self) -> Sandbox {
        let room = self.room;
        let mut run = self.farm.shown.clone();
        if let Some(python) = self.python {
            run.push(python.root.clone());
            let interpreter = [python.interpreter.path.as_path()].into_iter();
            run.extend(tools::shown_for(interpreter, &self.session.project.root));
        }
        run.push(room.inputs());
        let gpu = self.attempt.planned.step.resources.as_ref().and_then(|resources| resources.gpu);
        Sandbox {
            read: vec![self.farm.folder.clone()],
            run,
            write: vec![room.work(), room.home(), room.tmp()],
            gpu: gpu.is_some_and(|count| count > 0),
        }
    }
}

fn no_secret(from: &str) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("the secret `{from}` is not set"))
        .hint(format!("set it where flowrun runs: `export {from}=...`"))
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
