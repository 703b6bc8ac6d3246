//! `flowrun plugin`: making plugins and looking at them, a file for each thing that can be done.

mod build;
mod check;
mod info;
mod list;
mod new;
mod pull;
mod push;
mod test;

use std::path::Path;

use clap::{Args, Subcommand};
use flowrun_core::lang::finding::Finding;
use flowrun_engine::fetch::Cache;
use flowrun_engine::project::OpenError;

use crate::error::Error;
use crate::exit::Exit;

/// Make plugins, try them, share them, and see what one needs and gives
#[derive(Debug, Args)]
#[command(
    after_help = "A new plugin takes four commands: `new`, `build`, `test`, and `info`, which shows the step to paste."
)]
pub(crate) struct Plugin {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Check(check::Check),
    Info(info::Info),
    List(list::List),
    Pull(pull::Pull),
    Push(push::Push),
}

impl Plugin {
    /// Does it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        match self.verb {
            Verb::New(verb) => verb.exec(),
            Verb::Build(verb) => verb.exec(),
            Verb::Test(verb) => verb.exec(),
            Verb::Check(verb) => verb.exec(),
            Verb::Info(verb) => verb.exec(),
            Verb::List(verb) => verb.exec(),
            Verb::Pull(verb) => verb.exec(),
            Verb::Push(verb) => verb.exec(),
        }
    }
}

/// Where compilers and compiled components are kept.
fn cache() -> Result<Cache, Error> {
    Cache::of_user().map_err(Error::failed)
}

/// What is wrong with a manifest, drawn with its lines.
fn findings(shown: &Path, text: &str, findings: Vec<Finding>) -> Error {
    Error::Open(OpenError::Findings { shown: shown.display().to_string(), text: text.to_owned(), findings })
}
