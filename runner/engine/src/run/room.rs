//! The folder in which one attempt of one step happens: laid out before, taken in after, thrown away in the end.
//!
//! ```text
//! tmp/RUN/LABEL.ATTEMPT/
//!   in/NAME[/FILE]      inputs: hard links of the store's read-only files; nobody may write here
//!   work/               the working directory
//!     in -> ../in       so that the paths in a script are the same everywhere
//!     out/NAME | FILE   what it makes
//!     CODE…             private copies of its code
//!   home/ tmp/          its HOME and TMPDIR
//!     values.json       what a process gives, in its HOME
//! ```
//! Inputs lie beside the working directory and not in it, since a sandbox can open a folder for writing but not close one below it.
//! What a failed attempt left is thrown away with the folder: it was never in the store.
//!
//! A plugin has no use for `home` and `tmp`; one without inputs and outputs has no room at all, unless it asks for its folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flowrun_core::artifact::Mode;
use flowrun_core::event::Output;
use flowrun_core::key::{Content, Job, Work};
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::plan::{input_path, output_path};
use indexmap::IndexMap;

use super::look::{Origin, store_failure};
use super::session::Session;
use crate::store::{How, Laid, StoreError, Take};

/// Where an attempt happens.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    root: PathBuf,
}

/// What an attempt made.
pub(crate) struct Taken {
    pub(crate) outputs: IndexMap<String, Output>,
    /// What lay beside the outputs, undeclared.
    pub(crate) strays: Vec<String>,
}

/// Undeclared files that are named; more is a step that means something else by its output folder.
const MOST_STRAYS: usize = 10;

impl Room {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of all this.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The working directory, from which the paths of inputs and outputs start.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn inputs(&self) -> PathBuf {
        self.root.join("in")
    }

    /// The file for values.
    pub(crate) fn values(&self) -> PathBuf {
        self.home().join("values.json")
    }

    /// Lays everything out that the job reads; `pinned` has its downloads by input.
    pub(crate) fn lay(
        &self,
        session: &Session,
        job: &Job,
        origins: &[Origin],
        pinned: &BTreeMap<String, PathBuf>,
    ) -> Result<(), Failure> {
        session.ensure(origins)?;
        let plugin = matches!(job.work, Work::Plugin { .. });
        if plugin && job.inputs.is_empty() && job.outputs.is_empty() {
            return Ok(());
        }
        let own = if plugin { Vec::new() } else { vec![self.home(), self.tmp()] };
        for folder in [self.inputs(), self.work(), self.work().join("out")].iter().chain(&own) {
            make(folder)?;
        }
        let link = self.work().join("in");
        std::os::unix::fs::symlink("../in", &link).map_err(|error| disk(&link, &error))?;
        for (name, input) in &job.inputs {
            let place = self.root.join(input_path(name, input));
            if let Some(parent) = place.parent() {
                make(parent)?;
            }
            match &input.content {
                Content::Known(artifact) => {
                    session.store.materialise(artifact, &place, How::Link).map_err(store_failure)?
                }
                // A download is shared between projects, so a step gets its own copy unless the disk can clone it.
                Content::Pinned(_) => {
                    std::fs::copy(&pinned[name], &place).map(drop).map_err(|error| disk(&place, &error))?
                }
            }
        }
        for (name, _) in job.outputs.iter().filter(|(_, kind)| *kind == "dir") {
            make(&self.work().join("out").join(name))?;
        }
        if let Work::Process { code, .. } = &job.work {
            for (name, artifact) in code {
                session.store.materialise(artifact, &self.work().join(name), How::Copy).map_err(store_failure)?;
            }
        }
        Ok(())
    }

    /// Throws it away. What cannot be removed now will be when the run is over.
    pub(crate) fn leave(&self, session: &Session, job: &Job) {
        let paths: Vec<(String, &str)> =
            job.inputs.iter().map(|(name, input)| (input_path(name, input), name.as_str())).collect();
        let inputs = paths.iter().map(|(path, name)| {
            let file = path.rsplit('/').next().filter(|_| path.matches('/').count() > 1);
            Laid::Folder(name, file.map(Laid::File).into_iter().collect())
        });
        let empty = |name| Laid::Folder(name, Vec::new());
        let laid = [
            Laid::Folder("in", inputs.collect()),
            Laid::Folder("work", vec![Laid::File("in"), empty("out")]),
            Laid::Folder("home", vec![Laid::File("values.json")]),
            empty("tmp"),
        ];
        let _ = session.store.discard_laid(&self.root, &laid);
    }

    /// Takes what was made into the store.
    pub(crate) fn take(&self, session: &Session, job: &Job) -> Result<Taken, Failure> {
        inputs_are_whole(session, job)?;
        let plugin = matches!(job.work, Work::Plugin { .. });
        if plugin && job.outputs.is_empty() && std::fs::symlink_metadata(self.work().join("out")).is_err() {
            return Ok(Taken { outputs: IndexMap::new(), strays: Vec::new() });
        }
        self.is_as_given(plugin)?;
        let mut outputs = IndexMap::new();
        for (name, kind) in &job.outputs {
            outputs.insert(name.clone(), self.take_one(session, name, kind)?);
        }
        Ok(Taken { outputs, strays: self.strays(job) })
    }

    /// Whether the folders are those that were laid out. Whatever a link in their place leads to is not the step's: it must not be taken,
    /// which would move it away. Nothing of the step runs any more, so nobody can change that after the look.
    fn is_as_given(&self, plugin: bool) -> Result<(), Failure> {
        let home = (!plugin).then(|| (self.home(), "$HOME"));
        for (folder, name) in [(self.work(), "."), (self.work().join("out"), "out")].into_iter().chain(home) {
            if !std::fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
                let text = format!("`{name}` is not the folder that it was given any more");
                return Err(Failure::new(FailureKind::Output, text)
                    .hint("write outputs into `out`; a link or another folder in its place is not looked into"));
            }
        }
        Ok(())
    }

    fn take_one(&self, session: &Session, name: &str, kind: &str) -> Result<Output, Failure> {
        let lacks = |message: String| Failure::new(FailureKind::Output, message);
        let path = output_path(name, kind);
        let place = self.work().join(&path);
        if std::fs::symlink_metadata(&place).is_err() {
            let hint = format!("it must be written to `{path}`, which `{{{{ outputs.{name} }}}}` gives");
            return Err(lacks(format!("output `{name}` was declared but not made")).hint(hint));
        }
        let artifact = session.store.ingest(&place, Take::Move).map_err(|error| not_kept(name, &place, &error))?;
        let is_folder = artifact.mode == Mode::Folder;
        if is_folder != (kind == "dir") {
            let found = if is_folder { "a folder" } else { "a file" };
            return Err(lacks(format!("output `{name}` is {found}, and was declared otherwise")));
        }
        let file = if is_folder { name } else { kind };
        Ok(Output { artifact, name: file.to_owned() })
    }

    fn strays(&self, job: &Job) -> Vec<String> {
        let out = self.work().join("out");
        // Most often nothing is left, which is seen by that it can be removed. It is thrown away in any case.
        if std::fs::remove_dir(&out).is_ok() {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir(out) else { return Vec::new() };
        // A folder that is an output was taken file by file and stays, empty.
        let taken = |name: &String| job.outputs.get(name).is_some_and(|kind| kind == "dir");
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.filter(|name| !taken(name)).collect();
        names.sort();
        names.truncate(MOST_STRAYS);
        names
    }
}

/// What cannot be kept is the step's fault; that there is no room for it is the machine's.
fn not_kept(name: &str, place: &Path, error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::Io { .. } => FailureKind::Infrastructure,
        _ => FailureKind::Output,
    };
    let problem = match error {
        // The folder of the attempt is gone when a person reads this.
        StoreError::Unkeepable { path, problem } => match path.strip_prefix(place) {
            Ok(inside) if !inside.as_os_str().is_empty() => format!("`{}` in it: {problem}", inside.display()),
            _ => (*problem).to_owned(),
        },
        other => other.to_string(),
    };
    let failure = Failure::new(kind, format!("output `{name}` cannot be kept: {problem}"));
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Inputs are the store's own files: a step that wrote into one is found out, and the damaged file goes.
fn inputs_are_whole(session: &Session, job: &Job) -> Result<(), Failure> {
    for (name, input) in &job.inputs {
        let Content::Known(artifact) = &input.content else { continue };
        if !session.store.has_all(artifact).map_err(store_failure)? {
            return Err(Failure::new(FailureKind::Step, format!("it changed its input `{name}`"))
                .hint("inputs are read-only: copy what must be changed into the step's folder first"));
        }
    }
    Ok(())
}

fn make(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| disk(folder, &error))
}

fn disk(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{}: {error}", path.display()))
}
