//! The command line of flowrun: words, colours, flags and exit codes.
//!
//! ```text
//! main ─► verb::*  one file a verb: its options, its help, exec()
//!           ├─► report::*   what a run says while it runs, from its events alone
//!           ├─► story       events folded into the state of a run, live or stored
//!           └─► show::*     durations, tables, reasons, findings: data to text, pure
//! ```
//! What is asked for goes to standard output; what is said about it goes to standard error. Knows nothing of how steps run.

mod error;
mod exit;
mod output;
mod past;
mod report;
mod show;
mod story;
mod verb;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use exit::Exit;
use verb::Cli;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // The runner starts itself to guard and to host other people's code: before anything that could be in the way.
    match args.next().as_deref().and_then(|word| word.to_str()) {
        Some(flowrun_engine::process::GUARD) => return hidden(flowrun_engine::process::guard_main()),
        Some("__onnx") => return hidden(flowrun_engine::onnx::child_main()),
        _ => {}
    }
    install_panic_hook();
    let exit = match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => {
            // Nothing can be done where even the help cannot be printed.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
                _ => Exit::Usage,
            }
        }
    };
    exit.into()
}

fn dispatch(cli: Cli) -> Exit {
    output::choose_colour(cli.color);
    let ended = cli.verb.exec();
    flowrun_engine::process::dismiss_guards();
    match ended {
        Ok(exit) => exit,
        Err(error) => error.complain(),
    }
}

fn hidden(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(Exit::Bug.code()))
}

/// A panic is our bug wherever it happens: say so, leave the terminal whole, and end.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        report::restore_terminal();
        output::say(&format!("error: this is a bug of flowrun's: {message}{place}"));
        output::say("  hint: please report it with the command that led here; nothing that was stored is lost");
        std::process::exit(i32::from(Exit::Bug.code()));
    }));
}
