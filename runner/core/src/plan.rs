//! The plan: a checked pipeline as numbered steps with the edges between them, and the rendering of one step into a [`Job`].
//!
//! Numbers are dense and hold inside one run; names are for the edges of flowrun. What a fan-out runs over is known only when what
//! it waits for has run, so instances are made then.
//!
//! Knows nothing of where files are: contents come in as [`Input`]s.

mod instance;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use crate::expr::{self, BadTemplate, Quote, Scope};
use crate::key::Input;
use crate::lang::graph::Edge;
use crate::lang::written::{Condition, EnvValue, Pipeline, RetryOn, Shard, Step};
use crate::lang::{Program, is_fan_out, units};
use crate::outcome::FailureKind;
use crate::schedule::{Need, NodeId, RetryPolicy, Spec};

pub use instance::{Instance, Item, Part, instances};

/// The longest that a plugin may take where its step does not say: a stranger's endless loop ends the same day, and no plugin seen needs a
/// tenth of it.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A step of the plan.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its id in the file.
    pub id: String,
    /// As written, profile and defaults laid in.
    pub step: Arc<Step>,
    /// What it waits for.
    pub waits: Vec<(NodeId, Edge)>,
}

/// All steps, each after what it waits for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Indexed by [`NodeId`].
    pub steps: Vec<Arc<Planned>>,
}

impl Plan {
    /// The plan of a checked program.
    pub fn new(program: &Program) -> Self {
        let (steps, graph) = (&program.pipeline.steps, &program.graph);
        let indices = graph.order().unwrap_or_default();
        let mut places = vec![0; steps.len()];
        indices.iter().enumerate().for_each(|(place, index)| places[*index] = place);
        let planned = |index: &usize| {
            let (id, step) = steps.get_index(*index)?;
            let waits = graph.waits(*index).iter().map(|(before, edge)| (NodeId(places[*before]), *edge)).collect();
            Some(Arc::new(Planned { id: id.clone(), step: step.clone(), waits }))
        };
        Self { steps: indices.iter().filter_map(planned).collect() }
    }

    /// The step with this id.
    pub fn find(&self, id: &str) -> Option<NodeId> {
        self.steps.iter().position(|step| step.id == id).map(NodeId)
    }

    /// These steps and everything they wait for.
    pub fn with_ancestors(&self, ids: &[NodeId]) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::new();
        let mut todo = ids.to_vec();
        while let Some(id) = todo.pop() {
            if found.insert(id) {
                todo.extend(self.steps[id.0].waits.iter().map(|(before, _)| *before));
            }
        }
        found
    }

    /// These steps and everything that waits for them.
    pub fn with_dependents(&self, ids: &[NodeId]) -> BTreeSet<NodeId> {
        let mut found: BTreeSet<NodeId> = ids.iter().copied().collect();
        // Each step comes after what it waits for, so one pass sees all.
        for (index, step) in self.steps.iter().enumerate() {
            if step.waits.iter().any(|(before, _)| found.contains(before)) {
                found.insert(NodeId(index));
            }
        }
        found
    }

    /// What the scheduler needs to know, with steps outside `chosen` left out.
    pub fn specs(&self, chosen: Option<&BTreeSet<NodeId>>) -> Vec<Spec> {
        let left_out = |index: usize| chosen.is_some_and(|chosen| !chosen.contains(&NodeId(index)));
        self.steps.iter().enumerate().map(|(index, step)| step.spec(left_out(index))).collect()
    }
}

impl Planned {
    fn spec(&self, left_out: bool) -> Spec {
        let tolerated = self.step.continue_on_error.unwrap_or(false);
        Spec {
            waits: self.waits.clone(),
            need: self.need(),
            retry: retry(&self.step),
            tolerated,
            left_out,
            gathers: self.parts().is_some(),
        }
    }

    /// The longest one attempt may take; a plugin's is never without an end.
    pub fn timeout(&self) -> Option<Duration> {
        let written = self.step.timeout.as_deref().and_then(units::duration);
        written.or(self.step.uses.is_some().then_some(PLUGIN_TIMEOUT))
    }

    /// What it takes of the machine.
    pub fn need(&self) -> Need {
        need(&self.step)
    }

    /// When a failed attempt is followed by another.
    pub fn retry(&self) -> RetryPolicy {
        retry(&self.step)
    }

    /// How many parts it is divided into; `None` where it is not.
    pub fn parts(&self) -> Option<u32> {
        self.step.shard.as_ref().and_then(Shard::parts)
    }

    /// Whether it runs once for each of several things.
    pub fn is_fan_out(&self) -> bool {
        is_fan_out(&self.step)
    }
}

/// The memory and processors of a step, thousandths of a core.
fn need(step: &Step) -> Need {
    let resources = step.resources.as_ref();
    let memory = resources.and_then(|resources| resources.memory.as_deref()).and_then(units::size);
    let cpu = resources.and_then(|resources| resources.cpu).unwrap_or(1.0);
    let gpu = resources.and_then(|resources| resources.gpu).unwrap_or(0);
    Need { cpu: (cpu * 1000.0) as u64, memory: memory.unwrap_or(0), gpu: u64::from(gpu) }
}

fn retry(step: &Step) -> RetryPolicy {
    let Some(retry) = &step.retry else { return RetryPolicy::never() };
    let kind = |on: &RetryOn| match on {
        RetryOn::Infrastructure => FailureKind::Infrastructure,
        RetryOn::Timeout => FailureKind::Timeout,
        RetryOn::Step => FailureKind::Step,
        RetryOn::Output => FailureKind::Output,
    };
    let on = if retry.on.is_empty() { vec![FailureKind::Infrastructure] } else { retry.on.iter().map(kind).collect() };
    let backoff = retry.backoff.as_deref().and_then(units::duration).unwrap_or(Duration::from_secs(5));
    RetryPolicy { attempts: retry.attempts, backoff, on }
}

/// What a template of a step sees, besides its own fan-out: params and the values of steps before it.
pub fn context(params: &Map<String, Json>, values: &IndexMap<String, Json>) -> Scope {
    let mut names = Scope::default();
    names.insert("params", params);
    for (step, values) in values {
        names.insert(step, BTreeMap::from([("values", values)]));
    }
    names
}

/// Adds `inputs` and `outputs`, the paths that a process uses from its own folder.
pub fn with_paths(mut names: Scope, inputs: &IndexMap<String, Input>, step: &Step) -> Scope {
    names.insert_texts("inputs", inputs.iter().map(|(name, input)| (name.clone(), input_path(name, input))));
    names.insert_texts("outputs", step.outputs.iter().map(|(name, kind)| (name.clone(), output_path(name, kind))));
    names
}

/// Where an input lies in a step's folder.
pub fn input_path(name: &str, input: &Input) -> String {
    input.file.as_ref().map_or_else(|| format!("in/{name}"), |file| format!("in/{name}/{file}"))
}

/// Where an output is made in a step's folder.
pub fn output_path(name: &str, kind: &str) -> String {
    if kind == "dir" { format!("out/{name}") } else { format!("out/{kind}") }
}

/// Whether the step's own condition lets it run.
///
/// # Errors
/// When the condition cannot be evaluated.
pub fn admits(step: &Step, names: &Scope) -> Result<bool, BadTemplate> {
    match &step.r#if {
        None => Ok(true),
        Some(Condition::Plain(value)) => Ok(*value),
        Some(Condition::Expression(text)) => Ok(expr::is_true(&expr::evaluate(text, names)?)),
    }
}

/// Variables of a process, by name.
pub type Variables = std::collections::BTreeMap<String, String>;

/// The declared variables, rendered, and the secrets by variable.
///
/// # Errors
/// When a value cannot be rendered.
pub fn environment(step: &Step, names: &Scope) -> Result<(Variables, Variables), BadTemplate> {
    let (mut plain, mut secrets) = (Variables::new(), Variables::new());
    for (name, value) in &step.env {
        match value {
            EnvValue::Text(text) => drop(plain.insert(name.clone(), expr::render(text, names, Quote::Plain)?)),
            EnvValue::Number(number) => drop(plain.insert(name.clone(), number.to_string())),
            EnvValue::Boolean(value) => drop(plain.insert(name.clone(), value.to_string())),
            EnvValue::Secret(secret) => drop(secrets.insert(name.clone(), secret.secret.clone())),
        }
    }
    Ok((plain, secrets))
}

/// The detector's settings, rendered; `runtime` is not one of them, since its wheel is a leaf of its own.
///
/// # Errors
/// When a setting cannot be rendered.
pub fn onnx_settings(step: &Step, names: &Scope) -> Result<Map<String, Json>, BadTemplate> {
    let mut settings = Map::new();
    let Some(onnx) = &step.onnx else { return Ok(settings) };
    for (name, value) in onnx.templated() {
        settings.insert(name.to_owned(), expr::render_json(value, names)?);
    }
    let plain = [
        ("resize", serde_json::to_value(onnx.resize)),
        ("provider", serde_json::to_value(onnx.provider)),
        ("classes", serde_json::to_value(&onnx.classes)),
        ("class_agnostic", serde_json::to_value(onnx.class_agnostic)),
    ];
    for (name, value) in plain {
        if let Ok(value) = value
            && !value.is_null()
        {
            settings.insert(name.to_owned(), value);
        }
    }
    Ok(settings)
}

/// The results that a pipeline publishes, as references.
pub fn results(pipeline: &Pipeline) -> impl Iterator<Item = (&str, crate::lang::reference::Reference)> {
    pipeline
        .results
        .iter()
        .filter_map(|(name, text)| Some((name.as_str(), crate::lang::reference::Reference::parse(text).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(super) fn step(value: Json) -> Step {
        serde_json::from_value(value).expect("step")
    }

    #[test]
    fn paths_are_seen_by_their_names() {
        let step = step(json!({"run": "x", "outputs": {"o": "o.txt", "d": "dir"}}));
        let content = crate::key::Content::Pinned("sha256:0".to_owned());
        let inputs = IndexMap::from([("a".to_owned(), Input { content, file: Some("f".to_owned()) })]);
        let names = with_paths(Scope::default(), &inputs, &step);
        let text = expr::render("{{ inputs.a }} {{ outputs.o }} {{ outputs.d }} {{ inputs }}", &names, Quote::Plain);
        assert_eq!(text.expect("renders"), "in/a/f out/o.txt out/d {\"a\":\"in/a/f\"}");
    }
}
