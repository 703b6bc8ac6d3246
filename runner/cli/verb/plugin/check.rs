//! `flowrun plugin check`: whether a manifest, a plugin's folder or a component keeps every rule. Nothing of it runs.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_core::plugin::{Described, Manifest};
use flowrun_engine::craft::Language;
use flowrun_engine::{manifest, wasm};

use super::build::manifest as manifest_in;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Check a component, a manifest or a plugin's folder and show everything that is wrong with it
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A component (`.wasm`), a manifest (`.yaml`), or a plugin's folder
    #[arg(default_value = ".")]
    what: PathBuf,
}

impl Check {
    /// Checks it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let path = self.what.as_path();
        let (manifest, what) = if path.is_dir() {
            let language = Language::of(path).map_err(Error::failed)?;
            (manifest_in(path)?.manifest, format!("a plugin in {language}"))
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            (file(path)?, "a manifest".to_owned())
        } else {
            component(path)?
        };
        let shown = path.display();
        output::text(&format!("{shown}: {} {}, {what}, 0 problems\n", manifest.name, manifest.version))?;
        Ok(Exit::Ok)
    }
}

fn file(path: &Path) -> Result<Manifest, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let described = Described::parse(&text).map_err(|findings| super::findings(path, &text, findings))?;
    Ok(described.manifest)
}

fn component(path: &Path) -> Result<(Manifest, String), Error> {
    let bytes = wasm::component_bytes(path).map_err(|error| Error::usage(format!("`{}` {error}", path.display())))?;
    let kind = wasm::inspect_bytes(&bytes).map_err(Error::failed)?;
    // Drawn with its lines where it is not what it should be.
    let text = manifest::section(&bytes).map_err(|error| Error::usage(format!("`{}`: {error}", path.display())))?;
    let manifest = match text {
        Some(text) => {
            let inside = PathBuf::from(format!("{} (its manifest)", path.display()));
            Described::parse(text).map_err(|findings| super::findings(&inside, text, findings))?.manifest
        }
        None if manifest::beside(path).is_file() => file(&manifest::beside(path))?,
        None => {
            return Err(Error::usage(format!("`{}` has no manifest", path.display()))
                .hint("`flowrun plugin build --from FILE` puts the `plugin.yaml` of a folder into a component"));
        }
    };
    Ok((manifest, super::info::interface(kind).to_owned()))
}
