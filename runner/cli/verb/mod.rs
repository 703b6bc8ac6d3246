//! The verbs: one file each, with its options, its help and what it does.

mod artifacts;
mod bundle;
mod check;
mod completions;
mod exit_codes;
mod explain;
mod export;
mod fetch;
mod gc;
mod get;
mod graph;
mod image;
mod init;
mod lock;
mod logs;
mod pipeline;
mod plan;
mod plugin;
mod run;
mod runs;
mod schema;
mod verify;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::exit::Exit;
use crate::output::Colour;

/// Runs pipelines written as one YAML file, and only the steps whose inputs have changed.
#[derive(Debug, Parser)]
#[command(name = "flowrun", version, propagate_version = false, max_term_width = 100)]
#[command(
    after_help = "`flowrun help exit-codes` tells what exit codes mean. RUN is an id, a beginning of one, or @latest."
)]
pub(crate) struct Cli {
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", hide_possible_values = true)]
    #[arg(help = "Colours: auto, always or never", hide_default_value = true)]
    pub(crate) color: Colour,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(run::Run),
    Lock(lock::Lock),
    Fetch(fetch::Fetch),
    Bundle(bundle::Bundle),
    Export(export::Export),
    Image(image::Image),
    Check(check::Check),
    Plan(plan::Plan),
    Explain(explain::Explain),
    Verify(verify::Verify),
    Graph(graph::Graph),
    Runs(runs::Runs),
    Logs(logs::Logs),
    Artifacts(artifacts::Artifacts),
    Get(get::Get),
    Gc(gc::Gc),
    Plugin(plugin::Plugin),
    Init(init::Init),
    Schema(schema::Schema),
    Completions(completions::Completions),
    ExitCodes(exit_codes::ExitCodes),
}

impl Verb {
    /// Does it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        match self {
            Self::Run(verb) => verb.exec(),
            Self::Lock(verb) => verb.exec(),
            Self::Fetch(verb) => verb.exec(),
            Self::Bundle(verb) => verb.exec(),
            Self::Export(verb) => verb.exec(),
            Self::Image(verb) => verb.exec(),
            Self::Check(verb) => verb.exec(),
            Self::Plan(verb) => verb.exec(),
            Self::Explain(verb) => verb.exec(),
            Self::Verify(verb) => verb.exec(),
            Self::Graph(verb) => verb.exec(),
            Self::Runs(verb) => verb.exec(),
            Self::Logs(verb) => verb.exec(),
            Self::Artifacts(verb) => verb.exec(),
            Self::Get(verb) => verb.exec(),
            Self::Gc(verb) => verb.exec(),
            Self::Plugin(verb) => verb.exec(),
            Self::Init(verb) => verb.exec(),
            Self::Schema(verb) => verb.exec(),
            Self::Completions(verb) => verb.exec(),
            Self::ExitCodes(verb) => verb.exec(),
        }
    }
}

/// The async world, for the verbs that run or plan.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start threads for", "the runner"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_option_explains_itself() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for option in verb.get_arguments().filter(|_| verb.get_name() != "help") {
                assert!(option.get_help().is_some(), "{} {}", verb.get_name(), option.get_id());
            }
        }
    }
}
