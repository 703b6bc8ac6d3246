//! The JSON files a report may tell of: `evaluation.json`, `curve.json` and `findings.json`. Read with defaults where a
//! report can do without, refused where it would say something false.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The one version of each format there is.
const FORMAT: u64 = 1;
/// Precision is given at this many recalls.
const RECALLS: usize = 101;

/// Why a file cannot be told of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {name} is not readable: {what}")]
pub struct Fault {
    name: &'static str,
    what: String,
}

/// The figures, as `flowrun/coco-eval` writes them.
#[derive(Debug, Clone, Deserialize)]
pub struct Evaluation {
    /// mAP@[.5:.95].
    pub map: f64,
    /// mAP@0.5.
    pub map50: f64,
    /// mAP@0.75, where it is given.
    pub map75: Option<f64>,
    /// How many pictures were judged.
    pub images: usize,
    /// How many true boxes they have.
    pub boxes: usize,
    /// One row for each class.
    pub per_class: Vec<ClassRow>,
    /// Precision over recall at overlap 0.5.
    pub curves: Vec<Curve>,
}

/// One class's figures; none where it has no true box.
#[derive(Debug, Clone, Deserialize)]
pub struct ClassRow {
    /// Its name.
    pub class: String,
    /// AP@[.5:.95].
    pub ap: Option<f64>,
    /// AP@0.5.
    pub ap50: Option<f64>,
    /// The share of true boxes found, whatever the score.
    pub recall: Option<f64>,
    /// How many true boxes there are.
    pub boxes: usize,
}

/// One class's precision over recall.
#[derive(Debug, Clone, Deserialize)]
pub struct Curve {
    /// The class.
    pub class: String,
    /// Precision at recall 0, 0.01 … 1.
    pub precision: Vec<f64>,
}

/// How a training went.
#[derive(Debug, Clone, Deserialize)]
pub struct Training {
    /// One for each pass over the pictures.
    pub epochs: Vec<Epoch>,
    /// What it was set to.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
}

/// One pass; a loss that is not a number is `null`.
#[derive(Debug, Clone, Deserialize)]
pub struct Epoch {
    /// Its number.
    pub epoch: u64,
    /// The whole loss.
    pub loss: Option<f64>,
    /// Its part from classes.
    pub class_loss: Option<f64>,
    /// Its part from boxes.
    pub box_loss: Option<f64>,
    /// Its part from centres.
    pub centre_loss: Option<f64>,
    /// How long it took.
    pub seconds: Option<f64>,
}

/// What was wrong with the data, as `flowrun/boxes-check` writes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Findings {
    /// How many of each kind.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
    /// Each one.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Pictures somebody should look at.
    #[serde(default)]
    pub suspects: Vec<Suspect>,
    /// How large each split is.
    #[serde(default)]
    pub summary: BTreeMap<String, Summary>,
}

/// One flaw.
#[derive(Debug, Clone, Deserialize)]
pub struct Finding {
    /// Where: the split; nothing where it is about the data set as a whole.
    pub split: Option<String>,
    /// The line of its CSV, where it is about one.
    pub line: Option<u64>,
    /// The picture, where it is about one.
    pub filename: Option<String>,
    /// What kind of flaw.
    pub kind: String,
    /// What is wrong, in words.
    #[serde(default)]
    pub message: String,
    /// What was done about it.
    #[serde(default)]
    pub action: String,
}

/// A picture somebody should look at.
#[derive(Debug, Clone, Deserialize)]
pub struct Suspect {
    /// The split it is in.
    pub split: String,
    /// Its file name.
    pub filename: String,
    /// Its class.
    pub class: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// How sure the check is.
    pub score: Option<f64>,
}

/// How large a split is.
#[derive(Debug, Clone, Deserialize)]
pub struct Summary {
    /// Pictures.
    pub images: usize,
    /// Boxes.
    pub boxes: usize,
}

/// Reads `evaluation.json`.
///
/// # Errors
/// [`Fault`] where it is no such file, or where a figure lies outside 0 to 1.
pub fn read_evaluation(path: &Path) -> Result<Evaluation, Fault> {
    let name = "evaluation";
    let read: Evaluation = read(path, name)?;
    let share = |value: &f64| (0.0..=1.0).contains(value);
    let rows = read.per_class.iter().flat_map(|row| [row.ap, row.ap50, row.recall]).flatten();
    let mut figures = [read.map, read.map50].into_iter().chain(read.map75).chain(rows);
    if let Some(odd) = figures.find(|value| !share(value)) {
        return Err(Fault { name, what: format!("the figure {odd} is not between 0 and 1") });
    }
    match read.curves.iter().find(|curve| curve.precision.len() != RECALLS || !curve.precision.iter().all(share)) {
        Some(curve) => Err(Fault { name, what: format!("the curve of `{}` is not {RECALLS} shares", curve.class) }),
        None => Ok(read),
    }
}

/// Reads `curve.json`.
///
/// # Errors
/// [`Fault`] where it is no such file.
pub fn read_training(path: &Path) -> Result<Training, Fault> {
    read(path, "training curve")
}

/// Reads `findings.json`.
///
/// # Errors
/// [`Fault`] where it is no such file.
pub fn read_findings(path: &Path) -> Result<Findings, Fault> {
    read(path, "list of findings")
}

fn read<T: DeserializeOwned>(path: &Path, name: &'static str) -> Result<T, Fault> {
    let fault = |what: String| Fault { name, what };
    let text = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
    match value.get("format").and_then(Value::as_u64) {
        Some(FORMAT) => serde_json::from_value(value).map_err(|error| fault(error.to_string())),
        Some(other) => Err(fault(format!("it has format {other}, and this plugin reads format {FORMAT}"))),
        None => Err(fault("it has no `format`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("evaluation.json");
        std::fs::write(&path, text).expect("written");
        read_evaluation(&path).expect_err("should be refused").to_string()
    }

    #[test]
    fn figures_that_cannot_be_are_refused() {
        let with = |map: &str, curves: &str| {
            fault(&format!(
                r#"{{"format":1,"map":{map},"map50":0.5,"images":1,"boxes":1,"per_class":[],"curves":[{curves}]}}"#
            ))
        };
        assert!(with("-1", "").contains("-1 is not between 0 and 1"));
        assert!(with("null", "").contains("null"));
        assert!(with("0.1", r#"{"class":"a","precision":[1]}"#).contains("curve of `a`"));
        assert!(fault(r#"{"format":2}"#).contains("format 2"));
        assert!(fault("{}").contains("no `format`"));
        assert!(fault("[").contains("evaluation is not readable"));
    }
}
