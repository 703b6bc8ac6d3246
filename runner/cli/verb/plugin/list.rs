//! `flowrun plugin list`: the plugins that come with flowrun.

use clap::Args;
use flowrun_core::plugin::Described;
use flowrun_engine::manifest;
use serde_json::{Value as Json, json};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::line::Tone;
use crate::show::table::{cell, rows};

/// List the plugins that come with flowrun
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Write a JSON list
    #[arg(long)]
    json: bool,
}

impl List {
    /// Lists them.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let plugins = manifest::of_builtins().map_err(Error::usage)?;
        if self.json {
            let all: Json = plugins.iter().map(|(name, described)| document(name, described)).collect();
            output::json(&all)?;
            return Ok(Exit::Ok);
        }
        let row = |(name, described): &(String, std::sync::Arc<Described>)| {
            vec![
                cell(Tone::Strong, name),
                cell(Tone::Dim, &described.manifest.version),
                cell(Tone::Plain, &described.manifest.summary),
            ]
        };
        output::lines(&rows(plugins.iter().map(row).collect()))?;
        output::say("`flowrun plugin info NAME` shows one with its settings, inputs and outputs");
        Ok(Exit::Ok)
    }
}

fn document(name: &str, described: &Described) -> Json {
    let manifest = &described.manifest;
    json!({"uses": name, "name": manifest.name, "version": manifest.version, "summary": manifest.summary})
}
