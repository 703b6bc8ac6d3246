//! How flowrun ends: the one table of exit codes, whose fault each one is, and its text for the documentation.

use std::process::ExitCode;

use flowrun_core::event::RunOutcome;
use flowrun_core::outcome::{Failure, FailureKind};

macro_rules! exits {
    ($($name:ident $code:literal $about:literal,)*) => {
        /// How flowrun ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Exit { $(#[doc = $about] $name,)* }

        impl Exit {
            /// Every way to end.
            pub(crate) const ALL: &[Exit] = &[$(Exit::$name,)*];

            /// The number that the shell sees.
            pub(crate) const fn code(self) -> u8 {
                match self { $(Exit::$name => $code,)* }
            }

            /// What it means.
            pub(crate) const fn about(self) -> &'static str {
                match self { $(Exit::$name => $about,)* }
            }
        }
    };
}

exits! {
    Ok 0 "all went well",
    Pipeline 1 "the pipeline's fault: a step failed or a gate closed",
    Usage 2 "the command line or the pipeline file is not valid; nothing ran",
    Environment 3 "the environment's fault: disk, network, memory, a tool that is missing",
    Timeout 4 "a step ran past its timeout",
    Drift 5 "the lock does not hold what the pipeline asks for: `run --locked` ran nothing; `lock --check`, `export`, `bundle` and `image` wrote nothing",
    Bug 70 "a bug of flowrun's",
    Interrupted 130 "interrupted: Ctrl-C or a signal to stop",
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The table for people: a line a code.
pub(crate) fn table() -> String {
    Exit::ALL.iter().map(|exit| format!("{:>5}  {}\n", exit.code(), exit.about())).collect()
}

/// How a run's end is told to the shell. Of several failures the pipeline's own says most, then a timeout.
pub(crate) fn of_run<'a>(outcome: RunOutcome, failures: impl Iterator<Item = &'a Failure> + Clone) -> Exit {
    let some = |wanted: &[FailureKind]| failures.clone().any(|failure| wanted.contains(&failure.kind));
    match outcome {
        RunOutcome::Succeeded => Exit::Ok,
        RunOutcome::Interrupted => Exit::Interrupted,
        RunOutcome::Failed if some(&[FailureKind::Step, FailureKind::Output]) => Exit::Pipeline,
        RunOutcome::Failed if some(&[FailureKind::Timeout]) => Exit::Timeout,
        RunOutcome::Failed if some(&[FailureKind::Infrastructure]) => Exit::Environment,
        RunOutcome::Failed => Exit::Pipeline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_fixed_and_differ() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 70, 130]);
        assert_eq!(table().lines().count(), codes.len());
    }

    #[test]
    fn the_pipelines_own_failure_says_most() {
        let failures =
            |kinds: &[FailureKind]| -> Vec<Failure> { kinds.iter().map(|kind| Failure::new(*kind, "x")).collect() };
        let told = |kinds| of_run(RunOutcome::Failed, failures(kinds).iter());
        assert_eq!(told(&[FailureKind::Infrastructure, FailureKind::Timeout, FailureKind::Step]), Exit::Pipeline);
        assert_eq!(told(&[FailureKind::Infrastructure, FailureKind::Timeout]), Exit::Timeout);
        assert_eq!(told(&[FailureKind::Infrastructure]), Exit::Environment);
        assert_eq!(of_run(RunOutcome::Interrupted, failures(&[FailureKind::Step]).iter()), Exit::Interrupted);
        assert_eq!(of_run(RunOutcome::Succeeded, [].iter()), Exit::Ok);
    }
}
