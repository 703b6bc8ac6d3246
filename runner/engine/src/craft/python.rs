//! Python: the interpreter and the plugin's modules, snapshot into a component by componentize-py.

use std::path::{Path, PathBuf};

use flowrun_core::outcome::{Failure, Say};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

use super::{STEP_WIT, refused, run, trouble, write_all};
use crate::fetch::{Cache, Platform, read_json, write_json};
use crate::python::{self, Environment, PythonLock, PythonSpec};

/// The compiler's version. It holds the Python that runs inside the component: 3.14.
const COMPONENTIZE: &str = "componentize-py==0.25.1";

/// Pythons that the tools run on: any that is there will do, since none of it gets into the component.
const VERSIONS: [&str; 5] = ["3.13", "3.12", "3.11", "3.14", "3.10"];

const ENTRY: &str = include_str!("../../../../plugins/templates/python/entry.py");

/// What a component depends on beside its source.
pub(super) const BUILT_BY: [&str; 3] = [COMPONENTIZE, ENTRY, STEP_WIT];

pub(super) async fn build(cache: &Cache, dir: &Path, say: &Sender<Say>) -> Result<Vec<u8>, Failure> {
    let tools = environment(cache, COMPONENTIZE, say).await?;
    let stage = cache.scratch()?;
    write_all(stage.path(), &[("wit/step.wit", STEP_WIT), ("flowrun_entry.py", ENTRY)])?;
    let out = stage.path().join("out.wasm");
    let mut command = Command::new(tools.python.with_file_name("componentize-py"));
    command.current_dir(stage.path()).env_remove("VIRTUAL_ENV").env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("-d").arg(stage.path().join("wit")).args(["-w", "step", "componentize", "flowrun_entry"]);
    command.arg("-p").arg(dir).arg("-p").arg(stage.path()).arg("-o").arg(&out);
    let made = run(&mut command, "componentize-py", say).await;
    made.map_err(|failure| {
        failure.hint("the plugin's modules are loaded once while it is built: an error above may be theirs; packages with compiled code cannot be loaded")
    })?;
    std::fs::read(&out).map_err(trouble(&out))
}

/// An environment that holds one tool, locked once on this machine and made once.
pub(super) async fn environment(cache: &Cache, requirement: &str, say: &Sender<Say>) -> Result<Environment, Failure> {
    let version = some_python(cache).await?;
    let spec = PythonSpec { version, requirements: vec![requirement.to_owned()], no_binary: Vec::new() };
    let kept: PathBuf = cache.folder("tools")?.join(format!("{}.json", spec.digest()));
    let lock = match read_json::<PythonLock>(&kept) {
        Some(lock) => lock,
        None => {
            let lock = python::lock(cache, &spec, Platform::current()?, say).await?;
            write_json(&kept, &lock).map_err(trouble(&kept))?;
            lock
        }
    };
    python::environment(cache, &lock, say).await
}

async fn some_python(cache: &Cache) -> Result<String, Failure> {
    let mut last = None;
    for version in VERSIONS {
        match python::interpreter(cache, version).await {
            Ok(_) => return Ok(version.to_owned()),
            Err(failure) => last = Some(failure),
        }
    }
    Err(last
        .unwrap_or_else(|| refused("no Python was found"))
        .hint("install Python 3.10 or later: the compiler is a Python program"))
}
