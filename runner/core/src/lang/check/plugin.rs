//! Rules of `uses` steps: the plugin is known, and the step is one that its manifest describes.

use std::collections::BTreeSet;

use super::super::finding::{Finding, Rule, did_you_mean, one_of};
use super::super::reference::{Reference, Target};
use super::super::uses::REGISTRY;
use super::super::written::Step;
use super::Check;
use crate::plugin::{Capability, Described, Type};

impl Check<'_> {
    pub(super) fn plugin(&mut self, id: &str, step: &Step) {
        let Some(uses) = &step.uses else { return };
        let found = self.findings.len();
        if uses.starts_with("./") || uses.starts_with("../") {
            self.path(uses, &["steps", id, "uses"]);
        } else if !uses.starts_with(REGISTRY) {
            self.known_plugin(id, uses);
        }
        if self.findings.len() > found {
            return;
        }
        match self.world.describe(uses) {
            Ok(Some(described)) => {
                self.manifests.insert(uses.clone(), described.clone());
                let one_kind = step.run.is_none() && step.onnx.is_none() && step.fail.is_none();
                if one_kind && !self.lamed.contains(id) {
                    self.fits(id, step, &described);
                }
            }
            Ok(None) => self.undescribed(id, step),
            Err(problem) => {
                let span = self.value_span(&["steps", id, "uses"]);
                let finding =
                    Finding::new(Rule::PluginManifest, span, format!("plugin `{uses}` cannot be used: {problem}"));
                self.say(finding.expected("used here"));
            }
        }
    }

    fn known_plugin(&mut self, id: &str, uses: &str) {
        let known = self.world.plugins();
        if known.iter().any(|name| name == uses) {
            return;
        }
        let span = self.value_span(&["steps", id, "uses"]);
        let finding = Finding::new(Rule::UnknownPlugin, span, format!("no plugin `{uses}`"));
        let hint = did_you_mean(uses, known.iter().map(String::as_str)).unwrap_or_else(|| {
            let names = one_of(known.iter().map(String::as_str));
            format!(
                "flowrun comes with {names}; a file is written `./name.wasm`, one of a registry `oci://host/name:1`"
            )
        });
        self.say(finding.expected("not one that comes with flowrun").hint(hint));
    }

    /// A plugin that says nothing of itself gets no more than its inputs and outputs.
    fn undescribed(&mut self, id: &str, step: &Step) {
        const REMEDY: &str = "its author writes a `plugin.yaml` and builds it in: `flowrun plugin build`";
        for (key, rule, there) in
            [("allow", Rule::Capability, !step.allow.is_empty()), ("shard", Rule::Shard, step.shard.is_some())]
        {
            if there {
                let message = format!("the plugin of step `{id}` has no manifest that asks for it");
                let finding = Finding::new(rule, self.key_span(&["steps", id, key]), message);
                self.say(finding.expected("not asked for").hint(REMEDY));
            }
        }
    }

    fn fits(&mut self, id: &str, step: &Step, described: &Described) {
        self.settings(id, step, described);
        self.ports(id, step, described);
        self.capabilities(id, step, described);
        let parts = step.shard.as_ref().and_then(super::super::written::Shard::parts);
        if parts.is_some() && described.manifest.shard.is_none() {
            let message = format!("`{}` cannot be divided", described.manifest.name);
            let finding = Finding::new(Rule::Shard, self.key_span(&["steps", id, "shard"]), message);
            self.say(finding.expected("its manifest has no `shard`"));
        }
        if parts.is_some() && (step.foreach.is_some() || !step.matrix.is_empty()) {
            let message = format!("step `{id}` both fans out and is divided");
            let finding = Finding::new(Rule::Shard, self.key_span(&["steps", id, "shard"]), message);
            self.say(finding.expected("keep one"));
        }
    }

    fn settings(&mut self, id: &str, step: &Step, described: &Described) {
        for misfit in described.settings.misfits(&step.with, false) {
            let mut path = vec!["steps", id, "with"];
            path.extend(misfit.path.iter().map(String::as_str));
            // Without a `with` at all, the step itself is what lacks something.
            let bare = step.with.is_empty() && self.doc.at(&["steps", id]).get("with").is_none();
            let span = match (bare, misfit.key || misfit.path.is_empty()) {
                (true, _) => self.key_span(&["steps", id]),
                (false, true) => self.key_span(&path),
                (false, false) => self.value_span(&path),
            };
            let message = format!("{} of plugin `{}`", misfit.message, described.manifest.name);
            let finding = Finding::new(Rule::PluginSetting, span, message);
            self.say(finding.expected(misfit.expected).maybe_hint(misfit.hint));
        }
    }

    fn ports(&mut self, id: &str, step: &Step, described: &Described) {
        let manifest = &described.manifest;
        let inputs: Vec<&str> = manifest.inputs.keys().map(String::as_str).collect();
        let outputs: Vec<&str> = manifest.outputs.keys().map(String::as_str).collect();
        let values: Vec<&str> = manifest.values.keys().map(String::as_str).collect();
        for name in step.inputs.keys().filter(|name| !manifest.inputs.contains_key(*name)) {
            self.no_port(id, "input", name, &inputs, &["steps", id, "inputs", name], &manifest.name);
        }
        for name in step.outputs.keys().filter(|name| !manifest.outputs.contains_key(*name)) {
            self.no_port(id, "output", name, &outputs, &["steps", id, "outputs", name], &manifest.name);
        }
        for (index, name) in step.values.iter().enumerate().filter(|(_, name)| !manifest.values.contains_key(*name)) {
            self.no_port(id, "value", name, &values, &["steps", id, "values", &index.to_string()], &manifest.name);
        }
        for (name, input) in &manifest.inputs {
            match step.inputs.get(name) {
                Some(text) => self.type_of_input(id, name, text, input.r#type),
                None if !input.optional => self.lacks(id, "input", "inputs", name, &input.help, &manifest.name),
                None => {}
            }
        }
        for (name, output) in &manifest.outputs {
            match step.outputs.get(name) {
                Some(kind) => {
                    let made = if kind == "dir" { Type::Dir } else { Type::File };
                    self.same_type(&["steps", id, "outputs", name], "output", name, made, output.r#type);
                }
                None if !output.optional => self.lacks(id, "output", "outputs", name, &output.help, &manifest.name),
                None => {}
            }
        }
    }

    fn no_port(&mut self, id: &str, kind: &str, name: &str, known: &[&str], at: &[&str], plugin: &str) {
        let span = if kind == "value" { self.value_span(at) } else { self.key_span(at) };
        let finding = Finding::new(
            Rule::PluginPort,
            span,
            format!("plugin `{plugin}` has no {kind} `{name}`, which step `{id}` names"),
        );
        let hint = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known {
            [] => format!("it has no {kind}s"),
            _ => format!("its {kind}s are {}", one_of(known.iter().copied())),
        });
        self.say(finding.expected(format!("no such {kind}")).hint(hint));
    }

    fn lacks(&mut self, id: &str, kind: &str, key: &str, name: &str, help: &str, plugin: &str) {
        let there = self.doc.at(&["steps", id]).get(key).is_some();
        let span = if there { self.key_span(&["steps", id, key]) } else { self.key_span(&["steps", id]) };
        let help = if help.is_empty() { String::new() } else { format!(": {help}") };
        let finding = Finding::new(Rule::PluginPort, span, format!("step `{id}` lacks the {kind} `{name}`"));
        self.say(finding.expected(format!("`{name}` is missing")).hint(format!("plugin `{plugin}` needs it{help}")));
    }

    /// A whole output of a step is known to be a folder or a file; a source, a part of a folder and a join are not.
    fn type_of_input(&mut self, id: &str, name: &str, text: &str, wanted: Type) {
        let Ok(reference) = Reference::parse(text) else { return };
        let Target::Output { step, output, join } = &reference.target else { return };
        let Some(kind) = self.pipeline.steps.get(step).and_then(|step| step.outputs.get(output)) else { return };
        if reference.path.is_empty() && !join {
            let made = if kind == "dir" { Type::Dir } else { Type::File };
            self.same_type(&["steps", id, "inputs", name], "input", name, made, wanted);
        }
    }

    fn same_type(&mut self, at: &[&str], kind: &str, name: &str, made: Type, wanted: Type) {
        if wanted == Type::Any || made == wanted {
            return;
        }
        let word = |of: Type| if of == Type::Dir { "a folder" } else { "a file" };
        let message = format!("{kind} `{name}` is {}, but the plugin's is {}", word(made), word(wanted));
        let finding = Finding::new(Rule::PluginPort, self.value_span(at), message);
        self.say(finding.expected(format!("expected {}", word(wanted))));
    }

    fn capabilities(&mut self, id: &str, step: &Step, described: &Described) {
        let asked = &described.manifest.capabilities;
        let granted: BTreeSet<Capability> = step.allow.iter().copied().collect();
        for (index, capability) in step.allow.iter().enumerate() {
            if asked.reason(*capability).is_none() {
                let span = self.value_span(&["steps", id, "allow", &index.to_string()]);
                let message = format!("plugin `{}` does not ask for `{}`", described.manifest.name, capability.name());
                self.say(Finding::new(Rule::Capability, span, message).expected("not asked for"));
            }
        }
        for capability in Capability::ALL {
            let Some(reason) = asked.reason(capability).filter(|_| !granted.contains(&capability)) else { continue };
            let span = self.value_span(&["steps", id, "uses"]);
            let message = format!(
                "plugin `{}` asks for `{}`, which step `{id}` does not grant",
                described.manifest.name,
                capability.name()
            );
            let reason =
                if reason.is_empty() { "it gives no reason".to_owned() } else { format!("its reason: {reason}") };
            let finding =
                Finding::new(Rule::Capability, span, message).expected("asks for more than its inputs and outputs");
            self.say(
                finding.hint(format!("if you trust it with that, write `allow: [{}]`; {reason}", capability.name())),
            );
        }
        let variables = !step.env.is_empty() && self.doc.at(&["steps", id]).get("env").is_some();
        if variables && !granted.contains(&Capability::Environment) {
            let message =
                format!("`env` reaches a plugin only where it may have an environment, and step `{id}` grants none");
            let finding = Finding::new(Rule::Capability, self.key_span(&["steps", id, "env"]), message);
            self.say(
                finding
                    .expected("not granted")
                    .hint("the plugin must ask for `environment`, and the step write `allow: [environment]`"),
            );
        }
    }
}
