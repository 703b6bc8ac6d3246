//! `flowrun plugin new`: a plugin to start from, with a case that passes.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_core::plugin::is_name;
use flowrun_engine::craft::{self, Language};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::quote;

/// Write a plugin to start from, with a case that passes
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Who makes it and what it is called, such as `acme/blur`
    #[arg(value_name = "OWNER/NAME")]
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Lang::Python)]
    lang: Lang,
    /// The folder to write it to, new or empty; one called NAME, here, where it is not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lang {
    Python,
    Js,
    C,
    Rust,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Python => Self::Python,
            Lang::Js => Self::JavaScript,
            Lang::C => Self::C,
            Lang::Rust => Self::Rust,
        }
    }
}

impl New {
    /// Writes it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        if !is_name(&self.name) {
            let error = Error::usage(format!("`{}` is not a plugin's name", self.name));
            return Err(error.hint("write OWNER/NAME in small letters, digits, `-` and `_`, such as `acme/blur`"));
        }
        let word = self.name.rsplit('/').next().unwrap_or_default();
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from(word));
        refuse_full(&dir)?;
        for file in craft::template(self.lang.into(), &self.name) {
            let path = dir.join(file.path);
            let parent = path.parent().unwrap_or(&dir);
            std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
            std::fs::write(&path, file.text).map_err(Error::io("write", &path))?;
        }
        let shown = dir.display().to_string();
        let then = |verb| quote::command(["flowrun", "plugin", verb, &shown]);
        output::say(&format!("wrote {shown}; now: {} && {}", then("build"), then("test")));
        Ok(Exit::Ok)
    }
}

/// What a person has is never written over.
fn refuse_full(dir: &Path) -> Result<(), Error> {
    let full = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => dir.symlink_metadata().is_ok(),
    };
    if !full {
        return Ok(());
    }
    Err(Error::usage(format!("`{}` is there already", dir.display())).hint("`--dir DIR` writes to another folder"))
}
