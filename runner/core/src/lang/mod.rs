//! The pipeline file: from text to a checked [`Program`], or to everything that is wrong with it.
//!
//! ```text
//! text ─ yaml::read ─► tree with spans ─ requirements, profile, defaults ─► shape::prune ─► written types ─ check ─► Program
//!            │                                                          │                            │
//!            └──────────────── findings, each with its bytes ───────────┴────────────────────────────┘
//! ```
//! Knows nothing of files (asks through [`World`]), of the store or of runs.

pub mod check;
mod decode;
mod entries;
pub mod finding;
pub mod glibc;
pub mod graph;
pub mod manual;
mod names;
pub mod params;
pub mod reference;
mod requirements;
pub(crate) mod shape;
pub mod units;
pub mod uses;
pub mod written;
pub mod yaml;

use std::collections::BTreeSet;
use std::sync::LazyLock;

pub use check::{World, is_fan_out, wheel_pin};
use finding::{Finding, Rule, did_you_mean, one_of};
use graph::Graph;
use written::Pipeline;
use yaml::{Node, Value};

/// A pipeline that keeps every rule, with a profile laid over it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The pipeline, defaults and profile already laid in.
    pub pipeline: Pipeline,
    /// The profile that was laid in.
    pub profile: Option<String>,
    /// What its plugins say of themselves.
    pub manifests: check::Manifests,
    /// Which steps wait for which.
    pub graph: Graph,
}

/// A file's tree together with its text, so that places inside a value can be found.
pub struct Document {
    node: Node,
    text: String,
}

impl Document {
    fn at(&self, path: &[&str]) -> &Node {
        self.node.at(path)
    }

    fn key_span(&self, path: &[&str]) -> finding::Span {
        self.node.key_span(path)
    }
}

/// Made once: whoever loads many files, an editor or a test, need not wait for it each time.
static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(written::schema);

/// Reads and checks a pipeline.
///
/// # Errors
/// Everything that is wrong with it, in the file's order.
pub fn load(text: &str, profile: Option<&str>, world: &dyn World) -> Result<Program, Vec<Finding>> {
    let (mut node, mut findings) = yaml::read(text).map_err(|finding| vec![*finding])?;
    let written_steps = step_ids(&node);
    requirements::bring_in(&mut node, world, &mut findings);
    if let Some(name) = profile {
        findings.extend(unknown_profile(&node, name));
        lay_profile(&mut node, name);
    }
    lay_defaults(&mut node).map_err(|finding| vec![*finding])?;
    shape::prune(&mut node, &SCHEMA, &shape::PIPELINE, &mut findings);
    let lamed = lamed_steps(&findings, &node, &written_steps);
    if let Ok(pipeline) = decode::decode::<Pipeline>(&node) {
        let doc = Document { node, text: text.to_owned() };
        let (manifests, graph, judged) = check::check(&pipeline, &doc, &lamed, world);
        // A step that was left out for its shape is no reason to blame those that refer to it.
        findings.extend(judged.into_iter().filter(|finding| !blames_lost_step(finding, &pipeline, &written_steps)));
        if findings.is_empty() {
            return Ok(Program { pipeline, profile: profile.map(str::to_owned), manifests, graph });
        }
    }
    findings.sort_by_key(|finding| (finding.span.start, finding.rule));
    findings.dedup();
    Err(findings)
}

fn step_ids(node: &Node) -> BTreeSet<String> {
    node.get("steps").map(|steps| steps.entries().iter().map(|(key, _)| key.name.clone()).collect()).unwrap_or_default()
}

fn unknown_profile(node: &Node, name: &str) -> Option<Finding> {
    let profiles = node.get("profiles");
    let known: Vec<&str> = profiles
        .map(|profiles| profiles.entries().iter().map(|(key, _)| key.name.as_str()).collect())
        .unwrap_or_default();
    if known.contains(&name) {
        return None;
    }
    let span = if profiles.is_some() { node.key_span(&["profiles"]) } else { 0..0 };
    let hint =
        did_you_mean(name, known.iter().copied()).unwrap_or_else(|| format!("the pipeline has {}", one_of(known)));
    Some(
        Finding::new(Rule::UnknownProfile, span, format!("no profile `{name}`"))
            .expected("asked for with `--profile`")
            .hint(hint),
    )
}

fn lay_profile(node: &mut Node, name: &str) {
    let Some(profile) = node.get("profiles").and_then(|profiles| profiles.get(name)).cloned() else { return };
    let Value::Map(entries) = &mut node.value else { return };
    for part in ["defaults", "steps"] {
        let Some(over) = profile.get(part) else { continue };
        match entries.iter_mut().find(|(key, _)| key.name == part) {
            Some((_, mine)) if part == "steps" => overlay_known(mine, over),
            Some((_, mine)) => mine.overlay(over),
            None if part == "defaults" => {
                let key = yaml::Key { name: part.to_owned(), span: over.span.clone() };
                entries.push(key, over.clone());
            }
            None => {}
        }
    }
}

/// Steps that a profile changes; one that the pipeline does not have is a finding of `check`, not a new step.
fn overlay_known(steps: &mut Node, over: &Node) {
    let Value::Map(mine) = &mut steps.value else { return };
    for (key, node) in over.entries() {
        if let Some((_, step)) = mine.iter_mut().find(|(known, _)| known.name == key.name) {
            step.overlay(node);
        }
    }
}

/// Keys of `defaults` that are for `run` steps alone, and those that are for plugins alone.
const FOR_RUN: [&str; 5] = ["env", "network", "python", "sandbox", "tools"];
const FOR_USES: [&str; 1] = ["limits"];

/// Nodes that `defaults` may come to in all steps together: 10,000 steps of fifty. More is a bomb of aliases behind the reader's budget, or a
/// mistake; it would take gigabytes.
const MOST_LAID: usize = 500_000;

fn lay_defaults(node: &mut Node) -> Result<(), Box<Finding>> {
    let Some(defaults) = node.get("defaults").filter(|node| matches!(node.value, Value::Map(_))).cloned() else {
        return Ok(());
    };
    let Value::Map(entries) = &mut node.value else { return Ok(()) };
    let Some((_, Node { value: Value::Map(steps), .. })) = entries.iter_mut().find(|(key, _)| key.name == "steps")
    else {
        return Ok(());
    };
    if defaults.count().saturating_mul(steps.len()) > MOST_LAID {
        let message = format!("the file asks for too much: `defaults` in each of {} steps", steps.len());
        let finding = Finding::new(Rule::Bomb, defaults.span, message).expected("too large to be laid under so many");
        return Err(Box::new(finding.hint("write what only some steps need into those")));
    }
    for (_, step) in steps.iter_mut().filter(|(_, step)| matches!(step.value, Value::Map(_))) {
        let not_for_it = |key: &str| {
            FOR_RUN.contains(&key) && step.get("run").is_none() || FOR_USES.contains(&key) && step.get("uses").is_none()
        };
        let mut laid = defaults.clone();
        if let Value::Map(entries) = &mut laid.value {
            entries.retain(|key| !not_for_it(&key.name));
        }
        laid.span = step.span.clone();
        laid.overlay(step);
        *step = laid;
    }
    Ok(())
}

/// Steps in whose bytes the reader or the shape check found something.
fn lamed_steps(findings: &[Finding], node: &Node, written: &BTreeSet<String>) -> BTreeSet<String> {
    let Some(steps) = node.get("steps") else { return written.clone() };
    let hit = |span: &finding::Span| findings.iter().any(|finding| span.contains(&finding.span.start));
    let kept = steps.entries().iter();
    let mut lamed: BTreeSet<String> = kept
        .clone()
        .filter(|(key, step)| hit(&(key.span.start..step.span.end.max(key.span.end + 1))))
        .map(|(key, _)| key.name.clone())
        .collect();
    let ids: BTreeSet<&String> = kept.map(|(key, _)| &key.name).collect();
    lamed.extend(written.iter().filter(|id| !ids.contains(id)).cloned());
    lamed
}

fn blames_lost_step(finding: &Finding, pipeline: &Pipeline, written: &BTreeSet<String>) -> bool {
    matches!(finding.rule, Rule::UnknownReference | Rule::UndefinedVariable | Rule::UnknownProfile)
        && written.iter().any(|id| !pipeline.steps.contains_key(id) && finding.message.contains(&format!("`{id}")))
}

#[cfg(test)]
mod tests;
