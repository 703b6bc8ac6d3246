//! JSON values in a few columns.

use serde_json::{Map, Value as Json};

/// The longest text of a value that is shown whole.
const LONGEST: usize = 32;

/// A value: numbers to three decimals, texts cut, lists and maps by their size.
pub(crate) fn short(value: &Json) -> String {
    match value {
        Json::Number(number) if number.is_f64() => float(number.as_f64().unwrap_or(0.0)),
        Json::String(text) if text.chars().count() > LONGEST => {
            format!("{}…", text.chars().take(LONGEST).collect::<String>())
        }
        Json::String(text) => text.clone(),
        Json::Array(items) if value.to_string().len() > LONGEST => format!("[{} items]", items.len()),
        Json::Object(entries) if value.to_string().len() > LONGEST => format!("{{{} entries}}", entries.len()),
        other => other.to_string(),
    }
}

/// A number to three decimals, or in powers of ten where those would show nothing of it.
pub(crate) fn float(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e9).contains(&size) {
        return format!("{value:.2e}");
    }
    format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `map 0.371  map50 0.642`.
pub(crate) fn list(values: &Map<String, Json>) -> String {
    values.iter().map(|(name, value)| format!("{name} {}", short(value))).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_short() {
        let values = json!({"map": 0.371_234, "n": 48, "tiny": 1.25e-5, "half": 0.5, "none": null, "folds": [1, 2],
            "long": "x".repeat(40), "many": vec![1.5; 20]});
        let texts: Vec<String> = values.as_object().expect("map").values().map(short).collect();
        let long = format!("{}…", "x".repeat(32));
        assert_eq!(texts, ["0.371", "48", "1.25e-5", "0.5", "null", "[1,2]", &long, "[20 items]"]);
    }
}
