//! The plugins that come with flowrun: their components are part of the binary, pinned by the index that built them.

use std::sync::{Arc, LazyLock, OnceLock};

use flowrun_core::digest::Digest;
use flowrun_core::plugin::Described;
use flowrun_core::stored::lock::PluginPin;
use serde::Deserialize;

use crate::manifest;

#[derive(Deserialize)]
struct Index {
    plugins: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    file: String,
    sha256: String,
    size: u64,
}

/// A plugin's component.
#[derive(Debug)]
pub struct Component {
    /// Its bytes.
    pub bytes: &'static [u8],
    digest: OnceLock<Digest>,
    described: OnceLock<Result<Option<Arc<Described>>, String>>,
}

impl Component {
    /// The digest of its bytes; made when it is first asked for, since most commands need none, and a run few.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| Digest::of(self.bytes))
    }

    /// What it says of itself; read once, since a pipeline is opened once for each profile.
    ///
    /// # Errors
    /// As [`manifest::describe`].
    pub fn described(&self) -> Result<Option<Arc<Described>>, String> {
        self.described.get_or_init(|| manifest::describe(self.bytes, None)).clone()
    }
}

struct Builtin {
    name: String,
    component: Component,
    pin: PluginPin,
}

macro_rules! components {
    ($($file:literal)*) => {
        const FILES: &[(&str, &[u8])] = &[$(($file, include_bytes!(concat!("../../../plugins/built/", $file)))),*];
    };
}

components! {
    "boxes-augment.wasm" "boxes-check.wasm" "boxes-convert.wasm" "boxes-draw.wasm" "coco-eval.wasm"
    "json.wasm" "report.wasm" "split.wasm" "table.wasm"
}

static ALL: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    let index: Index = serde_json::from_str(include_str!("../../../plugins/built/index.json"))
        .unwrap_or(Index { plugins: Vec::new() });
    index.plugins.into_iter().filter_map(|entry| entry.builtin()).collect()
});

impl Entry {
    fn builtin(self) -> Option<Builtin> {
        let (_, bytes) = FILES.iter().find(|(file, _)| *file == self.file)?;
        let major = self.version.split('.').next()?;
        let component = Component { bytes, digest: OnceLock::new(), described: OnceLock::new() };
        let name = format!("{}@{major}", self.name);
        let pin = PluginPin { name: self.name, version: self.version, sha256: self.sha256, size: self.size };
        Some(Builtin { name, component, pin })
    }
}

/// Their names, as `uses` writes them: `flowrun/boxes-check@1`.
pub fn names() -> Vec<String> {
    ALL.iter().map(|builtin| builtin.name.clone()).collect()
}

/// The component of one.
pub fn find(name: &str) -> Option<&'static Component> {
    ALL.iter().find(|builtin| builtin.name == name).map(|builtin| &builtin.component)
}

/// What a lock says of one.
pub fn pin(name: &str) -> Option<PluginPin> {
    ALL.iter().find(|builtin| builtin.name == name).map(|builtin| builtin.pin.clone())
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn every_component_is_indexed_and_is_what_the_index_says() {
        let index: serde_json::Value =
            serde_json::from_str(include_str!("../../../plugins/built/index.json")).expect("index");
        assert_eq!(names().len(), FILES.len());
        for entry in index["plugins"].as_array().expect("list") {
            let (_, bytes) = FILES.iter().find(|(file, _)| entry["file"] == **file).expect("file");
            assert_eq!(entry["size"], bytes.len());
            let sha256: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(entry["sha256"], sha256);
        }
    }
}
