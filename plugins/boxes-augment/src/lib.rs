//! `flowrun/boxes-augment`: adds to each training picture copies that are flipped, cropped and recoloured, with the boxes
//! moved along.
//!
//! Input `dataset` (folder), output `dataset` (the same, with more in `train/`), values `images` and `boxes`. What a copy
//! looks like depends on the seed, the picture's name and the copy's number alone. See the README for the shapes.
//! This module knows the step's names; the rest is below it.

pub mod colour;
pub mod folder;
pub mod view;

use boxes::catalog::printable;
use boxes::{Dataset, Entry, Picture, Random, Split};
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// How well copies are kept: a JPEG quality.
const QUALITY: u8 = 90;

/// The step's `with`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many copies of each training picture.
    pub copies: u64,
    /// Whether half of the copies are mirrored left to right.
    pub flip: bool,
    /// The least part of each side that a copy shows; 1 shows all.
    pub crop: f64,
    /// How far brightness, contrast and saturation go from what they were, as a part.
    pub colour: f64,
    /// The part of the copies that become colour negatives.
    pub invert: f64,
    /// Another seed, other copies.
    pub seed: i64,
    /// The side of the (square) copies; as large as their pictures where not given.
    pub size: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self { copies: 3, flip: true, crop: 0.7, colour: 0.3, invert: 0.0, seed: 0, size: None }
    }
}

impl Config {
    fn check(&self) -> Result<(), Failure> {
        let wrong = |path: &str, expected: &str| Err(Failure::bad_config(path, format!("{expected} was expected")));
        if self.copies > 20 {
            return wrong("copies", "a number of 0 to 20");
        }
        if !(0.1..=1.0).contains(&self.crop) {
            return wrong("crop", "a part of 0.1 to 1");
        }
        if !(0.0..=1.0).contains(&self.colour) {
            return wrong("colour", "a part of 0 to 1");
        }
        if !(0.0..=1.0).contains(&self.invert) {
            return wrong("invert", "a part of 0 to 1");
        }
        match self.size {
            Some(size) if !(16..=4096).contains(&size) => wrong("size", "a side of 16 to 4096 pixels"),
            _ => Ok(()),
        }
    }
}

/// The plugin.
pub struct BoxesAugment;

impl Plugin for BoxesAugment {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        config.check()?;
        let (input, output) = (task.input("dataset")?, task.output("dataset")?);
        let mut dataset =
            Dataset::read(input).map_err(|error| Failure::bad_input(format!("the data set's {error}")))?;
        let originals = std::mem::take(&mut dataset.train);
        check_names(&originals, config.copies)?;
        folder::make(output, Split::Train.name())?;
        let total = originals.len() as u64;
        for (done, original) in (1..).zip(originals) {
            let copies = augment(&config, &original, input, output)?;
            dataset.train.push(original);
            dataset.train.extend(copies);
            if done % 8 == 0 || done == total {
                task.progress(done, total, "pictures");
            }
        }
        dataset.write(output).map_err(Failure::internal)?;
        folder::pass_through(input, output)?;
        let pictures = || dataset.train.iter().chain(&dataset.test);
        let (images, boxes) = (pictures().count(), pictures().map(|entry| entry.boxes.len()).sum::<usize>());
        task.info(format!("{total} training pictures became {}", dataset.train.len()));
        Ok(values! { "images": images, "boxes": boxes })
    }
}

/// Refuses a copy's name that is another picture's, before anything is written.
fn check_names(originals: &[Entry], copies: u64) -> Result<(), Failure> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let copied = originals.iter().flat_map(|entry| (1..=copies).map(|copy| copy_name(&entry.filename, copy)));
    match originals.iter().map(|entry| entry.filename.clone()).chain(copied).find(|name| !names.insert(name.clone())) {
        Some(name) => Err(Failure::bad_input(format!(
            "two training pictures would be named `{}`: was this data set augmented before?",
            printable(&name)
        ))),
        None => Ok(()),
    }
}

/// `NAME~1.jpg` for `NAME.jpg`; other endings stay, so that `a.png` and `a.jpg` have copies of different names. A name that
/// would be too long for a file system loses its end to a hash of it.
#[must_use]
pub fn copy_name(filename: &str, copy: u64) -> String {
    let stem = filename.strip_suffix(".jpg").unwrap_or(filename);
    let tail = format!("~{copy}.jpg");
    if stem.len() + tail.len() <= 255 {
        return stem.to_owned() + &tail;
    }
    let tail = format!("~{:016x}{tail}", Random::new(0, filename, 0).bits());
    stem[..stem.floor_char_boundary(255 - tail.len())].to_owned() + &tail
}

/// Copies one original byte for byte, and makes its copies.
fn augment(config: &Config, original: &Entry, input: &Path, output: &Path) -> Result<Vec<Entry>, Failure> {
    let name = &original.filename;
    let place = |name: &str| format!("{}/{name}", Split::Train.name());
    let bytes = folder::read(input, &place(name))?;
    folder::write(output, &place(name), &bytes)?;
    if config.copies == 0 {
        return Ok(Vec::new());
    }
    let wrong = |message: String| Failure::bad_input(format!("`{}`: {message}", printable(&place(name))));
    let picture = Picture::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    if (picture.width(), picture.height()) != (original.width, original.height) {
        let (width, height) = (picture.width(), picture.height());
        let listed = format!("{} x {}", original.width, original.height);
        return Err(wrong(format!("the picture is {width} x {height} pixels, `images.csv` says {listed}")));
    }
    let mut made = Vec::new();
    for copy in 1..=config.copies {
        let mut random = Random::new(config.seed, name, copy);
        let (picture, boxes) = copy_of(config, &picture, &original.boxes, &mut random)
            .ok_or_else(|| wrong("the picture cannot be scaled".to_owned()))?;
        let filename = copy_name(name, copy);
        let bytes = picture.encode_photograph(QUALITY).map_err(Failure::internal)?;
        folder::write(output, &place(&filename), &bytes)?;
        let (width, height, source) = (picture.width(), picture.height(), original.source.clone());
        made.push(Entry { filename, width, height, source, boxes });
    }
    Ok(made)
}

/// One copy: its pixels and its boxes.
fn copy_of(
    config: &Config,
    picture: &Picture,
    boxes: &[boxes::Labelled],
    random: &mut Random,
) -> Option<(Picture, Vec<boxes::Labelled>)> {
    let from = (picture.width(), picture.height());
    let to = config.size.map_or(from, |size| (size, size));
    let view = view::choose(config, from, to, boxes, random);
    let mut copy = picture.resized(&view.crop, to.0, to.1)?;
    if view.flip {
        copy.flip();
    }
    if random.chance(config.invert) {
        colour::invert(&mut copy);
    }
    colour::jitter(&mut copy, config.colour, random);
    Some((copy, view.boxes))
}

flowrun_plugin::export!(BoxesAugment);
