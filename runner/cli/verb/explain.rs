//! `flowrun explain`: what a step's key is made of, and how that differs from its nearest earlier result.

use clap::Args;
use flowrun_engine::run::{self, Explanation, Options};

use super::pipeline::PipelineArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::line::{Line, Tone};
use crate::show::reason;
use crate::show::table::{cell, rows};

/// Show what a step's key is made of, and what differs from its nearest earlier result
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The step; an instance of a fan-out is `train[seed=1]`
    step: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

impl Explain {
    /// Shows it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let project = self.pipeline.open()?;
        let params = self.pipeline.params(&project)?;
        let options = Options { params, dry_run: true, ..Options::default() };
        let explanation = super::runtime()?.block_on(run::explain(&project, options, &self.step))?;
        output::lines(&lines(&self.step, &explanation))?;
        Ok(Exit::Ok)
    }
}

fn lines(step: &str, told: &Explanation) -> Vec<Line> {
    let (tone, word) = if told.cached { (Tone::Good, "cached") } else { (Tone::Busy, "would run") };
    let title = Line::new().with(Tone::Strong, step).plain("  key ").plain(told.key.short()).plain("  ");
    let mut lines = vec![title.with(tone, word), Line::new()];
    let leaves = told.manifest.leaves().iter();
    let table =
        rows(leaves.map(|(name, leaf)| vec![cell(Tone::Dim, name), cell(Tone::Plain, reason::leaf(leaf))]).collect());
    lines.extend(table.into_iter().map(|line| Line::new().plain("  ").join(line)));
    lines.push(Line::new());
    let Some((key, run)) = &told.nearest else {
        lines.push(Line::new().plain("no other result of this step is here"));
        return lines;
    };
    let nearest = format!("{} of run {run}", key.short());
    if told.reasons.is_empty() {
        lines.push(Line::new().plain(format!("the same as {nearest}")));
        return lines;
    }
    lines.push(Line::new().plain(format!("differs from {nearest} in")));
    for reason in &told.reasons {
        lines.push(Line::new().plain("  ").with(Tone::Warn, reason::one(reason)));
        lines.extend(reason::detail(reason).iter().map(|text| Line::new().plain("    ").dim(text)));
    }
    lines
}
