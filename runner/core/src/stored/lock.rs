//! The lock beside a pipeline, `NAME.lock`: what was found out once and must stay so until someone asks for new.
//!
//! JSON with sorted keys, to be committed. A reader of this version refuses a newer one, since ignoring pins it does not know would
//! be running something else than was locked. Keys that are missing are empty: a lock from before there were any is one without them.
//!
//! Knows nothing of whether what is pinned can be had, or is spelled as it should be: who uses a pin checks it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What this flowrun writes, and the newest that it reads.
const VERSION: u32 = 1;

/// The pins of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    flowrun_lock: u32,
    /// Wheels by `name==version@platform`.
    #[serde(default)]
    pub wheels: BTreeMap<String, WheelPin>,
    /// Python environments by `digest of what was asked for@platform`.
    #[serde(default)]
    pub python: BTreeMap<String, PythonLock>,
    /// Plugins of registries by the reference that `uses` gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, PluginPin>,
}

impl Default for Pins {
    fn default() -> Self {
        Self { flowrun_lock: VERSION, wheels: BTreeMap::new(), python: BTreeMap::new(), plugins: BTreeMap::new() }
    }
}

/// A wheel that was found once, as a lock holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelPin {
    /// The package, in its normal form: small letters and `-`.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// The wheel's file name.
    pub file: String,
    /// The wheel's sha256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

/// A plugin that a registry gave once, as a lock holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPin {
    /// What it calls itself; its repository where it says nothing.
    pub name: String,
    /// Its version; nothing where it says none.
    pub version: String,
    /// The sha256 of its component, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

/// The Python that a step asked for, resolved for one platform: every package by version and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonLock {
    /// Which Python, as it was asked for.
    pub python: String,
    /// The platform it holds for, such as `linux-x86_64`.
    pub platform: String,
    /// One line a package: `NAME==VERSION --hash=sha256:… --hash=sha256:…`, sorted.
    pub requirements_txt: Vec<String>,
    /// The packages that are built from source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_binary: Vec<String>,
    /// The digest of what was asked for.
    pub spec_digest: Digest,
}

/// Why a text is not a lock.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLock {
    /// It is not one, or not whole.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// It is a later flowrun's.
    #[error("is of version {0}, and this flowrun reads {VERSION}")]
    Newer(u32),
}

#[derive(Deserialize)]
struct Version {
    flowrun_lock: u32,
}

impl Pins {
    /// The stored text.
    pub fn to_text(&self) -> String {
        // Only maps whose keys are not text can fail to become JSON, and there is none in it.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the stored text. The version comes first: a later one may have any shape.
    ///
    /// # Errors
    /// When it is not a lock, or a later flowrun's.
    pub fn parse(text: &str) -> Result<Self, BadLock> {
        let damaged = |error: serde_json::Error| BadLock::Damaged(error.to_string());
        match serde_json::from_str(text).map_err(damaged)? {
            Version { flowrun_lock } if flowrun_lock > VERSION => Err(BadLock::Newer(flowrun_lock)),
            Version { .. } => serde_json::from_str(text).map_err(damaged),
        }
    }
}
