//! Runs that were: found in the store of the project around the working directory, and read back as stories.

use std::path::PathBuf;

use flowrun_core::lang::finding::did_you_mean;
use flowrun_core::stored::record::event;
use flowrun_engine::project::Project;
use flowrun_engine::store::{Store, StoreError};

use crate::error::Error;
use crate::story::{Step, Story};

/// The store of a project.
pub(crate) struct Past {
    store: Store,
}

impl Past {
    /// The store of the project that the working directory is in.
    pub(crate) fn here() -> Result<Self, Error> {
        let here = std::env::current_dir().map_err(Error::io("find", "."))?;
        Ok(Self { store: Store::open(&Project::root_of(&here))? })
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Ids of all runs, the newest first.
    pub(crate) fn runs(&self) -> Result<Vec<String>, Error> {
        Ok(self.store.runs()?.into_iter().map(|run| run.id).collect())
    }

    /// The id that a person means by an id, its beginning or `@latest`.
    pub(crate) fn resolve(&self, name: &str) -> Result<String, Error> {
        Ok(self.store.resolve(name)?)
    }

    /// Whether the run still runs.
    pub(crate) fn is_live(&self, run: &str) -> bool {
        self.store.is_live(run)
    }

    /// A run as its record tells it. Lines of later versions of flowrun are skipped, as is one that was cut off.
    pub(crate) fn story(&self, run: &str) -> Result<Story, Error> {
        let mut story = Story { run: run.to_owned(), ..Story::default() };
        for line in self.store.events(run)? {
            if let Some(stamped) = event(&line) {
                story.take(&stamped);
            }
        }
        Ok(story)
    }

    /// Where the log of a step of a run lies.
    pub(crate) fn log(&self, run: &str, step: &str) -> PathBuf {
        self.store.log_of(run, step)
    }
}

/// A step of a run by name.
pub(crate) fn step<'a>(story: &'a Story, name: &str) -> Result<(&'a str, &'a Step), Error> {
    if let Some((name, step)) = story.steps.get_key_value(name) {
        return Ok((name, step));
    }
    let inside = format!("{name}[");
    let instances: Vec<&str> =
        story.steps.keys().map(String::as_str).filter(|known| known.starts_with(&inside)).collect();
    let error = Error::usage(format!("run {} has no step `{name}`", story.run));
    if let [first, ..] = instances.as_slice() {
        let more = if instances.len() > 1 { format!(", one of {}", instances.len()) } else { String::new() };
        return Err(error.hint(format!("it ran more than once: name an instance, such as `{first}`{more}")));
    }
    Err(match did_you_mean(name, story.steps.keys().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchRun(message) => Self::Usage { message, hint: Some("`flowrun runs` lists them".into()) },
            other => Self::Store(other),
        }
    }
}
