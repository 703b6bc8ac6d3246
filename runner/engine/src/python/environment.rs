//! From a lock to a folder with a Python in it that has exactly those packages.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flowrun_core::digest::Digest;
use flowrun_core::outcome::{Failure, Say};
use serde::Serialize;
use tokio::sync::mpsc::Sender;

use super::requirement::is_locked;
use super::uv::{Said, Uv, failure};
use super::{Interpreter, PythonLock, Source, bring, check_version, intact, interpreter, local};
use crate::fetch::{Cache, Lock, Platform, refused, write_json};

/// The file that says that an environment is whole.
const MARKER: &str = "flowrun-environment.json";

/// A Python environment that is whole. Shared: nothing may be written in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its folder.
    pub root: PathBuf,
    /// Where its programs are; to stand first in a step's `PATH`.
    pub bin: PathBuf,
    /// Its Python.
    pub python: PathBuf,
    /// The Python it stands on, of which it needs the library.
    pub interpreter: Interpreter,
}

/// What an environment is made of; its digest is its name.
#[derive(Serialize)]
struct Recipe<'a> {
    environment: u32,
    lines: Vec<String>,
    interpreter: &'a Interpreter,
}

/// The environment of `lock`, built where it does not exist. Two flowruns that want the same one build it once.
pub async fn environment(cache: &Cache, lock: &PythonLock, say: &Sender<Say>) -> Result<Environment, Failure> {
    check(lock)?;
    let interpreter = interpreter(cache, &lock.python).await?;
    let recipe = Recipe::of(lock, &interpreter);
    let id = Digest::of(&serde_json::to_vec(&recipe).unwrap_or_default()).to_string();
    let root = cache.path(&["environments", &id]);
    let bin = root.join("bin");
    let environment = Environment { python: bin.join("python"), bin, root, interpreter };
    if environment.is_whole() {
        return Ok(environment);
    }
    let _lock = cache.lock(&lock_of(&environment.root)).await?;
    if environment.is_whole() {
        return Ok(environment);
    }
    cache.folder("environments")?;
    wipe(&environment.root).map_err(|error| cache.trouble(&error))?;
    let built = build(cache, lock, &environment, say).await;
    let built = built.and_then(|()| mark(lock, &environment).map_err(|error| cache.trouble(&error)));
    if let Err(failure) = built {
        // What is left of it without a marker is wiped by the next try at the latest.
        let _ = wipe(&environment.root);
        return Err(failure);
    }
    Ok(environment)
}

/// The same for somebody who runs it: while the lock is held, nobody takes it away.
pub(crate) async fn held(cache: &Cache, lock: &PythonLock, say: &Sender<Say>) -> Result<(Environment, Lock), Failure> {
    loop {
        let environment = environment(cache, lock, say).await?;
        let held = cache.share(&lock_of(&environment.root)).await?;
        // Between finding and holding it may have been taken away.
        if environment.is_whole() {
            // When it was last used; where that cannot be written, it is made again one day.
            let _ = File::open(environment.root.join(MARKER)).and_then(|marker| marker.set_modified(SystemTime::now()));
            return Ok((environment, held));
        }
    }
}

/// The name of an environment's lock.
fn lock_of(root: &Path) -> String {
    format!("environment-{}", root.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes environments that nobody runs and nobody used for so long, and gives their number. What uv keeps of their packages goes with them:
/// environments that stay have their own names for the same files.
///
/// # Errors
/// When the cache cannot be read or written.
pub async fn remove_unused(cache: &Cache, age: Duration, dry_run: bool) -> Result<usize, Failure> {
    let Ok(entries) = fs::read_dir(cache.path(&["environments"])) else { return Ok(0) };
    let is_old = |root: &PathBuf| {
        let used = fs::metadata(root.join(MARKER)).or_else(|_| fs::metadata(root)).and_then(|found| found.modified());
        used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused > age))
    };
    let mut removed = 0;
    for root in entries.flatten().map(|entry| entry.path()).filter(is_old) {
        let Some(_alone) = cache.lock_if_free(&lock_of(&root))? else { continue };
        removed += 1;
        if !dry_run {
            // First what says that it is whole.
            let _ = fs::remove_file(root.join(MARKER));
            wipe(&root).map_err(|error| cache.trouble(&error))?;
        }
    }
    if removed > 0 && !dry_run {
        // Where that cannot be done, it only costs room.
        if let Ok(uv) = Uv::offline(cache).await {
            let _ = uv.run(&["cache", "prune", "--ci", "--quiet"].map(Into::into), "", None).await;
        }
    }
    Ok(removed)
}

/// What says that an environment is whole: what it was made of, and what came of that.
#[derive(Serialize)]
struct Marker<'a> {
    #[serde(flatten)]
    recipe: Recipe<'a>,
    content: Digest,
}

fn mark(lock: &PythonLock, environment: &Environment) -> std::io::Result<()> {
    let recipe = Recipe::of(lock, &environment.interpreter);
    let marker = Marker { recipe, content: intact::content(&environment.root)? };
    write_json(&environment.root.join(MARKER), &marker)
}

impl<'a> Recipe<'a> {
    fn of(lock: &PythonLock, interpreter: &'a Interpreter) -> Self {
        Self { environment: 2, lines: lock.lines(), interpreter }
    }
}

impl Environment {
    /// Two stats: the marker, and the Python behind its links.
    fn is_whole(&self) -> bool {
        self.root.join(MARKER).is_file() && self.python.is_file()
    }
}

fn wipe(root: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A lock comes out of a file that anyone may have written.
fn check(lock: &PythonLock) -> Result<(), Failure> {
    check_version(&lock.python)?;
    let here = Platform::current()?.to_string();
    if lock.platform != here {
        return Err(refused(format!("the lock is for {}, and this machine is {here}", lock.platform.escape_debug()))
            .hint("lock the pipeline for this platform too"));
    }
    if let Some(line) = lock.lines().into_iter().find(|line| !is_locked(line)) {
        let shown: String = crate::fetch::redact(&line).chars().take(80).collect();
        return Err(refused(format!("the lock is damaged: `{}`", shown.escape_debug())).hint("lock the pipeline again"));
    }
    Ok(())
}

async fn build(cache: &Cache, lock: &PythonLock, environment: &Environment, say: &Sender<Say>) -> Result<(), Failure> {
    let what = format!("build the Python {} environment", environment.interpreter.version);
    let packages = match lock.packages.len() {
        1 => "1 package".to_owned(),
        many => format!("{many} packages"),
    };
    for package in lock.packages.iter().filter(|package| package.is_source()) {
        let source = Source { package, python: &lock.python };
        bring(cache, source, Platform::current()?, say).await?;
    }
    let _ = say.send(Say::log(format!("building a Python environment of {packages}"))).await;
    let uv = Uv::online(cache).await?;
    let python = environment.interpreter.path.as_os_str();
    let mut args: Vec<OsString> =
        ["venv", "--quiet", "--no-project", "--no-config", "--python"].map(Into::into).to_vec();
    args.extend([python.to_owned(), environment.root.as_os_str().to_owned()]);
    well(&what, uv.run(&args, "", Some(say)).await?)?;
    if lock.packages.is_empty() {
        return Ok(());
    }
    let list = uv.file("requirements.txt", &(lock.lines().join("\n") + "\n"))?;
    let mut args: Vec<OsString> =
        ["pip", "sync", "--require-hashes", "--only-binary=:all:", "--compile-bytecode", "--python"]
            .map(Into::into)
            .to_vec();
    args.extend([environment.python.as_os_str().to_owned(), list.into()]);
    let mut local = args.clone();
    let built = local::built(cache, lock)?;
    args.extend(built.iter().flat_map(|folder| uv.find_links(folder.path())));
    args.extend(uv.index_args());
    // A wheel's name is only what somebody called it: what does not come of them is brought as ever.
    if let Some(folder) = local::wheels(cache, lock)? {
        local.extend(["--no-index", "--offline", "--find-links"].map(Into::into));
        local.push(folder.path().into());
        if uv.run(&local, "", Some(say)).await?.well {
            return mended(cache, &uv, local, environment, &what, say).await;
        }
    }
    sync(&uv, &args, &what, say).await?;
    mended(cache, &uv, args, environment, &what, say).await
}

async fn sync(uv: &Uv, args: &[OsString], what: &str, say: &Sender<Say>) -> Result<(), Failure> {
    // All of it may be in the cache, and then the index need not be asked: seconds less, and no network.
    if !args.iter().any(|arg| arg == "--offline") {
        let mut offline = args.to_vec();
        offline.push("--offline".into());
        if uv.run(&offline, "", None).await?.well {
            return Ok(());
        }
    }
    well(what, uv.run(args, "", Some(say)).await?)
}

/// Packages that are not what was packed are brought again. One that still is not lists its own files wrongly, and it is what was locked.
async fn mended(
    cache: &Cache,
    uv: &Uv,
    args: Vec<OsString>,
    environment: &Environment,
    what: &str,
    say: &Sender<Say>,
) -> Result<(), Failure> {
    let odd = odd(cache, environment).await?;
    if odd.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = odd.iter().map(|odd| format!("`{}` of {}", odd.file, odd.package)).collect();
    let told = format!("{} in uv's cache is not what was packed", told.join(", "));
    let _ = say.send(Say::log(format!("{told}: it is brought again"))).await;
    let mut clean: Vec<OsString> = ["cache", "clean", "--quiet"].map(Into::into).to_vec();
    clean.extend(odd.iter().map(|odd| odd.name.clone().into()));
    well(what, uv.run(&clean, "", None).await?)?;
    let mut again = args;
    again.extend(odd.iter().map(|odd| format!("--reinstall-package={}", odd.name).into()));
    sync(uv, &again, what, say).await.map_err(|failure| {
        let Failure { kind, message, hint } = failure;
        Failure { kind, message: format!("{told}, and it cannot be brought again: {message}"), hint }
    })
}

async fn odd(cache: &Cache, environment: &Environment) -> Result<Vec<intact::Odd>, Failure> {
    let root = environment.root.clone();
    let looked = tokio::task::spawn_blocking(move || intact::odd(&root)).await;
    let looked = looked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    looked.map_err(|error| cache.trouble(&error))
}

fn well(what: &str, said: Said) -> Result<(), Failure> {
    if said.well { Ok(()) } else { Err(failure(what, &said.stderr)) }
}
