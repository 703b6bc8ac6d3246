//! `flowrun get`: copies what a step made out of the store.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_core::artifact::Artifact;
use flowrun_engine::store::How;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::past::{self, Past};
use crate::show::amount::size;
use flowrun_core::lang::finding::{did_you_mean, one_of};

/// Copy what a step made out of the store
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The run: an id, a beginning of one, or @latest
    run: String,
    /// What to copy: an output, or something inside one that is a folder
    #[arg(value_name = "STEP.OUTPUT[/PATH]")]
    output: String,
    /// Where to put it; a folder that is there gets it inside. Its own name, here, where it is not given
    #[arg(long = "output", short = 'o', value_name = "PATH")]
    to: Option<PathBuf>,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

/// `STEP.OUTPUT[/PATH]`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    step: &'a str,
    output: &'a str,
    path: Option<&'a str>,
}

/// An instance's label may hold dots and slashes of its own, so the step ends at `].` where there is one.
fn parse(text: &str) -> Option<Wanted<'_>> {
    let dot = match text.find('[') {
        Some(open) => open + text[open..].find("].")? + 1,
        None => text.find('.')?,
    };
    let (step, rest) = (&text[..dot], &text[dot + 1..]);
    let (output, path) = rest.split_once('/').map_or((rest, None), |(output, path)| (output, Some(path)));
    let path = path.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty());
    (!step.is_empty() && !output.is_empty()).then_some(Wanted { step, output, path })
}

impl Get {
    /// Copies it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let wanted = parse(&self.output).ok_or_else(|| {
            Error::usage(format!("`{}` is not STEP.OUTPUT or STEP.OUTPUT/PATH", self.output))
                .hint("`flowrun artifacts RUN` lists the outputs")
        })?;
        let past = Past::here()?;
        let (artifact, name) = find(&past, &self.run, &wanted)?;
        let place = self.place(&name);
        if place.symlink_metadata().is_ok() {
            if !self.force {
                let error = Error::usage(format!("`{}` is there already", place.display()));
                return Err(error.hint("`--force` overwrites it, `-o PATH` puts it elsewhere"));
            }
            past.store().discard(&place)?;
        }
        if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
        }
        past.store().materialise(&artifact, &place, How::Copy)?;
        output::say(&format!("{}  {}", place.display(), size(artifact.size)));
        Ok(Exit::Ok)
    }

    fn place(&self, name: &str) -> PathBuf {
        match &self.to {
            Some(to) if to.is_dir() => to.join(name),
            Some(to) => to.clone(),
            None => Path::new(name).to_owned(),
        }
    }
}

/// The artifact and the name to give it.
fn find(past: &Past, run: &str, wanted: &Wanted<'_>) -> Result<(Artifact, String), Error> {
    let story = past.story(&past.resolve(run)?)?;
    let (name, step) = past::step(&story, wanted.step)?;
    let Some(output) = step.outputs.get(wanted.output) else {
        let known: Vec<&str> = step.outputs.keys().map(String::as_str).collect();
        let hint = did_you_mean(wanted.output, known.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("it made {}", one_of(known)));
        return Err(Error::usage(format!("`{name}` made no `{}` in run {}", wanted.output, story.run)).hint(hint));
    };
    let Some(path) = wanted.path else { return Ok((output.artifact, output.name.clone())) };
    let inside = past.store().subpath(&output.artifact, path)?;
    let artifact =
        inside.ok_or_else(|| Error::usage(format!("there is no `{path}` in `{}.{}`", wanted.step, wanted.output)))?;
    let last = path.rsplit('/').next().unwrap_or(path);
    Ok((artifact, last.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_taken_apart() {
        let whole = |step, output, path| Some(Wanted { step, output, path });
        assert_eq!(parse("train.model"), whole("train", "model", None));
        assert_eq!(parse("check.dataset/test/a.b.jpg"), whole("check", "dataset", Some("test/a.b.jpg")));
        assert_eq!(parse("train[lr=0.1,x=1].model/a"), whole("train[lr=0.1,x=1]", "model", Some("a")));
        assert_eq!(parse("a.b/"), whole("a", "b", None));
        for bad in ["", "a", ".b", "a.", "a[x=1]", "a[x=1]b"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
