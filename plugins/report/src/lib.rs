//! `flowrun/report`: a detector's work as one HTML page that one can send to a customer.
//!
//! Inputs `dataset` (folder), `detections` and `evaluation` (files), and where there are any `curve` and `findings` (files);
//! output `page`; values `pictures`, `right`, `wrong`, `missed`. The same inputs give the same bytes. This module knows
//! the step's names and files; what the page looks like is [`page`]'s.

pub mod album;
mod charts;
mod findings;
mod gallery;
pub mod html;
pub mod matching;
pub mod page;
mod palette;
pub mod stories;

// The two readers are the evaluation's: a report that read the same files by other rules could contradict its figures.
#[path = "../../coco-eval/src/detections.rs"]
pub mod detections;
#[path = "../../coco-eval/src/truths.rs"]
pub mod truths;

use album::Album;
use detections::Detections;
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use matching::{Matched, match_boxes};
use page::Report;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use truths::Truths;

/// A page of more pictures than this does not open on a phone.
const MOST_PICTURES: usize = 500;
/// How long an attribution may be, in letters: a paragraph.
const ATTRIBUTION: usize = 1500;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The page's title.
    pub title: String,
    /// The split that was judged.
    pub split: String,
    /// The least score of a found box that counts.
    pub min_score: f64,
    /// How many pictures are shown at most.
    pub pictures: usize,
    /// Whom the data is from; else what the dataset's `ATTRIBUTION` or README says.
    pub attribution: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let title = "Detection report".to_owned();
        Self { title, split: "test".to_owned(), min_score: 0.3, pictures: 48, attribution: None }
    }
}

/// The plugin.
pub struct Card;

impl Plugin for Card {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        check(&config)?;
        let dataset = task.input("dataset")?;
        let truths = truths::read(dataset, &config.split).map_err(Failure::bad_input)?;
        let matched = matched(&truths, task.input("detections")?)?;
        let evaluation = stories::read_evaluation(task.input("evaluation")?).map_err(Failure::bad_input)?;
        let training = task.optional_input("curve").map(stories::read_training).transpose();
        let training = training.map_err(Failure::bad_input)?;
        let found = task.optional_input("findings").map(stories::read_findings).transpose();
        let found = found.map_err(Failure::bad_input)?;
        let attribution = config.attribution.clone().or_else(|| attribution(dataset));
        let report = Report {
            title: &config.title,
            split: &config.split,
            least: config.min_score,
            pictures: config.pictures,
            truths: &truths,
            matched: &matched,
            evaluation: &evaluation,
            training: training.as_ref(),
            findings: found.as_ref(),
            attribution: attribution.as_deref(),
        };
        let page = report.render(&mut Album::new(dataset));
        std::fs::write(task.output("page")?, &page).map_err(Failure::internal)?;
        let tally = report.tally(None);
        let pictures = truths.pictures.len();
        task.info(format!(
            "{pictures} pictures, {} right, {} wrong, {} missed",
            tally.right, tally.wrong, tally.missed
        ));
        Ok(values! {
            "pictures": pictures, "right": tally.right, "wrong": tally.wrong, "missed": tally.missed,
        })
    }
}

fn check(config: &Config) -> Result<(), Failure> {
    let word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if config.split.is_empty() || !config.split.chars().all(word) {
        return Err(Failure::bad_config("split", "expected a word such as `test`"));
    }
    if !(0.0..=1.0).contains(&config.min_score) {
        return Err(Failure::bad_config("min_score", "expected a number from 0 to 1"));
    }
    if config.pictures > MOST_PICTURES {
        return Err(Failure::bad_config("pictures", format!("expected at most {MOST_PICTURES}")));
    }
    Ok(())
}

/// Each picture's found boxes, matched to its true ones.
fn matched(truths: &Truths, file: &Path) -> Result<Vec<Matched>, Failure> {
    let text = std::fs::read(file).map_err(|error| {
        Failure::bad_input(format!("the detections `{}` are not readable: {error}", file.display()))
    })?;
    let Detections { classes, images } = detections::read(&text).map_err(Failure::bad_input)?;
    if classes != truths.classes {
        return Err(Failure::bad_input("the detections' classes are not the dataset's, or in another order"));
    }
    let by_file: HashMap<&str, &detections::Image> = images.iter().map(|image| (image.file.as_str(), image)).collect();
    if let Some(picture) = truths.pictures.iter().find(|picture| !by_file.contains_key(picture.file.as_str())) {
        return Err(Failure::bad_input(format!("the detections lack the picture `{}`", picture.file)));
    }
    let found = |file: &str| by_file.get(file).map_or(&[][..], |image| &image.found);
    Ok(truths.pictures.iter().map(|picture| match_boxes(&picture.boxes, found(&picture.file))).collect())
}

/// What the dataset says of its source: the file `ATTRIBUTION`, or the first paragraph of its README's section on the
/// licence or the attribution.
fn attribution(dataset: &Path) -> Option<String> {
    let short = |text: &str| text.trim().chars().take(ATTRIBUTION).collect::<String>();
    for name in ["ATTRIBUTION", "ATTRIBUTION.txt", "ATTRIBUTION.md"] {
        if let Ok(text) = std::fs::read_to_string(dataset.join(name)) {
            return Some(short(&text));
        }
    }
    let readme = std::fs::read_to_string(dataset.join("README.md")).ok()?;
    let mut lines = readme.lines().skip_while(|line| {
        let line = line.to_lowercase();
        !(line.starts_with('#') && ["attribution", "license", "licence"].iter().any(|word| line.contains(word)))
    });
    lines.next()?;
    let paragraph: Vec<&str> =
        lines.skip_while(|line| line.trim().is_empty()).take_while(|line| !line.trim().is_empty()).collect();
    (!paragraph.is_empty()).then(|| short(&paragraph.join(" ")))
}

flowrun_plugin::export!(Card);
