//! Figures of any kind: a JSON object, nested as it may be, shown as tiles where there are few and as a table where there
//! are many. Knows no figure's meaning.

use crate::html::{Text, count, grouped, put};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// The largest file that is read: figures are a few lines, and a log of them is a table.
const LARGEST: u64 = 8 << 20;
/// Up to so many are tiles: two rows of four.
const TILES: usize = 8;
/// How many are shown in all.
const MOST: usize = 500;
/// How many letters of a text are shown.
const LETTERS: usize = 300;

/// Figures by name, in the order of their names: nested keys joined by `.`, places in a list counted from 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(Vec<(String, Value)>);

/// Reads a JSON object of figures.
///
/// # Errors
/// In words, where the file is no such object.
pub fn read(path: &Path) -> Result<Figures, String> {
    let fault = |what: &dyn std::fmt::Display| format!("the metrics are not readable: {what}");
    let file = std::fs::File::open(path).map_err(|error| fault(&error))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| fault(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(fault(&"the file is larger than 8 MiB"));
    }
    match serde_json::from_slice(&bytes).map_err(|error| fault(&error))? {
        Value::Object(map) => {
            let mut figures = Vec::new();
            map.into_iter().for_each(|(name, value)| flatten(name, value, &mut figures));
            Ok(Figures(figures))
        }
        _ => Err(fault(&"a JSON object was expected, such as {\"accuracy\": 0.9}")),
    }
}

fn flatten(name: String, value: Value, figures: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.into_iter().for_each(|(key, value)| flatten(format!("{name}.{key}"), value, figures));
        }
        Value::Array(list) if !list.is_empty() => {
            (0..).zip(list).for_each(|(place, value): (usize, _)| flatten(format!("{name}.{place}"), value, figures));
        }
        value => figures.push((name, value)),
    }
}

impl Figures {
    /// How many there are, in words.
    pub(crate) fn size(&self) -> String {
        format!("{}.", count(self.0.len(), "figure", "figures"))
    }

    /// Writes the section's body.
    pub(crate) fn write(&self, out: &mut String) {
        match self.0.len() {
            0 => out.push_str(r#"<p class="quiet">The file holds no figures.</p>"#),
            1..=TILES => self.tiles(out),
            _ => self.table(out),
        }
    }

    fn tiles(&self, out: &mut String) {
        out.push_str(r#"<div class="figures">"#);
        for (name, value) in &self.0 {
            put!(out, r#"<div class="figure"><h2>{}</h2>"#, Text(&cut(name)));
            // Letters need more room than digits have.
            let tag = if value.is_number() { "p" } else { "div" };
            put!(out, r#"<{tag} title="{}">{}</{tag}></div>"#, Text(&whole(value)), Text(&short(value)));
        }
        out.push_str("</div>");
    }

    fn table(&self, out: &mut String) {
        out.push_str(r#"<div class="scroll tall" tabindex="0"><table><thead><tr><th>Figure</th><th>Value</th></tr>"#);
        out.push_str("</thead><tbody>");
        for (name, value) in self.0.iter().take(MOST) {
            put!(out, r#"<tr><th>{}</th><td title="{}">"#, Text(&cut(name)), Text(&whole(value)));
            put!(out, "{}</td></tr>", Text(&short(value)));
        }
        out.push_str("</tbody></table></div>");
        if self.0.len() > MOST {
            put!(out, r#"<p class="quiet">and {} more</p>"#, grouped(self.0.len() - MOST));
        }
    }
}

/// As it stands in the file.
fn whole(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        other => other.to_string(),
    }
}

/// As people read it: whole numbers in threes, others with four digits behind the point, tiny and huge ones by powers of ten.
fn short(value: &Value) -> String {
    let whole_number = value.as_i64().map(|number| (number < 0, number.unsigned_abs()));
    match (value, whole_number, value.as_f64()) {
        (Value::Null, ..) => "–".to_owned(),
        (_, Some((negative, size)), _) => match usize::try_from(size) {
            Ok(size) => format!("{}{}", if negative { "−" } else { "" }, grouped(size)),
            Err(_) => value.to_string(),
        },
        (_, _, Some(number)) if number != 0.0 && !(1e-3..1e9).contains(&number.abs()) => format!("{number:.3e}"),
        (_, _, Some(number)) => {
            let text = format!("{number:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => whole(value),
    }
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(LETTERS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_short_and_keep_their_size() {
        let shown = |value: Value| short(&value);
        assert_eq!(shown(json!(12345)), "12\u{202f}345");
        assert_eq!(shown(json!(-3)), "−3");
        assert_eq!(shown(json!(0.912_345_6)), "0.9123");
        assert_eq!(shown(json!(2.0)), "2");
        assert_eq!(shown(json!(1.5e-7)), "1.500e-7");
        assert_eq!(shown(json!(0.0)), "0");
        assert_eq!(shown(json!(u64::MAX)), "1.845e19");
        assert_eq!(
            (shown(json!(null)), shown(json!(true)), shown(json!([]))),
            ("–".into(), "true".into(), "[]".into())
        );
    }

    #[test]
    fn nested_keys_are_joined() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.json");
        std::fs::write(&path, r#"{"b": {"x": 1, "y": [2, {"z": 3}]}, "a": {}}"#).expect("written");
        let Figures(figures) = read(&path).expect("figures");
        let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b.x", "b.y.0", "b.y.1.z"]);
        for (text, said) in [("[1]", "a JSON object was expected"), ("{", "not readable"), ("", "not readable")] {
            std::fs::write(&path, text).expect("written");
            assert!(read(&path).expect_err(text).contains(said), "{text}");
        }
    }
}
