//! `flowrun schema`: the JSON Schema of pipeline files.

use clap::Args;
use flowrun_core::lang::written;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Print the JSON Schema of pipeline files, for editors
#[derive(Debug, Args)]
pub(crate) struct Schema {}

impl Schema {
    /// Prints it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        output::json(&written::schema())?;
        Ok(Exit::Ok)
    }
}
