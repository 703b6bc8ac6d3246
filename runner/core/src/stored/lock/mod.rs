//! The lock beside a pipeline, `NAME.lock`: what was found out once and must stay so until someone asks for new.
//!
//! TOML, sorted, one fact a line, to be reviewed and committed. [`read`] says how it is spelled, [`write`] writes it, and the same pins are
//! the same bytes on every machine: there is no date in it, no address of an index, no path.
//!
//! ```text
//! platforms                  the machines it holds for
//! [steps.ID]                 what the step uses, by name ───┐         [profiles.P.steps.ID] where a profile has another
//! [plugins."USES"]           ◄── plugin                     │  the bytes of each by sha256, and its version for people
//! [environments.NAME]        ◄── environment                │  NAME is the first step that has it: steps that agree share one;
//!                                                           │  of a package without wheels the source, `built` from it, and `tools`
//! [wheels."NAME==VERSION"]   ◄── runtime, sources.ID.pypi ──┘  a runtime on CUDA names its `libraries`: wheels too
//! [sources.ID]               what is fetched
//! ```
//!
//! A file without `platforms` is for all of its environment's; an environment without, and a wheel's file, for all of the lock's.
//!
//! | | lock of format 1 (JSON) | format 2 | later |
//! |---|---|---|---|
//! | flowrun of format 1 | reads it | refuses it | refuses it |
//! | this flowrun | reads it: [`old`] | reads it; a key that it does not know is an error | refuses it |
//!
//! Ignoring pins that it does not know would be running something else than was locked.
//!
//! Knows nothing of whether what is pinned can be had.

mod old;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lang::glibc::Glibc;
use crate::lang::written::Python;

pub use read::{is_file_name, is_name, is_sha256, is_version, schema};
pub(crate) use write::string as toml_string;

/// What this flowrun writes, and the newest that it reads.
pub const FORMAT: u32 = 2;

/// The pins of a pipeline. A platform is written `linux-x86_64`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The machines it is made for. An environment may be resolved for fewer, as long as nobody asked for all.
    pub platforms: BTreeSet<String>,
    /// What each step uses; steps that use nothing that can be pinned are left out.
    pub steps: BTreeMap<String, StepPin>,
    /// The steps that use something else under a profile, by profile.
    pub profiles: BTreeMap<String, BTreeMap<String, StepPin>>,
    /// Plugins by what `uses` says.
    pub plugins: BTreeMap<String, PluginPin>,
    /// Python environments by name.
    pub environments: BTreeMap<String, EnvironmentPin>,
    /// Wheels by `name==version`, then by platform.
    pub wheels: BTreeMap<String, BTreeMap<String, FilePin>>,
    /// The wheels that a runtime needs besides its own, `name==version` of each: CUDA's.
    pub libraries: BTreeMap<String, BTreeSet<String>>,
    /// Sources by name.
    pub sources: BTreeMap<String, SourcePin>,
    /// What a lock of format 1 says of environments. Never written.
    pub old: Vec<OldEnvironment>,
}

/// What a step uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPin {
    /// Its plugin, as `uses` says.
    pub plugin: Option<String>,
    /// What the plugin may use beyond its inputs and outputs.
    pub allow: BTreeSet<String>,
    /// The name of its Python environment.
    pub environment: Option<String>,
    /// Its ONNX Runtime, a wheel: `onnxruntime==VERSION`, or `onnxruntime-gpu==VERSION` for CUDA.
    pub runtime: Option<String>,
}

/// A plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPin {
    /// What it calls itself; its repository or file where it says nothing.
    pub name: String,
    /// Its version; nothing where it says none.
    pub version: String,
    /// The sha256 of its component, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

/// The Python that a step asks for, in one form: without spaces around, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonWish {
    /// Which Python: `3.11`, or `3.11.7`.
    pub python: String,
    /// The requirements as written.
    pub requirements: Vec<String>,
    /// The packages that may be built from source.
    pub no_binary: Vec<String>,
    /// The oldest glibc that its wheels must run on, where that is not the usual one: `2.17`.
    pub glibc: Option<String>,
}

impl PythonWish {
    /// The one form of what is written.
    pub fn new(python: &str, requirements: &[String], no_binary: &[String]) -> Self {
        let one_form = |written: &[String]| {
            let all: BTreeSet<String> = written.iter().map(|text| text.trim().to_owned()).collect();
            all.into_iter().collect()
        };
        Self {
            python: python.to_owned(),
            requirements: one_form(requirements),
            no_binary: one_form(no_binary),
            glibc: None,
        }
    }
}

impl From<&Python> for PythonWish {
    fn from(python: &Python) -> Self {
        let glibc = python.glibc.filter(|glibc| *glibc != Glibc::USUAL).map(|glibc| glibc.version().to_owned());
        Self { glibc, ..Self::new(&python.version, &python.requirements, &python.no_binary) }
    }
}

/// A Python environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentPin {
    /// What was asked for.
    pub wish: PythonWish,
    /// The exact Pythons of the machines that it was locked on, by platform: `cpython 3.11.7`.
    pub interpreters: BTreeMap<String, String>,
    /// The packages by platform, sorted.
    pub resolved: BTreeMap<String, Vec<PackagePin>>,
}

/// A package in one version, and the file of it that the index has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackagePin {
    /// Its name in the normal form: small letters and `-`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The wheel, or the source where the package is built.
    pub file: FilePin,
    /// What came of the source, where it was built.
    pub built: Option<BuiltPin>,
}

impl PackagePin {
    /// A package as the index has it.
    pub fn new(name: &str, version: &str, file: FilePin) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), file, built: None }
    }

    /// Whether the index has only its source.
    pub fn is_source(&self) -> bool {
        !self.file.file.ends_with(".whl")
    }

    /// The wheel that is installed; none where the package is built and nobody has done so yet.
    pub fn wheel(&self) -> Option<&FilePin> {
        match self.is_source() {
            true => self.built.as_ref().map(|built| &built.wheel),
            false => Some(&self.file),
        }
    }

    /// The line by which it is installed: that wheel or none. Without a wheel, that source.
    pub fn line(&self) -> String {
        let file = self.wheel().unwrap_or(&self.file);
        format!("{}=={} --hash=sha256:{}", self.name, self.version, file.sha256)
    }

    /// The line by which the file of the index is asked for.
    pub fn index_line(&self) -> String {
        format!("{}=={} --hash=sha256:{}", self.name, self.version, self.file.sha256)
    }
}

/// A wheel that was built of a package's source, once, and is the same wherever it is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BuiltPin {
    /// The wheel.
    pub wheel: FilePin,
    /// What it was built with, sorted: another machine that builds it uses the same.
    pub tools: Vec<ToolPin>,
}

/// A build tool: a package in one version, and its wheel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ToolPin {
    /// Its name in the normal form: small letters and `-`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its wheel.
    pub file: FilePin,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FilePin {
    /// Its name.
    pub file: String,
    /// Its sha256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes, where the index says so.
    pub size: Option<u64>,
}

/// Something that is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePin {
    /// A wheel of the package index, `name==version`: see [`Pins::wheels`].
    Pypi(String),
    /// What an address gives, by its sha256. The address is the pipeline's, and may hold a secret.
    Url(String),
}

/// An environment of a lock of format 1: its versions are worth keeping, and which files of them were meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldEnvironment {
    /// The digest of what was asked for.
    pub wish: String,
    /// The platform it holds for.
    pub platform: String,
    /// Version and hashes of each package.
    pub packages: BTreeMap<String, (String, BTreeSet<String>)>,
}

/// Why a text is not a lock. To be shown after the file's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLock {
    /// It is not one, or not whole.
    #[error(":{line}: the lock is damaged: {problem}")]
    Damaged {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It is a later flowrun's.
    #[error(": the lock is of format {0}, and this flowrun reads {FORMAT}")]
    Newer(u32),
}

impl Pins {
    /// The stored text.
    pub fn to_text(&self) -> String {
        write::text(self)
    }

    /// Reads the stored text. The format comes first: a later one may have any shape.
    ///
    /// # Errors
    /// When it is not a lock, or a later flowrun's.
    pub fn parse(text: &str) -> Result<Self, BadLock> {
        match text.trim_start().starts_with('{') {
            true => old::parse(text),
            false => read::parse(text),
        }
    }

    /// What a step uses, under a profile or none.
    pub fn step(&self, profile: Option<&str>, id: &str) -> Option<&StepPin> {
        let own = profile.and_then(|profile| self.profiles.get(profile)?.get(id));
        own.or_else(|| self.steps.get(id))
    }

    /// The environment of that wish, and its name.
    pub fn environment(&self, wish: &PythonWish) -> Option<(&str, &EnvironmentPin)> {
        let found = self.environments.iter().find(|(_, pin)| pin.wish == *wish);
        found.map(|(name, pin)| (name.as_str(), pin))
    }

    /// The file of a wheel, `name==version`, for a platform.
    pub fn wheel(&self, pin: &str, platform: &str) -> Option<&FilePin> {
        self.wheels.get(pin)?.get(platform)
    }

    /// All wheels that a step with this runtime needs on a platform, the runtime's own first: `name==version` and file. `None` where one
    /// is not pinned.
    pub fn runtime<'a>(&'a self, runtime: &'a str, platform: &str) -> Option<Vec<(&'a str, &'a FilePin)>> {
        let libraries = self.libraries.get(runtime).into_iter().flatten().map(String::as_str);
        [runtime].into_iter().chain(libraries).map(|pin| Some((pin, self.wheel(pin, platform)?))).collect()
    }
}
