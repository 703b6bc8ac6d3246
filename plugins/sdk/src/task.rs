//! What a running step was given: the places it reads, the places it fills, and the listener.

use crate::{Failure, Host, Level};
use std::path::{Path, PathBuf};

/// A named path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name in the pipeline's `inputs` or `outputs`.
    pub name: String,
    /// An existing file or folder for an input; the file to write or the (existing, empty) folder to fill for an output.
    pub path: PathBuf,
}

/// Which part of a sharded step is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Counted from 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
}

/// One step to run, less its configuration.
#[derive(Debug, Clone)]
pub struct Task {
    inputs: Vec<Place>,
    outputs: Vec<Place>,
    part: Option<Part>,
    host: Host,
}

impl Task {
    /// A task with these places and this listener.
    #[must_use]
    pub fn new(inputs: Vec<Place>, outputs: Vec<Place>, host: Host) -> Self {
        Self { inputs, outputs, part: None, host }
    }

    /// The same task as one part of a sharded step.
    #[must_use]
    pub fn as_part(mut self, part: Option<Part>) -> Self {
        self.part = part;
        self
    }

    /// A task for native runs and tests: `(name, path)` pairs, log lines on standard error.
    #[must_use]
    pub fn native(inputs: &[(&str, &Path)], outputs: &[(&str, &Path)]) -> Self {
        let places = |pairs: &[(&str, &Path)]| {
            pairs.iter().map(|(name, path)| Place { name: (*name).to_owned(), path: path.to_path_buf() }).collect()
        };
        Self::new(places(inputs), places(outputs), Host::default())
    }

    /// The input `name`, which the step needs.
    ///
    /// # Errors
    /// [`Failure::BadConfig`] where the pipeline does not give it.
    pub fn input(&self, name: &str) -> Result<&Path, Failure> {
        self.optional_input(name).ok_or_else(|| missing("input", "inputs", name))
    }

    /// The input `name`, where the pipeline gives it.
    #[must_use]
    pub fn optional_input(&self, name: &str) -> Option<&Path> {
        find(&self.inputs, name)
    }

    /// The output `name`, which the step makes.
    ///
    /// # Errors
    /// [`Failure::BadConfig`] where the pipeline does not declare it.
    pub fn output(&self, name: &str) -> Result<&Path, Failure> {
        self.optional_output(name).ok_or_else(|| missing("output", "outputs", name))
    }

    /// The output `name`, where the pipeline declares it.
    #[must_use]
    pub fn optional_output(&self, name: &str) -> Option<&Path> {
        find(&self.outputs, name)
    }

    /// Every input, in the order given.
    #[must_use]
    pub fn inputs(&self) -> &[Place] {
        &self.inputs
    }

    /// Every output, in the order given.
    #[must_use]
    pub fn outputs(&self) -> &[Place] {
        &self.outputs
    }

    /// The part to do, where the step is sharded: the sharded input then holds this part's files only.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        self.part
    }

    /// Whom to tell; [`Task::info`], [`Task::warn`], [`Task::progress`] and [`Task::metric`] are short for it.
    #[must_use]
    pub fn host(&self) -> Host {
        self.host
    }

    /// Writes a line for everyone to the step's log.
    pub fn info(&self, text: impl AsRef<str>) {
        self.host.log(Level::Info, text.as_ref());
    }

    /// Writes a warning to the step's log.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.host.log(Level::Warn, text.as_ref());
    }

    /// Says how far the step is: `done` of `total` units (`total` 0: not known), and what they are.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        self.host.progress(done, total, what);
    }

    /// Records a figure, with the epoch or iteration it belongs to where there is one.
    pub fn metric(&self, name: &str, value: f64, step: Option<u64>) {
        self.host.metric(name, value, step);
    }
}

fn find<'a>(places: &'a [Place], name: &str) -> Option<&'a Path> {
    places.iter().find(|place| place.name == name).map(|place| place.path.as_path())
}

fn missing(kind: &str, key: &str, name: &str) -> Failure {
    Failure::bad_config("", format!("the step needs an {kind} `{name}`: name it under `{key}`"))
}
