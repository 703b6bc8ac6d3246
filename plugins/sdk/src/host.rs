//! Whom a step talks to while it runs: the runner, or, in native tests, standard error or nobody.

/// How loud a line of log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// For everyone.
    Info,
    /// Something is odd, the step goes on.
    Warn,
    /// Something failed.
    Error,
}

/// The listener of a running step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Host {
    /// The runner, through the component's imports.
    #[cfg(target_family = "wasm")]
    #[default]
    Runner,
    /// Standard error, for runs outside a runner.
    #[cfg_attr(not(target_family = "wasm"), default)]
    Stderr,
    /// Nobody, for tests that want silence.
    Silent,
}

impl Host {
    /// Writes a line to the step's log.
    pub fn log(self, level: Level, text: &str) {
        match self {
            #[cfg(target_family = "wasm")]
            Self::Runner => runner::log(level, text),
            Self::Stderr => eprintln!("{level:?}: {text}"),
            Self::Silent => {}
        }
    }

    /// Says how far the step is: `done` of `total` units (`total` 0: not known), and what they are.
    pub fn progress(self, done: u64, total: u64, what: &str) {
        match self {
            #[cfg(target_family = "wasm")]
            Self::Runner => crate::bindings::runner::progress(done, total, what),
            Self::Stderr => eprintln!("progress: {done}/{total} {what}"),
            Self::Silent => {}
        }
    }

    /// Records a figure, with the epoch or iteration it belongs to where there is one.
    pub fn metric(self, name: &str, value: f64, step: Option<u64>) {
        match self {
            #[cfg(target_family = "wasm")]
            Self::Runner => crate::bindings::runner::metric(name, value, step),
            Self::Stderr => eprintln!("metric: {name} = {value} {step:?}"),
            Self::Silent => {}
        }
    }
}

/// The level's translation, apart so that [`Host::log`] reads as the others.
#[cfg(target_family = "wasm")]
mod runner {
    use super::Level;
    use crate::bindings::runner;

    pub(super) fn log(level: Level, text: &str) {
        let level = match level {
            Level::Debug => runner::Level::Debug,
            Level::Info => runner::Level::Info,
            Level::Warn => runner::Level::Warn,
            Level::Error => runner::Level::Error,
        };
        runner::log(level, text);
    }
}
