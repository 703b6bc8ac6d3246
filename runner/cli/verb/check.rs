//! `flowrun check`: whether a pipeline keeps every rule.

use std::path::PathBuf;

use clap::Args;
use flowrun_engine::project::Project;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::amount::count;

/// Check a pipeline and show everything that is wrong with it
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// Lay a profile over the pipeline
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl Check {
    /// Checks it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let project = Project::open(self.file.as_deref(), self.profile.as_deref())?;
        let steps = count(project.program.pipeline.steps.len(), "step");
        output::text(&format!("{}: {steps}, 0 problems\n", project.shown))?;
        Ok(Exit::Ok)
    }
}
