//! What a new lock changes, as a review says it: `train: jax 0.10.1 → 0.10.2, +2 packages (…)`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::stored::lock::{EnvironmentPin, FilePin, PackagePin, Pins, PluginPin, SourcePin, StepPin};

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What: a step, an environment, a plugin, a wheel, a source.
    pub about: String,
    /// How.
    pub change: String,
}

/// Packages that are named when many come or go; the lock has all.
const NAMED: usize = 8;

/// What differs between two locks, in the lock's own order.
pub fn changes(old: &Pins, new: &Pins) -> Vec<Change> {
    let mut all = Vec::new();
    let mut say = |about: &str, told: Vec<String>| {
        if !told.is_empty() {
            all.push(Change { about: about.to_owned(), change: told.join(", ") });
        }
    };
    say("platforms", sets(&old.platforms, &new.platforms, "also ", "no longer "));
    for (id, (was, is)) in pairs(&old.steps, &new.steps) {
        say(id, step(was, is));
    }
    for (profile, (was, is)) in pairs(&old.profiles, &new.profiles) {
        let none = BTreeMap::new();
        for (id, (was, is)) in pairs(was.unwrap_or(&none), is.unwrap_or(&none)) {
            say(&format!("{id} ({profile})"), step(was, is));
        }
    }
    for (uses, (was, is)) in pairs(&old.plugins, &new.plugins) {
        say(uses, plugin(was, is));
    }
    for (name, (was, is)) in pairs(&old.environments, &new.environments) {
        say(name, environment(was, is));
    }
    // Libraries are told with the runtime that needs them.
    let libraries: BTreeSet<&String> = old.libraries.values().chain(new.libraries.values()).flatten().collect();
    for (name, (was, is)) in pairs(&old.wheels, &new.wheels) {
        if !libraries.iter().any(|library| *library == name) {
            let mut told = wheel(was, is);
            if is.is_some() {
                told.extend(packages(&with_libraries(old, name), &with_libraries(new, name), LIBRARY));
            }
            say(name, told);
        }
    }
    for (name, (was, is)) in pairs(&old.sources, &new.sources) {
        say(&format!("sources.{name}"), source(was, is));
    }
    all
}

/// Everything of two maps side by side.
fn pairs<'a, T>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> BTreeMap<&'a str, (Option<&'a T>, Option<&'a T>)> {
    let names = old.keys().chain(new.keys());
    names.map(|name| (name.as_str(), (old.get(name), new.get(name)))).collect()
}

fn sets(was: &BTreeSet<String>, is: &BTreeSet<String>, more: &str, less: &str) -> Vec<String> {
    let told = |word: &str, these: &BTreeSet<String>, those: &BTreeSet<String>| {
        let names: Vec<&str> = these.difference(those).map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{word}{}", names.join(", ")))
    };
    told(more, is, was).into_iter().chain(told(less, was, is)).collect()
}

/// What a step uses is told with the plugin or environment itself; here only that it uses another, and what it may do.
fn step(was: Option<&StepPin>, is: Option<&StepPin>) -> Vec<String> {
    let none = StepPin::default();
    let (old, new) = (was.unwrap_or(&none), is.unwrap_or(&none));
    let mut told = Vec::new();
    for (what, was, is) in [
        ("plugin", &old.plugin, &new.plugin),
        ("environment", &old.environment, &new.environment),
        ("runtime", &old.runtime, &new.runtime),
    ] {
        match (was, is) {
            (Some(was), Some(is)) if was != is => told.push(format!("{what} {was} → {is}")),
            (Some(was), None) => told.push(format!("no longer {what} {was}")),
            (None, Some(is)) => told.push(format!("{what} {is}")),
            _ => {}
        }
    }
    told.extend(sets(&old.allow, &new.allow, "now may use ", "no longer may use "));
    told
}

fn plugin(was: Option<&PluginPin>, is: Option<&PluginPin>) -> Vec<String> {
    let short = |pin: &PluginPin| pin.sha256.get(..12).unwrap_or(&pin.sha256).to_owned();
    match (was, is) {
        (Some(was), Some(is)) if was.sha256 != is.sha256 && was.version != is.version => {
            vec![format!("{} → {} (sha256 {}… → {}…)", was.version, is.version, short(was), short(is))]
        }
        (Some(was), Some(is)) if was.sha256 != is.sha256 => {
            vec![format!("other bytes: sha256 {}… → {}…", short(was), short(is))]
        }
        (None, Some(is)) if is.version.is_empty() => vec![format!("sha256 {}…", short(is))],
        (None, Some(is)) => vec![format!("{} (sha256 {}…)", is.version, short(is))],
        (Some(_), None) => vec!["no longer used".to_owned()],
        _ => Vec::new(),
    }
}

fn source(was: Option<&SourcePin>, is: Option<&SourcePin>) -> Vec<String> {
    let shown = |pin: &SourcePin| match pin {
        SourcePin::Pypi(wheel) => wheel.clone(),
        SourcePin::Url(sha256) => format!("sha256 {}…", sha256.get(..12).unwrap_or(sha256)),
    };
    match (was, is) {
        (Some(was), Some(is)) if was != is => vec![format!("{} → {}", shown(was), shown(is))],
        (None, Some(is)) => vec![shown(is)],
        (Some(_), None) => vec!["no longer used".to_owned()],
        _ => Vec::new(),
    }
}

fn wheel(was: Option<&BTreeMap<String, FilePin>>, is: Option<&BTreeMap<String, FilePin>>) -> Vec<String> {
    let none = BTreeMap::new();
    let Some(is) = is else { return vec!["no longer used".to_owned()] };
    let was = was.unwrap_or(&none);
    let keys = |files: &BTreeMap<String, FilePin>| files.keys().cloned().collect();
    let mut told = sets(&keys(was), &keys(is), "for ", "no longer for ");
    for (platform, new) in is {
        if let Some(old) = was.get(platform).filter(|old| old.sha256 != new.sha256) {
            told.push(format!("{platform}: {} → {}", other_file(old, new), new.file));
        }
    }
    told
}

fn other_file(old: &FilePin, new: &FilePin) -> String {
    if old.file == new.file { "other bytes".to_owned() } else { old.file.clone() }
}

/// What a runtime needs besides its own wheel, as the packages of an environment.
fn with_libraries(pins: &Pins, runtime: &str) -> EnvironmentPin {
    let mut pin = EnvironmentPin::default();
    for library in pins.libraries.get(runtime).into_iter().flatten() {
        let (name, version) = library.split_once("==").unwrap_or((library, ""));
        for (platform, file) in pins.wheels.get(library).into_iter().flatten() {
            let package = PackagePin::new(name, version, file.clone());
            pin.resolved.entry(platform.clone()).or_default().push(package);
        }
    }
    pin
}

fn environment(was: Option<&EnvironmentPin>, is: Option<&EnvironmentPin>) -> Vec<String> {
    let Some(is) = is else { return vec!["environment no longer used".to_owned()] };
    let Some(was) = was else {
        let most = is.resolved.values().map(Vec::len).max().unwrap_or(0);
        let platforms: Vec<&str> = is.resolved.keys().map(String::as_str).collect();
        return vec![format!(
            "Python {} with {} for {}",
            is.wish.python,
            amount(most, PACKAGE),
            if platforms.is_empty() { "no platform yet".to_owned() } else { platforms.join(", ") }
        )];
    };
    let mut told = Vec::new();
    if was.wish.python != is.wish.python {
        told.push(format!("Python {} → {}", was.wish.python, is.wish.python));
    }
    told.extend(packages(was, is, PACKAGE));
    told.extend(built(was, is));
    let keys = |pin: &EnvironmentPin| pin.resolved.keys().cloned().collect();
    told.extend(sets(&keys(was), &keys(is), "also for ", "no longer for "));
    for (platform, (old, new)) in pairs(&was.interpreters, &is.interpreters) {
        if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            told.push(format!("{platform}: {old} → {new}"));
        }
    }
    if told.is_empty() && was != is {
        told.push("asked for otherwise, the same packages".to_owned());
    }
    told
}

/// Versions of a package over all platforms, usually one.
fn versions(pin: &EnvironmentPin) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in pin.resolved.values().flatten() {
        all.entry(&package.name).or_default().insert(&package.version);
    }
    all
}

fn packages(was: &EnvironmentPin, is: &EnvironmentPin, what: Noun) -> Vec<String> {
    let (old, new) = (versions(was), versions(is));
    let joined = |versions: &BTreeSet<&str>| versions.iter().copied().collect::<Vec<_>>().join("/");
    let mut told = Vec::new();
    for (name, is) in &new {
        if let Some(was) = old.get(name).filter(|was| *was != is) {
            told.push(format!("{name} {} → {}", joined(was), joined(is)));
        }
    }
    let coming: Vec<String> = new
        .iter()
        .filter(|(name, _)| !old.contains_key(*name))
        .map(|(name, is)| format!("{name} {}", joined(is)))
        .collect();
    let going: Vec<String> =
        old.keys().filter(|name| !new.contains_key(*name)).map(|name| (*name).to_owned()).collect();
    told.extend(listed("+", &coming, what));
    told.extend(listed("-", &going, what));
    told.extend(refiled(was, is));
    told
}

fn listed(sign: &str, names: &[String], what: Noun) -> Option<String> {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > NAMED { ", …" } else { "" };
    (!names.is_empty()).then(|| format!("{sign}{} ({shown}{more})", amount(names.len(), what)))
}

/// The same version, and other bytes: what a reviewer must not miss.
fn refiled(was: &EnvironmentPin, is: &EnvironmentPin) -> Vec<String> {
    let mut told = BTreeSet::new();
    for (platform, packages) in &is.resolved {
        for new in packages {
            let olds = was.resolved.get(platform).into_iter().flatten();
            let mut same = olds.filter(|old| old.name == new.name && old.version == new.version);
            if let Some(old) = same.find(|old| old.file.sha256 != new.file.sha256) {
                told.insert(format!(
                    "{} {}: {} → {}",
                    new.name,
                    new.version,
                    other_file(&old.file, &new.file),
                    new.file.file
                ));
            }
        }
    }
    told.into_iter().collect()
}

/// Packages that are built, or built otherwise than they were.
fn built(was: &EnvironmentPin, is: &EnvironmentPin) -> Vec<String> {
    let mut told: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (platform, packages) in &is.resolved {
        for new in packages.iter().filter(|new| new.built.is_some()) {
            let olds = was.resolved.get(platform).into_iter().flatten();
            let old =
                olds.filter(|old| old.name == new.name && old.file == new.file).find_map(|old| old.built.as_ref());
            let how = match old {
                None => "built from its source",
                Some(old) if new.built.as_ref() == Some(old) => continue,
                Some(old) if new.wheel() != Some(&old.wheel) => "built anew, with other bytes",
                Some(_) => "built with other tools, the same bytes",
            };
            told.entry(format!("{} {}: {how}", new.name, new.version)).or_default().insert(platform);
        }
    }
    let platforms = |all: BTreeSet<&str>| all.into_iter().collect::<Vec<_>>().join(", ");
    told.into_iter().map(|(what, all)| format!("{what} for {}", platforms(all))).collect()
}

/// A word for one, and for more.
type Noun = (&'static str, &'static str);

const PACKAGE: Noun = ("package", "packages");
const LIBRARY: Noun = ("library", "libraries");

fn amount(count: usize, (one, more): Noun) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}
