//! Expressions and templates: minijinja, strict about undefined names, with a budget.
//!
//! Three ways a text is used, each with the same names in reach:
//!
//! | where | how | a value becomes |
//! |---|---|---|
//! | `if`, whole-string `"{{ x }}"` in `with`, `foreach`, `matrix` | expression | itself, with its type |
//! | `with`, `env`, `fail`, mixed strings | template | its text |
//! | `run` | template | its text, quoted for `sh` unless `| raw` |
//!
//! What a text may cost is bounded, whoever wrote it:
//!
//! | what grows | bound |
//! |---|---|
//! | instructions, text and lists that are made | `FUEL` |
//! | lists that operators only promise (`[[1] * 1000000] * 1000000`), where they leave the engine | `MOST_TEXT` |
//! | how deep an expression nests: its compiler calls itself | `LONGEST`, `MOST_BLOCKS` |
//! | values that hold themselves, or double in a loop | there is no `namespace`: nothing outlives a round of a loop |
//!
//! What remains: a promised list that is looked at inside an expression (`~`, `tojson`), or doubled by one `set` after another, takes the time and
//! memory that it asks for. Who writes a pipeline can have those more simply, by a step; only flowrun's own check of a file must not be in reach, and
//! that compiles and evaluates nothing.
//!
//! Knows nothing of steps: the caller says which names there are, as a [`Scope`].

mod plain;
mod scope;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::LazyLock;

use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value};
use serde_json::Value as Json;

use plain::Piece;
pub use scope::Scope;

/// Instructions that one expression may take: far more than a condition needs, and less than a second.
const FUEL: u64 = 1_000_000;

/// Bytes of JSON that one value may become: room for the values of a fan-out of 100,000, and what a machine holds many times over.
const MOST_TEXT: usize = 4 << 20;

/// Bytes of one expression. Each may be an operator in another; from 8,000 of them on, compiling overflowed a stack of 2 MiB.
const LONGEST: usize = 4_000;

/// `{% %}` of one template, for the same reason: each `elif` lies inside the one before.
const MOST_BLOCKS: usize = 2_000;

/// How values become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// As they are.
    Plain,
    /// As one word of the shell.
    Shell,
}

/// What is wrong with a template or expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadTemplate {
    /// Lower-case fragment.
    pub message: String,
    /// Bytes of the template that it is about, where that is known.
    pub range: Option<Range<usize>>,
}

impl BadTemplate {
    /// What the engine says of `part`, which lies inside `template`.
    fn of(error: &Error, part: &str, template: &str) -> Self {
        let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let offset = part.as_ptr() as usize - template.as_ptr() as usize;
        let range = error.range().map(|range| within(part, &range));
        Self { message, range: range.map(|range| range.start + offset..range.end + offset) }
    }

    fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), range: None }
    }
}

/// The range, cut to the text: what ends too early is placed one behind its end.
fn within(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    start..text.ceil_char_boundary(range.end).max(start)
}

static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(|| environment(Quote::Plain));
static SHELL: LazyLock<Environment<'static>> = LazyLock::new(|| environment(Quote::Shell));

fn environment(quote: Quote) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.remove_global("namespace");
    env.add_filter("raw", |value: String| Value::from_safe_string(value));
    env.add_filter("quote", |value: String| Value::from_safe_string(shell_word(&value)));
    match quote {
        Quote::Plain => env.set_formatter(plain),
        Quote::Shell => env.set_formatter(shell),
    }
    env
}

fn plain(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match container_text(value)? {
        Some(text) => out.write_str(&text).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    }
}

fn shell(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() || value.is_safe() {
        return minijinja::escape_formatter(out, state, value);
    }
    let text = container_text(value)?.unwrap_or_else(|| value.to_string());
    out.write_str(&shell_word(&text)).map_err(Error::from)
}

/// The JSON of a list or map; nothing for what is neither.
fn container_text(value: &Value) -> Result<Option<String>, Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(None);
    }
    let refuse = |message: String| Error::new(minijinja::ErrorKind::BadSerialization, message);
    let bytes = json_bytes(value).map_err(refuse)?;
    String::from_utf8(bytes).map(Some).map_err(|error| refuse(error.to_string()))
}

/// A value as JSON, as far as `MOST_TEXT` reaches.
fn json_bytes(value: &Value) -> Result<Vec<u8>, String> {
    let mut text = Bounded(Vec::new());
    serde_json::to_writer(&mut text, value).map_err(|error| error.to_string())?;
    Ok(text.0)
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_TEXT {
            return Err(io::Error::other(format!("it gives more than {} MiB", MOST_TEXT >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an expression can be compiled on any stack.
fn fits(expression: &str) -> Result<(), BadTemplate> {
    match expression.len() > LONGEST {
        true => Err(BadTemplate::plain(format!("an expression has more than {LONGEST} bytes"))),
        false => Ok(()),
    }
}

/// The same for a template.
fn fits_template(template: &str) -> Result<(), BadTemplate> {
    for (open, close) in [("{{", "}}"), ("{%", "%}")] {
        let blocks = template.split(open).skip(1).map(|block| block.split(close).next().unwrap_or(block));
        blocks.into_iter().try_for_each(fits)?;
    }
    match template.matches("{%").count() > MOST_BLOCKS {
        true => Err(BadTemplate::plain(format!("there are more than {MOST_BLOCKS} `{{% %}}`"))),
        false => Ok(()),
    }
}

/// One word of the POSIX shell (XCU 2.2): left bare where nothing in it means anything to the shell.
pub fn shell_word(text: &str) -> String {
    let mut word = String::new();
    push_shell_word(&mut word, text);
    word
}

fn push_shell_word(to: &mut String, text: &str) {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&byte);
    match !text.is_empty() && text.bytes().all(bare) {
        true => to.push_str(text),
        false => to.extend(["'", &text.replace('\'', "'\\''"), "'"]),
    }
}

/// The dotted names that a template uses and does not define: `params.seed`, `evaluate.values.map50`.
///
/// # Errors
/// When the template is not well-formed.
pub fn names(template: &str) -> Result<BTreeSet<String>, BadTemplate> {
    if let Some(pieces) = plain::pieces(template) {
        let names = pieces.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some((*name).to_owned()),
            Piece::Text(_) => None,
        });
        return Ok(without_builtins(names));
    }
    fits_template(template)?;
    let parsed = PLAIN.template_from_str(template).map_err(|error| BadTemplate::of(&error, template, template))?;
    Ok(without_builtins(parsed.undeclared_variables(true)))
}

/// The dotted names that an expression uses.
///
/// # Errors
/// When the expression is not well-formed.
pub fn expression_names(expression: &str) -> Result<BTreeSet<String>, BadTemplate> {
    if let Some(name) = plain::dotted(expression) {
        return Ok(without_builtins([name.to_owned()]));
    }
    fits(expression)?;
    let parsed =
        PLAIN.compile_expression(expression).map_err(|error| BadTemplate::of(&error, expression, expression))?;
    Ok(without_builtins(parsed.undeclared_variables(true)))
}

fn without_builtins(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().filter(|name| !matches!(name.as_str(), "range" | "dict" | "debug")).collect()
}

/// Renders a template.
///
/// # Errors
/// When it is not well-formed, uses an undefined name or runs out of its budget.
pub fn render(template: &str, names: &Scope, quote: Quote) -> Result<String, BadTemplate> {
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(template.to_owned());
    }
    match plain::pieces(template).and_then(|pieces| fill(&pieces, template.len(), names, quote)) {
        Some(text) => Ok(text),
        None => render_by_engine(template, names, quote),
    }
}

/// The text of pieces whose names are all there; most names are longer than what they stand for.
fn fill(pieces: &[Piece<'_>], room: usize, names: &Scope, quote: Quote) -> Option<String> {
    let mut text = String::with_capacity(room);
    for piece in pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Name(name) => push_value(&mut text, &names.find(name)?, quote)?,
        }
    }
    Some(text)
}

/// Adds a value as [`plain`] and [`shell`] write it.
fn push_value(to: &mut String, value: &Value, quote: Quote) -> Option<()> {
    let text = match value.as_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(container_text(value).ok()?.unwrap_or_else(|| value.to_string())),
    };
    match quote {
        Quote::Shell if !value.is_safe() => push_shell_word(to, &text),
        _ => to.push_str(&text),
    }
    Some(())
}

fn render_by_engine(template: &str, names: &Scope, quote: Quote) -> Result<String, BadTemplate> {
    let env = match quote {
        Quote::Plain => &*PLAIN,
        Quote::Shell => &*SHELL,
    };
    fits_template(template)?;
    env.render_str(template, names.seen()).map_err(|error| BadTemplate::of(&error, template, template))
}

/// Evaluates an expression; a surrounding `{{ }}` is allowed.
///
/// # Errors
/// When it is not well-formed, uses an undefined name, runs out of its budget or gives what JSON cannot hold.
pub fn evaluate(expression: &str, names: &Scope) -> Result<Json, BadTemplate> {
    let inner = whole(expression).unwrap_or(expression);
    let value = match plain::dotted(inner).and_then(|name| names.find(name)) {
        Some(value) => value,
        None => evaluate_by_engine(inner, expression, names)?,
    };
    if value.is_undefined() {
        return Err(BadTemplate::plain(format!("`{inner}` is undefined")));
    }
    json_bytes(&value).map_err(BadTemplate::plain)?;
    serde_json::to_value(&value).map_err(|error| BadTemplate::plain(error.to_string()))
}

fn evaluate_by_engine(inner: &str, expression: &str, names: &Scope) -> Result<Value, BadTemplate> {
    fits(inner)?;
    let bad = |error: Error| BadTemplate::of(&error, inner, expression);
    PLAIN.compile_expression(inner).and_then(|parsed| parsed.eval(names.seen())).map_err(bad)
}

/// Renders every string below a value; a string that is one `{{ expression }}` becomes what the expression gives.
///
/// # Errors
/// As [`render`] and [`evaluate`].
pub fn render_json(value: &Json, names: &Scope) -> Result<Json, BadTemplate> {
    Ok(match value {
        Json::String(text) if whole(text).is_some() => evaluate(text, names)?,
        Json::String(text) => Json::String(render(text, names, Quote::Plain)?),
        Json::Array(items) => Json::Array(items.iter().map(|item| render_json(item, names)).collect::<Result<_, _>>()?),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(name, item)| Ok((name.clone(), render_json(item, names)?)));
            Json::Object(entries.collect::<Result<_, BadTemplate>>()?)
        }
        other => other.clone(),
    })
}

/// The expression of a string that is one `{{ expression }}` and nothing else.
pub fn whole(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner.trim())
}

/// Whether a value counts as true in an `if`.
pub fn is_true(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(entries) => !entries.is_empty(),
    }
}

#[cfg(test)]
mod tests;
