//! What a step of this kind is: a component, a request, folders, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use flowrun_core::digest::Digest;
use flowrun_core::plugin::Capability;

/// A named path of a step, on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name in the pipeline's `inputs` or `outputs`.
    pub name: String,
    /// The path relative to the job's folder, with `/`: `in/dataset`, `out/findings.json`.
    pub path: String,
}

impl Place {
    /// A place called `name` at `path`.
    pub fn new(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self { name: name.into(), path: path.into() }
    }

    /// The absolute path in the guest.
    pub(super) fn guest(&self) -> String {
        format!("/{}", self.path)
    }
}

/// Which part of a sharded step a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counted from 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
}

/// What one step may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory. More than 4 GiB cannot be used: guests have 32-bit addresses.
    pub memory: usize,
    /// Bytes written to the outputs, every write counted.
    pub output: u64,
    /// Files and folders made.
    pub files: u64,
    /// Lines of log, and as many figures.
    pub lines: u64,
}

impl Default for Limits {
    /// 2 GiB of memory (room for every picture step seen, and two of them on an ordinary laptop), 8 GiB of outputs (a
    /// mistake in a loop is found before the disk is full), a million files (a data set of pictures has thousands; past
    /// a million a file system's inodes and every later walk over the outputs suffer), 100,000 lines (more than anyone
    /// reads, less than a record that is slow to open).
    fn default() -> Self {
        Self { memory: 2 << 30, output: 8 << 30, files: 1_000_000, lines: 100_000 }
    }
}

/// What a step may do beyond reading its inputs and writing its outputs. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// What it was granted.
    pub allow: BTreeSet<Capability>,
    /// Variables it sees, where it may have an environment.
    pub env: BTreeMap<String, String>,
    /// Those of their values that must not be shown.
    pub secrets: Vec<String>,
}

impl Granted {
    /// Whether this is granted.
    pub(super) fn has(&self, capability: Capability) -> bool {
        self.allow.contains(&capability)
    }
}

/// One step to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The component's file. Read only where it has not been compiled yet, and then checked against `digest`.
    pub component: PathBuf,
    /// The digest of that file.
    pub digest: Digest,
    /// The step's `with`, a JSON object.
    pub config: String,
    /// What it may read: under `in/`, made of plain files and folders. A symbolic link that leads out of `in` cannot be
    /// followed by the guest.
    pub inputs: Vec<Place>,
    /// What it must make: under `out/`. Folders must be there already, empty.
    pub outputs: Vec<Place>,
    /// The part to do; none where the step is not sharded.
    pub part: Option<Part>,
    /// The step's folder, which holds `in/` and `out/`.
    pub dir: PathBuf,
    /// What it may use.
    pub limits: Limits,
    /// What else it may do.
    pub granted: Granted,
    /// What its randomness comes from. Part of the step's key, or a constant.
    pub seed: u64,
}
