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
//! Knows nothing of steps: the caller says which names there are.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value};
use serde_json::{Map, Value as Json};

/// Instructions that one expression may take: far more than a condition needs, and less than a second.
const FUEL: u64 = 1_000_000;

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
    pub range: Option<std::ops::Range<usize>>,
}

impl BadTemplate {
    fn of(error: &Error) -> Self {
        let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Self { message, range: error.range() }
    }
}

static PLAIN: LazyLock<Environment<'static>> = LazyLock::new(|| environment(Quote::Plain));
static SHELL: LazyLock<Environment<'static>> = LazyLock::new(|| environment(Quote::Shell));

fn environment(quote: Quote) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.add_filter("raw", |value: String| Value::from_safe_string(value));
    env.add_filter("quote", |value: String| Value::from_safe_string(shell_word(&value)));
    match quote {
        Quote::Plain => env.set_formatter(plain),
        Quote::Shell => env.set_formatter(shell),
    }
    env
}

fn plain(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Map) {
        let text = serde_json::to_string(value).map_err(|error| refuse(error.to_string()))?;
        return out.write_str(&text).map_err(Error::from);
    }
    minijinja::escape_formatter(out, state, value)
}

fn shell(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() || value.is_safe() {
        return minijinja::escape_formatter(out, state, value);
    }
    let text = match value.kind() {
        ValueKind::Seq | ValueKind::Map => serde_json::to_string(value).map_err(|error| refuse(error.to_string()))?,
        _ => value.to_string(),
    };
    out.write_str(&shell_word(&text)).map_err(Error::from)
}

fn refuse(message: String) -> Error {
    Error::new(minijinja::ErrorKind::BadSerialization, message)
}

/// One word of the POSIX shell (XCU 2.2): left bare where nothing in it means anything to the shell.
pub fn shell_word(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The dotted names that a template uses and does not define: `params.seed`, `evaluate.values.map50`.
///
/// # Errors
/// When the template is not well-formed.
pub fn names(template: &str) -> Result<BTreeSet<String>, BadTemplate> {
    let parsed = PLAIN.template_from_str(template).map_err(|error| BadTemplate::of(&error))?;
    Ok(without_builtins(parsed.undeclared_variables(true)))
}

/// The dotted names that an expression uses.
///
/// # Errors
/// When the expression is not well-formed.
pub fn expression_names(expression: &str) -> Result<BTreeSet<String>, BadTemplate> {
    let parsed = PLAIN.compile_expression(expression).map_err(|error| BadTemplate::of(&error))?;
    Ok(without_builtins(parsed.undeclared_variables(true)))
}

fn without_builtins(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().filter(|name| !matches!(name.as_str(), "range" | "dict" | "namespace" | "debug")).collect()
}

/// Renders a template.
///
/// # Errors
/// When it is not well-formed, uses an undefined name or runs out of its budget.
pub fn render(template: &str, context: &Map<String, Json>, quote: Quote) -> Result<String, BadTemplate> {
    let env = match quote {
        Quote::Plain => &*PLAIN,
        Quote::Shell => &*SHELL,
    };
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(template.to_owned());
    }
    env.render_str(template, Value::from(Serde(context))).map_err(|error| BadTemplate::of(&error))
}

/// Evaluates an expression; a surrounding `{{ }}` is allowed.
///
/// # Errors
/// When it is not well-formed, uses an undefined name, runs out of its budget or gives what JSON cannot hold.
pub fn evaluate(expression: &str, context: &Map<String, Json>) -> Result<Json, BadTemplate> {
    let inner = whole(expression).unwrap_or(expression);
    let parsed = PLAIN.compile_expression(inner).map_err(|error| BadTemplate::of(&error))?;
    let value = parsed.eval(Value::from(Serde(context))).map_err(|error| BadTemplate::of(&error))?;
    if value.is_undefined() {
        return Err(BadTemplate { message: format!("`{inner}` is undefined"), range: None });
    }
    serde_json::to_value(&value).map_err(|error| BadTemplate { message: error.to_string(), range: None })
}

/// Renders every string below a value; a string that is one `{{ expression }}` becomes what the expression gives.
///
/// # Errors
/// As [`render`] and [`evaluate`].
pub fn render_json(value: &Json, context: &Map<String, Json>) -> Result<Json, BadTemplate> {
    Ok(match value {
        Json::String(text) if whole(text).is_some() => evaluate(text, context)?,
        Json::String(text) => Json::String(render(text, context, Quote::Plain)?),
        Json::Array(items) => {
            Json::Array(items.iter().map(|item| render_json(item, context)).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let entries = entries.iter().map(|(name, item)| Ok((name.clone(), render_json(item, context)?)));
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
mod tests {
    use super::*;
    use serde_json::json;

    fn context() -> Map<String, Json> {
        let value = json!({"params": {"n": 3, "name": "it's; rm -rf /", "list": [1, 2], "rate": 0.5}});
        value.as_object().cloned().expect("object")
    }

    #[test]
    fn values_are_quoted_for_the_shell_unless_raw() {
        let text = render("echo {{ params.name }} {{ params.n }} {{ params.list }}", &context(), Quote::Shell)
            .expect("renders");
        assert_eq!(text, r"echo 'it'\''s; rm -rf /' 3 '[1,2]'");
        let text = render("echo {{ params.name | raw }}", &context(), Quote::Shell).expect("renders");
        assert_eq!(text, "echo it's; rm -rf /");
    }

    #[test]
    fn whole_strings_keep_their_type() {
        let with = json!({"seed": "{{ params.n }}", "text": "n={{ params.n }}", "deep": [{"x": "{{ params.list }}"}]});
        let rendered = render_json(&with, &context()).expect("renders");
        assert_eq!(rendered, json!({"seed": 3, "text": "n=3", "deep": [{"x": [1, 2]}]}));
    }

    #[test]
    fn undefined_names_and_endless_loops_are_errors() {
        assert!(render("{{ params.m }}", &context(), Quote::Plain).is_err());
        assert!(evaluate("params.m", &context()).is_err());
        assert!(evaluate("nobody.values.x < 1", &context()).is_err());
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        assert!(render(endless, &context(), Quote::Plain).is_err());
    }

    #[test]
    fn names_are_found() {
        let found = names("{{ params.n }} {% for x in train.values %}{{ x.acc }}{% endfor %}").expect("parses");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["params.n", "train.values"]);
        let found = expression_names("evaluate.values.map50 < params.min").expect("parses");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["evaluate.values.map50", "params.min"]);
    }
}
