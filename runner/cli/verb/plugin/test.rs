//! `flowrun plugin test`: a plugin's cases, tried on its component.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_engine::craft::{self, Tried, Verdict};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::amount::count;
use crate::show::line::{Line, Tone};
use crate::show::{quote, reason};

/// Try a plugin's cases on its component
///
/// A case is a folder `tests/NAME` with `case.yaml` (the step), `in/` (its inputs) and `out/` (what must come of it, byte for byte). It runs as
/// a step does: in the sandbox, with what the manifest asks for granted.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Write what comes out as what is expected
    #[arg(long)]
    bless: bool,
}

impl Test {
    /// Tries them.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        super::build::manifest(&self.dir)?;
        warn_of_newer(&self.dir)?;
        let cache = super::cache()?;
        let tried = super::super::runtime()?.block_on(craft::try_cases(&cache, &self.dir, self.bless));
        let tried = tried.map_err(Error::failed)?;
        for one in &tried {
            output::lines(&lines(one))?;
        }
        let failed = tried.iter().filter(|one| matches!(one.verdict, Verdict::Failed(_))).count();
        let (tone, end) = match failed {
            0 => (Tone::Good, "all as expected".to_owned()),
            some => (Tone::Bad, format!("{some} not as expected")),
        };
        output::say_lines(&[Line::new().plain(format!("{}: ", count(tried.len(), "case"))).with(tone, end)]);
        Ok(if failed == 0 { Exit::Ok } else { Exit::Pipeline })
    }
}

/// Says so where the component is not of the source that lies there.
fn warn_of_newer(dir: &Path) -> Result<(), Error> {
    let component = craft::component_path(dir).map_err(Error::failed)?;
    if !component.is_file() {
        return Ok(());
    }
    if let Some(newer) = craft::newer(dir, &component).map_err(Error::failed)? {
        let again = quote::command(["flowrun", "plugin", "build", &dir.display().to_string()]);
        let text = format!(": `{}` has changed since `{}` was built; {again}", newer.display(), component.display());
        output::say_lines(&[Line::new().with(Tone::Warn, "warning").plain(text)]);
    }
    Ok(())
}

/// The columns of the word in front.
const WORD: usize = 9;

fn lines(tried: &Tried) -> Vec<Line> {
    let title = |tone, word| Line::new().cell(tone, word, WORD).plain(&tried.name);
    let below = || Line::new().plain(" ".repeat(WORD));
    match &tried.verdict {
        Verdict::Passed => vec![title(Tone::Good, "passed")],
        Verdict::Blessed => vec![title(Tone::Warn, "written")],
        Verdict::Failed(problems) => {
            let mut lines = vec![title(Tone::Bad, "failed")];
            let texts = problems.iter().flat_map(|problem| problem.lines());
            lines.extend(texts.map(|text| below().join(reason::diff_line(text))));
            lines.extend(tried.said.iter().map(|text| below().dim("│ ").plain(text)));
            lines
        }
    }
}
