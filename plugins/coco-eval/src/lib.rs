//! `flowrun/coco-eval`: how good found boxes are, as COCO reckons it (mAP@[.5:.95], mAP@0.5, mAP@0.75, AP per class).
//!
//! Inputs `dataset` (folder) and `detections` (file), output `report` (`evaluation.json`), values `map`, `map50`, `map75`,
//! `images`, `boxes`. See the README for the shapes. This module knows the step's names; the rest is below it.

pub mod judge;
pub mod score;

use boxes::{detections, truths};
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use judge::Rules;
use serde::Deserialize;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which split's true boxes to judge by.
    pub split: String,
    /// How many detections of one class count in one picture, the best scored first.
    pub max_detections: usize,
    /// Whether pictures without any true box are meant to be so.
    pub allow_empty: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { split: "test".to_owned(), max_detections: 100, allow_empty: false }
    }
}

/// The plugin.
pub struct CocoEval;

impl Plugin for CocoEval {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        check(&config)?;
        let truths = truths::read(task.input("dataset")?, &config.split).map_err(Failure::bad_input)?;
        let file = task.input("detections")?;
        let text = std::fs::read(file).map_err(|error| {
            Failure::bad_input(format!("the detections `{}` are not readable: {error}", file.display()))
        })?;
        let detections = detections::read(&text).map_err(Failure::bad_input)?;
        let rules = Rules { max_detections: config.max_detections, allow_empty: config.allow_empty };
        let made = judge::judge(&truths, &detections, rules).map_err(Failure::bad_input)?;
        let mut text = serde_json::to_vec(&made).map_err(Failure::internal)?;
        text.push(b'\n');
        std::fs::write(task.output("report")?, text).map_err(Failure::internal)?;
        for (name, figure) in [("map", made.map), ("map50", made.map50), ("map75", made.map75)] {
            task.metric(name, figure, None);
        }
        task.info(format!(
            "mAP@[.5:.95] {:.3}, mAP@0.5 {:.3} over {} pictures and {} boxes",
            made.map, made.map50, made.images, made.boxes
        ));
        Ok(values! {
            "map": made.map, "map50": made.map50, "map75": made.map75, "images": made.images, "boxes": made.boxes,
        })
    }
}

fn check(config: &Config) -> Result<(), Failure> {
    let word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if config.split.is_empty() || !config.split.chars().all(word) {
        return Err(Failure::bad_config("split", "expected a word such as `test`"));
    }
    if config.max_detections == 0 {
        return Err(Failure::bad_config("max_detections", "expected at least 1"));
    }
    Ok(())
}

flowrun_plugin::export!(CocoEval);
