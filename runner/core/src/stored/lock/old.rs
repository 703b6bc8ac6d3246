//! The lock of format 1: JSON, made by `run` for one platform at a time.
//!
//! Wheels and plugins are taken over as they are. Its environments do not say what they were asked for, but for a digest, and name every
//! file of a package: their versions are kept, and which of the files is meant is found out again.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{BadLock, FORMAT, FilePin, OldEnvironment, Pins, PluginPin, read};

#[derive(Deserialize)]
struct Format {
    flowrun_lock: u32,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    wheels: BTreeMap<String, Wheel>,
    #[serde(default)]
    python: BTreeMap<String, Python>,
    #[serde(default)]
    plugins: BTreeMap<String, PluginPin>,
}

#[derive(Deserialize)]
struct Wheel {
    file: String,
    sha256: String,
    size: u64,
}

#[derive(Deserialize)]
struct Python {
    platform: String,
    requirements_txt: Vec<String>,
    spec_digest: String,
}

pub(super) fn parse(text: &str) -> Result<Pins, BadLock> {
    let damaged = |error: serde_json::Error| BadLock::Damaged { line: error.line().max(1), problem: error.to_string() };
    let Format { flowrun_lock } = serde_json::from_str(text).map_err(damaged)?;
    if flowrun_lock > 1 {
        return Err(BadLock::Newer(flowrun_lock.max(FORMAT + 1)));
    }
    let file: File = serde_json::from_str(text).map_err(damaged)?;
    check(&file).map_err(|(word, problem)| BadLock::Damaged { line: line_of(text, &word), problem })?;
    let mut pins = Pins { plugins: file.plugins, ..Pins::default() };
    for (key, wheel) in file.wheels {
        let Some((pin, platform)) = key.rsplit_once('@') else { continue };
        let Wheel { file, sha256, size } = wheel;
        pins.platforms.insert(platform.to_owned());
        let files = pins.wheels.entry(pin.to_owned()).or_default();
        files.insert(platform.to_owned(), FilePin { file, sha256, size: Some(size) });
    }
    for python in file.python.into_values() {
        pins.platforms.insert(python.platform.clone());
        let packages = python.requirements_txt.iter().filter_map(|line| package(line)).collect();
        pins.old.push(OldEnvironment { wish: python.spec_digest, platform: python.platform, packages });
    }
    Ok(pins)
}

/// What must hold for it to be written again, as [`super::read`] asks of its own format; else the word that is wrong, and why.
fn check(file: &File) -> Result<(), (String, String)> {
    let files = file.wheels.values().map(|wheel| (&wheel.file, &wheel.sha256));
    for (name, sha256) in files.chain(file.plugins.values().map(|plugin| (&plugin.name, &plugin.sha256))) {
        if !read::is_sha256(sha256) {
            return Err((sha256.clone(), format!("`{}` is not a sha256", sha256.escape_debug())));
        }
        if file.wheels.values().any(|wheel| wheel.file == *name) && !read::is_file_name(name) {
            return Err((name.clone(), format!("`{}` is not the name of a wheel", name.escape_debug())));
        }
    }
    let platforms = file.wheels.keys().filter_map(|key| key.rsplit_once('@')).map(|(_, platform)| platform);
    let mut platforms = platforms.chain(file.python.values().map(|python| python.platform.as_str()));
    match platforms.find(|platform| !read::is_platform(platform)) {
        Some(odd) => Err((odd.to_owned(), format!("`{}` is not a platform", odd.escape_debug()))),
        None => Ok(()),
    }
}

fn line_of(text: &str, word: &str) -> usize {
    text.lines().position(|line| line.contains(word)).unwrap_or(0) + 1
}

/// `NAME==VERSION ; MARKER --hash=sha256:… --hash=sha256:…`
fn package(line: &str) -> Option<(String, (String, BTreeSet<String>))> {
    let mut parts = line.split(" --hash=sha256:");
    let (name, version) = parts.next()?.split(';').next()?.trim().split_once("==")?;
    // Extras are no part of the name.
    let name = name.split('[').next()?.trim();
    Some((name.to_owned(), (version.trim().to_owned(), parts.map(str::to_owned).collect())))
}
