//! `flowrun/boxes-check`: finds what is wrong with a data set of pictures and boxes, mends what is safe to mend, and writes
//! a clean one.
//!
//! Input `dataset` (a folder, a folder with tars, or a tar), outputs `dataset` (folder) and `report` (`findings.json`), values
//! `images`, `boxes`, `findings`, `dropped`, `fixed`, `suspects`, `classes`. See the README for every kind of finding. The
//! order of work:
//!
//! ```text
//!   files ──> tables (which CSV is which split's; or layouts: COCO, VOC, YOLO as tables) ──> photos (which pictures, what is in them)
//!                 └──> classes (which names are meant) ──> rows (judged one by one) ──> clean (which pictures stay)
//! ```

pub mod classes;
pub mod clean;
pub mod findings;
pub mod layouts;
pub mod names;
pub mod negative;
pub mod photos;
pub mod rows;
pub mod tables;

use boxes::catalog::printable;
use boxes::{Catalog, Split};
use classes::Classes;
use clean::{Clean, Wish};
use findings::{Action, Finding, Kind, Report};
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use layouts::Flawed;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use tables::Table;

/// The step's `with`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The least side of a box, in pixels.
    pub min_side: f64,
    /// The class names; learned from the rows where not given.
    pub classes: Option<Vec<String>>,
    /// The part of train that becomes test where there is no test split.
    pub test_fraction: f64,
    /// Which part that is.
    pub seed: i64,
    /// Whether anything that must be dropped fails the step.
    pub strict: bool,
    /// Whether pictures that look like colour negatives stay in train.
    pub keep_inverted: bool,
    /// The training CSV's path in the data set, where its name does not tell.
    pub train_csv: Option<String>,
    /// The test CSV's path in the data set, where its name does not tell.
    pub test_csv: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_side: 2.0,
            classes: None,
            test_fraction: 0.15,
            seed: 0,
            strict: false,
            keep_inverted: true,
            train_csv: None,
            test_csv: None,
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), Failure> {
        if !(0.0..=1e6).contains(&self.min_side) {
            return Err(Failure::bad_config("min_side", "a number of pixels, 0 or more, was expected"));
        }
        if !(0.0..=0.9).contains(&self.test_fraction) {
            return Err(Failure::bad_config("test_fraction", "a part of 0 to 0.9 was expected"));
        }
        let names = self.classes.as_deref();
        let folded = |names: &[String]| names.iter().map(|name| name.trim().to_lowercase()).collect::<BTreeSet<_>>();
        match names.map(|names| (names.len(), folded(names))) {
            Some((0, _)) => Err(Failure::bad_config("classes", "at least one name was expected")),
            Some((_, names)) if names.contains("") => Err(Failure::bad_config("classes", "a name is empty")),
            Some((count, names)) if names.len() < count => {
                Err(Failure::bad_config("classes", "two names are the same but for letter case"))
            }
            _ => Ok(()),
        }
    }
}

/// The plugin.
pub struct BoxesCheck;

impl Plugin for BoxesCheck {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        config.check()?;
        let (input, output, report_path) = (task.input("dataset")?, task.output("dataset")?, task.output("report")?);
        let catalog = Catalog::read(input).map_err(|error| Failure::bad_input(format!("`dataset`: {error}")))?;
        let mut report = Report::new();
        let mut clean = inspect(&config, &catalog, task, &mut report)?;
        report.sort();
        let text = serde_json::to_string_pretty(&report).map_err(Failure::internal)?;
        fs::write(report_path, text + "\n").map_err(|error| Failure::internal(format!("`report`: {error}")))?;
        judge(&config, &report)?;
        clean.dataset.classes = class_names(&config, &clean);
        if clean.dataset.train.iter().all(|entry| entry.boxes.is_empty()) {
            return Err(Failure::bad_input("no training picture with a box is left"));
        }
        clean.dataset.write(output).map_err(Failure::internal)?;
        copy_pictures(&clean, output, task)?;
        boxes::notes::copy(&catalog, output).map_err(Failure::internal)?;
        let total = |part: fn(&findings::Amount) -> usize| report.summary.values().map(part).sum::<usize>();
        Ok(values! {
            "images": total(|amount| amount.images),
            "boxes": total(|amount| amount.boxes),
            "findings": report.findings.len(),
            "dropped": report.count(Action::Dropped),
            "fixed": report.count(Action::Fixed),
            "suspects": report.suspects.len(),
            "classes": clean.dataset.classes.len(),
        })
    }
}

/// All of the work up to the clean data set in memory.
fn inspect<'a>(config: &Config, catalog: &'a Catalog, task: &Task, report: &mut Report) -> Result<Clean<'a>, Failure> {
    for refused in &catalog.refused {
        report.add_file(None, &refused.name, Kind::UnsafeName, Action::Dropped, refused.reason.clone());
    }
    let named = [config.train_csv.as_deref(), config.test_csv.as_deref()];
    let (tables, files, flawed) = match layouts::of(catalog, named) {
        Some(format) => layouts::read(catalog, format, report)?,
        None => {
            let tables = tables::read_all(catalog, named, report)?;
            let files = tables.iter().map(|table| photos::list(catalog, table, report)).collect::<Vec<_>>();
            (tables, files, Flawed::default())
        }
    };
    let classes = known_classes(config, &tables);
    let (mut done, total) = (0_u64, files.iter().map(Vec::len).sum::<usize>() as u64);
    let mut parts = Vec::new();
    for (table, files) in tables.iter().zip(files) {
        task.info(format!(
            "{}: `{}`, {} rows, {} pictures",
            table.split.name(),
            table.path,
            table.rows.len(),
            files.len()
        ));
        let photos = photos::look(files, table, report, || {
            done += 1;
            if done % 16 == 0 || done == total {
                task.progress(done, total, "pictures");
            }
        });
        let mut checked = rows::check(table, &photos, &classes, config.min_side, report);
        for (photo, mentioned) in photos.iter().zip(&mut checked.mentioned) {
            *mentioned |= flawed.contains(&(table.split, photo.name().to_owned()));
        }
        parts.push((table.split, photos, checked));
    }
    let wish = Wish { test_fraction: config.test_fraction, seed: config.seed, keep_inverted: config.keep_inverted };
    Ok(clean::assemble(parts, wish, report))
}

fn known_classes(config: &Config, tables: &[Table]) -> Classes {
    let cells = |split| {
        let table = tables.iter().find(|table| table.split == split)?;
        Some(table.rows.iter().map(|row| row.cells[3].as_deref().unwrap_or("")).collect::<Vec<_>>())
    };
    match &config.classes {
        Some(names) => Classes::listed(names),
        None => Classes::learned(&cells(Split::Train).unwrap_or_default(), cells(Split::Test).as_deref()),
    }
}

/// The configuration's classes, else those of the boxes that stay; sorted.
fn class_names(config: &Config, clean: &Clean) -> Vec<String> {
    let entries = clean.dataset.train.iter().chain(&clean.dataset.test);
    let used = entries.flat_map(|entry| &entry.boxes).map(|labelled| labelled.class.clone());
    let names: BTreeSet<String> = match &config.classes {
        Some(names) => names.iter().cloned().collect(),
        None => used.collect(),
    };
    names.into_iter().collect()
}

/// Fails where the configuration is strict and something had to go.
fn judge(config: &Config, report: &Report) -> Result<(), Failure> {
    let dropped: Vec<&Finding> = report.findings.iter().filter(|finding| finding.action == Action::Dropped).collect();
    if !config.strict || dropped.is_empty() {
        return Ok(());
    }
    let place = |finding: &&Finding| {
        let line = finding.line.map_or(String::new(), |line| format!(" (line {line})"));
        format!("`{}`{line}: {}", printable(&finding.filename), finding.message)
    };
    let first: Vec<String> = dropped.iter().take(5).map(place).collect();
    Err(Failure::bad_input(format!(
        "{} findings had to be dropped, and `strict` is on: {}",
        dropped.len(),
        first.join("; ")
    )))
}

fn copy_pictures(clean: &Clean, output: &std::path::Path, task: &Task) -> Result<(), Failure> {
    let total = clean.photos.iter().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    for (split, photos) in Split::ALL.into_iter().zip(&clean.photos) {
        let folder = output.join(split.name());
        for photo in photos {
            let said = |error: std::io::Error| Failure::internal(format!("`{}`: {error}", printable(photo.name())));
            fs::write(folder.join(photo.name()), photo.bytes().map_err(said)?).map_err(said)?;
            done += 1;
            if done % 64 == 0 || done == total {
                task.progress(done, total, "pictures copied");
            }
        }
    }
    Ok(())
}

flowrun_plugin::export!(BoxesCheck);
