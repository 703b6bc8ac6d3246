//! YAML to a tree whose every node knows its bytes in the file. The only file that knows the YAML library.
//!
//! Anchors, aliases and merge keys are expanded here; duplicate keys and keys that are not words are findings, not
//! the end of reading. Knows nothing of pipelines.

mod quick;

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::entries::Entries;
use super::finding::{Finding, Rule, Span};

/// A value and the bytes where it stands (for an alias: where it was defined).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it holds.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number: integer or decimal.
    Number(serde_json::Number),
    /// A string.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order, each key once.
    Map(Entries),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// The entry `name` of a map.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        match &self.value {
            Value::Map(entries) => entries.entry(name),
            _ => None,
        }
    }

    /// The entries of a map; none for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// How many nodes it is, with all below it.
    pub fn count(&self) -> usize {
        1 + match &self.value {
            Value::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
            Value::List(items) => items.iter().map(Node::count).sum::<usize>(),
            _ => 0,
        }
    }

    /// The node at a path of keys and list indices, or the nearest one above it.
    pub fn at(&self, path: &[&str]) -> &Node {
        let Some((first, rest)) = path.split_first() else { return self };
        let next = match &self.value {
            Value::List(items) => first.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => self.get(first),
        };
        next.map_or(self, |node| node.at(rest))
    }

    /// The span of the key at a path, or the nearest one above it.
    pub fn key_span(&self, path: &[&str]) -> Span {
        let Some((last, parents)) = path.split_last() else { return self.span.clone() };
        let key = self.at(parents).entry(last);
        key.map_or_else(|| self.at(path).span.clone(), |(key, _)| key.span.clone())
    }

    /// The same value as JSON, without places.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(value) => Json::Number(value.clone()),
            Value::Text(value) => Json::String(value.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect())
            }
        }
    }

    /// Lays `over` upon this node: maps are joined key by key, everything else is replaced.
    pub fn overlay(&mut self, over: &Node) {
        let (Value::Map(mine), Value::Map(theirs)) = (&mut self.value, &over.value) else {
            *self = over.clone();
            return;
        };
        for (key, node) in theirs {
            match mine.iter_mut().find(|(known, _)| known.name == key.name) {
                Some((_, known)) => known.overlay(node),
                None => mine.push(key.clone(), node.clone()),
            }
        }
    }

    /// What a person calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(number) if number.is_f64() => "a decimal number",
            Value::Number(_) => "an integer",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// One finding where the text is not YAML or breaks the budget; otherwise the tree and findings about keys.
pub fn read(text: &str) -> Result<(Node, Vec<Finding>), Box<Finding>> {
    match quick::read(text) {
        Some(node) => Ok((node, Vec::new())),
        None => read_long(text),
    }
}

fn options() -> serde_saphyr::Options {
    // A pipeline of 10,000 steps of twenty nodes is the largest that is meant; more is a bomb or a mistake.
    let budget = serde_saphyr::budget! { max_nodes: 250_000, max_depth: 64, max_aliases: 20_000, max_documents: 1 };
    let limits = serde_saphyr::alias_limits! { max_total_replayed_events: 250_000, max_replay_stack_depth: 16 };
    serde_saphyr::options! {
        budget: budget,
        alias_limits: limits,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn read_long(text: &str) -> Result<(Node, Vec<Finding>), Box<Finding>> {
    if text.trim().is_empty() {
        return Err(Box::new(
            Finding::new(Rule::Syntax, 0..0, "the file is empty").hint("`flowrun init` writes one to start from"),
        ));
    }
    let raw: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| Box::new(finding_of(text, &error)))?;
    let mut findings = Vec::new();
    let node = Tree { text, findings: &mut findings }.node(raw);
    Ok((node, findings))
}

fn finding_of(text: &str, error: &Error) -> Finding {
    let span = error.location().map_or(0..0, |location| span_of(text, location));
    let plain = error.without_snippet().to_string();
    let message = plain.lines().next().unwrap_or("not YAML").trim_start_matches("error: ").to_owned();
    let message = message.split(" at line ").next().unwrap_or(&message).trim_end_matches([',', ':']).to_owned();
    let lower = message.to_lowercase();
    if ["budget", "limit", "alias", "recursion", "depth"].iter().any(|word| lower.contains(word))
        && !lower.contains("unknown")
    {
        return Finding::new(Rule::Bomb, span, format!("the file asks for too much: {message}"))
            .expected("here the budget for a pipeline file ends")
            .hint("aliases may not multiply without end; write lists that large with `matrix` or `foreach`");
    }
    let finding = Finding::new(Rule::Syntax, span.clone(), format!("not YAML: {message}"));
    match unquoted_braces(text, span.start) {
        Some(at) => Finding::new(Rule::Braces, at, "a value that starts with `{{` must be quoted")
            .expected("YAML reads this as a map")
            .hint("put quotes around the whole value: \"{{ ... }}\""),
        None => finding,
    }
}

/// `{{` right after a `:` or `-` on the line of the error or the one before it.
fn unquoted_braces(text: &str, at: usize) -> Option<Span> {
    let end = text[at.min(text.len())..].find('\n').map_or(text.len(), |index| at + index);
    let from = text[..at.min(text.len())].rfind('\n').map_or(0, |index| text[..index].rfind('\n').map_or(0, |i| i + 1));
    let window = text.get(from..end)?;
    let found = [": {{", "- {{"].iter().filter_map(|mark| window.find(mark)).min()? + from + 2;
    let stop = text[found..].find('\n').map_or(text.len(), |index| found + index);
    Some(found..stop)
}

/// The bytes of a location. The scanner counts characters only; the deserializer knows bytes too.
fn span_of(text: &str, location: Location) -> Span {
    let span = location.span();
    let bytes_at = |chars: u64| text.char_indices().nth(chars as usize).map_or(text.len(), |(at, _)| at);
    let (start, end) = match (span.byte_offset(), span.byte_len()) {
        (Some(offset), Some(len)) => (offset as usize, (offset + len) as usize),
        _ => (bytes_at(span.offset()), bytes_at(span.offset() + span.len())),
    };
    within(text, start, end)
}

/// These bytes of a text, without white space at the end.
fn within(text: &str, start: usize, end: usize) -> Span {
    let start = floor(text, start.min(text.len()));
    let end = floor(text, end.min(text.len())).max(start);
    start..start + text[start..end].trim_end().len()
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What serde hands over, before keys are checked.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        let number = serde_json::Number::from_f64(value);
        Ok(Raw::Scalar(number.map_or_else(|| Value::Text(value.to_string()), Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

struct Tree<'a> {
    text: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Tree<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        let span = span_of(self.text, raw.defined);
        let value = match raw.value {
            Raw::Scalar(value) => value,
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => self.map(entries, &span),
        };
        let span = covering(span, &value);
        Node { value, span }
    }

    fn map(&mut self, entries: Vec<(Spanned<Raw>, Spanned<Raw>)>, outer: &Span) -> Value {
        let (mut map, mut known) = (Vec::with_capacity(entries.len()), HashSet::with_capacity(entries.len()));
        for (key, value) in entries {
            let span = span_of(self.text, key.defined);
            let Some(name) = self.key_name(key.value, outer) else { continue };
            let node = self.node(value);
            if !known.insert(name.clone()) {
                let finding = Finding::new(Rule::DuplicateKey, span, format!("key `{name}` stands twice in this map"));
                self.findings.push(finding.expected("second time").hint("keep one of them"));
                continue;
            }
            map.push((Key { name, span }, node));
        }
        Value::Map(map.into())
    }

    fn key_name(&mut self, raw: Raw, outer: &Span) -> Option<String> {
        match raw {
            Raw::Scalar(scalar) => key_text(scalar),
            Raw::List(_) | Raw::Map(_) => {
                let line_end = self.text[outer.start..].find('\n').map_or(self.text.len(), |index| outer.start + index);
                let span = outer.start..outer.start + self.text[outer.start..line_end].trim_end().len();
                let finding = Finding::new(Rule::Braces, span, "a value that starts with `{{` must be quoted");
                self.findings.push(
                    finding
                        .expected("YAML reads this as a map")
                        .hint("put quotes around the whole value: \"{{ ... }}\""),
                );
                None
            }
        }
    }
}

/// The text of a key; nothing for what is no word.
fn key_text(key: Value) -> Option<String> {
    match key {
        Value::Text(name) => Some(name),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// Containers come with the span of their first token only; this one covers what they hold.
fn covering(span: Span, value: &Value) -> Span {
    let ends = match value {
        Value::List(items) => items.iter().map(|item| item.span.end).max(),
        Value::Map(entries) => entries.iter().map(|(key, node)| node.span.end.max(key.span.end)).max(),
        _ => None,
    };
    span.start..ends.unwrap_or(span.end).max(span.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice<'a>(text: &'a str, span: &Span) -> &'a str {
        &text[span.clone()]
    }

    #[test]
    fn nodes_and_keys_know_their_bytes() {
        let text = "a: 1\nsteps:\n  büro:\n    run: |\n      echo 1\n    list: [x, 'y z']\n";
        let (node, findings) = read(text).expect("yaml");
        assert!(findings.is_empty());
        assert_eq!(slice(text, &node.at(&["steps", "büro", "list", "1"]).span), "'y z'");
        assert_eq!(slice(text, &node.key_span(&["steps", "büro", "run"])), "run");
        assert_eq!(node.at(&["steps", "büro", "run"]).value, Value::Text("echo 1\n".into()));
    }

    #[test]
    fn anchors_merge_and_duplicates_are_found() {
        let text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: 1\ntwo: 2\n";
        let (node, findings) = read(text).expect("yaml");
        assert_eq!(node.at(&["one"]).to_json(), serde_json::json!({"x": 1, "y": 3}));
        assert_eq!(findings.len(), 1);
        assert_eq!(slice(text, &findings[0].span), "two");
    }

    #[test]
    fn unquoted_braces_are_explained_in_both_shapes() {
        for text in ["a: {{ params.x }}\n", "a: {{ params.x }}/y\nb: 1\n", "a:\n  - {{ x }}\n"] {
            let rule = match read(text) {
                Ok((_, findings)) => findings[0].rule,
                Err(finding) => finding.rule,
            };
            assert_eq!(rule, Rule::Braces, "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_placed() {
        for (text, at) in [("é: |x\n  b\n", "|"), ("é: 1\na:\n  run: 'echo\n", "'"), ("é: 1\na:\n\t b: 1\n", " ")] {
            let finding = read(text).expect_err(text);
            let line = text[..finding.span.start].matches('\n').count();
            assert_eq!((finding.rule, line > 0 || at == "|"), (Rule::Syntax, true), "{finding:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", ")));
        }
        assert_eq!(read(&text).expect_err("bomb").rule, Rule::Bomb);
    }
}
