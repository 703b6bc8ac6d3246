//! How a lock is spelled: the types of the file, which give its JSON Schema too, and from them to [`Pins`].
//!
//! What becomes a path, an argument or a comparison is looked at here, where the line is known; later code may rely on it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::{
    BadLock, BuiltPin, EnvironmentPin, FORMAT, FilePin, PackagePin, Pins, PluginPin, PythonWish, SourcePin, StepPin,
    ToolPin,
};
use crate::artifact::is_component;
use crate::lang::glibc::Glibc;
use crate::plugin::Capability;

/// What a pipeline uses, exactly: written by `flowrun lock` and by `flowrun run`, to be reviewed and committed, not edited.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The format: 2.
    #[serde(rename = "flowrun-lock")]
    _format: u32,
    /// The machines it is made for: `linux-x86_64`, `linux-aarch64`, `macos-x86_64`, `macos-aarch64`.
    #[serde(default)]
    platforms: BTreeSet<Word>,
    /// What each step uses, by the step's id.
    #[serde(default)]
    steps: BTreeMap<String, Step>,
    /// Where a profile has steps that use something else.
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
    /// Plugins, by what `uses` says.
    #[serde(default)]
    plugins: BTreeMap<String, Plugin>,
    /// Python environments, by the name of the first step that has it.
    #[serde(default)]
    environments: BTreeMap<String, Environment>,
    /// Wheels of ONNX Runtime, of the libraries it needs, and of sources, by `name==version`.
    #[serde(default)]
    wheels: BTreeMap<String, Wheel>,
    /// Sources that are fetched, by name.
    #[serde(default)]
    sources: BTreeMap<String, Source>,
}

/// A profile's own steps.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Profile {
    /// The steps that use something else under it.
    #[serde(default)]
    steps: BTreeMap<String, Step>,
}

/// What a step uses.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Its plugin: a key of `plugins`.
    plugin: Option<String>,
    /// What the plugin may use beyond its inputs and outputs.
    #[serde(default)]
    allow: BTreeSet<Capability>,
    /// Its Python environment: a key of `environments`.
    environment: Option<String>,
    /// Its ONNX Runtime: a key of `wheels`.
    runtime: Option<String>,
}

/// A plugin's component.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Plugin {
    /// What it calls itself.
    name: String,
    /// Its version.
    #[serde(default)]
    version: String,
    /// The component's sha256.
    sha256: Sha256,
    /// Its bytes.
    size: u64,
}

/// A Python environment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Environment {
    /// Which Python was asked for.
    python: String,
    /// The exact Pythons of the machines that it was locked on, by platform. `--locked` takes no other.
    #[serde(default)]
    interpreters: BTreeMap<String, String>,
    /// What was asked for.
    #[serde(default)]
    requirements: Vec<String>,
    /// The packages that may be built from source.
    #[serde(default)]
    no_binary: Vec<String>,
    /// The oldest glibc that its wheels must run on, where that is not 2.28.
    glibc: Option<GlibcVersion>,
    /// The platforms it is resolved for, where those are not all of the lock's.
    platforms: Option<BTreeSet<Word>>,
    /// Its packages.
    #[serde(default)]
    packages: Vec<Package>,
}

/// A package in one version.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Package {
    /// Its name in the normal form: small letters and `-`.
    name: Name,
    /// Its version.
    version: Version,
    /// The one file for each platform: a wheel, or the source of a package in `no-binary`.
    files: Vec<Filed>,
    /// The one wheel for each platform that was built of the source. It is in no index.
    #[serde(default)]
    built: Vec<Filed>,
    /// What it was built with.
    #[serde(default)]
    tools: Vec<Tool>,
}

/// The wheel of a build tool.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tool {
    /// Its name in the normal form: small letters and `-`.
    name: Name,
    /// Its version.
    version: Version,
    /// The name of its wheel.
    file: FileName,
    /// The wheel's sha256.
    sha256: Sha256,
    /// The wheel's bytes, where the index says so.
    size: Option<u64>,
    /// The platforms on which it was built with it, where those are not all of the environment's.
    platforms: Option<BTreeSet<Word>>,
}

/// A wheel that is fetched for itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wheel {
    /// The wheels whose libraries a runtime on CUDA loads before itself: keys of `wheels`.
    #[serde(default)]
    libraries: BTreeSet<String>,
    /// The one file for each platform.
    files: Vec<Filed>,
}

/// A file of the package index. Where it lies is not said: indices have mirrors, and what counts is the sha256.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filed {
    /// Its name.
    file: FileName,
    /// Its sha256.
    sha256: Sha256,
    /// Its bytes, where the index says so.
    size: Option<u64>,
    /// The platforms it is for, where those are not all of the environment's or the lock's.
    platforms: Option<BTreeSet<Word>>,
}

/// Something that is fetched: one of the two.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Source {
    /// A wheel: a key of `wheels`.
    pypi: Option<String>,
    /// The sha256 of what its address gives.
    sha256: Option<Sha256>,
}

macro_rules! checked {
    ($($(#[$about:meta])* $name:ident $good:ident $what:literal,)*) => {
        $(
            $(#[$about])*
            #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
            struct $name(String);

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(from)?;
                    match $good(&text) {
                        true => Ok(Self(text)),
                        false => Err(D::Error::custom(format!("`{}` is not {}", text.escape_debug(), $what))),
                    }
                }
            }
        )*
    };
}

checked! {
    /// A platform.
    Word is_platform "a platform such as `linux-x86_64`",
    /// 64 small hexadecimal digits.
    Sha256 is_sha256 "a sha256: 64 of `0` to `9` and `a` to `f`",
    /// A version of glibc.
    GlibcVersion is_glibc "a version of glibc that wheels are made for",
    /// A package's name.
    Name is_name "a package's name in its normal form",
    /// An exact version.
    Version is_version "an exact version",
    /// The name of a wheel or of a source archive.
    FileName is_file_name "the name of a wheel or source archive",
}

pub(super) fn is_platform(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (1..=40).contains(&text.len()) && text.chars().all(plain)
}

/// Whether a text is a sha256 as it is written everywhere: 64 small hexadecimal digits.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text is a package's name in its normal form (PEP 503).
pub fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=100).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_glibc(text: &str) -> bool {
    Glibc::of(text).is_some()
}

/// Whether a text can be an exact version.
pub fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '!' | '-' | '_');
    (1..=100).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain)
}

/// Whether a text can be the name of a wheel or source archive, and of nothing else.
pub fn is_file_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '!' | '-' | '_');
    (1..=250).contains(&text.len()) && is_component(text) && !text.starts_with(['.', '-']) && text.chars().all(plain)
}

/// The JSON Schema of a lock, for editors and for tools that read one.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(File).to_value();
    schema["title"] = "flowrun lock".into();
    schema
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Format {
    flowrun_lock: u32,
}

pub(super) fn parse(text: &str) -> Result<Pins, BadLock> {
    let damaged = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| text.floor_char_boundary(span.start));
        BadLock::Damaged { line: 1 + text[..at].matches('\n').count(), problem: error.message().replace('\n', ", ") }
    };
    let Format { flowrun_lock } = toml::from_str(text).map_err(damaged)?;
    if flowrun_lock > FORMAT {
        return Err(BadLock::Newer(flowrun_lock));
    }
    pins(toml::from_str::<File>(text).map_err(damaged)?).map_err(|(about, problem)| {
        let line = text.lines().position(|line| line.starts_with('[') && line.contains(&about)).unwrap_or(0) + 1;
        BadLock::Damaged { line, problem }
    })
}

/// A table that is wrong as a whole, by its name, and why.
type Odd = (String, String);

fn pins(file: File) -> Result<Pins, Odd> {
    let platforms: BTreeSet<String> = words(file.platforms);
    let mut pins = Pins {
        steps: steps(file.steps),
        profiles: file.profiles.into_iter().map(|(name, profile)| (name, steps(profile.steps))).collect(),
        ..Pins::default()
    };
    for (uses, Plugin { name, version, sha256, size }) in file.plugins {
        pins.plugins.insert(uses, PluginPin { name, version, sha256: sha256.0, size });
    }
    for (name, written) in file.environments {
        let pin = environment(&name, written, &platforms)?;
        pins.environments.insert(name, pin);
    }
    for (name, wheel) in file.wheels {
        let mut files = BTreeMap::new();
        for (pin, its) in wheel.files.into_iter().map(filed) {
            for platform in its.unwrap_or_else(|| platforms.clone()) {
                if files.insert(platform.clone(), pin.clone()).is_some() {
                    return Err((name.clone(), format!("`{name}` has two files for {platform}")));
                }
            }
        }
        if !wheel.libraries.is_empty() {
            pins.libraries.insert(name.clone(), wheel.libraries);
        }
        pins.wheels.insert(name, files);
    }
    let mut libraries = pins.libraries.iter().flat_map(|(name, all)| all.iter().map(move |library| (name, library)));
    if let Some((name, library)) = libraries.find(|(_, library)| !pins.wheels.contains_key(*library)) {
        return Err((name.clone(), format!("`{library}`, a library of `{name}`, is not among the wheels")));
    }
    for (name, source) in file.sources {
        let pin = match (source.pypi, source.sha256) {
            (Some(wheel), None) => SourcePin::Pypi(wheel),
            (None, Some(sha256)) => SourcePin::Url(sha256.0),
            _ => return Err((name.clone(), format!("source `{name}` has not one of `pypi` and `sha256`"))),
        };
        pins.sources.insert(name, pin);
    }
    pins.platforms = platforms;
    Ok(pins)
}

fn words(words: BTreeSet<Word>) -> BTreeSet<String> {
    words.into_iter().map(|word| word.0).collect()
}

fn steps(steps: BTreeMap<String, Step>) -> BTreeMap<String, StepPin> {
    let pin = |step: Step| StepPin {
        plugin: step.plugin,
        allow: step.allow.into_iter().map(|capability| capability.name().to_owned()).collect(),
        environment: step.environment,
        runtime: step.runtime,
    };
    steps.into_iter().map(|(id, step)| (id, pin(step))).collect()
}

fn filed(filed: Filed) -> (FilePin, Option<BTreeSet<String>>) {
    let Filed { file, sha256, size, platforms } = filed;
    (FilePin { file: file.0, sha256: sha256.0, size }, platforms.map(words))
}

fn environment(name: &str, written: Environment, all: &BTreeSet<String>) -> Result<EnvironmentPin, Odd> {
    let platforms = written.platforms.map_or_else(|| all.clone(), words);
    let mut resolved: BTreeMap<String, Vec<PackagePin>> =
        platforms.iter().map(|platform| (platform.clone(), Vec::new())).collect();
    let odd = |problem: String| (format!("environments.{name}"), problem);
    for Package { name: Name(package), version: Version(version), files, built, tools } in written.packages {
        let mut built = self::built(&package, built, tools, &platforms).map_err(odd)?;
        for (file, its) in files.into_iter().map(filed) {
            for platform in its.unwrap_or_else(|| platforms.clone()) {
                let built = built.remove(&platform);
                let Some(packages) = resolved.get_mut(&platform) else {
                    return Err(odd(format!("`{package}` is for {platform}, and environment `{name}` is not")));
                };
                if packages.iter().any(|known| known.name == package) {
                    return Err(odd(format!("environment `{name}` has two files of `{package}` for {platform}")));
                }
                let pin = PackagePin { name: package.clone(), version: version.clone(), file: file.clone(), built };
                if pin.is_source() && !written.no_binary.iter().any(|name| is_same_name(name, &package)) {
                    // Whoever may change a lock must not have code built that the pipeline does not name.
                    return Err(odd(format!(
                        "`{package}` of environment `{name}` is a source, and not in its `no-binary`"
                    )));
                }
                if pin.built.is_some() && !pin.is_source() {
                    return Err(odd(format!("`{package}` of environment `{name}` is a wheel, and cannot be built")));
                }
                packages.push(pin);
            }
        }
        if let Some(platform) = built.keys().next() {
            return Err(odd(format!("`{package}` of environment `{name}` is built for {platform}, without a source")));
        }
    }
    resolved.values_mut().for_each(|packages| packages.sort());
    let glibc = written.glibc.map(|glibc| glibc.0);
    let wish = PythonWish { glibc, ..PythonWish::new(&written.python, &written.requirements, &written.no_binary) };
    Ok(EnvironmentPin { wish, interpreters: written.interpreters, resolved })
}

/// Whether a package is called so; names are also written otherwise than in their normal form (PEP 503).
fn is_same_name(written: &str, package: &str) -> bool {
    let parts = written.trim().split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase() == package
}

/// What was built of a package's source, by platform.
fn built(
    package: &str,
    built: Vec<Filed>,
    tools: Vec<Tool>,
    all: &BTreeSet<String>,
) -> Result<BTreeMap<String, BuiltPin>, String> {
    let mut found: BTreeMap<String, BuiltPin> = BTreeMap::new();
    for (wheel, its) in built.into_iter().map(filed) {
        if !wheel.file.ends_with(".whl") {
            return Err(format!("what was built of `{package}` is no wheel: `{}`", wheel.file));
        }
        for platform in its.unwrap_or_else(|| all.clone()) {
            let pin = BuiltPin { wheel: wheel.clone(), tools: Vec::new() };
            if found.insert(platform.clone(), pin).is_some() {
                return Err(format!("`{package}` is built twice for {platform}"));
            }
        }
    }
    for Tool { name, version, file, sha256, size, platforms } in tools {
        let file = FilePin { file: file.0, sha256: sha256.0, size };
        let tool = ToolPin { name: name.0, version: version.0, file };
        for platform in platforms.map_or_else(|| all.clone(), words) {
            let built = found.get_mut(&platform);
            let built = built.ok_or_else(|| format!("`{package}` has tools for {platform}, and is not built there"))?;
            built.tools.push(tool.clone());
        }
    }
    found.values_mut().for_each(|built| built.tools.sort());
    Ok(found)
}
