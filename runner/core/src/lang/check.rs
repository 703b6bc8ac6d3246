//! Whether what is written makes sense: ids, kinds, references, templates, paths, bounds, cycles.
//!
//! Every rule adds findings and none stops another. Steps that already lost a key to the shape check are not judged for
//! what they may have lost. Files are asked about through [`World`]; nothing is read here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::finding::{Finding, Rule, Span, did_you_mean, one_of};
use super::names::Names;
use super::reference::{RESERVED, Reference, Target, is_word};
use super::written::{Condition, EnvValue, ParamType, Pipeline, Step};
use super::{Document, params, units};
use crate::{expr, script};

/// What checking needs to know of the world.
pub trait World {
    /// Whether a path, relative to the pipeline file, exists; `None` when it leads out of the project.
    fn exists(&self, path: &str) -> Option<bool>;
    /// Names of the plugins that come with flowrun: `flowrun/boxes-check@1`.
    fn plugins(&self) -> Vec<String>;
}

/// Checks a decoded pipeline; `doc` is the tree it was decoded from, `lamed` the steps that lost something on the way.
pub fn check(pipeline: &Pipeline, doc: &Document, lamed: &BTreeSet<String>, world: &dyn World) -> Vec<Finding> {
    let mut check = Check { pipeline, doc, lamed, world, findings: Vec::new() };
    check.version();
    check.params();
    check.sources();
    for (id, step) in &pipeline.steps {
        check.step(id, step);
    }
    check.results();
    check.cycles();
    check.findings
}

struct Check<'a> {
    pipeline: &'a Pipeline,
    doc: &'a Document,
    lamed: &'a BTreeSet<String>,
    world: &'a dyn World,
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

    fn sources(&mut self) {
        for (name, source) in &self.pipeline.sources {
            let at = ["sources", name.as_str()];
            self.word(name, "source", &at);
            let kinds = [&source.path, &source.url, &source.pypi].into_iter().flatten().count();
            if kinds != 1 {
                let message = format!("source `{name}` needs one of `path`, `url` and `pypi`, and has {kinds}");
                self.say(Finding::new(Rule::SourceKind, self.key_span(&at), message).expected("one kind"));
            }
            if let Some(path) = &source.path {
                self.source_path(name, path);
            }
            if let Some(url) = &source.url {
                self.source_url(name, url, source.sha256.as_deref());
            }
            if let Some(pin) = &source.pypi {
                self.source_pin(name, pin);
            }
        }
    }

    fn source_path(&mut self, name: &str, path: &str) {
        let at = ["sources", name, "path"];
        if path.contains("{{") {
            self.template(path, &at, &Names { params: true, ..Names::default() });
        } else {
            self.path(path, &at);
        }
    }

    fn source_url(&mut self, name: &str, url: &str, sha256: Option<&str>) {
        let at = ["sources", name, "url"];
        let loopback =
            ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|host| url.starts_with(host));
        if !url.starts_with("https://") && !loopback {
            let finding =
                Finding::new(Rule::BadValue, self.value_span(&at), format!("source `{name}` is not an https address"));
            self.say(finding.expected("expected `https://...`"));
        }
        let is_sha = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !sha256.is_some_and(is_sha) {
            let finding = Finding::new(Rule::Unpinned, self.value_span(&at), format!("source `{name}` is not pinned"));
            self.say(
                finding.expected("needs `sha256:` beside it, 64 hexadecimal digits").hint("`sha256sum FILE` prints it"),
            );
        }
    }

    fn source_pin(&mut self, name: &str, pin: &str) {
        if wheel_pin(pin).is_none() {
            let at = self.value_span(&["sources", name, "pypi"]);
            let finding = Finding::new(Rule::Unpinned, at, format!("source `{name}` does not pin a version"));
            self.say(finding.expected("expected `name==version`"));
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

    fn step(&mut self, id: &str, step: &Step) {
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

    fn kind(&mut self, id: &str, step: &Step) {
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

    fn kind_keys(&mut self, id: &str, step: &Step, kind: &str) {
        let given = [
            ("with", !step.with.is_empty(), "uses"),
            ("env", !step.env.is_empty(), "run"),
            ("code", !step.code.is_empty(), "run"),
            ("python", step.python.is_some(), "run"),
            ("tools", !step.tools.is_empty(), "run"),
            ("network", step.network.is_some(), "run"),
            ("sandbox", step.sandbox.is_some(), "run"),
        ];
        for (key, there, owner) in given {
            // `defaults` may put `env` and `python` on every step; only what stands in the step itself is judged.
            let written = self.doc.at(&["steps", id]).get(key).is_some();
            if there && owner != kind && written && !self.is_default(id, key) {
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

    fn is_default(&self, id: &str, key: &str) -> bool {
        let own = self.doc.at(&["steps", id]).get(key).map(|node| node.span.clone());
        let default = self.doc.at(&["defaults"]).get(key).map(|node| node.span.clone());
        own.is_some() && own == default
    }

    fn onnx_shape(&mut self, id: &str, step: &Step) {
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

    fn plugin(&mut self, id: &str, step: &Step) {
        let Some(uses) = &step.uses else { return };
        if uses.starts_with("./") || uses.starts_with("../") {
            return self.path(uses, &["steps", id, "uses"]);
        }
        let known = self.world.plugins();
        if !known.contains(uses) {
            let finding = Finding::new(
                Rule::UnknownPlugin,
                self.value_span(&["steps", id, "uses"]),
                format!("no plugin `{uses}`"),
            );
            let hint = did_you_mean(uses, known.iter().map(String::as_str)).unwrap_or_else(|| {
                format!(
                    "flowrun comes with {}; a file is written `./name.wasm`",
                    one_of(known.iter().map(String::as_str))
                )
            });
            self.say(finding.expected("not one that comes with flowrun").hint(hint));
        }
    }

    fn outputs(&mut self, id: &str, step: &Step) {
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

    fn code(&mut self, id: &str, step: &Step) {
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

    fn tools(&mut self, id: &str, step: &Step) {
        for (index, tool) in step.tools.iter().enumerate() {
            if !script::is_tool(tool) {
                let at = self.value_span(&["steps", id, "tools", &index.to_string()]);
                let finding = Finding::new(Rule::BadValue, at, format!("`{tool}` of step `{id}` is not a program"));
                self.say(finding.expected("expected a name such as `ffmpeg`, or an absolute path"));
            }
        }
    }

    fn needs(&mut self, name: &str, at: &[&str]) {
        if !self.pipeline.steps.contains_key(name) {
            let finding = Finding::new(Rule::UnknownReference, self.value_span(at), format!("no step `{name}`"));
            let hint = did_you_mean(name, self.pipeline.steps.keys().map(String::as_str));
            self.say(finding.expected("not a step").maybe_hint(hint));
        }
    }

    fn reference(&mut self, text: &str, at: &[&str]) {
        let span = self.value_span(at);
        match Reference::parse(text) {
            Err(message) => {
                let hint = "write `sources.NAME`, `STEP.OUTPUT`, `STEP.OUTPUT/path` or `STEP.*.OUTPUT`";
                self.say(
                    Finding::new(Rule::UnknownReference, span, message).expected("expected a reference").hint(hint),
                );
            }
            Ok(reference) => self.target(&reference, span),
        }
    }

    fn target(&mut self, reference: &Reference, span: Span) {
        match &reference.target {
            Target::Source(name) => {
                if !self.pipeline.sources.contains_key(name) {
                    let hint = did_you_mean(name, self.pipeline.sources.keys().map(String::as_str));
                    let finding = Finding::new(Rule::UnknownReference, span, format!("no source `{name}`"));
                    self.say(finding.expected("not a source").maybe_hint(hint));
                }
            }
            Target::Output { step, output, join } => self.output_target(step, output, *join, span),
        }
    }

    fn output_target(&mut self, name: &str, output: &str, join: bool, span: Span) {
        let Some(step) = self.pipeline.steps.get(name) else {
            let hint = did_you_mean(name, self.pipeline.steps.keys().map(String::as_str)).or_else(|| {
                self.pipeline.sources.contains_key(output).then(|| format!("did you mean `sources.{output}`?"))
            });
            let finding = Finding::new(Rule::UnknownReference, span, format!("no step `{name}`"));
            return self.say(finding.expected("not a step").maybe_hint(hint));
        };
        if self.lamed.contains(name) {
            return;
        }
        if !step.outputs.contains_key(output) {
            let known: Vec<&str> = step.outputs.keys().map(String::as_str).collect();
            let finding =
                Finding::new(Rule::UndeclaredOutput, span, format!("step `{name}` declares no output `{output}`"));
            let hint = did_you_mean(output, known.iter().copied())
                .unwrap_or_else(|| format!("its outputs are {}", one_of(known)));
            return self.say(finding.expected("not declared there").hint(hint));
        }
        let fans = is_fan_out(step);
        if fans && !join {
            let message = format!("step `{name}` runs more than once, so `{name}.{output}` is not one thing");
            let finding = Finding::new(Rule::JoinNeeded, span, message).expected("which instance?");
            self.say(finding.hint(format!("write `{name}.*.{output}`: a folder with one entry an instance")));
        } else if join && !fans {
            let finding =
                Finding::new(Rule::JoinNeeded, span, format!("step `{name}` runs once: there is nothing to join"));
            self.say(finding.expected("not a fan-out").hint(format!("write `{name}.{output}`")));
        }
    }

    fn fan_out(&mut self, id: &str, step: &Step) {
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

    fn units(&mut self, id: &str, step: &Step) {
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
        if let Some(version) = step.python.as_ref().map(|python| &python.version)
            && !is_python_version(version)
        {
            let at = self.value_span(&["steps", id, "python", "version"]);
            let finding = Finding::new(Rule::BadValue, at, format!("`{version}` is not a version of Python"));
            self.say(finding.expected("expected `\"3.11\"` or `\"3.11.7\"`"));
        }
    }

    fn templates(&mut self, id: &str, step: &Step) {
        let values = Names { params: true, steps: true, fan: Some(step), owner: id, ..Names::default() };
        let files = Names { files: Some(step), ..values.clone() };
        if let Some(run) = &step.run {
            self.template(run, &["steps", id, "run"], &files);
        }
        if let Some(fail) = &step.fail {
            self.template(fail, &["steps", id, "fail"], &values);
        }
        if let Some(Condition::Expression(text)) = &step.r#if {
            self.expression(expr::whole(text).unwrap_or(text), &["steps", id, "if"], &values);
        }
        for (name, value) in &step.env {
            if let EnvValue::Text(text) = value {
                self.template(text, &["steps", id, "env", name], &files);
            }
        }
        for (name, value) in &step.with {
            self.deep_template(value, &mut vec!["steps", id, "with", name], &values);
        }
        if let Some(onnx) = &step.onnx {
            for (name, value) in onnx.templated() {
                self.deep_template(value, &mut vec!["steps", id, "onnx", name], &values);
            }
        }
    }

    fn deep_template<'b>(&mut self, value: &'b Json, path: &mut Vec<&'b str>, names: &Names<'_>) {
        match value {
            Json::String(text) => match expr::whole(text) {
                Some(inner) => self.expression(inner, path, names),
                None => self.template(text, path, names),
            },
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let index = index.to_string();
                    // The path is only used while this item is looked at.
                    let mut deeper: Vec<&str> = path.clone();
                    deeper.push(&index);
                    self.deep_template(item, &mut deeper, names);
                }
            }
            Json::Object(entries) => {
                for (key, item) in entries {
                    path.push(key);
                    self.deep_template(item, path, names);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    fn template(&mut self, text: &str, at: &[&str], names: &Names<'_>) {
        self.used(expr::names(text), at, names);
    }

    fn expression(&mut self, text: &str, at: &[&str], names: &Names<'_>) {
        self.used(expr::expression_names(text), at, names);
    }

    fn used(&mut self, found: Result<BTreeSet<String>, expr::BadTemplate>, at: &[&str], names: &Names<'_>) {
        match found {
            Err(bad) => {
                let finding =
                    Finding::new(Rule::Template, self.value_span(at), format!("not a template: {}", bad.message));
                let hint = bad.message.contains("comment").then_some(COMMENT);
                self.say(finding.expected("cannot be read").maybe_hint(hint.map(str::to_owned)));
            }
            Ok(used) => {
                for name in used {
                    if let Err((rule, message, hint)) = names.admit(&name, self.pipeline, self.lamed) {
                        let finding = Finding::new(rule, self.word_span(at, &name), message);
                        self.say(finding.expected("used here").maybe_hint(hint));
                    }
                }
            }
        }
    }

    /// The bytes of a name inside the text at a path.
    fn word_span(&self, at: &[&str], name: &str) -> Span {
        let whole = self.value_span(at);
        match self.doc.text.get(whole.clone()).and_then(|text| find_word(text, name)) {
            Some(found) => whole.start + found..whole.start + found + name.len(),
            None => whole,
        }
    }

    fn results(&mut self) {
        for (name, text) in &self.pipeline.results {
            self.word(name, "result", &["results", name]);
            self.reference(text, &["results", name]);
        }
    }

    fn cycles(&mut self) {
        for cycle in super::graph::cycles(self.pipeline) {
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

/// A shell's length of a variable looks like it.
const COMMENT: &str =
    "`{#` begins a comment of templates, also in `${#name}`: put `{% raw %}` before and `{% endraw %}` after it";

fn find_word(text: &str, name: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back().is_some_and(|c| part(c) || c == '.');
        let after = text[at + name.len()..].chars().next().is_some_and(part);
        !before && !after
    })
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
