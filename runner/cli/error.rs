//! Why a command could not do what it was asked, whose fault that is, and how it is said.
//!
//! A failed step is none of these: it is an outcome of a run.

use std::io;
use std::path::PathBuf;

use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_engine::lockfile::LockError;
use flowrun_engine::locking::{Lacking, LockingError, Unlockable};
use flowrun_engine::project::OpenError;
use flowrun_engine::run::RunError;
use flowrun_engine::store::StoreError;

use crate::exit::Exit;
use crate::output;
use crate::show::finding;

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What was asked for does not exist or makes no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Values of params do not fit.
    #[error("{}", .0.join("\n"))]
    Params(Vec<String>),
    /// The pipeline cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The run could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The lock cannot be used.
    #[error(transparent)]
    Lock(LockError),
    /// A file or folder could not be used.
    #[error("cannot {act} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store could not be used.
    #[error(transparent)]
    Store(StoreError),
    /// The lock does not hold what the pipeline asks for.
    #[error("{}", .0.found.join("\n"))]
    Lacking(Lacking),
    /// Something that was tried did not come to be.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// What the pipeline asks for cannot be locked.
    #[error(transparent)]
    Unlockable(Box<Unlockable>),
    /// What a command says cannot be written.
    #[error("cannot write to standard output: {0}")]
    Out(io::Error),
    /// Nobody reads what a command says any more.
    #[error("the reader of standard output went away")]
    Gone,
}

impl Error {
    /// Something asked for that is not there or makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// Something that was tried and did not come to be.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self::Failed(failure)
    }

    /// The same with advice.
    #[must_use]
    pub(crate) fn hint(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Usage { message, .. } => Self::Usage { message, hint: Some(advice.into()) },
            other => other,
        }
    }

    /// Standard output that cannot be written.
    pub(crate) fn out(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Gone } else { Self::Out(error) }
    }

    /// A file that could not be used.
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }

    /// How the command ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Gone => Exit::Ok,
            Self::Usage { .. } | Self::Params(_) => Exit::Usage,
            Self::Open(OpenError::NotFound { .. } | OpenError::Findings { .. }) => Exit::Usage,
            Self::Open(OpenError::Lock(error)) | Self::Lock(error) => of_lock(error),
            Self::Open(OpenError::Unlocked { .. }) | Self::Lacking(_) => Exit::Drift,
            Self::Open(OpenError::Plugin { failure, .. } | OpenError::Bundle { failure, .. })
            | Self::Failed(failure) => of_failure(failure.kind),
            Self::Open(OpenError::Io { source, .. }) | Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Exit::Usage,
                _ => Exit::Environment,
            },
            Self::Unlockable(error) => of_failure(error.failure.kind),
            Self::Run(error) => of_run(error),
            Self::Store(_) | Self::Out(_) => Exit::Environment,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Lacking(lacking) => Some(lacking.hint.clone()),
            Self::Unlockable(error) => error.failure.hint.clone(),
            Self::Run(error) => error.hint(),
            Self::Open(
                OpenError::Plugin { failure, .. }
                | OpenError::Bundle { failure, .. }
                | OpenError::Unlocked { failure, .. },
            )
            | Self::Failed(failure) => failure.hint.clone(),
            Self::Open(OpenError::Lock(error)) | Self::Lock(error) => error.hint().map(str::to_owned),
            Self::Store(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }

    /// Says it on standard error, and how to end.
    pub(crate) fn complain(&self) -> Exit {
        match self {
            Self::Gone => {}
            Self::Open(OpenError::Findings { shown, text, findings }) => {
                let drawn = finding::draw(shown, text, findings, output::err_is_coloured());
                output::say(drawn.trim_end_matches('\n'));
            }
            Self::Unlockable(error) | Self::Run(RunError::Unlockable(error)) => self.at_its_place(error),
            other => self.say(&other.to_string()),
        }
        self.exit()
    }

    /// With the line that asks for it, where that may be shown.
    fn at_its_place(&self, error: &Unlockable) {
        match error.place.as_ref().filter(|place| place.is_plain()) {
            Some(place) => {
                let drawn = finding::draw_failure(place, &error.failure, output::err_is_coloured());
                output::say(drawn.trim_end_matches('\n'));
            }
            None => self.say(&error.to_string()),
        }
    }

    fn say(&self, text: &str) {
        use crate::show::line::{Line, Tone};
        let error = |text: &str| Line::new().with(Tone::Bad, "error").with(Tone::Strong, ": ").plain(text);
        let mut lines: Vec<Line> = text.lines().map(error).collect();
        if let Some(hint) = self.advice() {
            lines.extend(hint.lines().map(|hint| Line::new().with(Tone::Busy, "  hint").plain(": ").plain(hint)));
        }
        output::say_lines(&lines);
    }
}

/// Whose fault it is that a run could not begin.
fn of_run(error: &RunError) -> Exit {
    match error {
        RunError::Resume(_) | RunError::UnknownStep { .. } | RunError::Unknown { .. } => Exit::Usage,
        RunError::Prepare(failure) => of_failure(failure.kind),
        RunError::Unlockable(error) => of_failure(error.failure.kind),
        RunError::Drift(_) => Exit::Drift,
        RunError::Lock(error) => of_lock(error),
        RunError::Store(_) => Exit::Environment,
    }
}

/// A lock is a file of the project, as the pipeline is.
fn of_lock(error: &LockError) -> Exit {
    match error {
        LockError::Unreadable { .. } => Exit::Usage,
        LockError::Io { .. } => Exit::Environment,
    }
}

impl From<LockingError> for Error {
    fn from(error: LockingError) -> Self {
        match error {
            LockingError::Open(error) => Self::Open(error),
            LockingError::Lock(error) => Self::Lock(error),
            LockingError::Lacking(lacking) => Self::Lacking(lacking),
            LockingError::Failed(failure) => Self::Failed(failure),
            LockingError::Unlockable(error) => Self::Unlockable(error),
        }
    }
}

fn of_failure(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::Interrupted => Exit::Interrupted,
        FailureKind::Timeout => Exit::Timeout,
        FailureKind::Infrastructure => Exit::Environment,
        FailureKind::Step | FailureKind::Output => Exit::Usage,
    }
}
