//! Params: whether a value fits, and which value each has in a run.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::check::type_text;
use super::finding::{did_you_mean, one_of};
use super::written::{Param, ParamType, Pipeline};

/// Where a value was set.
#[derive(Clone, Debug, PartialEq)]
pub enum Set {
    /// As text on the command line: read by the param's type.
    Text(String),
    /// As data in a params file.
    Data(Json),
}

/// What a param asks for, for "expected".
pub fn asks(param: &Param) -> String {
    let kind = type_text(param.r#type);
    let bounds = match (param.min, param.max) {
        (Some(min), Some(max)) => format!(" from {min} to {max}"),
        (Some(min), None) => format!(" of at least {min}"),
        (None, Some(max)) => format!(" of at most {max}"),
        (None, None) => String::new(),
    };
    match &param.choices {
        Some(choices) => format!(
            "expected one of {}",
            one_of(choices.iter().map(text).collect::<Vec<_>>().iter().map(String::as_str))
        ),
        None => format!("expected {kind}{bounds}"),
    }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a value fits a param.
///
/// # Errors
/// What is wrong with it, to follow "the value of ...".
pub fn fits(param: &Param, value: &Json) -> Result<(), String> {
    let right_type = match param.r#type {
        ParamType::Integer => value.is_i64() || value.is_u64(),
        ParamType::Number => value.is_number(),
        ParamType::String | ParamType::Path => value.is_string(),
        ParamType::Boolean => value.is_boolean(),
        ParamType::List => value.is_array(),
    };
    if !right_type {
        return Err(format!("is not {}", type_text(param.r#type)));
    }
    if let Some(number) = value.as_f64() {
        if let Some(min) = param.min.filter(|min| number < *min) {
            return Err(format!("is below {min}"));
        }
        if let Some(max) = param.max.filter(|max| number > *max) {
            return Err(format!("is above {max}"));
        }
    }
    match &param.choices {
        Some(choices) if !choices.contains(value) => Err("is not one of its choices".to_owned()),
        _ => Ok(()),
    }
}

/// The value of every param: set, else the profile's, else the default.
///
/// # Errors
/// Every set name that is no param, every value that does not fit, every param without a value.
pub fn resolve(
    pipeline: &Pipeline,
    profile: Option<&str>,
    sets: &IndexMap<String, Set>,
) -> Result<Map<String, Json>, Vec<String>> {
    let mut problems = Vec::new();
    let mut values = Map::new();
    for name in sets.keys().filter(|name| !pipeline.params.contains_key(*name)) {
        let hint = did_you_mean(name, pipeline.params.keys().map(String::as_str))
            .unwrap_or_else(|| format!("the pipeline has {}", one_of(pipeline.params.keys().map(String::as_str))));
        problems.push(format!("no param `{name}`: {hint}"));
    }
    let changed = profile.and_then(|name| pipeline.profiles.get(name)).map(|profile| &profile.params);
    for (name, param) in &pipeline.params {
        let set = sets.get(name).map(|set| read(param, set));
        let value = set.or_else(|| changed.and_then(|params| params.get(name)).map(|value| Ok(value.clone())));
        match value.or_else(|| param.default.clone().map(Ok)) {
            None => problems
                .push(format!("param `{name}` has no default and must be set: `--set {name}=...` ({})", asks(param))),
            Some(Err(problem)) => problems.push(format!("param `{name}`: {problem} ({})", asks(param))),
            Some(Ok(value)) => match fits(param, &value) {
                Err(problem) => {
                    problems.push(format!("the value `{}` of param `{name}` {problem} ({})", text(&value), asks(param)))
                }
                Ok(()) => {
                    values.insert(name.clone(), value);
                }
            },
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

fn read(param: &Param, set: &Set) -> Result<Json, String> {
    let text = match set {
        Set::Data(value) => return Ok(value.clone()),
        Set::Text(text) => text,
    };
    let refuse = || format!("`{text}` is not {}", type_text(param.r#type));
    match param.r#type {
        ParamType::String | ParamType::Path => Ok(Json::String(text.clone())),
        ParamType::Integer => text.parse::<i64>().map(Json::from).map_err(|_| refuse()),
        ParamType::Number => match text.parse::<i64>() {
            Ok(whole) => Ok(Json::from(whole)),
            Err(_) => {
                text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number).ok_or_else(refuse)
            }
        },
        ParamType::Boolean => text.parse::<bool>().map(Json::from).map_err(|_| refuse()),
        ParamType::List => serde_json::from_str::<Json>(text).ok().filter(Json::is_array).ok_or_else(refuse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline() -> Pipeline {
        let value = serde_json::json!({"flowrun": 1, "steps": {}, "params": {
            "epochs": {"type": "integer", "default": 20, "min": 1},
            "rate": {"type": "number", "max": 1},
            "mode": {"type": "string", "default": "a", "choices": ["a", "b"]}},
            "profiles": {"quick": {"params": {"epochs": 2}}}});
        serde_json::from_value(value).expect("pipeline")
    }

    fn set(pairs: &[(&str, &str)]) -> IndexMap<String, Set> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Set::Text((*text).to_owned()))).collect()
    }

    #[test]
    fn set_wins_over_profile_over_default() {
        let values = resolve(&pipeline(), Some("quick"), &set(&[("rate", "0.5")])).expect("fits");
        assert_eq!(Json::Object(values), serde_json::json!({"epochs": 2, "rate": 0.5, "mode": "a"}));
        let values = resolve(&pipeline(), Some("quick"), &set(&[("rate", "1"), ("epochs", "7")])).expect("fits");
        assert_eq!(values["epochs"], 7);
    }

    #[test]
    fn every_problem_is_named() {
        let problems =
            resolve(&pipeline(), None, &set(&[("epoch", "1"), ("epochs", "0"), ("mode", "c")])).expect_err("bad");
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].contains("did you mean `epochs`"));
    }
}
