//! `flowrun schema`: the JSON Schema of pipeline files.

use clap::Args;
use flowrun_core::lang::{manual, written};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Print the JSON Schema of pipeline files, for editors
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Print the reference in Markdown instead, written from the same schema
    #[arg(long)]
    markdown: bool,
}

impl Schema {
    /// Prints it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        match self.markdown {
            true => output::text(&manual::reference())?,
            false => output::json(&written::schema())?,
        }
        Ok(Exit::Ok)
    }
}
