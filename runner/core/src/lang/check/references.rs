//! Rules of what refers to something else: it is there, and it is one thing or all of several.

use super::super::finding::{Finding, Rule, did_you_mean, one_of};
use super::super::reference::{Reference, Target};
use super::{Check, is_fan_out};

impl Check<'_> {
    pub(super) fn needs(&mut self, name: &str, at: &[&str]) {
        if !self.pipeline.steps.contains_key(name) {
            let finding = Finding::new(Rule::UnknownReference, self.value_span(at), format!("no step `{name}`"));
            let hint = did_you_mean(name, self.pipeline.steps.keys().map(String::as_str));
            self.say(finding.expected("not a step").maybe_hint(hint));
        }
    }

    pub(super) fn reference(&mut self, text: &str, at: &[&str]) {
        match Reference::parse(text) {
            Err(message) => {
                let span = self.value_span(at);
                let hint = "write `sources.NAME`, `STEP.OUTPUT`, `STEP.OUTPUT/path` or `STEP.*.OUTPUT`";
                self.say(
                    Finding::new(Rule::UnknownReference, span, message).expected("expected a reference").hint(hint),
                );
            }
            Ok(reference) => self.target(&reference, at),
        }
    }

    fn target(&mut self, reference: &Reference, at: &[&str]) {
        match &reference.target {
            Target::Source(name) => {
                if !self.pipeline.sources.contains_key(name) {
                    let hint = did_you_mean(name, self.pipeline.sources.keys().map(String::as_str));
                    let finding =
                        Finding::new(Rule::UnknownReference, self.value_span(at), format!("no source `{name}`"));
                    self.say(finding.expected("not a source").maybe_hint(hint));
                }
            }
            Target::Output { step, output, join } => self.output_target(step, output, *join, at),
        }
    }

    fn output_target(&mut self, name: &str, output: &str, join: bool, at: &[&str]) {
        let Some(step) = self.pipeline.steps.get(name) else {
            let hint = did_you_mean(name, self.pipeline.steps.keys().map(String::as_str)).or_else(|| {
                self.pipeline.sources.contains_key(output).then(|| format!("did you mean `sources.{output}`?"))
            });
            let finding = Finding::new(Rule::UnknownReference, self.value_span(at), format!("no step `{name}`"));
            return self.say(finding.expected("not a step").maybe_hint(hint));
        };
        if self.lamed.contains(name) {
            return;
        }
        if !step.outputs.contains_key(output) {
            let known: Vec<&str> = step.outputs.keys().map(String::as_str).collect();
            let message = format!("step `{name}` declares no output `{output}`");
            let finding = Finding::new(Rule::UndeclaredOutput, self.value_span(at), message);
            let hint = did_you_mean(output, known.iter().copied())
                .unwrap_or_else(|| format!("its outputs are {}", one_of(known)));
            return self.say(finding.expected("not declared there").hint(hint));
        }
        let fans = is_fan_out(step);
        if fans && !join {
            let message = format!("step `{name}` runs more than once, so `{name}.{output}` is not one thing");
            let finding = Finding::new(Rule::JoinNeeded, self.value_span(at), message).expected("which instance?");
            self.say(finding.hint(format!("write `{name}.*.{output}`: a folder with one entry an instance")));
        } else if join && !fans {
            let message = format!("step `{name}` runs once: there is nothing to join");
            let finding = Finding::new(Rule::JoinNeeded, self.value_span(at), message);
            self.say(finding.expected("not a fan-out").hint(format!("write `{name}.{output}`")));
        }
    }
}
