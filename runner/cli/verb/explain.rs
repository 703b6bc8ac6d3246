//! `flowrun explain`: what a step's key is made of, where its result comes from, and how that differs from its nearest other one.

use clap::Args;
use flowrun_core::artifact::Mode;
use flowrun_engine::run::{self, Explanation, Options};
use flowrun_engine::store::StoredEntry;
use serde_json::{Map, Value as Json, json};

use super::pipeline::PipelineArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::report::now;
use crate::show::amount::{age, duration, size};
use crate::show::line::{Line, Tone};
use crate::show::table::{Cell, cell, figure, rows};
use crate::show::{reason, value};

/// Show what a step's key is made of, where its result comes from, and what differs from its nearest other result
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The step; an instance of a fan-out is `train[seed=1]`
    step: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write a JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// Shows it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let project = self.pipeline.open()?;
        let params = self.pipeline.params(&project)?;
        let options = Options { params, dry_run: true, ..Options::default() };
        let told = super::runtime()?.block_on(run::explain(&project, options, &self.step))?;
        if self.json {
            output::json(&document(&self.step, &told))?;
        } else {
            output::whole_lines(&title(&self.step, &told))?;
            output::lines(&leaves(&told))?;
            output::whole_lines(&differences(&told))?;
        }
        Ok(Exit::Ok)
    }
}

fn title(step: &str, told: &Explanation) -> Vec<Line> {
    let title = Line::new().with(Tone::Strong, step).plain("  key ").plain(told.key.short()).plain("  ");
    let mut lines = match &told.result {
        Some(entry) => {
            let since = age(now().saturating_sub(entry.created_unix_ms));
            let from = format!("  from run {}, {since}, took {}", entry.run, duration(entry.took_ms));
            vec![title.with(Tone::Good, "cached").dim(from)]
        }
        None => vec![title.with(Tone::Busy, "would run").dim("  ").dim(reason::line(&told.why))],
    };
    if let Some(entry) = &told.result {
        lines.extend(rows(results(entry)).into_iter().map(|line| Line::new().plain("  ").join(line)));
    }
    lines
}

fn results(entry: &StoredEntry) -> Vec<Vec<Cell>> {
    let outputs = entry.outputs.iter().map(|(name, output)| {
        let slash = if output.artifact.mode == Mode::Folder { "/" } else { "" };
        vec![
            cell(Tone::Dim, name),
            cell(Tone::Plain, format!("{}{slash}", output.name)),
            figure(Tone::Plain, size(output.artifact.size)),
            cell(Tone::Dim, output.artifact.digest.short()),
        ]
    });
    let values =
        entry.values.iter().map(|(name, given)| vec![cell(Tone::Dim, name), cell(Tone::Busy, value::short(given))]);
    outputs.chain(values).collect()
}

fn leaves(told: &Explanation) -> Vec<Line> {
    let leaves = told.manifest.leaves().iter();
    let table = leaves.map(|(name, leaf)| vec![cell(Tone::Dim, name), cell(Tone::Plain, reason::leaf(leaf))]).collect();
    let mut lines = vec![Line::new(), Line::new().plain("its key is made of")];
    lines.extend(rows(table).into_iter().map(|line| Line::new().plain("  ").join(line)));
    lines.push(Line::new());
    lines
}

fn differences(told: &Explanation) -> Vec<Line> {
    let Some((key, run)) = &told.nearest else {
        return vec![Line::new().plain("no other result of this step is here")];
    };
    let nearest = format!("{} of run {run}", key.short());
    if told.differences.is_empty() {
        return vec![Line::new().plain(format!("the same as {nearest}"))];
    }
    let mut lines = vec![Line::new().plain(format!("differs from {nearest} in"))];
    for reason in &told.differences {
        lines.push(Line::new().plain("  ").with(Tone::Warn, reason::one(reason)));
        lines.extend(reason::detail_lines(reason).map(|line| Line::new().plain("    ").join(line)));
    }
    lines
}

fn document(step: &str, told: &Explanation) -> Json {
    let result = told.result.as_ref().map(|entry| {
        let output = |(name, output): (&String, &flowrun_engine::store::StoredOutput)| {
            let artifact = &output.artifact;
            let told =
                json!({"file": output.name, "mode": artifact.mode, "digest": artifact.digest, "size": artifact.size});
            (name.clone(), told)
        };
        let outputs: Map<String, Json> = entry.outputs.iter().map(output).collect();
        json!({"run": entry.run, "took_ms": entry.took_ms, "created_unix_ms": entry.created_unix_ms,
            "outputs": outputs, "values": entry.values})
    });
    let nearest = told.nearest.as_ref().map(|(key, run)| json!({"key": key, "run": run}));
    json!({"step": step, "key": told.key, "cached": told.result.is_some(), "result": result, "why": told.why,
        "leaves": told.manifest, "nearest": nearest, "differences": told.differences})
}
