//! `flowrun lock`: pins what a pipeline uses, and tells what changed as a review would.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use flowrun_core::pins::Change;
use flowrun_engine::fetch::Platform;
use flowrun_engine::locking::{self, Locked, Options, Upgrade};
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::amount::count;
use crate::show::line::{Line, Tone};

/// Pin everything a pipeline uses, for all its profiles and platforms: only what is missing is looked up
#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// Look up anew what the lock holds: packages and plugins of these names, `python` for the exact Python of this
    /// machine, or everything
    #[arg(long, value_name = "NAME", num_args = 0..)]
    upgrade: Option<Vec<String>>,
    /// Write nothing; end with 5 where the lock is not up to date
    #[arg(long)]
    check: bool,
    /// Only show what the lock changes against the one that git has at HEAD
    #[arg(long, conflicts_with_all = ["upgrade", "check", "platform"])]
    diff: bool,
    /// Also lock for this platform, such as `macos-aarch64`; may be repeated
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Vec<Platform>,
    /// Write what changes as one JSON object to standard output
    #[arg(long)]
    json: bool,
}

/// A platform, read from the command line.
pub(super) fn platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|()| "expected `linux-x86_64`, `linux-aarch64`, `macos-x86_64` or `macos-aarch64`".to_owned())
}

impl Lock {
    /// Locks it.
    pub(crate) fn exec(mut self) -> Result<Exit, Error> {
        self.give_back_file();
        if self.diff {
            return self.diff();
        }
        let options = Options { upgrade: self.wished(), platforms: self.platform.clone(), check: self.check };
        let mut tell = |what: String| output::say_lines(&[Line::new().cell(Tone::Dim, "make", 6).plain(what)]);
        let done = super::runtime()?.block_on(locking::lock(self.file.as_deref(), &options, &mut tell))?;
        match self.json {
            true => output::json(&json(&done, self.check))?,
            false => output::lines(&lines(&done, self.check))?,
        }
        Ok(if self.check && done.changed { Exit::Drift } else { Exit::Ok })
    }

    fn diff(&self) -> Result<Exit, Error> {
        let done = locking::since_head(self.file.as_deref())?;
        let name = named(&done);
        match (self.json, done.changed) {
            (true, _) => output::json(&json(&done, true))?,
            (false, false) => output::lines(&[name.plain(" is as it is at HEAD")])?,
            (false, true) => {
                let last = name.plain(format!(" differs from HEAD: {}", count(done.changes.len(), "change")));
                output::lines(&changes(&done).chain([last]).collect::<Vec<_>>())?;
            }
        }
        Ok(Exit::Ok)
    }

    fn wished(&self) -> Upgrade {
        match &self.upgrade {
            None => Upgrade::None,
            Some(names) if names.is_empty() => Upgrade::All,
            Some(names) => Upgrade::Names(names.iter().cloned().collect::<BTreeSet<String>>()),
        }
    }

    /// `lock --upgrade x.yaml` means the file: no package and no plugin is called so.
    fn give_back_file(&mut self) {
        let Some(names) = &mut self.upgrade else { return };
        let is_file = |name: &String| name.ends_with(".yaml") || name.ends_with(".yml");
        if self.file.is_none()
            && let Some(at) = names.iter().position(is_file)
        {
            self.file = Some(names.remove(at).into());
        }
    }
}

fn json(done: &Locked, check: bool) -> serde_json::Value {
    json!({
        "lock": done.path.display().to_string(),
        "changed": done.changed,
        "written": done.changed && !check,
        "changes": done.changes,
    })
}

fn named(done: &Locked) -> Line {
    Line::new().with(Tone::Strong, done.path.file_name().unwrap_or_default().to_string_lossy())
}

fn changes(done: &Locked) -> impl Iterator<Item = Line> {
    let line = |Change { about, change }: &Change| Line::new().with(Tone::Strong, about).plain(": ").plain(change);
    done.changes.iter().map(line)
}

fn lines(done: &Locked, check: bool) -> Vec<Line> {
    if !done.changed {
        return vec![named(done).plain(" is up to date")];
    }
    let what = match done.changes.len() {
        0 => "its form".to_owned(),
        some => count(some, "change"),
    };
    let verb = if check { " is not up to date: " } else { " written: " };
    changes(done).chain([named(done).plain(verb).plain(what)]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use super::*;
    use clap::Parser;

    fn read(words: &[&str]) -> Lock {
        let cli = Cli::try_parse_from(["flowrun", "lock"].iter().chain(words)).expect("parses");
        let Verb::Lock(mut lock) = cli.verb else { unreachable!("asked for lock") };
        lock.give_back_file();
        lock
    }

    #[test]
    fn upgrade_does_not_swallow_the_file() {
        for words in [&["--upgrade", "a.yaml"][..], &["a.yaml", "--upgrade"]] {
            let lock = read(words);
            assert_eq!((lock.wished(), lock.file), (Upgrade::All, Some("a.yaml".into())));
        }
        let lock = read(&["--upgrade", "jax", "numpy", "a.yaml", "--check"]);
        assert_eq!(lock.wished(), Upgrade::Names(["jax".to_owned(), "numpy".to_owned()].into()));
        assert_eq!(lock.file, Some("a.yaml".into()));
        assert_eq!(read(&[]).wished(), Upgrade::None);
        assert!(Cli::try_parse_from(["flowrun", "lock", "--platform", "windows"]).is_err());
    }
}
