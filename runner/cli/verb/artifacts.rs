//! `flowrun artifacts`: what the steps of a run made and gave.

use clap::Args;
use flowrun_core::artifact::Mode;
use serde_json::{Map, Value as Json, json};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::past::{self, Past};
use crate::show::amount::size;
use crate::show::line::{Line, Tone};
use crate::show::table::{Cell, cell, figure, rows};
use crate::show::value;
use crate::story::{Step, Story};

/// List what the steps of a run made and gave
#[derive(Debug, Args)]
pub(crate) struct Artifacts {
    /// The run: an id, a beginning of one, or @latest
    #[arg(default_value = "@latest")]
    run: String,
    /// Only this step
    step: Option<String>,
    /// Write a JSON object
    #[arg(long)]
    json: bool,
}

impl Artifacts {
    /// Lists them.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let past = Past::here()?;
        let story = past.story(&past.resolve(&self.run)?)?;
        let chosen = self.step.as_deref().map(|name| past::step(&story, name)).transpose()?;
        match (self.json, chosen) {
            (true, Some((name, step))) => output::json(&one(&story, name, step))?,
            (true, None) => output::json(&all(&story))?,
            (false, Some(step)) => output::lines(&table([step].into_iter()))?,
            (false, None) => output::lines(&table(story.steps.iter().map(|(name, step)| (name.as_str(), step))))?,
        }
        Ok(Exit::Ok)
    }
}

fn describe(step: &Step) -> Json {
    let output = |(name, output): (&String, &flowrun_core::event::Output)| {
        let artifact = &output.artifact;
        let told =
            json!({"file": output.name, "mode": artifact.mode, "digest": artifact.digest, "size": artifact.size});
        (name.clone(), told)
    };
    let outputs: Map<String, Json> = step.outputs.iter().map(output).collect();
    json!({"state": step.word(), "key": step.key, "took_ms": step.took_ms(), "outputs": outputs, "values": step.values})
}

fn all(story: &Story) -> Json {
    let steps: Map<String, Json> = story.steps.iter().map(|(name, step)| (name.clone(), describe(step))).collect();
    json!({"run": story.run, "pipeline": story.pipeline, "steps": steps})
}

fn one(story: &Story, name: &str, step: &Step) -> Json {
    let mut told = json!({"run": story.run, "step": name});
    if let (Json::Object(told), Json::Object(rest)) = (&mut told, describe(step)) {
        told.extend(rest);
    }
    told
}

fn table<'a>(steps: impl Iterator<Item = (&'a str, &'a Step)>) -> Vec<Line> {
    let title = |text: &str| cell(Tone::Dim, text);
    let mut table =
        vec![vec![title("STEP"), title("OUTPUT"), title("FILE"), figure(Tone::Dim, "SIZE"), title("DIGEST")]];
    for (name, step) in steps {
        let mut name = Some(name);
        // A step's name stands once, before the first thing it made.
        let mut first = || cell(Tone::Strong, name.take().unwrap_or_default());
        for (output, made) in &step.outputs {
            let file = if made.artifact.mode == Mode::Folder { format!("{}/", made.name) } else { made.name.clone() };
            table.push(vec![
                first(),
                cell(Tone::Plain, output),
                cell(Tone::Plain, file),
                figure(Tone::Plain, size(made.artifact.size)),
                cell(Tone::Dim, made.artifact.digest.short()),
            ]);
        }
        let values = step.values.iter().map(|(value_name, given)| -> Vec<Cell> {
            vec![first(), cell(Tone::Plain, value_name), cell(Tone::Busy, value::short(given))]
        });
        table.extend(values);
    }
    rows(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{started, story};
    use flowrun_core::artifact::Artifact;
    use flowrun_core::digest::Digest;
    use flowrun_core::event::{Event, Output};
    use indexmap::IndexMap;

    fn run() -> Story {
        let artifact = Artifact { mode: Mode::File, digest: Digest::of(b"x"), size: 1234 };
        let outputs = IndexMap::from([("report".to_owned(), Output { artifact, name: "evaluation.json".into() })]);
        let values = Map::from_iter([("map".to_owned(), json!(0.371_234)), ("map50".to_owned(), json!(0.6425))]);
        let finished = Event::Finished { step: "evaluate".into(), key: Digest::of(b"k"), took_ms: 5, outputs, values };
        story([(0, started(&["evaluate", "gate"])), (1, finished), (2, Event::Passed { step: "gate".into() })])
    }

    #[test]
    fn json_gives_values_whole() {
        let told = all(&run());
        assert_eq!(told["steps"]["evaluate"]["values"], json!({"map": 0.371_234, "map50": 0.6425}));
        assert_eq!(told["steps"]["evaluate"]["outputs"]["report"]["size"], 1234);
        assert_eq!(told["steps"]["gate"]["state"], "passed");
        let story = run();
        let step = one(&story, "evaluate", &story.steps["evaluate"]);
        assert_eq!(step["values"]["map50"], 0.6425);
        assert_eq!(step["step"], "evaluate");
    }

    #[test]
    fn the_table_names_a_step_once() {
        let story = run();
        let lines = table(story.steps.iter().map(|(name, step)| (name.as_str(), step)));
        let texts: Vec<String> = lines.iter().map(|line| line.paint(false)).collect();
        let digest = Digest::of(b"x").short();
        let expected = [
            "STEP      OUTPUT  FILE               SIZE  DIGEST".to_owned(),
            format!("evaluate  report  evaluation.json  1.2 kB  {digest}"),
            "          map     0.371".to_owned(),
            "          map50   0.642".to_owned(),
        ];
        assert_eq!(texts, expected);
    }
}
