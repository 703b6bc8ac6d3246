//! A step's `with` against the JSON Schema of its plugin: what does not fit, where, and what was meant.
//!
//! A schema comes from a stranger. It is compiled without fetching anything, its patterns by an engine that takes linear time. A value
//! that is a template is not known before the step's turn comes: until then nothing is said of it; then it is checked again, rendered.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value as Json, json};

use crate::lang::finding::{did_you_mean, one_of};

/// A compiled schema.
#[derive(Debug)]
pub struct Settings {
    validator: Validator,
    schema: Json,
}

/// One thing in a `with` that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where, as keys and indices below `with`.
    pub path: Vec<String>,
    /// Whether it is about the key at that place rather than its value.
    pub key: bool,
    /// What is wrong.
    pub message: String,
    /// What was expected there, in a few words.
    pub expected: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

/// A schema as it is meant: of an object, and where it does not say otherwise, of no other properties than it names.
pub(super) fn closed(schema: &Map<String, Json>) -> Map<String, Json> {
    let mut schema = schema.clone();
    schema.entry("type").or_insert_with(|| json!("object"));
    let open = ["additionalProperties", "unevaluatedProperties", "$ref", "anyOf", "oneOf", "allOf", "if"];
    if !open.iter().any(|key| schema.contains_key(*key)) {
        schema.insert("additionalProperties".into(), json!(false));
    }
    schema
}

impl Settings {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(schema: &Map<String, Json>) -> Result<Self, String> {
        let schema = Json::Object(closed(schema));
        if let Some(loops) = self_reference(&schema) {
            return Err(loops);
        }
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).offline();
        let validator = options.with_pattern_options(PatternOptions::regex()).build(&schema);
        Ok(Self { validator: validator.map_err(|error| error.to_string())?, schema })
    }

    /// What does not fit. `rendered` says that no template is left in it: then every text is what it is.
    pub fn misfits(&self, with: &Map<String, Json>, rendered: bool) -> Vec<Misfit> {
        let with = Json::Object(with.clone());
        let errors = self.validator.iter_errors(&with);
        errors
            .filter(|error| rendered || !is_about_a_template(error, &with))
            .flat_map(|error| self.misfit(&error, &with))
            .collect()
    }

    fn misfit(&self, error: &ValidationError<'_>, with: &Json) -> Vec<Misfit> {
        let path = segments(error.instance_path().as_str());
        let whole = if path.is_empty() { "`with`".to_owned() } else { format!("`with.{}`", path.join(".")) };
        let one = |message: String, expected: String| Misfit {
            path: path.clone(),
            key: false,
            message,
            expected,
            hint: None,
        };
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                unexpected.iter().map(|name| self.unknown(&path, name, error)).collect()
            }
            // `additionalProperties: false` without any property: each key is told of, as an error at their owner.
            Kind::FalseSchema if error.schema_path().as_str().ends_with("/additionalProperties") => {
                let owner = with.pointer(error.instance_path().as_str()).and_then(Json::as_object);
                owner.into_iter().flatten().map(|(name, _)| self.unknown(&path, name, error)).collect()
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![one(format!("{whole} needs the key `{name}`"), format!("`{name}` is missing"))]
            }
            Kind::Type { kind } => {
                vec![one(format!("{whole} is not {}", type_of(kind)), format!("expected {}", type_of(kind)))]
            }
            Kind::Enum { options } => {
                let texts: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
                let given = error.instance().as_str().unwrap_or_default();
                let hint = did_you_mean(given, texts.iter().map(String::as_str));
                let expected = format!("expected {}", one_of(texts.iter().map(String::as_str)));
                vec![Misfit { hint, ..one(format!("{whole} cannot be `{}`", plain(error.instance())), expected) }]
            }
            Kind::Minimum { limit } => {
                vec![one(format!("{whole} is less than {limit}"), format!("expected at least {limit}"))]
            }
            Kind::Maximum { limit } => {
                vec![one(format!("{whole} is more than {limit}"), format!("expected at most {limit}"))]
            }
            Kind::ExclusiveMinimum { limit } => {
                vec![one(format!("{whole} is not more than {limit}"), format!("expected more than {limit}"))]
            }
            Kind::ExclusiveMaximum { limit } => {
                vec![one(format!("{whole} is not less than {limit}"), format!("expected less than {limit}"))]
            }
            _ => vec![one(format!("{whole} does not fit: {}", shortened(&error.to_string())), String::new())],
        }
    }

    fn unknown(&self, parent: &[String], name: &str, error: &ValidationError<'_>) -> Misfit {
        // The properties stand beside the keyword that refused.
        let keyword = error.schema_path().as_str();
        let owner = keyword.rsplit_once('/').map_or("", |(owner, _)| owner);
        let known: Vec<&str> = self
            .schema
            .pointer(owner)
            .and_then(|owner| owner.get("properties")?.as_object())
            .into_iter()
            .flat_map(|properties| properties.keys().map(String::as_str))
            .collect();
        let hint = did_you_mean(name, known.iter().copied()).or_else(|| match known.as_slice() {
            [] => Some("it has no settings".to_owned()),
            _ => Some(format!("known keys are {}", one_of(known))),
        });
        let mut path = parent.to_vec();
        path.push(name.to_owned());
        let message = format!("unknown key `{}` in `with`", path.join("."));
        Misfit { path, key: true, message, expected: "not a setting of the plugin".to_owned(), hint }
    }
}

/// Whether an error is about a value that is a template, or holds one: what it will be is not known yet.
fn is_about_a_template(error: &ValidationError<'_>, with: &Json) -> bool {
    if matches!(
        error.kind(),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } | Kind::Required { .. }
    ) {
        return false;
    }
    with.pointer(error.instance_path().as_str()).is_some_and(holds_a_template)
}

fn holds_a_template(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains("{{") || text.contains("{%"),
        Json::Array(items) => items.iter().any(holds_a_template),
        Json::Object(entries) => entries.values().any(holds_a_template),
        _ => false,
    }
}

/// A schema that refers to itself without going deeper into the value would never end.
fn self_reference(schema: &Json) -> Option<String> {
    fn direct(schema: &Json, root: &Json, depth: usize) -> bool {
        // Deeper than any schema that people write: a circle.
        if depth > 64 {
            return true;
        }
        let Some(object) = schema.as_object() else { return false };
        let local = object.get("$ref").and_then(Json::as_str).and_then(|text| text.strip_prefix('#'));
        let referred = local.and_then(|pointer| root.pointer(pointer)).into_iter();
        let lists = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| object.get(key)?.as_array()).flatten();
        let single = ["not", "if", "then", "else"].into_iter().filter_map(|key| object.get(key));
        referred.chain(lists).chain(single).any(|next| direct(next, root, depth + 1))
    }
    fn anywhere(value: &Json, root: &Json) -> bool {
        match value {
            Json::Object(entries) => direct(value, root, 0) || entries.values().any(|value| anywhere(value, root)),
            Json::Array(items) => items.iter().any(|value| anywhere(value, root)),
            _ => false,
        }
    }
    anywhere(schema, schema).then(|| "it refers to itself and would never end".to_owned())
}

/// The parts of a JSON pointer.
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| shortened(&value.to_string()), str::to_owned)
}

/// A plugin's schema may hold any text; a message is a line.
fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn type_of(kind: &TypeKind) -> String {
    let name = |text: &str| match text {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        _ => "nothing",
    };
    match kind {
        TypeKind::Single(one) => name(&one.to_string()).to_owned(),
        TypeKind::Multiple(many) => {
            let names: Vec<&str> = many.iter().map(|one| name(&one.to_string())).collect();
            names.join(" or ")
        }
    }
}
