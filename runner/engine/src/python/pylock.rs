//! What uv writes when it has resolved: a `pylock.toml` (PEP 751), of which only what flowrun asks about is read.

use std::collections::BTreeMap;

use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::is_file_name;
use percent_encoding::percent_decode_str;
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

impl File {
    /// What it is called, where that is a name for a file.
    pub(super) fn named(&self) -> Option<String> {
        let place = self.url.as_deref().map(|url| url.split(['?', '#']).next().unwrap_or(url)).or(self.path.as_deref());
        // `%2B` is `+`, which stands in local versions.
        let last = place.and_then(|place| place.rsplit('/').next());
        let last = last.map(|last| percent_decode_str(last).decode_utf8_lossy().into_owned());
        self.name.clone().or(last).filter(|name| is_file_name(name))
    }
}

/// The packages of such a text.
pub(super) fn packages(text: &str) -> Result<Vec<Package>, Failure> {
    let pylock: Pylock = toml::from_str(text)
        .map_err(|error| infrastructure(format!("cannot read what uv wrote: {}", error.message())))?;
    Ok(pylock.packages)
}
