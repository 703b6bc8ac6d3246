//! `flowrun graph`: the steps and what they wait for.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use flowrun_core::lang::graph::{Edge, Graph as Waits, waits_for};
use flowrun_core::lang::is_fan_out;
use flowrun_core::lang::written::{Pipeline, Step};
use flowrun_engine::project::Project;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::line::{Line, Tone};
use crate::show::table::{Cell, cell, rows};

/// How to draw.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people: a step a line, further in the later it can run.
    #[default]
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown pages.
    Mermaid,
}

/// Draw a pipeline: its steps, their kinds, and what they wait for
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The pipeline file; where it is not given, the only one here or in `pipelines/`
    file: Option<PathBuf>,
    /// Lay a profile over the pipeline
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How to draw
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Graph {
    /// Draws it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let project = Project::open(self.file.as_deref(), self.profile.as_deref())?;
        let pipeline = &project.program.pipeline;
        match self.format {
            Format::Text => output::lines(&text(&project.name, pipeline))?,
            Format::Dot => output::text(&dot(&project.name, pipeline))?,
            Format::Mermaid => output::text(&mermaid(pipeline))?,
        }
        Ok(Exit::Ok)
    }
}

/// The kind of a step and what is telling about it.
fn kind(step: &Step) -> (&'static str, String) {
    if let Some(plugin) = &step.uses {
        return ("plugin", plugin.clone());
    }
    if step.onnx.is_some() {
        return ("onnx", String::new());
    }
    if step.fail.is_some() {
        let condition = step.r#if.as_ref().map(|condition| format!("if {}", condition.text()));
        return ("gate", condition.unwrap_or_default());
    }
    match &step.python {
        Some(python) => ("python", python.version.clone()),
        None => ("shell", String::new()),
    }
}

/// A layer is shown by this many blanks; deeper ones than the last stay there.
const INDENT: usize = 2;
const DEEPEST: usize = 16;

fn text(name: &str, pipeline: &Pipeline) -> Vec<Line> {
    let mut layers: HashMap<&str, usize> = HashMap::new();
    let mut table: Vec<Vec<Cell>> = Vec::new();
    for (id, step) in ordered(pipeline) {
        let waits = waits_for(step, pipeline);
        let layer =
            waits.keys().filter_map(|before| layers.get(before.as_str())).map(|layer| layer + 1).max().unwrap_or(0);
        layers.insert(id, layer);
        let (kind, about) = kind(step);
        let fan = if is_fan_out(step) { " ×n" } else { "" };
        let indent = " ".repeat(layer.min(DEEPEST) * INDENT);
        table.push(vec![
            cell(Tone::Plain, format!("  {indent}{id}{fan}")),
            cell(Tone::Busy, kind),
            cell(Tone::Plain, about),
            cell(Tone::Dim, before(step, &waits)),
        ]);
    }
    let mut lines = vec![Line::new().with(Tone::Strong, name), Line::new()];
    lines.extend(rows(table));
    lines
}

fn before(step: &Step, waits: &std::collections::BTreeMap<String, Edge>) -> String {
    let mut names: Vec<String> = step.inputs.values().filter(|text| text.starts_with("sources.")).cloned().collect();
    names.extend(waits.iter().filter(|(_, edge)| **edge == Edge::Data).map(|(id, _)| id.clone()));
    names.extend(waits.iter().filter(|(_, edge)| **edge == Edge::Order).map(|(id, _)| format!("({id})")));
    if names.is_empty() { String::new() } else { format!("← {}", names.join(", ")) }
}

fn ordered(pipeline: &Pipeline) -> impl Iterator<Item = (&str, &Step)> {
    let order = Waits::of(pipeline).order().unwrap_or_default();
    order.into_iter().filter_map(|index| pipeline.steps.get_index(index)).map(|(id, step)| (id.as_str(), &**step))
}

/// Ids are words of the language, so only what a person wrote freely has to be quoted.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "))
}

fn dot(name: &str, pipeline: &Pipeline) -> String {
    let mut text = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n", quoted(name));
    for (id, step) in ordered(pipeline) {
        let shape = if step.fail.is_some() { ", shape=diamond" } else { "" };
        text.push_str(&format!("  {id} [label={}{shape}];\n", quoted(&label(id, step)).replace("<br>", "\\n")));
        for (before, edge) in waits_for(step, pipeline) {
            let style = if edge == Edge::Order { " [style=dashed]" } else { "" };
            text.push_str(&format!("  {before} -> {id}{style};\n"));
        }
    }
    text + "}\n"
}

fn mermaid(pipeline: &Pipeline) -> String {
    let mut text = String::from("flowchart LR\n");
    for (id, step) in ordered(pipeline) {
        let (open, close) = if step.fail.is_some() { ("{", "}") } else { ("(", ")") };
        // `end` and others are words of Mermaid: a letter before them makes them plain.
        text.push_str(&format!("  s_{id}{open}\"{}\"{close}\n", label(id, step)));
        for (before, edge) in waits_for(step, pipeline) {
            let arrow = if edge == Edge::Order { "-.->" } else { "-->" };
            text.push_str(&format!("  s_{before} {arrow} s_{id}\n"));
        }
    }
    text
}

fn label(id: &str, step: &Step) -> String {
    let fan = if is_fan_out(step) { " ×n" } else { "" };
    format!("{id}{fan}<br>{}", kind(step).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pipeline() -> Pipeline {
        let value = json!({"flowrun": 1, "steps": {
            "end": {"fail": "no", "if": "train.values.x < 1", "needs": ["report"]},
            "check": {"uses": "flowrun/boxes-check@1", "inputs": {"d": "sources.d"}, "outputs": {"o": "dir"}},
            "train": {"run": "x", "python": {"version": "3.11"}, "matrix": {"seed": [1, 2]}, "inputs": {"d": "check.o"}},
            "report": {"run": "x", "inputs": {"d": "train.*.m"}}}});
        serde_json::from_value(value).expect("pipeline")
    }

    #[test]
    fn the_text_goes_further_in_layer_by_layer() {
        let texts: Vec<String> = text("p", &pipeline()).iter().map(|line| line.paint(false)).collect();
        let expected = [
            "p",
            "",
            "  check       plugin  flowrun/boxes-check@1  ← sources.d",
            "    train ×n  python  3.11                   ← check",
            "      report  shell                          ← train",
            "        end   gate    if train.values.x < 1  ← train, (report)",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn drawings_for_others_name_every_edge() {
        let dot = dot("a \"b\"", &pipeline());
        assert!(dot.starts_with("digraph \"a \\\"b\\\"\" {"), "{dot}");
        assert!(dot.contains("  report -> end [style=dashed];\n") && dot.contains("train ×n\\npython"), "{dot}");
        let mermaid = mermaid(&pipeline());
        assert!(mermaid.contains("  s_end{\"end<br>gate\"}\n  s_report -.-> s_end\n"), "{mermaid}");
    }
}
