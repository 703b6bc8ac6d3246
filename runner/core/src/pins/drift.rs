//! What a lock does not hold of what is wanted, or holds otherwise: a line each, for a person.

use std::collections::BTreeSet;

use super::{Missing, StepWants, Wants, missing};
use crate::lang::glibc::Glibc;
use crate::stored::lock::{EnvironmentPin, Pins, PluginPin, PythonWish, SourcePin};

/// What keeps a run of these wants on `platform` from being the one that was locked; nothing where it is.
pub fn drift(pins: &Pins, wants: &Wants, platform: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (id, step) in &wants.steps {
        step_drift(&mut found, pins, wants.profile.as_deref(), id, step);
    }
    for (uses, now) in &wants.plugins {
        if let Some(locked) = pins.plugins.get(uses).filter(|locked| locked.sha256 != now.sha256) {
            found.push(other_plugin(uses, locked, now));
        }
    }
    for (name, now) in &wants.sources {
        match pins.sources.get(name) {
            None => found.push(format!("source `{name}` is not in the lock")),
            Some(locked) if locked != now => {
                found.push(format!("source `{name}` is {}, and {} is locked", source(now), source(locked)));
            }
            Some(_) => {}
        }
    }
    let only = BTreeSet::from([platform.to_owned()]);
    for lack in missing(pins, std::slice::from_ref(wants), &only) {
        found.push(match lack {
            Missing::Environment(name, platform) => {
                format!("Python environment `{name}` is not locked for {platform}")
            }
            Missing::Wheel(wheel, platform) => format!("`{wheel}` is not locked for {platform}"),
            Missing::Built(environment, package, platform) => {
                format!("`{package}` of the Python environment `{environment}` is not built for {platform} yet")
            }
            Missing::Runtime(runtime, platform) => {
                format!("`{runtime}` with the libraries it needs is not locked for {platform}")
            }
        });
    }
    found
}

fn step_drift(found: &mut Vec<String>, pins: &Pins, profile: Option<&str>, id: &str, now: &StepWants) {
    let Some(locked) = pins.step(profile, id) else {
        return found.push(format!("step `{id}` is not in the lock"));
    };
    if now.plugin != locked.plugin {
        found.push(otherwise(id, "uses", now.plugin.as_deref(), locked.plugin.as_deref()));
    } else if let Some(uses) = now.plugin.as_ref().filter(|uses| !pins.plugins.contains_key(*uses)) {
        found.push(format!("step `{id}` uses `{uses}`, which is not in the lock"));
    }
    if now.allow != locked.allow {
        let (more, less) = (named(now.allow.difference(&locked.allow)), named(locked.allow.difference(&now.allow)));
        let told = [("may now use", more), ("may no longer use", less)];
        let told =
            told.into_iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what} {names}"));
        found.push(format!("step `{id}` {}", told.collect::<Vec<_>>().join(", ")));
    }
    if now.runtime != locked.runtime {
        found.push(otherwise(id, "runs with", now.runtime.as_deref(), locked.runtime.as_deref()));
    }
    let environment = locked.environment.as_ref().and_then(|name| pins.environments.get(name));
    match (&now.python, environment) {
        (Some(wish), Some(locked)) if *wish != locked.wish => {
            found.push(format!("step `{id}` asks for {}", wish_drift(wish, locked)));
        }
        (Some(_), None) => found.push(format!("the Python environment of step `{id}` is not in the lock")),
        (None, Some(_)) => found.push(format!("step `{id}` has no Python environment any more")),
        _ => {}
    }
}

fn otherwise(id: &str, does: &str, now: Option<&str>, locked: Option<&str>) -> String {
    let name = |what: Option<&str>| what.map_or_else(|| "nothing".to_owned(), |what| format!("`{what}`"));
    format!("step `{id}` {does} {}, and {} is locked", name(now), name(locked))
}

fn named<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn wish_drift(now: &PythonWish, locked: &EnvironmentPin) -> String {
    let mut told = Vec::new();
    let locked = &locked.wish;
    if now.python != locked.python {
        told.push(format!("Python {}, and {} is locked", now.python, locked.python));
    }
    for (what, now, locked) in
        [("", &now.requirements, &locked.requirements), ("to build ", &now.no_binary, &locked.no_binary)]
    {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|one| !those.contains(one)).map(|one| format!("`{one}`")).collect()
        };
        let (more, less) = (only(now, locked), only(locked, now));
        if !more.is_empty() {
            told.push(format!("{what}{}, which is not locked", more.join(", ")));
        }
        if !less.is_empty() {
            told.push(format!("{what}{} no more", less.join(", ")));
        }
    }
    if now.glibc != locked.glibc {
        let version = |wish: &PythonWish| wish.glibc.clone().unwrap_or_else(|| Glibc::USUAL.version().to_owned());
        told.push(format!("glibc {}, and {} is locked", version(now), version(locked)));
    }
    told.join("; ")
}

fn other_plugin(uses: &str, locked: &PluginPin, now: &PluginPin) -> String {
    let short = |pin: &PluginPin| {
        let sha256 = pin.sha256.get(..12).unwrap_or(&pin.sha256);
        if pin.version.is_empty() {
            format!("sha256:{sha256}…")
        } else {
            format!("{} (sha256:{sha256}…)", pin.version)
        }
    };
    format!("plugin `{uses}` is {}, and {} is locked", short(now), short(locked))
}

fn source(pin: &SourcePin) -> String {
    match pin {
        SourcePin::Pypi(wheel) => format!("`{wheel}`"),
        SourcePin::Url(sha256) => format!("sha256:{}…", sha256.get(..12).unwrap_or(sha256)),
    }
}
