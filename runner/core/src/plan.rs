//! The plan: a checked pipeline as numbered steps with the edges between them, and the rendering of one step into a [`Job`].
//!
//! Numbers are dense and hold inside one run; names are for the edges of flowrun. What a fan-out runs over is known only when what
//! it waits for has run, so instances are made then.
//!
//! Knows nothing of where files are: contents come in as [`Input`]s.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use crate::artifact::{Artifact, is_component};
use crate::expr::{self, BadTemplate, Quote, Scope};
use crate::key::Input;
use crate::lang::graph::Edge;
use crate::lang::written::{Condition, EnvValue, Pipeline, RetryOn, Shard, Step};
use crate::lang::{Program, is_fan_out, units};
use crate::outcome::FailureKind;
use crate::schedule::{Need, NodeId, RetryPolicy, Spec};

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

/// One run of a fan-out.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// What tells it from the others: `seed=1`, or the item; one component of a path.
    pub label: String,
    /// What templates see: `matrix` or `item`.
    pub names: Map<String, Json>,
    /// The part of a divided step that it does.
    pub part: Option<Part>,
}

/// A part of a divided step.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which, counted from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
    /// The input that is divided.
    pub input: String,
    /// The folder with this part's files, and those that all parts get.
    pub folder: Artifact,
}

/// The most instances a fan-out may have; more is a mistake in the list rather than a plan.
const MOST_INSTANCES: usize = 100_000;

/// The instances of a fan-out.
///
/// # Errors
/// When a list cannot be rendered or is none.
pub fn instances(step: &Step, names: &Scope) -> Result<Vec<Instance>, BadTemplate> {
    let items: Vec<Labelled> = match &step.foreach {
        Some(list) => list_of(list, names, "foreach")?
            .into_iter()
            .map(|item| (label_of(&item), Map::from_iter([("item".to_owned(), item)])))
            .collect(),
        None => combinations(step, names)?,
    };
    if items.len() > MOST_INSTANCES {
        return Err(refuse(format!("{} instances are more than {MOST_INSTANCES}", items.len())));
    }
    let mut taken = HashSet::with_capacity(items.len());
    let numbered = items.into_iter().enumerate().map(|(index, (label, names))| {
        let label = if is_component(&label) && taken.insert(label.clone()) { label } else { format!("{index}") };
        Instance { label, names, part: None }
    });
    Ok(numbered.collect())
}

fn list_of(list: &Json, names: &Scope, name: &str) -> Result<Vec<Json>, BadTemplate> {
    let value = match list {
        Json::String(text) => expr::evaluate(text, names)?,
        other => expr::render_json(other, names)?,
    };
    match value {
        Json::Array(items) => Ok(items),
        other => Err(refuse(format!("`{name}` gives {other}, which is not a list"))),
    }
}

/// A label and what templates see under it.
type Labelled = (String, Map<String, Json>);

fn combinations(step: &Step, names: &Scope) -> Result<Vec<Labelled>, BadTemplate> {
    let mut rows: Vec<(Vec<String>, Map<String, Json>)> = vec![(Vec::new(), Map::new())];
    for (name, list) in &step.matrix {
        let items = list_of(list, names, name)?;
        if rows.len().saturating_mul(items.len()) > MOST_INSTANCES {
            return Err(refuse(format!("the matrix has more than {MOST_INSTANCES} combinations")));
        }
        let longer = |(labels, names): &(Vec<String>, Map<String, Json>)| {
            let (labels, names) = (labels.clone(), names.clone());
            items
                .iter()
                .map(move |item| {
                    let (mut labels, mut names) = (labels.clone(), names.clone());
                    labels.push(format!("{name}={}", label_of(item)));
                    names.insert(name.clone(), item.clone());
                    (labels, names)
                })
                .collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    Ok(rows
        .into_iter()
        .map(|(labels, names)| (labels.join(","), Map::from_iter([("matrix".to_owned(), Json::Object(names))])))
        .collect())
}

/// A value as part of a file name: letters, digits, `.`, `_` and `-`; empty for what has no short text.
fn label_of(value: &Json) -> String {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Number(_) | Json::Bool(_) => value.to_string(),
        _ => return String::new(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    text.chars().take(40).map(plain).collect()
}

fn refuse(message: String) -> BadTemplate {
    BadTemplate { message, range: None }
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

    fn step(value: Json) -> Step {
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

    #[test]
    fn a_matrix_is_every_combination_in_order() {
        let step = step(json!({"matrix": {"lr": [0.1, 1], "mode": "{{ params.modes }}"}}));
        let context = context(&Map::from_iter([("modes".into(), json!(["a b", "a/b"]))]), &IndexMap::new());
        let labels: Vec<String> = instances(&step, &context).expect("lists").into_iter().map(|one| one.label).collect();
        assert_eq!(labels, ["lr=0.1,mode=a_b", "1", "lr=1,mode=a_b", "3"]);
    }

    #[test]
    fn foreach_takes_a_value_of_a_step_and_names_odd_items_by_number() {
        let values = IndexMap::from([("split".to_owned(), json!({"folds": ["x", {"a": 1}, "x", "../y"]}))]);
        let step = step(json!({"foreach": "{{ split.values.folds }}"}));
        let made = instances(&step, &context(&Map::new(), &values)).expect("list");
        let labels: Vec<&str> = made.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["x", "1", "2", ".._y"]);
        assert_eq!(made[1].names["item"], json!({"a": 1}));
    }
}
