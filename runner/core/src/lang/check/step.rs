//! Rules of a step's own keys: one kind, the keys of that kind, names and bounds.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::super::finding::{Finding, Rule};
use super::super::names::Names;
use super::super::reference::is_word;
use super::super::units;
use super::super::written::Step;
use super::{Check, is_python_version};
use crate::{expr, script};

/// The most memory that a plugin can have.
const MOST_MEMORY: u64 = 4 << 30;

impl Check<'_> {
    pub(super) fn step(&mut self, id: &str, step: &Step) {
        self.word(id, "step", &["steps", id]);
        self.kind(id, step);
        self.plugin(id, step);
        self.outputs(id, step);
        for name in step.inputs.keys() {
            self.word(name, "input", &["steps", id, "inputs", name]);
        }
        for (name, text) in &step.inputs {
            self.reference(text, &["steps", id, "inputs", name]);
        }
        for (index, name) in step.needs.iter().enumerate() {
            self.needs(name, &["steps", id, "needs", &index.to_string()]);
        }
        self.code(id, step);
        self.tools(id, step);
        self.fan_out(id, step);
        self.units(id, step);
        self.templates(id, step);
    }

    pub(super) fn kind(&mut self, id: &str, step: &Step) {
        if self.lamed.contains(id) {
            return;
        }
        let kinds: Vec<&str> = [
            ("uses", step.uses.is_some()),
            ("run", step.run.is_some()),
            ("onnx", step.onnx.is_some()),
            ("fail", step.fail.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect();
        let [kind] = kinds.as_slice() else {
            let message = match kinds.len() {
                0 => format!("step `{id}` does nothing: it has no kind"),
                _ => format!("step `{id}` has more than one kind: {}", kinds.join(", ")),
            };
            let finding = Finding::new(Rule::StepKind, self.key_span(&["steps", id]), message);
            return self.say(finding.expected("expected one of `uses`, `run`, `onnx` or `fail`"));
        };
        self.kind_keys(id, step, kind);
        if *kind == "onnx" {
            self.onnx_shape(id, step);
        }
    }

    pub(super) fn kind_keys(&mut self, id: &str, step: &Step, kind: &str) {
        let given = [
            ("with", !step.with.is_empty(), "uses"),
            ("env", !step.env.is_empty() && kind != "uses", "run"),
            ("code", !step.code.is_empty(), "run"),
            ("python", step.python.is_some(), "run"),
            ("tools", !step.tools.is_empty(), "run"),
            ("network", step.network.is_some(), "run"),
            ("sandbox", step.sandbox.is_some(), "run"),
            ("allow", !step.allow.is_empty(), "uses"),
            ("limits", step.limits.is_some(), "uses"),
            ("shard", step.shard.is_some(), "uses"),
        ];
        for (key, there, owner) in given {
            // `defaults` may put `env` and `python` on every step; only what stands in the step itself is judged.
            let is_written = || self.doc.at(&["steps", id]).get(key).is_some();
            if there && owner != kind && is_written() && !self.is_default(id, key) {
                let message = format!("`{key}` is for `{owner}` steps, and step `{id}` is a `{kind}` step");
                let finding = Finding::new(Rule::KindKey, self.key_span(&["steps", id, key]), message);
                self.say(finding.expected(format!("not for `{kind}`")));
            }
        }
        let makes_nothing = [
            ("inputs", step.inputs.is_empty()),
            ("outputs", step.outputs.is_empty()),
            ("values", step.values.is_empty()),
        ];
        for (key, empty) in makes_nothing {
            if kind == "fail" && !empty {
                let finding = Finding::new(
                    Rule::KindKey,
                    self.key_span(&["steps", id, key]),
                    format!("a `fail` step has no `{key}`"),
                );
                self.say(finding.expected("not for `fail`"));
            }
        }
    }

    pub(super) fn is_default(&self, id: &str, key: &str) -> bool {
        let own = self.doc.at(&["steps", id]).get(key).map(|node| node.span.clone());
        let default = self.doc.at(&["defaults"]).get(key).map(|node| node.span.clone());
        own.is_some() && own == default
    }

    pub(super) fn onnx_shape(&mut self, id: &str, step: &Step) {
        let inputs: Vec<&str> = step.inputs.keys().map(String::as_str).collect();
        let outputs: Vec<&str> = step.outputs.keys().map(String::as_str).collect();
        let fits =
            inputs.len() == 2 && inputs.contains(&"model") && inputs.contains(&"images") && outputs == ["detections"];
        if !fits || step.outputs.get("detections").is_some_and(|kind| kind == "dir") {
            let finding = Finding::new(
                Rule::KindKey,
                self.key_span(&["steps", id, "onnx"]),
                format!("step `{id}` does not fit an `onnx` step"),
            );
            self.say(finding.expected("expected inputs `model` and `images`, and one output `detections`, a file"));
        }
    }

    pub(super) fn outputs(&mut self, id: &str, step: &Step) {
        let mut files: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, kind) in &step.outputs {
            self.word(name, "output", &["steps", id, "outputs", name]);
            let file = if kind == "dir" { name } else { kind };
            let at = ["steps", id, "outputs", name];
            if !crate::artifact::is_component(file) || file.contains("{{") {
                let message = format!("output `{name}` of step `{id}` is not a file name");
                let finding = Finding::new(Rule::BadValue, self.value_span(&at), message);
                self.say(finding.expected("expected `dir`, or a plain file name such as `model.onnx`"));
            } else if let Some(other) = files.insert(file, name) {
                let message = format!("outputs `{other}` and `{name}` of step `{id}` would both be `{file}`");
                self.say(Finding::new(Rule::OutputClash, self.value_span(&at), message).expected("taken"));
            }
        }
        for (index, name) in step.values.iter().enumerate() {
            if !is_word(name) {
                let at = self.value_span(&["steps", id, "values", &index.to_string()]);
                self.say(
                    Finding::new(Rule::BadId, at, format!("value `{name}` is not a word"))
                        .expected("letters, digits and `_`"),
                );
            }
        }
    }

    pub(super) fn code(&mut self, id: &str, step: &Step) {
        let mut taken = BTreeMap::from([("in", "the folder of inputs"), ("out", "the folder of outputs")]);
        for (index, path) in step.code.iter().enumerate() {
            let at = ["steps", id, "code", &index.to_string()];
            self.path(path, &at);
            // It is put beside the command by its last name.
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
            if let Some(other) = taken.insert(name, path) {
                let message =
                    format!("`{path}` would lie in the folder of step `{id}` as `{name}`, and so would {other}");
                self.say(Finding::new(Rule::BadValue, self.value_span(&at), message).expected("taken"));
            }
        }
    }

    pub(super) fn tools(&mut self, id: &str, step: &Step) {
        for (index, tool) in step.tools.iter().enumerate() {
            if !script::is_tool(tool) {
                let at = self.value_span(&["steps", id, "tools", &index.to_string()]);
                let finding = Finding::new(Rule::BadValue, at, format!("`{tool}` of step `{id}` is not a program"));
                self.say(finding.expected("expected a name such as `ffmpeg`, or an absolute path"));
            }
        }
    }

    pub(super) fn fan_out(&mut self, id: &str, step: &Step) {
        if !step.matrix.is_empty() && step.foreach.is_some() {
            let finding = Finding::new(
                Rule::FanOut,
                self.key_span(&["steps", id, "foreach"]),
                format!("step `{id}` has both `matrix` and `foreach`"),
            );
            self.say(finding.expected("keep one"));
        }
        let names = Names { params: true, ..Names::default() };
        for (name, list) in &step.matrix {
            let at = ["steps", id, "matrix", name.as_str()];
            self.word(name, "matrix name", &at);
            match list {
                Json::Array(items) if !items.is_empty() => {}
                Json::String(text) if expr::whole(text).is_some() => self.template(text, &at, &names),
                _ => {
                    let finding = Finding::new(
                        Rule::FanOut,
                        self.value_span(&at),
                        format!("`{name}` of the matrix is not a list with items"),
                    );
                    self.say(finding.expected("expected a list such as `[1, 2]`, or one template that gives a list"));
                }
            }
        }
        match &step.foreach {
            None | Some(Json::Array(_)) => {}
            Some(Json::String(text)) => {
                let names = Names { params: true, steps: true, owner: id, ..Names::default() };
                self.expression(expr::whole(text).unwrap_or(text), &["steps", id, "foreach"], &names);
            }
            Some(_) => {
                let finding =
                    Finding::new(Rule::FanOut, self.value_span(&["steps", id, "foreach"]), "`foreach` is not a list");
                self.say(finding.expected("expected a list, or an expression that gives one"));
            }
        }
    }

    pub(super) fn units(&mut self, id: &str, step: &Step) {
        let backoff = step.retry.as_ref().and_then(|retry| retry.backoff.as_deref());
        for (text, key) in [(step.timeout.as_deref(), &["timeout"][..]), (backoff, &["retry", "backoff"][..])] {
            if text.is_some_and(|text| units::duration(text).is_none()) {
                let path = [&["steps", id], key].concat();
                let finding = Finding::new(
                    Rule::BadValue,
                    self.value_span(&path),
                    format!("`{}` of step `{id}` is not a duration", key.join(".")),
                );
                self.say(finding.expected("expected `90s`, `20m` or `2h`"));
            }
        }
        let memory = step.resources.as_ref().and_then(|resources| resources.memory.as_deref());
        if memory.is_some_and(|text| units::size(text).is_none()) {
            let at = self.value_span(&["steps", id, "resources", "memory"]);
            let finding = Finding::new(Rule::BadValue, at, format!("`resources.memory` of step `{id}` is not a size"));
            self.say(finding.expected("expected `4GiB` or `500MB`"));
        }
        self.limits(id, step);
        if let Some(version) = step.python.as_ref().map(|python| &python.version)
            && !is_python_version(version)
        {
            let at = self.value_span(&["steps", id, "python", "version"]);
            let finding = Finding::new(Rule::BadValue, at, format!("`{version}` is not a version of Python"));
            self.say(finding.expected("expected `\"3.11\"` or `\"3.11.7\"`"));
        }
    }

    fn limits(&mut self, id: &str, step: &Step) {
        let Some(limits) = &step.limits else { return };
        for (key, text, most) in [("memory", &limits.memory, MOST_MEMORY), ("output", &limits.output, u64::MAX)] {
            let Some(text) = text else { continue };
            let (wrong, expected) = match units::size(text) {
                None => ("is not a size", "expected `2GiB` or `500MB`"),
                Some(0) => ("is nothing at all", "expected more"),
                Some(size) if size > most => ("is more than WebAssembly can address", "at most `4GiB`"),
                Some(_) => continue,
            };
            let at = self.value_span(&["steps", id, "limits", key]);
            let finding = Finding::new(Rule::BadValue, at, format!("`limits.{key}` of step `{id}` {wrong}"));
            self.say(finding.expected(expected));
        }
    }
}
