//! `flowrun plugin pull`: a plugin from a registry.

use std::path::PathBuf;

use clap::Args;
use flowrun_engine::registry::{self, Reference};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Bring a plugin from a registry, and say what it is pinned by
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The plugin: `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`
    reference: String,
    /// Write the component to this file too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Pull {
    /// Brings it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let reference = Reference::parse(&self.reference).map_err(Error::failed)?;
        let cache = super::cache()?;
        let pulling = registry::pull(&cache, &reference, None);
        let pulled = super::super::runtime()?.block_on(pulling).map_err(Error::failed)?;
        if let Some(out) = &self.out {
            std::fs::copy(&pulled.path, out).map_err(Error::io("write", out))?;
        }
        // Without a pin it was a manifest that named it.
        let manifest = pulled.manifest.unwrap_or_default();
        output::text(&format!("{}\ncomponent sha256:{}\n", reference.pinned(&manifest), pulled.sha256))?;
        Ok(Exit::Ok)
    }
}
