//! Whether what is written makes sense: ids, kinds, references, templates, paths, bounds, cycles.
//!
//! Here is what holds for the file as a whole; [`sources`], [`step`], [`plugin`], [`references`] and [`templates`] have their own rules.
//!
//! Every rule adds findings and none stops another. Steps that already lost a key to the shape check are not judged for
//! what they may have lost. Files are asked about through [`World`]; nothing is read here.

mod plugin;
mod references;
mod sources;
mod step;
mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{Finding, Rule, Span, did_you_mean};
use super::graph::Graph;
use super::reference::{RESERVED, is_word};
use super::written::{ParamType, Pipeline, Step};
use super::{Document, params};
use crate::plugin::Described;

/// What checking needs to know of the world.
pub trait World {
    /// Whether a path, relative to the pipeline file, exists; `None` when it leads out of the project.
    fn exists(&self, path: &str) -> Option<bool>;
    /// The text of a file that is there, by its path relative to the pipeline file.
    ///
    /// # Errors
    /// Why it cannot be read; everywhere where there are no files.
    fn read(&self, _path: &str) -> Result<String, String> {
        Err("there are no files here".to_owned())
    }
    /// Names of the plugins that come with flowrun: `flowrun/boxes-check@1`.
    fn plugins(&self) -> Vec<String>;
    /// What a plugin says of itself, by what `uses` names it; `None` where it says nothing, or is not at hand.
    ///
    /// # Errors
    /// Why the plugin or its manifest cannot be used.
    fn describe(&self, uses: &str) -> Result<Option<Arc<Described>>, String>;
}

/// What the plugins of a pipeline say of themselves, by what `uses` names them.
pub type Manifests = BTreeMap<String, Arc<Described>>;

/// Checks a decoded pipeline, and finds out what waits for what; `doc` is the tree it was decoded from, `lamed` the steps that lost something on the way.
pub fn check(
    pipeline: &Pipeline,
    doc: &Document,
    lamed: &BTreeSet<String>,
    world: &dyn World,
) -> (Manifests, Graph, Vec<Finding>) {
    let mut check = Check { pipeline, doc, lamed, world, manifests: Manifests::new(), findings: Vec::new() };
    check.version();
    check.params();
    check.sources();
    for (id, step) in &pipeline.steps {
        check.step(id, step);
    }
    check.results();
    let graph = Graph::of(pipeline);
    check.cycles(&graph);
    (check.manifests, graph, check.findings)
}

struct Check<'a> {
    pipeline: &'a Pipeline,
    doc: &'a Document,
    lamed: &'a BTreeSet<String>,
    world: &'a dyn World,
    manifests: Manifests,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn value_span(&self, path: &[&str]) -> Span {
        self.doc.at(path).span.clone()
    }

    fn key_span(&self, path: &[&str]) -> Span {
        self.doc.key_span(path)
    }

    fn say(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn version(&mut self) {
        if self.pipeline.flowrun != 1 {
            let message = format!("language version {} is not one that this flowrun reads", self.pipeline.flowrun);
            let finding = Finding::new(Rule::Version, self.value_span(&["flowrun"]), message).expected("expected `1`");
            self.say(finding.hint("a newer flowrun may read it"));
        }
    }

    fn word(&mut self, id: &str, kind: &str, path: &[&str]) {
        // Only steps stand beside the names of templates; everything else is reached through its owner.
        let reserved = kind == "step" && RESERVED.contains(&id);
        if is_word(id) && !reserved {
            return;
        }
        let span = self.key_span(path);
        let finding = if is_word(id) {
            Finding::new(Rule::BadId, span, format!("{kind} `{id}` has a name that templates use themselves"))
                .expected("reserved")
                .hint("choose another name")
        } else {
            let better: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            Finding::new(Rule::BadId, span, format!("{kind} `{id}` is not a word"))
                .expected("letters, digits and `_`, not starting with a digit")
                .maybe_hint(is_word(&better).then(|| format!("write `{better}`: in a template `-` would subtract")))
        };
        self.say(finding);
    }

    fn params(&mut self) {
        for (name, param) in &self.pipeline.params {
            self.word(name, "param", &["params", name]);
            let Some(default) = &param.default else { continue };
            if let Err(problem) = params::fits(param, default) {
                let span = self.value_span(&["params", name, "default"]);
                let finding =
                    Finding::new(Rule::ParamDefault, span, format!("the default of param `{name}` {problem}"));
                self.say(finding.expected(params::asks(param)));
            }
        }
        for (name, profile) in &self.pipeline.profiles {
            self.word(name, "profile", &["profiles", name]);
            for param in profile.params.keys() {
                self.known_in_profile(
                    param,
                    "param",
                    self.pipeline.params.keys(),
                    &["profiles", name, "params", param],
                );
            }
            for step in profile.steps.keys() {
                self.known_in_profile(step, "step", self.pipeline.steps.keys(), &["profiles", name, "steps", step]);
            }
        }
    }

    fn known_in_profile<'b>(
        &mut self,
        name: &str,
        kind: &str,
        known: impl Iterator<Item = &'b String> + Clone,
        path: &[&str],
    ) {
        if !known.clone().any(|one| one == name) {
            let message = format!("the profile changes {kind} `{name}`, which the pipeline does not have");
            let finding =
                Finding::new(Rule::UnknownProfile, self.key_span(path), message).expected(format!("no such {kind}"));
            self.say(finding.maybe_hint(did_you_mean(name, known.map(String::as_str))));
        }
    }

    /// A path of the project, as written.
    fn path(&mut self, path: &str, at: &[&str]) {
        match self.world.exists(path) {
            Some(true) => {}
            Some(false) => {
                let finding = Finding::new(Rule::MissingPath, self.value_span(at), format!("`{path}` does not exist"));
                self.say(finding.expected("no such file or folder").hint("paths are relative to the pipeline file"));
            }
            None => {
                let message = format!("`{path}` leaves the project");
                let finding =
                    Finding::new(Rule::PathOutside, self.value_span(at), message).expected("outside the project");
                self.say(
                    finding
                        .hint("copy it into the project, or take it as a param of type `path` and set it with `--set`"),
                );
            }
        }
    }

    fn results(&mut self) {
        for (name, text) in &self.pipeline.results {
            self.word(name, "result", &["results", name]);
            self.reference(text, &["results", name]);
        }
    }

    fn cycles(&mut self, graph: &Graph) {
        let id = |index: usize| self.pipeline.steps.get_index(index).map(|(id, _)| id.as_str()).unwrap_or_default();
        let cycles = graph.cycles().into_iter().map(|cycle| cycle.into_iter().map(id).collect());
        let mut cycles: Vec<Vec<&str>> = cycles.collect();
        cycles.sort();
        for cycle in cycles {
            let first = &cycle[0];
            let path = cycle.iter().chain([first]).map(|id| format!("`{id}`")).collect::<Vec<_>>().join(" → ");
            let finding = Finding::new(
                Rule::Cycle,
                self.key_span(&["steps", first]),
                format!("steps wait for each other: {path}"),
            );
            self.say(finding.expected("in a circle").hint("drop one of these references or `needs`"));
        }
    }
}

/// Whether a step runs once for each of several things.
pub fn is_fan_out(step: &Step) -> bool {
    !step.matrix.is_empty() || step.foreach.is_some()
}

/// `name==version` of a package.
pub fn wheel_pin(pin: &str) -> Option<(&str, &str)> {
    let (name, version) = pin.split_once("==")?;
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    (plain(name, "-_.") && plain(version, ".+!-_")).then_some((name, version))
}

fn is_python_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    (2..=3).contains(&parts.len())
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What a type is called.
pub(super) fn type_text(kind: ParamType) -> &'static str {
    match kind {
        ParamType::Integer => "an integer",
        ParamType::Number => "a number",
        ParamType::String => "a string",
        ParamType::Boolean => "true or false",
        ParamType::Path => "a path",
        ParamType::List => "a list",
    }
}
