//! Locking: what a pipeline uses is found out and written down beside it.
//!
//! ```text
//! flowrun lock   every profile, every platform    index, registries: what is missing or to be upgraded
//! flowrun run    its profile, this platform       the same, for what is missing; with --locked nothing, and drift is refused
//! ```
//! Both go through [`complete`], so that a lock that a run completed is one that `flowrun lock` has nothing to add to, but for other
//! profiles and platforms. What is asked of the network is asked only for what the lock does not hold: an unchanged pipeline asks nothing.
//!
//! Knows nothing of how a lock is spelled, nor what counts as missing: that is `flowrun_core`'s.

mod complete;
mod place;
mod runtime;
mod wants;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flowrun_core::lang::finding;
use flowrun_core::outcome::Failure;
use flowrun_core::pins::{self, Change, Wants};
use flowrun_core::stored::lock::Pins;

use crate::fetch::{Cache, Platform, checked_name, refused};
use crate::lockfile::{LockError, Lockfile};
use crate::project::{OpenError, PluginPins, Project, REMEDY};

use complete::PYTHON;
pub(crate) use complete::{Completion, complete, unmoved};
use place::placed;
pub use place::{Place, Unlockable};
pub(crate) use runtime::{is_on_cuda, runtime_of, runtime_wheels};
pub(crate) use wants::of as wants_of;

/// The platform that is always locked for where a pipeline names none: what servers are.
const SERVERS: &str = "linux-x86_64";

/// What is looked up anew although the lock holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// Nothing.
    #[default]
    None,
    /// Everything.
    All,
    /// Packages and plugins of these names; `python` is the exact Python of this machine.
    Names(BTreeSet<String>),
}

impl Upgrade {
    /// Whether it asks for something of this name.
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Names(names) => names.iter().any(|asked| is(asked, name)),
        }
    }
}

/// Whether what was asked for is `name`: packages are also called by other spellings of their name.
fn is(asked: &str, name: &str) -> bool {
    asked == name || checked_name(asked).is_ok_and(|asked| asked == name)
}

/// What locking is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is looked up anew.
    pub upgrade: Upgrade,
    /// Platforms beside those of the pipeline.
    pub platforms: Vec<Platform>,
    /// Whether to write nothing.
    pub check: bool,
}

/// What locking came to.
#[derive(Clone, Debug)]
pub struct Locked {
    /// The lock.
    pub path: PathBuf,
    /// What changes, or would.
    pub changes: Vec<Change>,
    /// Whether the file is, or would be, another one.
    pub changed: bool,
}

/// Why a pipeline could not be locked, or nothing be made of its lock.
#[derive(Debug, thiserror::Error)]
pub enum LockingError {
    /// The pipeline cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It does not hold what is to be taken out of it.
    #[error("{}", .0.found.join("\n"))]
    Lacking(Lacking),
    /// Something cannot be found out, brought, read or written.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The same, for what the pipeline asks for.
    #[error(transparent)]
    Unlockable(#[from] Box<Unlockable>),
}

impl From<Failure> for LockingError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a lock does not hold, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// What it is, a line each.
    pub found: Vec<String>,
    /// What to do.
    pub hint: String,
}

/// Locks the pipeline of a file, with all its profiles. Says what it does.
///
/// # Errors
/// When something cannot be found out; then nothing is written.
pub async fn lock(
    file: Option<&Path>,
    options: &Options,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<Locked, LockingError> {
    let plugins = PluginPins::except(&options.upgrade);
    let base = Project::open_with(file, None, &plugins)?;
    if base.is_bundle() {
        let failure = refused(format!("{} is a bundle: its lock is the one that it was packed with", base.shown));
        return Err(LockingError::Failed(
            failure.hint("lock the pipeline that it was packed from, and pack that again"),
        ));
    }
    let mut all = vec![wants_of(&base).map_err(LockingError::Failed)?];
    for profile in base.program.pipeline.profiles.keys() {
        let project = Project::open_with(Some(&base.file), Some(profile), &plugins)?;
        all.push(wants_of(&project).map_err(LockingError::Failed)?);
    }
    let mut lock = Lockfile::of(&base.file)?;
    let old = lock.pins.clone();
    let failed = LockingError::Failed;
    unmoved(&old.plugins, &base.plugins, &options.upgrade).map_err(failed)?;
    let cache = Cache::of_user().map_err(failed)?;
    let here = Platform::current().map_err(failed)?;
    let platforms = platforms(&all[0], &old, here, &options.platforms);
    if let Some(step) = pins::without_cuda(&all, &platforms) {
        let only = pins::CUDA_PLATFORM;
        let text = format!("step `{step}` runs on CUDA, which is made for {only}, and none of the `platforms` is that");
        return Err(LockingError::Failed(
            refused(text).hint(format!("add {only} to `platforms`, or set `provider: cpu`")),
        ));
    }
    known_names(&options.upgrade, &old, &all).map_err(failed)?;
    let mut next = pins::carry(&old, &all, &platforms, true);
    let completion = Completion {
        cache: &cache,
        project: &base,
        here,
        old: &old,
        all: &all,
        platforms: &platforms,
        upgrade: &options.upgrade,
    };
    let done = complete(&mut next, &completion, tell).await;
    done?;
    let changes = pins::changes(&old, &next);
    lock.pins = next;
    let changed = lock.is_changed();
    if !options.check {
        lock.save()?;
    }
    Ok(Locked { path: lock.path().to_owned(), changes, changed })
}

/// What of the wants the lock does not hold, as a person reads it.
pub(crate) fn drift(lock: &Lockfile, wants: &Wants, platform: Platform) -> Vec<String> {
    let shown = lock.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = pins::drift(&lock.pins, wants, &platform.to_string());
    if lock.is_old() {
        return vec![format!("{shown} is of an earlier format, which does not hold every step")];
    }
    if !lock.exists() && !found.is_empty() {
        return vec![format!("there is no {shown}")];
    }
    found
}

/// Whether a lock holds all that is to be taken out of it for these platforms.
///
/// # Errors
/// Says what it lacks, and what to do about that.
pub(crate) fn holds(lock: &Lockfile, wants: &Wants, platforms: &[Platform]) -> Result<(), LockingError> {
    let made = &lock.pins.platforms;
    let other = platforms.iter().find(|platform| !made.contains(&platform.to_string()));
    if let Some(platform) = other.filter(|_| lock.exists() && !lock.is_old()) {
        let shown = lock.path().file_name().unwrap_or_default().to_string_lossy();
        let made = made.iter().cloned().collect::<Vec<_>>().join(", ");
        let hint = format!("`flowrun lock --platform {platform}` looks up what is used there");
        let found = vec![format!("{shown} is made for {made}, and not for {platform}")];
        return Err(LockingError::Lacking(Lacking { found, hint }));
    }
    let found: BTreeSet<String> = platforms.iter().flat_map(|platform| drift(lock, wants, *platform)).collect();
    match found.is_empty() {
        true => Ok(()),
        false => Err(LockingError::Lacking(Lacking { found: found.into_iter().collect(), hint: REMEDY.to_owned() })),
    }
}

/// What a pipeline's lock changes against what git has of it at HEAD.
///
/// # Errors
/// When git has none to compare with.
pub fn since_head(file: Option<&Path>) -> Result<Locked, LockingError> {
    let lock = Lockfile::of(&Project::open(file, None)?.file)?;
    let path = lock.path().to_owned();
    let none =
        |why: &str| LockingError::Failed(refused(format!("git has no {} to compare with: {why}", path.display())));
    let (folder, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        let said = git.arg("-C").arg(folder).args(args).stdin(std::process::Stdio::null()).output();
        said.map_err(|error| none(&format!("git does not start: {error}")))
    };
    let head = git(&["rev-parse", "--verify", "HEAD"])?;
    if !head.status.success() {
        return Err(none(String::from_utf8_lossy(&head.stderr).lines().next().unwrap_or("there is no HEAD")));
    }
    // One that is not committed yet is all new.
    let there = git(&["show", &format!("HEAD:./{}", name.to_string_lossy())])?;
    let text = if there.status.success() { String::from_utf8_lossy(&there.stdout).into_owned() } else { String::new() };
    let old = match text.is_empty() {
        true => Pins::default(),
        false => Pins::parse(&text).map_err(|source| LockError::Unreadable { path: "HEAD".into(), source })?,
    };
    let changes = pins::changes(&old, &lock.pins);
    Ok(Locked { path: lock.path().to_owned(), changed: old != lock.pins, changes })
}

/// The platforms to lock for. A pipeline that names its own has those; else none is lost that the lock has.
fn platforms(wants: &Wants, old: &Pins, here: Platform, more: &[Platform]) -> BTreeSet<String> {
    let mut platforms = match wants.platforms.is_empty() {
        true => old.platforms.iter().cloned().chain([here.to_string(), SERVERS.to_owned()]).collect(),
        false => wants.platforms.clone(),
    };
    platforms.extend(more.iter().map(Platform::to_string));
    platforms
}

/// A name to be upgraded that nothing has is a slip.
fn known_names(upgrade: &Upgrade, old: &Pins, all: &[Wants]) -> Result<(), Failure> {
    let Upgrade::Names(names) = upgrade else { return Ok(()) };
    let packages = old.environments.values().flat_map(|environment| environment.resolved.values().flatten());
    let mut known: BTreeSet<&str> = packages.map(|package| package.name.as_str()).chain([PYTHON]).collect();
    known.extend(old.wheels.keys().filter_map(|wheel| wheel.split("==").next()));
    for (uses, plugin) in old.plugins.iter().chain(all.iter().flat_map(|wants| &wants.plugins)) {
        known.extend([uses.as_str(), plugin.name.as_str()]);
    }
    match names.iter().find(|name| !known.iter().any(|known| is(name, known))) {
        None => Ok(()),
        Some(name) => {
            let failure = refused(format!("the lock has no package and no plugin `{name}`"));
            let hint = finding::did_you_mean(name, known);
            Err(failure.hint(hint.unwrap_or_else(|| "without a name, `--upgrade` looks up everything anew".to_owned())))
        }
    }
}
