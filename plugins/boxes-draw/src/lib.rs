//! `flowrun/boxes-draw`: pictures of a data set with their boxes drawn in, and with those that a model found.
//!
//! Inputs `dataset` (folder) and, where given, `detections` (file), output `pictures` (folder of JPEGs), values `images`, `boxes`,
//! `detections`. This module knows the step's names and colours; [`canvas`] draws, [`found`] reads detections.

pub mod canvas;
pub mod found;

use boxes::catalog::printable;
use boxes::{Dataset, Entry, Picture, Split};
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use found::Found;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

/// The colour of true boxes: a bright green.
const TRUE: [u8; 3] = [60, 220, 90];
/// The colour of found boxes: a dark magenta, so that the two differ in brightness too.
const FOUND: [u8; 3] = [230, 30, 160];
/// How well the pictures are kept: a JPEG quality.
const QUALITY: u8 = 90;
/// The largest file read. Photographs are below 50 MB; a component has 2 GiB of memory as a rule.
const MAX_FILE: u64 = 256 << 20;

/// The step's `with`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whose pictures.
    pub split: Split,
    /// At most so many pictures, the first by name.
    pub limit: usize,
    /// The least score of a found box that is drawn.
    pub min_score: f64,
    /// How many pixels wide lines are.
    pub thickness: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self { split: Split::Test, limit: 50, min_score: 0.3, thickness: 2 }
    }
}

impl Config {
    fn check(&self) -> Result<(), Failure> {
        let wrong = |path: &str, expected: &str| Err(Failure::bad_config(path, format!("{expected} was expected")));
        if !(1..=100_000).contains(&self.limit) {
            return wrong("limit", "a number of 1 to 100000");
        }
        if !(0.0..=1.0).contains(&self.min_score) {
            return wrong("min_score", "a score of 0 to 1");
        }
        if !(1..=50).contains(&self.thickness) {
            return wrong("thickness", "a number of 1 to 50 pixels");
        }
        Ok(())
    }
}

/// The plugin.
pub struct BoxesDraw;

impl Plugin for BoxesDraw {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        config.check()?;
        let (input, output) = (task.input("dataset")?, task.output("pictures")?);
        let dataset = Dataset::read(input).map_err(|error| Failure::bad_input(format!("the data set's {error}")))?;
        let detections = task.optional_input("detections").map(|path| detections(path, &config)).transpose()?;
        let mut entries: Vec<&Entry> = dataset.split(config.split).iter().collect();
        entries.sort_by(|a, b| a.filename.cmp(&b.filename));
        entries.truncate(config.limit);
        let (mut boxes, mut drawn, mut names) = (0, 0, BTreeSet::new());
        let total = entries.len() as u64;
        for (done, entry) in (1..).zip(&entries) {
            let found = detections.as_ref().and_then(|all| all.get(&entry.filename)).map_or(&[][..], Vec::as_slice);
            let name = jpeg_name(&entry.filename);
            if !names.insert(name.clone()) {
                return Err(Failure::bad_input(format!("two pictures would be named `{}`", printable(&name))));
            }
            let bytes = draw(&config, input, entry, found)?;
            fs::write(output.join(&name), bytes)
                .map_err(|error| Failure::internal(format!("`{}`: {error}", printable(&name))))?;
            boxes += entry.boxes.len();
            drawn += found.len();
            if done % 8 == 0 || done == total {
                task.progress(done, total, "pictures");
            }
        }
        Ok(values! { "images": entries.len(), "boxes": boxes, "detections": drawn })
    }
}

fn detections(path: &Path, config: &Config) -> Result<HashMap<String, Vec<Found>>, Failure> {
    let text = read(path).map_err(|message| Failure::bad_input(format!("`detections`: {message}")))?;
    found::read(&text, config.min_score).map_err(Failure::bad_input)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes are too many"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// A name that ends as a JPEG's does.
fn jpeg_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".jpg") || lower.ends_with(".jpeg") { name.to_owned() } else { format!("{name}.jpg") }
}

/// A picture with its boxes, as a JPEG's bytes: the true ones first, labels above all lines.
fn draw(config: &Config, input: &Path, entry: &Entry, found: &[Found]) -> Result<Vec<u8>, Failure> {
    let place = format!("{}/{}", config.split.name(), entry.filename);
    let wrong = |message: String| Failure::bad_input(format!("`{}`: {message}", printable(&place)));
    let bytes = read(&input.join(&place)).map_err(&wrong)?;
    let mut picture = Picture::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    for one in &entry.boxes {
        canvas::frame(&mut picture, &one.rect, config.thickness, TRUE);
    }
    for one in found {
        canvas::frame(&mut picture, &one.rect, config.thickness, FOUND);
    }
    for one in &entry.boxes {
        canvas::label(&mut picture, &one.class, one.rect.xmin, one.rect.ymin, TRUE);
    }
    // Below the box: so that neither covers the other where a box was found well.
    let height = 10 * canvas::letter_scale(&picture);
    for one in found {
        let text = format!("{} {:.2}", one.class, one.score);
        canvas::label(&mut picture, &text, one.rect.xmin, one.rect.ymax.saturating_add(height), FOUND);
    }
    picture.encode_jpeg(QUALITY).map_err(|error| Failure::internal(error.to_string()))
}

flowrun_plugin::export!(BoxesDraw);
