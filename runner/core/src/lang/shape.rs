//! Whether the file has the shape of a pipeline: known keys, right types, bounds. Walks the tree against the JSON Schema
//! of the written types, so that there is one description of the language.
//!
//! What does not fit is reported and left out of the tree, so that the rest can still be checked. Reads the part of JSON
//! Schema that the types produce: `$ref`, `type`, `properties`, `patternProperties`, `additionalProperties`,
//! `required`, `items`, `enum`, `const`, `anyOf`/`oneOf`, `minimum`/`maximum`, `minItems`/`maxItems`, `pattern` (only `\{\{`).

use serde_json::Value as Json;

use super::finding::{Finding, Rule, did_you_mean, one_of};
use super::yaml::{Node, Value};

/// What messages call the file as a whole and its keys.
pub(crate) struct Noun {
    whole: &'static str,
    key: &'static str,
}

/// A pipeline file.
pub(crate) const PIPELINE: Noun = Noun { whole: "the pipeline", key: "not a key of the language" };

/// A plugin's manifest.
pub(crate) const MANIFEST: Noun = Noun { whole: "the manifest", key: "not a key of a manifest" };

/// Checks `node` against `schema` and drops what does not fit. Findings name the key and, where it is known, the step.
pub(crate) fn prune(node: &mut Node, schema: &Json, noun: &Noun, findings: &mut Vec<Finding>) {
    Shape { root: schema, noun, findings }.fit(node, schema, Path::Whole);
}

/// The way to a node. Each step of it lives as long as what is looked at below it.
#[derive(Clone, Copy)]
enum Path<'p> {
    Whole,
    Key(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl Path<'_> {
    fn words(&self) -> Vec<String> {
        let (above, word) = match self {
            Self::Whole => return Vec::new(),
            Self::Key(above, name) => (above, (*name).to_owned()),
            Self::Item(above, index) => (above, index.to_string()),
        };
        let mut words = above.words();
        words.push(word);
        words
    }
}

struct Shape<'a> {
    root: &'a Json,
    noun: &'a Noun,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Shape<'a> {
    /// Whether the node as a whole may stay.
    fn fit(&mut self, node: &mut Node, schema: &'a Json, path: Path<'_>) -> bool {
        let schema = self.resolve(schema);
        let Some(object) = schema.as_object() else { return true };
        if let Some(choices) = object.get("anyOf").or_else(|| object.get("oneOf")).and_then(Json::as_array) {
            return self.fit_any(node, choices, path);
        }
        if !self.fit_type(node, schema, path) || !self.fit_choice(node, schema, path) {
            return false;
        }
        if let Value::Number(number) = &node.value {
            return self.fit_bounds(number.as_f64().unwrap_or(0.0), node, schema, path);
        }
        match &mut node.value {
            Value::Map(_) => self.fit_map(node, schema, path),
            Value::List(_) => self.fit_list(node, schema, path),
            _ => true,
        }
    }

    fn what(&self, path: Path<'_>) -> String {
        if matches!(path, Path::Whole) { self.noun.whole.to_owned() } else { what(&path.words()) }
    }

    fn resolve(&self, schema: &'a Json) -> &'a Json {
        let name = schema.get("$ref").and_then(Json::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
        name.and_then(|name| self.root.get("$defs")?.get(name)).unwrap_or(schema)
    }

    fn fit_any(&mut self, node: &mut Node, choices: &'a [Json], path: Path<'_>) -> bool {
        let constants: Vec<&str> = choices.iter().filter_map(|choice| self.resolve(choice)["const"].as_str()).collect();
        if constants.len() == choices.len() {
            return self.fit_constants(node, &constants, path);
        }
        let fitting = choices.iter().find(|choice| {
            let choice = self.resolve(choice);
            admits(node, choice) && fits_pattern(node, choice)
        });
        match fitting {
            Some(choice) => self.fit(node, choice, path),
            None => {
                let kinds: Vec<&str> = choices.iter().flat_map(|choice| types(self.resolve(choice))).collect();
                self.wrong_type(node, &kinds, path)
            }
        }
    }

    fn fit_constants(&mut self, node: &Node, constants: &[&str], path: Path<'_>) -> bool {
        let Value::Text(text) = &node.value else { return self.wrong_type(node, &["string"], path) };
        if constants.contains(&text.as_str()) {
            return true;
        }
        let finding =
            Finding::new(Rule::BadValue, node.span.clone(), format!("{} cannot be `{text}`", self.what(path)));
        let finding = finding.expected(format!("expected {}", one_of(constants.iter().copied())));
        self.findings.push(finding.maybe_hint(did_you_mean(text, constants.iter().copied())));
        false
    }

    fn fit_type(&mut self, node: &Node, schema: &Json, path: Path<'_>) -> bool {
        admits(node, schema) || self.wrong_type(node, &types(schema), path)
    }

    fn wrong_type(&mut self, node: &Node, kinds: &[&str], path: Path<'_>) -> bool {
        let mut names: Vec<&str> = kinds.iter().map(|kind| type_name(kind)).filter(|name| *name != "nothing").collect();
        names.dedup();
        let message = format!("{} must be {}, not {}", self.what(path), names.join(" or "), node.kind());
        let mut finding = Finding::new(Rule::WrongType, node.span.clone(), message)
            .expected(format!("expected {}", names.join(" or ")));
        if matches!(node.value, Value::Number(_) | Value::Bool(_)) && names == ["a string"] {
            finding = finding.hint("put it in quotes if the text is meant");
        }
        self.findings.push(finding);
        false
    }

    fn fit_choice(&mut self, node: &Node, schema: &Json, path: Path<'_>) -> bool {
        let Some(choices) = schema.get("enum").and_then(Json::as_array) else { return true };
        let names: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
        matches!(node.value, Value::Null) || self.fit_constants(node, &names, path)
    }

    fn fit_bounds(&mut self, value: f64, node: &Node, schema: &Json, path: Path<'_>) -> bool {
        let low = schema.get("minimum").and_then(Json::as_f64).filter(|low| value < *low);
        let high = schema.get("maximum").and_then(Json::as_f64).filter(|high| value > *high);
        let Some((bound, word)) = low.map(|low| (low, "least")).or(high.map(|high| (high, "most"))) else {
            return true;
        };
        let message = format!("{} is {value}, but must be at {word} {bound}", self.what(path));
        self.findings
            .push(Finding::new(Rule::BadValue, node.span.clone(), message).expected(format!("at {word} {bound}")));
        false
    }

    fn fit_list(&mut self, node: &mut Node, schema: &'a Json, path: Path<'_>) -> bool {
        let count = match &node.value {
            Value::List(items) => items.len() as u64,
            _ => 0,
        };
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        let most = schema.get("maxItems").and_then(Json::as_u64).unwrap_or(u64::MAX);
        if count < least || count > most {
            let message = format!("{} has {count} items, but must have {least}", self.what(path));
            self.findings
                .push(Finding::new(Rule::BadValue, node.span.clone(), message).expected(format!("{least} items")));
            return false;
        }
        let Some(item_schema) = schema.get("items") else { return true };
        let Value::List(items) = &mut node.value else { return true };
        let mut kept = Vec::with_capacity(items.len());
        for (index, mut item) in std::mem::take(items).into_iter().enumerate() {
            if self.fit(&mut item, item_schema, Path::Item(&path, index)) {
                kept.push(item);
            }
        }
        *items = kept;
        true
    }

    fn fit_map(&mut self, node: &mut Node, schema: &'a Json, path: Path<'_>) -> bool {
        let span = node.span.clone();
        let Value::Map(entries) = &mut node.value else { return true };
        let missing: Vec<&str> = required(schema).filter(|name| entries.entry(name).is_none()).collect();
        let mut lost = Vec::new();
        for (index, (key, value)) in entries.iter_mut().enumerate() {
            if !self.fit_entry(key, value, schema, path) {
                lost.push(index);
            }
        }
        if !lost.is_empty() {
            let mut lost = lost.iter().copied().peekable();
            let all = std::mem::take(entries).into_iter().enumerate();
            let kept: Vec<_> = all.filter(|(index, _)| lost.next_if_eq(index).is_none()).map(|(_, one)| one).collect();
            *entries = kept.into();
        }
        let whole = lost.is_empty() || required(schema).all(|name| entries.entry(name).is_some());
        self.fit_required(&missing, span, path) && whole
    }

    fn fit_entry(&mut self, key: &super::yaml::Key, value: &mut Node, schema: &'a Json, path: Path<'_>) -> bool {
        let below = Path::Key(&path, &key.name);
        if let Some(property) = schema.get("properties").and_then(|all| all.get(&key.name)) {
            return self.fit(value, property, below);
        }
        if key.name.starts_with("x-") && schema.get("patternProperties").is_some() {
            return false;
        }
        match schema.get("additionalProperties") {
            Some(Json::Bool(false)) => {
                self.unknown_key(key, schema, path);
                false
            }
            Some(other) => self.fit(value, other, below),
            None => true,
        }
    }

    fn unknown_key(&mut self, key: &super::yaml::Key, schema: &Json, path: Path<'_>) {
        let known: Vec<&str> = schema
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let message = format!("unknown key `{}` in {}", key.name, self.what(path));
        let finding = Finding::new(Rule::UnknownKey, key.span.clone(), message);
        let finding = match did_you_mean(&key.name, known.iter().copied()) {
            Some(hint) => finding.expected(self.noun.key).hint(hint),
            None => finding.expected(self.noun.key).hint(format!("known keys are {}", one_of(known))),
        };
        self.findings.push(finding);
    }

    fn fit_required(&mut self, missing: &[&str], span: super::finding::Span, path: Path<'_>) -> bool {
        for name in missing {
            let first = span.start..span.start;
            let message = format!("{} needs the key `{name}`", self.what(path));
            self.findings.push(Finding::new(Rule::MissingKey, first, message).expected(format!("`{name}` is missing")));
        }
        missing.is_empty()
    }
}

/// What a path of keys is called in a message: `retry.attempts of step `train``.
fn what(path: &[String]) -> String {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let (owner, rest) = match words.as_slice() {
        [] => return String::new(),
        ["steps", step, rest @ ..] => (format!("step `{step}`"), rest),
        ["params", param, rest @ ..] => (format!("param `{param}`"), rest),
        ["sources", source, rest @ ..] => (format!("source `{source}`"), rest),
        ["profiles", profile, rest @ ..] => (format!("profile `{profile}`"), rest),
        rest => return format!("`{}`", rest.join(".")),
    };
    if rest.is_empty() { owner } else { format!("`{}` of {owner}", rest.join(".")) }
}

fn required(schema: &Json) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ if schema.get("const").is_some() || schema.get("enum").is_some() => vec!["string"],
        // A choice between words, each with its own help.
        _ => schema.get("oneOf").and_then(Json::as_array).into_iter().flatten().flat_map(types).collect(),
    }
}

/// Whether a node is of one of the types that a schema names, or it names none.
fn admits(node: &Node, schema: &Json) -> bool {
    match schema.get("type") {
        Some(Json::String(one)) => is_of(node, one),
        _ => {
            let kinds = types(schema);
            kinds.is_empty() || kinds.iter().any(|kind| is_of(node, kind))
        }
    }
}

fn is_of(node: &Node, kind: &str) -> bool {
    match (&node.value, kind) {
        (Value::Null, "null") | (Value::Bool(_), "boolean") | (Value::Text(_), "string") => true,
        (Value::List(_), "array") | (Value::Map(_), "object") | (Value::Number(_), "number") => true,
        (Value::Number(number), "integer") => !number.is_f64(),
        _ => false,
    }
}

/// The only pattern the types ask for is "holds a template".
fn fits_pattern(node: &Node, schema: &Json) -> bool {
    match &node.value {
        Value::Text(text) => schema.get("pattern").is_none() || text.contains("{{"),
        _ => true,
    }
}

fn type_name(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        _ => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{written, yaml};
    use super::*;

    fn findings(text: &str) -> Vec<(Rule, String)> {
        let (mut node, _) = yaml::read(text).expect("yaml");
        let mut findings = Vec::new();
        prune(&mut node, &written::schema(), &PIPELINE, &mut findings);
        serde_json::from_value::<written::Pipeline>(node.to_json()).expect("what is left decodes");
        findings.into_iter().map(|finding| (finding.rule, finding.message)).collect()
    }

    #[test]
    fn all_misfits_are_named_and_the_rest_decodes() {
        let found = findings(
            "flowrun: 1\nstep: 1\nsteps:\n  a:\n    run: 5\n    input: {}\n    retry: { attempts: 99 }\n    cache: [1]\n    onnx: { score: '{{ params.s }}', iou: no }\n    retry_: 1\n",
        );
        let rules: Vec<Rule> = found.iter().map(|(rule, _)| *rule).collect();
        use Rule::{BadValue, UnknownKey, WrongType};
        assert_eq!(rules, [UnknownKey, WrongType, UnknownKey, BadValue, WrongType, WrongType, UnknownKey], "{found:?}");
        assert!(found[1].1.contains("`run` of step `a` must be a string"), "{found:?}");
    }
}
