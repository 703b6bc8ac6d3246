//! `flowrun schema`: the JSON Schemas of pipeline files, of plugin manifests and of locks.

use clap::Args;
use flowrun_core::lang::{manual, written};
use flowrun_core::plugin::{self, editor};
use flowrun_core::stored::lock;
use flowrun_engine::manifest;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Print the JSON Schema of pipeline files, for editors
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Print the reference in Markdown instead, written from the same schema
    #[arg(long)]
    markdown: bool,
    /// Print the schema of plugin manifests, `plugin.yaml`, instead
    #[arg(long, conflicts_with = "markdown")]
    plugin: bool,
    /// Print the schema of locks instead
    #[arg(long, conflicts_with_all = ["markdown", "plugin"])]
    lock: bool,
}

impl Schema {
    /// Prints it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        match self {
            Self { markdown: true, .. } => output::text(&manual::reference())?,
            Self { lock: true, .. } => output::json(&lock::schema())?,
            Self { plugin: true, .. } => output::json(&plugin::schema())?,
            _ => output::json(&with_builtins()?)?,
        }
        Ok(Exit::Ok)
    }
}

/// The schema of pipeline files, with what the plugins that come with flowrun take.
fn with_builtins() -> Result<serde_json::Value, Error> {
    let known = manifest::of_builtins().map_err(Error::usage)?;
    let known = known.iter().map(|(uses, described)| (uses.as_str(), &described.manifest));
    Ok(editor::with_plugins(written::schema(), known))
}
