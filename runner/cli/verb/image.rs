//! `flowrun image`: what a container image with the Python environment of a step is built of.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_core::export::{self, Base};
use flowrun_engine::export::{Export, write_context};
use flowrun_engine::fetch::{Os, Platform};

use super::lock::platform;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::quote;

/// Write a Dockerfile for the locked Python environment of a step, and what it needs beside it
///
/// The image is the environment alone: neither the step's command nor its `code:`. It changes when the lock does, and the same lock on the same
/// base gives the same files. It runs as a user that is not root. A password for a package index comes as a build secret, and stays out of the
/// image: `docker build --secret id=pip.conf,src=pip.conf`.
#[derive(Debug, Args)]
pub(crate) struct Image {
    /// The step
    step: String,
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// The image to build on, which has the Python of the lock with pip: `python:3.11-slim@sha256:…`
    #[arg(long, value_name = "NAME@sha256:DIGEST")]
    base: Base,
    /// Lay a profile over the pipeline
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// For this platform: `linux-x86_64` or `linux-aarch64`. Linux on this machine's processor where it is not given
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// The folder to write to, `PIPELINE-STEP-image` where it is not given
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Write nothing, and show the Dockerfile
    #[arg(long)]
    dry_run: bool,
}

impl Image {
    /// Writes it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let platform = self.platform()?;
        let opened = Export::open(self.file.as_deref(), self.profile.as_deref(), Some(platform))?;
        let environment = opened.environment(&self.step)?;
        let name = &opened.project.name;
        let Some(files) = export::image(&environment, name, &self.base) else {
            return Err(Error::usage(format!("no image runs {platform}")).hint("name a Linux by `--platform`"));
        };
        if self.dry_run {
            let [(_, dockerfile), ..] = &files;
            output::text(dockerfile)?;
            return Ok(Exit::Ok);
        }
        let folder =
            self.output.clone().unwrap_or_else(|| Path::new(&format!("{name}-{}-image", self.step)).to_owned());
        write_context(&folder, &files)?;
        let shown = folder.display().to_string();
        output::say(&format!("wrote {shown}; now: {}", quote::command(["docker", "build", &shown])));
        Ok(Exit::Ok)
    }

    fn platform(&self) -> Result<Platform, Error> {
        let here = || Ok(Platform { os: Os::Linux, ..Platform::current()? });
        self.platform.map_or_else(here, Ok).map_err(Error::failed)
    }
}
