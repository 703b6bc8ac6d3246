//! Rules of templates and expressions: they can be read, and every name in them is in reach.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::super::finding::{Finding, Rule, Span};
use super::super::names::Names;
use super::super::written::{Condition, EnvValue, Step};
use super::Check;
use crate::expr;

impl Check<'_> {
    pub(super) fn templates(&mut self, id: &str, step: &Step) {
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

    pub(super) fn deep_template<'b>(&mut self, value: &'b Json, path: &mut Vec<&'b str>, names: &Names<'_>) {
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

    pub(super) fn template(&mut self, text: &str, at: &[&str], names: &Names<'_>) {
        self.used(expr::names(text), at, names);
    }

    pub(super) fn expression(&mut self, text: &str, at: &[&str], names: &Names<'_>) {
        self.used(expr::expression_names(text), at, names);
    }

    pub(super) fn used(&mut self, found: Result<BTreeSet<String>, expr::BadTemplate>, at: &[&str], names: &Names<'_>) {
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
    pub(super) fn word_span(&self, at: &[&str], name: &str) -> Span {
        let whole = self.value_span(at);
        match self.doc.text.get(whole.clone()).and_then(|text| find_word(text, name)) {
            Some(found) => whole.start + found..whole.start + found + name.len(),
            None => whole,
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
