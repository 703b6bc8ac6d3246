//! `flowrun bundle`: packs a pipeline with everything it needs.

use std::path::PathBuf;

use clap::Args;
use flowrun_core::stored::bundle::Entry;
use flowrun_engine::bundle::{self, EXTENSION, Packed};
use flowrun_engine::fetch::Platform;
use flowrun_engine::project::Project;
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::amount::{count, size};
use crate::show::line::{Line, Tone};

/// Pack a pipeline with its lock, code, data, plugins and wheels into one archive, which `flowrun run` runs without a network
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// Lay a profile over the pipeline, also when the bundle is run
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The archive: `NAME.flow` here where it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Pack for this platform, such as `macos-aarch64`, instead of this machine's; may be repeated
    #[arg(long, value_name = "PLATFORM", value_parser = super::lock::platform)]
    platform: Vec<Platform>,
    /// Write what was packed as one JSON object to standard output
    #[arg(long)]
    json: bool,
}

impl Bundle {
    /// Packs it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let project = Project::open_locked(self.file.as_deref(), self.profile.as_deref())?;
        let output = self.output()?.unwrap_or_else(|| format!("{}.{EXTENSION}", project.name).into());
        let platforms = match self.platform.is_empty() {
            true => vec![Platform::current().map_err(Error::failed)?],
            false => self.platform.clone(),
        };
        let mut tell = |what: String| output::say_lines(&[Line::new().cell(Tone::Dim, "make", 6).plain(what)]);
        let packed = super::runtime()?.block_on(bundle::pack(&project, &platforms, &output, &mut tell))?;
        match self.json {
            true => output::json(&json!({
                "bundle": packed.path.display().to_string(),
                "size": packed.size,
                "contents": packed.bundle,
            }))?,
            false => output::lines(&lines(&packed))?,
        }
        Ok(Exit::Ok)
    }

    /// A bundle is known by its name.
    fn output(&self) -> Result<Option<PathBuf>, Error> {
        match &self.output {
            Some(path) if !bundle::is_bundle(path) => {
                Err(Error::usage(format!("`{}` does not end with `.{EXTENSION}`", path.display()))
                    .hint("`flowrun run` knows a bundle by that"))
            }
            given => Ok(given.clone()),
        }
    }
}

fn lines(packed: &Packed) -> Vec<Line> {
    let files = packed.bundle.project.values().filter(|entry| matches!(entry, Entry::File { .. })).count();
    let platforms: Vec<&str> = packed.bundle.platforms.iter().map(String::as_str).collect();
    let what = format!(
        ": {}, with {} of the project and {} that it stands on, for {}",
        size(packed.size),
        count(files, "file"),
        count(packed.bundle.kept.len(), "file"),
        platforms.join(", ")
    );
    let shown = packed.path.display();
    vec![
        Line::new().with(Tone::Strong, shown.to_string()).plain(what),
        Line::new().plain("run it anywhere with ").with(Tone::Busy, format!("flowrun run {shown}")),
    ]
}
