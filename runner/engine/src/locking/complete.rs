//! What a lock lacks is found out: Python environments and wheels, a platform after the other, each keeping the versions of the one before.

use std::collections::{BTreeMap, BTreeSet};

use flowrun_core::lang::wheel_pin;
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::pins::{self, Missing, Wants};
use flowrun_core::stored::lock::{
    BuiltPin, EnvironmentPin, FilePin, OldEnvironment, PackagePin, Pins, PluginPin, PythonWish,
};

use super::{Unlockable, Upgrade, placed};
use crate::fetch::{Cache, Platform, infrastructure, refused};
use crate::project::Project;
use crate::python::{self, Question, Source};

/// The Python whose wheels are asked for where only what is in them counts: see `fetch::pip`.
const ANY_PYTHON: &str = "3.11";

/// What `--upgrade` calls the Python that environments stand on; no package is called so.
pub(super) const PYTHON: &str = "python";

/// What there is to complete.
pub(crate) struct Completion<'a> {
    pub(crate) cache: &'a Cache,
    /// Whose requirements are shown where one cannot be had.
    pub(crate) project: &'a Project,
    /// This machine.
    pub(crate) here: Platform,
    /// The lock as it was.
    pub(crate) old: &'a Pins,
    pub(crate) all: &'a [Wants],
    /// The platforms that must be there.
    pub(crate) platforms: &'a BTreeSet<String>,
    pub(crate) upgrade: &'a Upgrade,
}

/// A registry's plugin is brought by the lock when the pipeline is opened; the lock must still say so when it is written anew.
///
/// # Errors
/// When another run or a person has pinned another one since.
pub(crate) fn unmoved(
    locked: &BTreeMap<String, PluginPin>,
    opened: &BTreeMap<String, PluginPin>,
    upgrade: &Upgrade,
) -> Result<(), Failure> {
    let asked = |uses: &str, pin: &PluginPin| upgrade.asks_for(uses) || upgrade.asks_for(&pin.name);
    let mut all = opened.iter().filter_map(|(uses, now)| Some((uses, locked.get(uses)?, now)));
    match all.find(|(uses, known, now)| known.sha256 != now.sha256 && !asked(uses, known)) {
        None => Ok(()),
        Some((uses, ..)) => {
            let text = format!("the lock was changed while the pipeline was opened: it pins another `{uses}` now");
            Err(infrastructure(text).hint("run it again"))
        }
    }
}

/// Finds out what is missing. Says what it does.
pub(crate) async fn complete(
    next: &mut Pins,
    completion: &Completion<'_>,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<(), Box<Unlockable>> {
    forget(next, completion.upgrade, completion.here);
    let (say, mut said) = tokio::sync::mpsc::channel(256);
    // Nobody reads the tools' own words here; what they come to is told.
    let listener = tokio::spawn(async move { while said.recv().await.is_some() {} });
    let mut done = Ok(());
    for lack in pins::missing(next, completion.all, completion.platforms) {
        done = one(next, completion, &lack, &say, tell).await;
        if done.is_err() {
            break;
        }
    }
    if done.is_ok() {
        done = builds(next, completion, &say, tell).await.map_err(Unlockable::from);
    }
    drop(say);
    let _ = listener.await;
    if completion.upgrade.asks_for(PYTHON) {
        for environment in next.environments.values_mut() {
            interpreter(completion.cache, environment, &completion.here.to_string()).await;
        }
    }
    // What the first format said has been taken over.
    next.old.clear();
    done.map_err(Box::new)
}

/// What is to be upgraded is missing.
fn forget(next: &mut Pins, upgrade: &Upgrade, here: Platform) {
    for environment in next.environments.values_mut() {
        let packages = environment.resolved.values().flatten();
        if *upgrade == Upgrade::All || packages.clone().any(|package| upgrade.asks_for(&package.name)) {
            environment.resolved.clear();
        }
        if upgrade.asks_for(PYTHON) {
            environment.interpreters.remove(&here.to_string());
        }
    }
    for (wheel, files) in &mut next.wheels {
        if upgrade.asks_for(wheel.split("==").next().unwrap_or(wheel)) {
            files.clear();
        }
    }
}

async fn one(
    next: &mut Pins,
    completion: &Completion<'_>,
    lack: &Missing,
    say: &tokio::sync::mpsc::Sender<flowrun_core::outcome::Say>,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<(), Unlockable> {
    let parse = |platform: &String| {
        platform.parse::<Platform>().map_err(|()| refused(format!("flowrun does not know the platform `{platform}`")))
    };
    match lack {
        Missing::Environment(name, platform) => {
            let kept = kept(next, completion, name, platform);
            let Some(environment) = next.environments.get_mut(name) else { return Ok(()) };
            tell(format!("locking the Python environment `{name}` for {platform}"));
            let question = Question { wish: &environment.wish, platform: parse(platform)?, kept: &kept, deep: true };
            let packages = python::resolve(completion.cache, question, say).await;
            let packages = packages.map_err(|unresolved| placed(unresolved, &environment.wish, completion.project))?;
            check_old(&completion.old.old, platform, &packages)?;
            environment.resolved.insert(platform.clone(), known(completion, &environment.wish, platform, packages));
            if *platform == completion.here.to_string() {
                interpreter(completion.cache, environment, platform).await;
            }
        }
        // It waits until all that is to be built is known.
        Missing::Built(..) => {}
        Missing::Wheel(wheel, platform) => {
            tell(format!("locking {wheel} for {platform}"));
            let file = self::wheel(completion.cache, wheel, parse(platform)?, say).await.map_err(|failure| {
                let message = format!("cannot lock {wheel} for {platform}: {}", failure.message);
                Failure { message, ..failure }
            })?;
            next.wheels.entry(wheel.clone()).or_default().insert(platform.clone(), file);
        }
        Missing::Runtime(runtime, platform) => {
            tell(format!("locking {runtime} with CUDA's libraries for {platform}"));
            let packages = self::runtime(completion, runtime, parse(platform)?, say).await.map_err(|failure| {
                let message = format!("cannot lock {runtime} for {platform}: {}", failure.message);
                Failure { message, ..failure }
            })?;
            if !pins::take_runtime(next, runtime, platform, packages) {
                return Err(refused(format!("the wheel of {runtime} does not say which libraries of CUDA it needs"))
                    .hint("take a newer one for `onnx.runtime`: 1.21 is the first that says so")
                    .into());
            }
        }
    }
    Ok(())
}

fn kept(next: &Pins, completion: &Completion<'_>, name: &str, platform: &str) -> BTreeMap<String, String> {
    // What was resolved in this call is kept for the next platform also when everything is upgraded.
    let none = Pins::default();
    let old = if *completion.upgrade == Upgrade::All { &none } else { completion.old };
    let mut kept = pins::preferences(old, next, name, platform);
    if let Upgrade::Names(_) = completion.upgrade {
        let resolved = next.environments.get(name).is_some_and(|environment| !environment.resolved.is_empty());
        if !resolved {
            kept.retain(|package, _| !completion.upgrade.asks_for(package));
        }
    }
    kept
}

/// The packages with what the lock knew of their files. An index that does not tell sizes must not take them out of it, and the same
/// source need not be built again.
fn known(
    completion: &Completion<'_>,
    wish: &PythonWish,
    platform: &str,
    mut packages: Vec<PackagePin>,
) -> Vec<PackagePin> {
    let old = completion.old.environments.values();
    let all = old.clone().flat_map(|environment| environment.resolved.values().flatten());
    let sizes: BTreeMap<&str, u64> = all.filter_map(|one| Some((one.file.sha256.as_str(), one.file.size?))).collect();
    let same = old.filter(|environment| environment.wish.python == wish.python);
    let built: Vec<&PackagePin> = same.filter_map(|environment| environment.resolved.get(platform)).flatten().collect();
    let upgraded = |package: &PackagePin| match completion.upgrade {
        Upgrade::Names(_) => completion.upgrade.asks_for(&package.name),
        Upgrade::None | Upgrade::All => false,
    };
    for package in &mut packages {
        package.file.size = package.file.size.or_else(|| sizes.get(package.file.sha256.as_str()).copied());
        let its = built.iter().find(|one| one.file.sha256 == package.file.sha256 && !upgraded(package));
        package.built = its.and_then(|one| one.built.clone());
    }
    packages
}

/// What is built of its source, by environment, package and the source's sha256, and the platforms that lack it.
type Unbuilt = BTreeMap<(String, String, String), BTreeSet<String>>;

fn unbuilt(next: &Pins, completion: &Completion<'_>) -> Unbuilt {
    let mut all = Unbuilt::new();
    for lack in pins::missing(next, completion.all, completion.platforms) {
        if let Missing::Built(environment, package, platform) = lack {
            let pin = next.environments.get(&environment).and_then(|pin| package_of(pin, &platform, &package));
            let source = pin.map(|pin| pin.file.sha256.clone()).unwrap_or_default();
            all.entry((environment, package, source)).or_default().insert(platform);
        }
    }
    all
}

/// Builds what has no wheel, here. A wheel of Python alone is for every platform; another is for this one, and others must build their own.
async fn builds(
    next: &mut Pins,
    completion: &Completion<'_>,
    say: &tokio::sync::mpsc::Sender<flowrun_core::outcome::Say>,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<(), Failure> {
    let here = completion.here.to_string();
    for ((environment, package, sha256), platforms) in unbuilt(next, completion) {
        let Some(pin) = next.environments.get_mut(&environment) else { continue };
        let mut sources = platforms.iter().filter_map(|platform| package_of(pin, platform, &package));
        let Some(source) = sources.next().cloned() else { continue };
        // Where this machine's is known already, the others lack one of their own.
        if package_of(pin, &here, &package).is_some_and(|own| own.file.sha256 == sha256 && own.built.is_some()) {
            continue;
        }
        tell(format!("building {}=={} from its source", source.name, source.version));
        let anew = matches!(completion.upgrade, Upgrade::Names(_)) && completion.upgrade.asks_for(&package);
        let wanted = Source { package: &source, python: &pin.wish.python };
        match python::build(completion.cache, wanted, anew, say).await {
            Ok(built) => take_built(pin, &source, &built, &here),
            Err(failure) if platforms.contains(&here) => {
                let message = format!("cannot lock `{package}`: {}", failure.message);
                return Err(Failure { message, ..failure });
            }
            Err(failure) => tell(format!("not built here: {}", failure.message)),
        }
    }
    for ((environment, package, _), platforms) in unbuilt(next, completion) {
        let platforms = platforms.into_iter().collect::<Vec<_>>().join(", ");
        tell(format!(
            "`{package}` of `{environment}` is not built for {platforms} yet: `flowrun lock` on such a machine builds it"
        ));
    }
    Ok(())
}

fn package_of<'a>(pin: &'a EnvironmentPin, platform: &str, name: &str) -> Option<&'a PackagePin> {
    pin.resolved.get(platform)?.iter().find(|package| package.name == name)
}

fn take_built(pin: &mut EnvironmentPin, source: &PackagePin, built: &BuiltPin, here: &str) {
    let everywhere = built.wheel.file.ends_with("-none-any.whl");
    for (_, packages) in pin.resolved.iter_mut().filter(|(platform, _)| everywhere || *platform == here) {
        for package in packages.iter_mut().filter(|one| one.name == source.name && one.file == source.file) {
            package.built.get_or_insert_with(|| built.clone());
        }
    }
}

/// The exact Python of this machine, where there is one. What is missing is told when something is to run on it.
async fn interpreter(cache: &Cache, environment: &mut EnvironmentPin, platform: &str) {
    if environment.interpreters.contains_key(platform) {
        return;
    }
    if let Ok(found) = python::interpreter(cache, &environment.wish.python).await {
        environment.interpreters.insert(platform.to_owned(), found.kind());
    }
}

/// A lock of the first format knows every file of a version; one that it does not know was put there since.
fn check_old(old: &[OldEnvironment], platform: &str, packages: &[PackagePin]) -> Result<(), Failure> {
    for package in packages {
        let known = old.iter().filter(|old| old.platform == platform);
        let mut known = known.filter_map(|old| old.packages.get(&package.name));
        let same = known.find(|(version, _)| *version == package.version);
        if let Some((_, hashes)) = same
            && !hashes.contains(&package.file.sha256)
        {
            let text = format!(
                "`{}` of `{}=={}` is not one of the files that the lock has: its sha256 is {}",
                package.file.file, package.name, package.version, package.file.sha256
            );
            return Err(refused(text).hint(
                "the index has another file than when it was locked: find out why, and remove the lock only if that is meant",
            ));
        }
    }
    Ok(())
}

/// The file of a wheel `name==version` that is wanted for itself.
async fn wheel(
    cache: &Cache,
    wheel: &str,
    platform: Platform,
    say: &tokio::sync::mpsc::Sender<flowrun_core::outcome::Say>,
) -> Result<FilePin, Failure> {
    let broken = || Failure::new(FailureKind::Step, format!("`{wheel}` is not `name==version`"));
    let (name, version) = wheel_pin(wheel).ok_or_else(broken)?;
    let wish = PythonWish::new(ANY_PYTHON, &[format!("{name}=={version}")], &[]);
    let question = Question { wish: &wish, platform, kept: &BTreeMap::new(), deep: false };
    let packages = python::resolve(cache, question, say).await.map_err(|unresolved| unresolved.failure)?;
    packages.into_iter().next().map(|package| package.file).ok_or_else(broken)
}

/// A runtime on CUDA with all that it needs. Versions of libraries that the lock has are kept where they fit.
async fn runtime(
    completion: &Completion<'_>,
    runtime: &str,
    platform: Platform,
    say: &tokio::sync::mpsc::Sender<flowrun_core::outcome::Say>,
) -> Result<Vec<PackagePin>, Failure> {
    let mut kept = match completion.upgrade {
        Upgrade::All => BTreeMap::new(),
        _ => pins::known_libraries(completion.old, runtime),
    };
    kept.retain(|library, _| !completion.upgrade.asks_for(library));
    let requirements: Vec<String> = pins::requirement(runtime).into_iter().collect();
    let wish = PythonWish::new(ANY_PYTHON, &requirements, &[]);
    let question = Question { wish: &wish, platform, kept: &kept, deep: true };
    python::resolve(completion.cache, question, say).await.map_err(|unresolved| unresolved.failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_that_changed_meanwhile_is_not_written_over() {
        let pin = |sha256: &str| PluginPin {
            name: "acme/blur".to_owned(),
            version: "1.0.0".to_owned(),
            sha256: sha256.to_owned(),
            size: 1,
        };
        let uses = |sha256: &str| BTreeMap::from([("oci://x/blur:1".to_owned(), pin(sha256))]);
        let (one, other, none) = (uses("1"), uses("2"), BTreeMap::new());
        assert_eq!(unmoved(&one, &one, &Upgrade::None), Ok(()));
        assert_eq!(unmoved(&none, &one, &Upgrade::None), Ok(()));
        let moved = unmoved(&other, &one, &Upgrade::None).expect_err("moved");
        assert!(moved.message.contains("pins another `oci://x/blur:1` now"), "{moved:?}");
        let names = |name: &str| Upgrade::Names(BTreeSet::from([name.to_owned()]));
        assert_eq!(unmoved(&other, &one, &names("acme/blur")), Ok(()));
        assert!(unmoved(&other, &one, &names("acme/other")).is_err());
    }
}
