//! `flowrun/report`: figures, tables and a detector's work as one HTML page that one can send to a customer.
//!
//! Inputs, each only where it is given, and at least one: `metrics` and `table` (files) of any work; `dataset` (folder),
//! `detections`, `evaluation`, `curve` and `findings` (files) of a detector's. Output `page`; values `pictures`, `right`,
//! `wrong`, `missed`. The same inputs give the same bytes. This module knows the step's names and files; what the page
//! looks like is [`page`]'s.

pub mod album;
mod charts;
pub mod figures;
mod findings;
mod gallery;
pub mod html;
pub mod matching;
pub mod page;
mod palette;
mod partial;
pub mod sheet;
pub mod stories;

use album::Album;
// The two readers are the evaluation's too: a report that read the same files by other rules could contradict its figures.
use boxes::detections::{self, Detections};

use boxes::truths::{self, Truths};
use figures::Figures;
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use matching::{Matched, match_boxes};
use page::Report;
use serde::Deserialize;
use sheet::Sheet;
use std::collections::HashMap;
use std::path::Path;
use stories::{Evaluation, Findings, Training};

/// A page of more pictures than this does not open on a phone.
const MOST_PICTURES: usize = 500;
/// A table of more rows than this is a file to open, not a page to read.
const MOST_ROWS: usize = 10_000;
/// What a page may be made of.
const INPUTS: [&str; 7] = ["dataset", "detections", "evaluation", "curve", "findings", "metrics", "table"];
/// How long an attribution may be, in letters: a paragraph.
const ATTRIBUTION: usize = 1500;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The page's title; else what the page is.
    pub title: Option<String>,
    /// The split that was judged.
    pub split: String,
    /// The least score of a found box that counts.
    pub min_score: f64,
    /// How many pictures are shown at most.
    pub pictures: usize,
    /// How many rows of the table are shown at most.
    pub rows: usize,
    /// Whom the data is from; else what the dataset's `ATTRIBUTION` or README says.
    pub attribution: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let split = "test".to_owned();
        Self { title: None, split, min_score: 0.3, pictures: 48, rows: 100, attribution: None }
    }
}

/// The plugin.
pub struct Card;

impl Plugin for Card {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        check(&config)?;
        if INPUTS.iter().all(|name| task.optional_input(name).is_none()) {
            let names = INPUTS.map(|name| format!("`{name}`")).join(", ");
            return Err(Failure::bad_config(
                "",
                format!("the page needs an input: name one of {names} under `inputs`"),
            ));
        }
        let given = Given::read(&config, task)?;
        let report = given.report(&config);
        let mut album = task.optional_input("dataset").map_or_else(Album::empty, Album::new);
        let page = report.render(&mut album);
        std::fs::write(task.output("page")?, &page).map_err(Failure::internal)?;
        let pictures = given.truths.as_ref().map(|truths| truths.pictures.len());
        let Some(tally) = report.tally(None) else {
            if given.truths.is_some() || given.detections.is_some() {
                task.info("nothing to judge: the data set and the detections are not both given");
            }
            return Ok(values! { "pictures": pictures, "right": null, "wrong": null, "missed": null });
        };
        task.info(format!(
            "{} pictures, {} right, {} wrong, {} missed",
            pictures.unwrap_or_default(),
            tally.right,
            tally.wrong,
            tally.missed
        ));
        Ok(values! {
            "pictures": pictures, "right": tally.right, "wrong": tally.wrong, "missed": tally.missed,
        })
    }
}

/// What was given, read.
struct Given {
    truths: Option<Truths>,
    detections: Option<Detections>,
    matched: Option<Vec<Matched>>,
    evaluation: Option<Evaluation>,
    training: Option<Training>,
    findings: Option<Findings>,
    metrics: Option<Figures>,
    table: Option<Sheet>,
    attribution: Option<String>,
}

impl Given {
    fn read(config: &Config, task: &Task) -> Result<Self, Failure> {
        let dataset = task.optional_input("dataset");
        let truths = given(dataset, |path| truths::read(path, &config.split))?;
        let detections = task.optional_input("detections").map(found).transpose()?;
        let matched = match (&truths, &detections) {
            (Some(truths), Some(detections)) => Some(matched(truths, detections)?),
            _ => None,
        };
        Ok(Self {
            truths,
            detections,
            matched,
            evaluation: given(task.optional_input("evaluation"), stories::read_evaluation)?,
            training: given(task.optional_input("curve"), stories::read_training)?,
            findings: given(task.optional_input("findings"), stories::read_findings)?,
            metrics: given(task.optional_input("metrics"), figures::read)?,
            table: given(task.optional_input("table"), |path| sheet::read(path, config.rows))?,
            attribution: config.attribution.clone().or_else(|| dataset.and_then(attribution)),
        })
    }

    fn report<'a>(&'a self, config: &'a Config) -> Report<'a> {
        let of_boxes = self.truths.is_some() || self.detections.is_some() || self.evaluation.is_some();
        let title = if of_boxes { "Detection report" } else { "Report" };
        Report {
            title: config.title.as_deref().unwrap_or(title),
            split: &config.split,
            least: config.min_score,
            pictures: config.pictures,
            truths: self.truths.as_ref(),
            detections: self.detections.as_ref(),
            matched: self.matched.as_deref(),
            evaluation: self.evaluation.as_ref(),
            metrics: self.metrics.as_ref(),
            table: self.table.as_ref(),
            training: self.training.as_ref(),
            findings: self.findings.as_ref(),
            attribution: self.attribution.as_deref(),
        }
    }
}

/// Reads an input, where it is given.
fn given<T, E: ToString>(path: Option<&Path>, read: impl FnOnce(&Path) -> Result<T, E>) -> Result<Option<T>, Failure> {
    path.map(read).transpose().map_err(Failure::bad_input)
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
    if config.rows > MOST_ROWS {
        return Err(Failure::bad_config("rows", format!("expected at most {MOST_ROWS}")));
    }
    Ok(())
}

fn found(file: &Path) -> Result<Detections, Failure> {
    let text = std::fs::read(file).map_err(|error| {
        Failure::bad_input(format!("the detections `{}` are not readable: {error}", file.display()))
    })?;
    detections::read(&text).map_err(Failure::bad_input)
}

/// Each picture's found boxes, matched to its true ones.
fn matched(truths: &Truths, detections: &Detections) -> Result<Vec<Matched>, Failure> {
    let Detections { classes, images } = detections;
    if *classes != truths.classes {
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
