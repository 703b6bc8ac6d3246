//! The Pythons of this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flowrun_core::digest::Digest;
use flowrun_core::outcome::Failure;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::check_version;
use super::uv::Uv;
use crate::fetch::{Cache, Stamp, infrastructure, read_json, write_json};

/// Asked of an interpreter: where it really is, what it is.
const QUESTION: &str = "import json, os, sys, sysconfig
print(json.dumps({'path': os.path.realpath(sys.executable), 'prefix': os.path.realpath(sys.base_prefix),
'version': '.'.join(map(str, sys.version_info[:3])), 'implementation': sys.implementation.name,
'platform': sysconfig.get_platform()}))";

/// A Python of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Its program, all links followed.
    pub path: PathBuf,
    /// Where it is installed: its program and library lie below, and a sandbox must show them.
    pub prefix: PathBuf,
    /// Its full version, such as `3.11.7`.
    pub version: String,
    /// Its kind, such as `cpython`.
    pub implementation: String,
    /// What it was built for, such as `linux-x86_64`.
    pub platform: String,
}

impl Interpreter {
    /// What it is, without what it was built for: `cpython 3.11.7`.
    pub fn kind(&self) -> String {
        format!("{} {}", self.implementation, self.version)
    }

    /// What of it a result may depend on, whatever machine it is on: `cpython 3.11.7 linux-x86_64`.
    pub fn identity(&self) -> String {
        format!("{} {} {}", self.implementation, self.version, self.platform)
    }
}

/// What was found once, and holds while the program and the way it was found stay the same.
#[derive(Serialize, Deserialize)]
struct Memo {
    interpreter: Interpreter,
    stamp: Stamp,
    asked: Digest,
}

/// The Python of `version` (`3.11`, `3.11.7`) that this machine would run, without any virtual environment that is active.
pub async fn interpreter(cache: &Cache, version: &str) -> Result<Interpreter, Failure> {
    check_version(version)?;
    let memo = known(cache, version);
    let asked = way_of_asking();
    if let Some(known) = read_json::<Memo>(&memo)
        && known.asked == asked
        && Stamp::of(&known.interpreter.path).is_some_and(|stamp| stamp == known.stamp)
    {
        return Ok(known.interpreter);
    }
    let interpreter = ask(&find(cache, version).await?).await?;
    if let Some(stamp) = Stamp::of(&interpreter.path) {
        // Where this fails, it is asked again.
        let _ = write_json(&memo, &Memo { interpreter: interpreter.clone(), stamp, asked });
    }
    Ok(interpreter)
}

/// Where it is written down which Python was found.
pub(crate) fn known(cache: &Cache, version: &str) -> PathBuf {
    cache.path(&["pythons", &format!("{version}.json")])
}

/// The Python of exactly that version, where this machine has it. That it has none is remembered until something is put into a folder that
/// Pythons are put in: to look for one costs a second.
pub(crate) async fn exact(cache: &Cache, version: &str) -> Option<Interpreter> {
    check_version(version).ok()?;
    let absent = cache.path(&["pythons", &format!("{version}.absent.json")]);
    let places = places();
    if read_json::<Digest>(&absent).is_some_and(|known| known == places) {
        return None;
    }
    let found = interpreter(cache, version).await.ok();
    if found.is_none() {
        // Where this fails, it is looked for again.
        let _ = write_json(&absent, &places);
    }
    found
}

/// How the folders look that Pythons are put in.
fn places() -> Digest {
    let home = |rest: &str| Some(std::env::home_dir()?.join(rest));
    let folder = |name: &str, rest: &str| std::env::var_os(name).map(PathBuf::from).or_else(|| home(rest));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(folder("PYENV_ROOT", ".pyenv").map(|root| root.join("versions")));
    folders.extend(folder("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"));
    let changed = |folder: PathBuf| std::fs::metadata(folder).and_then(|found| found.modified()).ok();
    let times: Vec<_> = folders.into_iter().map(changed).collect();
    Digest::of(format!("{} {times:?}", way_of_asking()).as_bytes())
}

fn way_of_asking() -> Digest {
    let values = ["PATH", "PYENV_VERSION", "PYENV_ROOT"].map(|name| std::env::var_os(name).unwrap_or_default());
    Digest::of(format!("{values:?}").as_bytes())
}

/// Where uv finds it: on the `PATH`, among its own, or else among a version manager's.
async fn find(cache: &Cache, version: &str) -> Result<PathBuf, Failure> {
    let args = ["python", "find", "--system", "--no-project", version].map(Into::into);
    let mut uv = Uv::offline(cache).await?;
    let mut said = uv.run(&args, "", None).await?;
    if !said.well {
        // A version manager's shims stand for versions that are not switched on, and fail: look at what they stand for.
        let path = beyond_shims(uv.path());
        uv = uv.with_path(path);
        said = uv.run(&args, "", None).await?;
    }
    if said.well {
        return Ok(PathBuf::from(said.stdout.trim_end()));
    }
    let found = installed(&uv).await;
    let found = if found.is_empty() { "none was found".into() } else { format!("found were {}", found.join(", ")) };
    Err(infrastructure(format!("there is no Python {version} on this machine: {found}")).hint(format!(
        "install Python {version} so that `python{version}` is on the PATH, or ask for one that is here"
    )))
}

/// `path` without shims, and with every version that pyenv has, the newest first.
fn beyond_shims(path: &str) -> String {
    let mut folders: Vec<PathBuf> = std::env::split_paths(path).filter(|folder| !folder.ends_with("shims")).collect();
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok()).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    versions.sort_by_key(|folder| std::cmp::Reverse(numbers(folder)));
    folders.extend(versions.into_iter().map(|folder| folder.join("bin")));
    std::env::join_paths(folders).ok().and_then(|path| path.into_string().ok()).unwrap_or_else(|| path.to_owned())
}

fn numbers(folder: &Path) -> Vec<u32> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// The versions that are here.
async fn installed(uv: &Uv) -> Vec<String> {
    let args = ["python", "list", "--only-installed"].map(Into::into);
    let Ok(said) = uv.run(&args, "", None).await else { return Vec::new() };
    // `cpython-3.11.7-linux-x86_64-gnu    /usr/bin/python3.11`
    let versions = said.stdout.lines().filter_map(|line| line.split('-').nth(1));
    versions.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

async fn ask(program: &Path) -> Result<Interpreter, Failure> {
    let broken = |why: String| infrastructure(format!("the Python `{}` does not work: {why}", program.display()));
    let mut command = Command::new(program);
    command.args(["-I", "-S", "-c", QUESTION]).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| broken(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .map_err(|_| broken(said.lines().last().unwrap_or("it says nothing").to_owned()))
}
