//! What uv writes when it has resolved: a `pylock.toml` (PEP 751), of which only what flowrun asks about is read.

use std::collections::BTreeMap;

use flowrun_core::outcome::Failure;
use serde::Deserialize;

use crate::fetch::infrastructure;

/// Its name, by which uv knows the format.
pub(super) const NAME: &str = "pylock.toml";

#[derive(Deserialize)]
struct Pylock {
    #[serde(default)]
    packages: Vec<Package>,
}

/// A package.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) wheels: Vec<File>,
    pub(super) sdist: Option<File>,
}

/// A file of a package, wherever it lies.
#[derive(Deserialize)]
pub(super) struct File {
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) hashes: BTreeMap<String, String>,
}

/// The packages of such a text.
pub(super) fn packages(text: &str) -> Result<Vec<Package>, Failure> {
    let pylock: Pylock = toml::from_str(text)
        .map_err(|error| infrastructure(format!("cannot read what uv wrote: {}", error.message())))?;
    Ok(pylock.packages)
}
