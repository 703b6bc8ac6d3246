//! `flowrun fetch`: brings everything that a run needs, so that it needs no network.

use std::path::PathBuf;

use clap::Args;
use flowrun_engine::project::Project;
use flowrun_engine::run::{self, Options};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::line::{Line, Tone};

/// Bring everything that a pipeline needs ahead: environments, ONNX Runtime, plugins, downloads. It then runs without a network
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// Lay a profile over the pipeline
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Use nothing that the lock does not hold; without it, what is missing is locked first
    #[arg(long)]
    locked: bool,
}

impl Fetch {
    /// Brings it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let (file, profile) = (self.file.as_deref(), self.profile.as_deref());
        let project = if self.locked { Project::open_locked(file, profile)? } else { Project::open(file, profile)? };
        let options = Options { locked: self.locked, ..Options::default() };
        let mut tell = |what: String| output::say_lines(&[Line::new().cell(Tone::Dim, "make", 6).plain(what)]);
        let warnings = super::runtime()?.block_on(run::fetch(&project, options, &mut tell))?;
        let warn = |text: &String| Line::new().with(Tone::Warn, "warning").plain(": ").plain(text);
        output::say_lines(&warnings.iter().map(warn).collect::<Vec<_>>());
        output::lines(&[Line::new().with(Tone::Strong, &project.name).plain(": everything that it needs is here")])?;
        Ok(Exit::Ok)
    }
}
