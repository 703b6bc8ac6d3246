//! `flowrun plugin push`: a plugin into a registry.

use std::path::PathBuf;

use clap::Args;
use flowrun_engine::registry::{self, Reference};
use flowrun_engine::{craft, manifest, wasm};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Put a plugin into a registry, where pipelines use it by `oci://…`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The plugin's component, with its manifest in it, or the plugin's folder that was built
    #[arg(value_name = "FILE|DIR")]
    file: PathBuf,
    /// Where it goes: `oci://HOST[:PORT]/REPOSITORY[:TAG]`
    reference: String,
}

impl Push {
    /// Puts it there.
    pub(crate) fn exec(mut self) -> Result<Exit, Error> {
        if self.file.is_dir() {
            self.file = craft::component_path(&self.file).map_err(Error::failed)?;
        }
        let reference = Reference::parse(&self.reference).map_err(Error::failed)?;
        let shown = self.file.display();
        let bytes = wasm::component_bytes(&self.file).map_err(|unread| match unread {
            wasm::Unread::Io(source) => Error::Io { act: "read", path: self.file.clone(), source },
            wasm::Unread::Large => Error::usage(format!("`{shown}` {unread}")),
        })?;
        wasm::inspect_bytes(&bytes).map_err(Error::failed)?;
        let described = manifest::describe(&bytes, None).map_err(|why| Error::usage(format!("`{shown}`: {why}")))?;
        let described = described.ok_or_else(|| {
            Error::usage(format!("`{shown}` has no manifest in it"))
                .hint("write a `plugin.yaml` and build it in: `flowrun plugin build`")
        })?;
        let pushing = registry::push(&reference, bytes, &described.manifest);
        let pushed = super::super::runtime()?.block_on(pushing).map_err(Error::failed)?;
        output::text(&format!("{}\ncomponent sha256:{}\n", reference.pinned(&pushed.manifest), pushed.sha256))?;
        Ok(Exit::Ok)
    }
}
