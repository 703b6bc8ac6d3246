//! What a pipeline may say under `onnx:` beside the model and the pictures.
//!
//! Plain data with its checks; knows nothing of how inference runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a detector is run. What is left out comes from the model's metadata where that has it, else from the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How a picture is brought to the model's size. Default: the model's metadata `resize`, else `stretch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Subtracted from each of red, green and blue (0 to 255). Default: the model's metadata `mean`, else 0, 0, 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// What the difference is divided by. Default: the model's metadata `std`, else 255, 255, 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<[f32; 3]>,
    /// Pictures that go through the model together. A model made for one picture at a time gets one.
    #[schemars(range(min = 1, max = 1024))]
    pub batch: usize,
    /// Detections with a lower score are dropped.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: f32,
    /// Of two boxes of one class that overlap by more than this (intersection over union) the better one stays.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub iou: f32,
    /// The most detections a picture may have; the best stay.
    #[schemars(range(min = 1, max = 100_000))]
    pub max: usize,
    /// Whether boxes of different classes suppress each other too.
    pub class_agnostic: bool,
    /// Where the model runs. `cuda` is an error on a machine that cannot, never a slow surprise.
    pub provider: Provider,
    /// The names of the classes, in the order of the model's scores. Default: the model's metadata `classes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
}

/// How a picture is brought to the model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Each side for itself: shapes change, nothing is padded.
    Stretch,
    /// As a whole, in the middle of a grey (114) square.
    Letterbox,
}

/// Where a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA graphics card.
    Cuda,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resize: None,
            mean: None,
            std: None,
            batch: 16,
            score: 0.05,
            iou: 0.5,
            max: 100,
            class_agnostic: false,
            provider: Provider::Cpu,
            classes: None,
        }
    }
}

impl Settings {
    /// Finds the first thing that cannot be: the setting's name and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let share = |name, value: f32| {
            let fits = (0.0..=1.0).contains(&value);
            if fits { Ok(()) } else { Err((name, format!("is {value}, expected 0 to 1"))) }
        };
        share("score", self.score)?;
        share("iou", self.iou)?;
        if !(1..=1024).contains(&self.batch) {
            return Err(("batch", format!("is {}, expected 1 to 1024", self.batch)));
        }
        if !(1..=100_000).contains(&self.max) {
            return Err(("max", format!("is {}, expected 1 to 100000", self.max)));
        }
        check_mean(self.mean).map_err(|why| ("mean", why))?;
        check_std(self.std).map_err(|why| ("std", why))?;
        let empty = self.classes.as_ref().is_some_and(Vec::is_empty);
        if empty { Err(("classes", "is empty".to_owned())) } else { Ok(()) }
    }
}

pub(super) fn check_mean(mean: Option<[f32; 3]>) -> Result<(), String> {
    match mean {
        Some(mean) if !mean.iter().all(|value| value.is_finite()) => {
            Err(format!("is {mean:?}, expected three numbers"))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_std(std: Option<[f32; 3]>) -> Result<(), String> {
    match std {
        Some(std) if !std.iter().all(|value| value.is_finite() && *value > 0.0) => {
            Err(format!("is {std:?}, expected three numbers above 0"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map(|()| settings.clone()).map_err(|(name, why)| format!("{name} {why}"))
    }

    #[test]
    fn nothing_means_the_defaults() {
        assert_eq!(parse("{}"), Ok(Settings::default()));
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert_eq!(parse(r#"{"score": 1.5}"#), Err("score is 1.5, expected 0 to 1".to_owned()));
        assert!(parse(r#"{"batch": 0}"#).is_err_and(|why| why.starts_with("batch")));
        assert!(parse(r#"{"std": [1, 0, 1]}"#).is_err_and(|why| why.starts_with("std")));
        assert!(parse(r#"{"classes": []}"#).is_err_and(|why| why.starts_with("classes")));
        assert!(parse(r#"{"scores": 0.5}"#).is_err_and(|why| why.contains("unknown field `scores`")));
        assert!(parse(r#"{"resize": "crop"}"#).is_err_and(|why| why.contains("letterbox")));
    }
}
