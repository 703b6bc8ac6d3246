//! `flowrun export`: what a lock pins, in the words of other tools.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flowrun_core::export::{self, Place};
use flowrun_engine::export::{Export as Opened, places};
use flowrun_engine::fetch::Platform;

use super::lock::platform;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;

/// Write what the lock pins for other tools: requirements.txt, pylock.toml, or a CycloneDX bill of materials
///
/// Only what is locked is written: where the lock does not hold what the pipeline asks for, this ends with 5 as `run --locked` does.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// As what.
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Format {
    Requirements(Requirements),
    Pylock(Pylock),
    Cyclonedx(Cyclonedx),
}

/// The Python environment of a step as requirements.txt, with hashes, for pip and uv
#[derive(Debug, Args)]
struct Requirements {
    /// The step
    step: String,
    #[command(flatten)]
    of: Of,
}

/// The Python environment of a step as pylock.toml (PEP 751)
///
/// A pylock.toml says where each file lies, and a lock does not: the package index is asked for the addresses, and credentials are not
/// written. With `--wheels` nobody is asked.
#[derive(Debug, Args)]
struct Pylock {
    /// The step
    step: String,
    #[command(flatten)]
    of: Of,
    /// The folder that the wheels lie in, seen from the pylock.toml, instead of addresses
    #[arg(long, value_name = "DIR")]
    wheels: Option<String>,
}

/// Everything the pipeline uses as a CycloneDX 1.6 bill of materials, in JSON
///
/// Packages, ONNX Runtime, plugins and fetched sources with their sha256, and which step uses them. The same lock gives the same bytes: there
/// is no time in it.
#[derive(Debug, Args)]
struct Cyclonedx {
    #[command(flatten)]
    of: Of,
}

/// Of which pipeline, for which machine, to where.
#[derive(Debug, Args)]
struct Of {
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// Lay a profile over the pipeline
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// For this platform, such as `linux-aarch64`: this machine's where it is not given, and all that are locked for a bill of materials
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// Write it to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    /// Writes it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        match self.format {
            Format::Requirements(Requirements { step, of }) => {
                let opened = of.open_for_one()?;
                of.write(&export::requirements(&opened.environment(&step)?))
            }
            Format::Pylock(Pylock { step, of, wheels }) => {
                let opened = of.open_for_one()?;
                let environment = opened.environment(&step)?;
                let places = match wheels {
                    Some(folder) => vec![Place::Folder(folder); environment.packages.len()],
                    None => super::runtime()?.block_on(places(&environment))?,
                };
                of.write(&export::pylock(&environment, &places))
            }
            Format::Cyclonedx(Cyclonedx { of }) => {
                let opened = of.open(of.platform)?;
                of.write(&export::cyclonedx(&opened.bill()))
            }
        }
    }
}

impl Of {
    fn open(&self, only: Option<Platform>) -> Result<Opened, Error> {
        Ok(Opened::open(self.file.as_deref(), self.profile.as_deref(), only)?)
    }

    fn open_for_one(&self) -> Result<Opened, Error> {
        let platform = self.platform.map_or_else(Platform::current, Ok).map_err(Error::failed)?;
        self.open(Some(platform))
    }

    fn write(&self, text: &str) -> Result<Exit, Error> {
        match &self.output {
            None => output::text(text)?,
            Some(path) => std::fs::write(path, text).map_err(Error::io("write", path))?,
        }
        Ok(Exit::Ok)
    }
}
