//! From a lock and what is wanted to the next lock: what is still wanted is carried over as it is, the rest is dropped or missing.

use std::collections::{BTreeMap, BTreeSet};

use super::runtime::{CUDA_PLATFORM, is_whole};
use super::{StepWants, Wants};
use crate::stored::lock::{EnvironmentPin, Pins, PythonWish, StepPin};

/// Something that nobody has found out yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// An environment, by name, for a platform.
    Environment(String, String),
    /// A wheel, `name==version`, for a platform.
    Wheel(String, String),
    /// A runtime on CUDA, `name==version`, with its libraries, for a platform.
    Runtime(String, String),
    /// The wheel of a package that is built from its source: the environment, the package, the platform.
    Built(String, String, String),
}

/// The next lock, as far as it is known. With `whole`, `all` are the wants of the file under no profile, which comes first, and under each;
/// otherwise they are those of one run, and what belongs to other profiles stays.
pub fn carry(old: &Pins, all: &[Wants], platforms: &BTreeSet<String>, whole: bool) -> Pins {
    let mut next = Pins { platforms: platforms.clone(), old: old.old.clone(), ..Pins::default() };
    if !whole {
        next = Pins { platforms: platforms.clone(), ..old.clone() };
    }
    for wants in all {
        one(&mut next, old, wants);
    }
    drop_unused(&mut next, all, whole);
    for environment in next.environments.values_mut() {
        if whole {
            environment.resolved.retain(|platform, _| platforms.contains(platform));
            environment.interpreters.retain(|platform, _| platforms.contains(platform));
        }
    }
    if whole {
        next.wheels.values_mut().for_each(|files| files.retain(|platform, _| platforms.contains(platform)));
    }
    next
}

/// Lays the wants under one profile into the lock.
fn one(next: &mut Pins, old: &Pins, wants: &Wants) {
    let mut names = BTreeMap::new();
    for (id, wish) in wants.environments() {
        names.insert(wish, place(next, old, wants.profile.as_deref(), id, wish));
    }
    let pin = |step: &StepWants| StepPin {
        plugin: step.plugin.clone(),
        allow: step.allow.clone(),
        environment: step.python.as_ref().and_then(|wish| names.get(wish).cloned()),
        runtime: step.runtime.clone(),
    };
    let steps: BTreeMap<String, StepPin> = wants.steps.iter().map(|(id, step)| (id.clone(), pin(step))).collect();
    match &wants.profile {
        None => next.steps = steps,
        Some(profile) => {
            // A step that uses nothing under the profile, and something without.
            let bare = next.steps.keys().filter(|id| !steps.contains_key(*id));
            let bare: Vec<_> = bare.map(|id| (id.clone(), StepPin::default())).collect();
            let mut own: BTreeMap<String, StepPin> = steps.into_iter().chain(bare).collect();
            own.retain(|id, pin| next.steps.get(id) != Some(pin));
            match own.is_empty() {
                true => drop(next.profiles.remove(profile)),
                false => drop(next.profiles.insert(profile.clone(), own)),
            }
        }
    }
    next.plugins.extend(wants.plugins.clone());
    for runtime in wants.runtimes() {
        if let Some(libraries) = old.libraries.get(&runtime) {
            next.libraries.insert(runtime, libraries.clone());
        }
    }
    let libraries = next.libraries.values().flatten().cloned();
    for wheel in wants.wheels().into_iter().chain(wants.runtimes()).chain(libraries) {
        let known = old.wheels.get(&wheel).cloned().unwrap_or_default();
        next.wheels.entry(wheel).or_insert(known);
    }
    next.sources.extend(wants.sources.clone());
}

/// The name of the environment of a wish, which is in the lock then. It is called what the first step is that has it.
fn place(next: &mut Pins, old: &Pins, profile: Option<&str>, id: &str, wish: &PythonWish) -> String {
    let own = profile.map_or_else(|| id.to_owned(), |profile| format!("{id}-{profile}"));
    let known = next.environment(wish).map(|(name, _)| name.to_owned());
    if let (Some(name), true) = (&known, profile.is_some()) {
        return name.clone();
    }
    let pin = old.environment(wish).map(|(_, pin)| pin.clone());
    let pin = pin.unwrap_or_else(|| EnvironmentPin { wish: wish.clone(), ..EnvironmentPin::default() });
    if let Some(name) = known {
        next.environments.remove(&name);
        let steps = next.profiles.values_mut().flat_map(BTreeMap::values_mut);
        let named = steps.filter(|step| step.environment.as_deref() == Some(&name));
        named.for_each(|step| step.environment = Some(own.clone()));
    }
    next.environments.insert(own.clone(), pin);
    own
}

/// A lock must not only grow.
fn drop_unused(next: &mut Pins, all: &[Wants], whole: bool) {
    let steps: Vec<&StepPin> = next.steps.values().chain(next.profiles.values().flat_map(BTreeMap::values)).collect();
    let used = |of: fn(&StepPin) -> Option<&String>| -> BTreeSet<String> {
        steps.iter().filter_map(|step| of(step)).cloned().collect()
    };
    let environments = used(|step| step.environment.as_ref());
    let mut wheels = used(|step| step.runtime.as_ref());
    next.libraries.retain(|runtime, _| wheels.contains(runtime));
    wheels.extend(next.libraries.values().flatten().cloned());
    let plugins = used(|step| step.plugin.as_ref());
    // The sources are the same under every profile.
    let sources: BTreeSet<&String> = all.iter().flat_map(|wants| wants.sources.keys()).collect();
    next.sources.retain(|name, _| sources.contains(name));
    wheels.extend(all.iter().flat_map(Wants::wheels));
    next.environments.retain(|name, _| environments.contains(name));
    next.plugins.retain(|uses, _| plugins.contains(uses));
    next.wheels.retain(|wheel, _| wheels.contains(wheel));
    if whole {
        let profiles: BTreeSet<&str> = all.iter().filter_map(|wants| wants.profile.as_deref()).collect();
        next.profiles.retain(|name, _| profiles.contains(name.as_str()));
    }
}

/// What a lock lacks for these platforms, of what `all` want.
pub fn missing(pins: &Pins, all: &[Wants], platforms: &BTreeSet<String>) -> Vec<Missing> {
    let wishes: BTreeSet<&PythonWish> = all.iter().flat_map(Wants::environments).map(|(_, wish)| wish).collect();
    let mut found = BTreeSet::new();
    for platform in platforms {
        for (name, environment) in pins.environments.iter().filter(|(_, pin)| wishes.contains(&pin.wish)) {
            let Some(packages) = environment.resolved.get(platform) else {
                found.insert(Missing::Environment(name.clone(), platform.clone()));
                continue;
            };
            for package in packages.iter().filter(|package| package.wheel().is_none()) {
                found.insert(Missing::Built(name.clone(), package.name.clone(), platform.clone()));
            }
        }
        for wheel in all.iter().flat_map(Wants::wheels) {
            if pins.wheel(&wheel, platform).is_none() {
                found.insert(Missing::Wheel(wheel, platform.clone()));
            }
        }
        for runtime in all.iter().flat_map(Wants::runtimes).filter(|_| platform == CUDA_PLATFORM) {
            if !is_whole(pins, &runtime, platform) {
                found.insert(Missing::Runtime(runtime, platform.clone()));
            }
        }
    }
    found.into_iter().collect()
}

/// The versions that an environment should keep when it is resolved for a platform: those it has for that platform, else for others; else
/// those that the environment had which its steps had before; else what other environments of the lock have.
pub fn preferences(old: &Pins, next: &Pins, name: &str, platform: &str) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    let mut take = |environment: &EnvironmentPin| {
        let first = environment.resolved.get(platform).into_iter();
        for package in first.chain(environment.resolved.values()).flatten() {
            known.entry(package.name.clone()).or_insert_with(|| package.version.clone());
        }
    };
    next.environments.get(name).into_iter().for_each(&mut take);
    let users = next.steps.iter().filter(|(_, step)| step.environment.as_deref() == Some(name));
    let before = users.filter_map(|(id, _)| old.steps.get(id)?.environment.as_ref());
    for environment in before.filter_map(|name| old.environments.get(name)).chain(old.environments.get(name)) {
        take(environment);
    }
    next.environments.values().chain(old.environments.values()).for_each(&mut take);
    for old in &old.old {
        for (package, (version, _)) in &old.packages {
            known.entry(package.clone()).or_insert_with(|| version.clone());
        }
    }
    known
}
