//! `flowrun init`: a small pipeline to start from.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::quote;

/// Write a small pipeline to start from
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder to write it to, made where it is not there
    #[arg(default_value = ".")]
    dir: PathBuf,
}

const PIPELINE: &str = include_str!("init.yaml");
const FILE: &str = "pipeline.yaml";
const IGNORED: &str = ".flowrun/\nresults/\n";

impl Init {
    /// Writes it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        std::fs::create_dir_all(&self.dir).map_err(Error::io("make", &self.dir))?;
        let file = self.dir.join(FILE);
        write_new(&file, PIPELINE)?;
        let ignore = self.dir.join(".gitignore");
        if !ignore.exists() {
            write_new(&ignore, IGNORED)?;
        }
        let here = self.dir == Path::new(".");
        let shown = if here { FILE.to_owned() } else { file.display().to_string() };
        output::say(&format!("wrote {shown}; now: {}", quote::command(["flowrun", "run", &shown])));
        Ok(Exit::Ok)
    }
}

/// Writes a file that is not there yet; what a person has is never overwritten.
fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::usage(format!("`{}` is there already", path.display()))
            .hint("`flowrun init DIR` writes to another folder"),
        _ => Error::io("write", path)(error),
    })?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowrun_engine::project::Project;

    #[test]
    fn what_it_writes_keeps_every_rule_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("tempdir");
        let dir = folder.path().join("new");
        Init { dir: dir.clone() }.exec().expect("writes");
        let project = Project::open(Some(&dir.join(FILE)), None).expect("keeps every rule");
        assert_eq!(project.program.pipeline.steps.len(), 4);
        assert!(matches!(Init { dir }.exec(), Err(Error::Usage { .. })));
    }
}
