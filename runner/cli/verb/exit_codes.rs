//! `flowrun exit-codes`: the table of exit codes, also as `flowrun help exit-codes`.

use clap::Args;

use crate::error::Error;
use crate::exit::{self, Exit};
use crate::output;

/// Tell what exit codes mean
#[derive(Debug, Args)]
#[command(hide = true, after_help = exit::table())]
pub(crate) struct ExitCodes {}

impl ExitCodes {
    /// Tells it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        output::text(&exit::table())?;
        Ok(Exit::Ok)
    }
}
