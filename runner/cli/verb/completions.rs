//! `flowrun completions`: words for the shell to complete.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Print a script that completes flowrun's words in a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "flowrun", &mut script);
        output::text(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Ok)
    }
}
