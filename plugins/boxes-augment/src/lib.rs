//! `flowrun/boxes-augment`: changed copies of the training pictures (mirrored, cropped, recoloured, negated), their boxes moved
//! along. The test split is passed through byte for byte.
//!
//! Input `dataset`, output `dataset` (folders of the same shape), values `images` and `boxes` of the training split made. What is
//! done to a copy depends on the seed, the picture's name and the copy's number, and on nothing else.

pub mod recipe;

use boxes::catalog::{is_plain_name, printable};
use boxes::{Dataset, Entry, Picture, Random};
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use recipe::{Limits, Recipe};
use serde::Deserialize;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// JPEG quality of what is written. Below 85 the rings around edges teach a model more than the colours do.
const QUALITY: u8 = 90;
/// The most copies of a picture: beyond it a data set is better changed while training.
const MAX_COPIES: u64 = 100;

/// The step's `with`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many copies of each training picture are made.
    pub copies: u64,
    /// Whether half of them are mirrored left to right.
    pub flip: bool,
    /// The least part of a picture's area that a crop keeps; `true` for 0.7, `false` for no crops.
    pub crop: Crop,
    /// How strongly brightness, contrast, saturation and hue change, 0 to 1.
    pub colour: f64,
    /// How probable it is that a copy is a colour negative, 0 to 1.
    pub invert: f64,
    /// Another seed makes other copies.
    pub seed: i64,
    /// The longer side of training pictures in pixels; as they are where not given.
    pub size: Option<u32>,
}

/// `crop`: a switch or a number.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "`true`, `false` or the least part of the area that is kept was expected")]
pub enum Crop {
    /// On, with 0.7, or off.
    Switch(bool),
    /// The least part kept.
    Part(f64),
}

impl Default for Config {
    fn default() -> Self {
        Self { copies: 3, flip: true, crop: Crop::Switch(true), colour: 0.3, invert: 0.0, seed: 0, size: None }
    }
}

impl Config {
    /// Checks the bounds that types do not hold.
    fn limits(&self) -> Result<Limits, Failure> {
        let least_kept = match self.crop {
            Crop::Switch(true) => 0.7,
            Crop::Switch(false) => 1.0,
            Crop::Part(part) => part,
        };
        let part = |key: &str, value: f64, least: f64| {
            let message = || Failure::bad_config(key, format!("a number of {least} to 1 was expected, found {value}"));
            if (least..=1.0).contains(&value) { Ok(value) } else { Err(message()) }
        };
        if self.copies > MAX_COPIES {
            return Err(Failure::bad_config("copies", format!("at most {MAX_COPIES}, found {}", self.copies)));
        }
        if let Some(size) = self.size.filter(|size| !(16..=4096).contains(size)) {
            return Err(Failure::bad_config("size", format!("16 to 4096 pixels were expected, found {size}")));
        }
        Ok(Limits {
            flip: self.flip,
            least_kept: part("crop", least_kept, 0.1)?,
            colour: part("colour", self.colour, 0.0)?,
            invert: part("invert", self.invert, 0.0)?,
        })
    }

    /// The sides of what is made of a picture with these sides.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most `size`, which is at most 4096"
    )]
    fn sides(&self, width: u32, height: u32) -> (u32, u32) {
        let Some(size) = self.size else { return (width, height) };
        let scale = f64::from(size) / f64::from(width.max(height).max(1));
        let side = |side: u32| (f64::from(side) * scale).round().clamp(1.0, f64::from(size)) as u32;
        (side(width), side(height))
    }
}

/// The plugin.
pub struct BoxesAugment;

impl Plugin for BoxesAugment {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        let limits = config.limits()?;
        let (input, output) = (task.input("dataset")?, task.output("dataset")?);
        let dataset = Dataset::read(input).map_err(|error| Failure::bad_input(format!("`dataset`: {error}")))?;
        let mut names = Names::new(&dataset.train);
        let mut made = Dataset { classes: dataset.classes.clone(), train: Vec::new(), test: dataset.test.clone() };
        made.write(output).map_err(Failure::internal)?;
        let total = dataset.train.len() as u64;
        for (done, entry) in dataset.train.iter().enumerate() {
            let maker = Maker { config: &config, limits, input, output, entry };
            made.train.extend(maker.make(&mut names)?);
            task.progress(done as u64 + 1, total, "pictures");
        }
        made.write(output).map_err(Failure::internal)?;
        pass_test(&dataset, input, output)?;
        let boxes: usize = made.train.iter().map(|entry| entry.boxes.len()).sum();
        task.info(format!("{total} training pictures became {} with {boxes} boxes", made.train.len()));
        Ok(values! { "images": made.train.len(), "boxes": boxes })
    }
}

/// Makes what one training picture becomes.
struct Maker<'a> {
    config: &'a Config,
    limits: Limits,
    input: &'a Path,
    output: &'a Path,
    entry: &'a Entry,
}

impl Maker<'_> {
    /// Writes the picture and its copies.
    fn make(&self, names: &mut Names) -> Result<Vec<Entry>, Failure> {
        let bytes = fs::read(self.input.join("train").join(&self.entry.filename)).map_err(|error| self.bad(error))?;
        let picture = Picture::decode(&bytes).map_err(|error| self.bad(error))?;
        let (before, listed) = ((picture.width(), picture.height()), (self.entry.width, self.entry.height));
        if before != listed {
            let (real, said) = (format!("{} x {}", before.0, before.1), format!("{} x {}", listed.0, listed.1));
            return Err(self.bad(format!("{real} pixels, but `images.csv` says {said}")));
        }
        let after = self.config.sides(before.0, before.1);
        let plain = Recipe::plain(before, after);
        let mut made = Vec::new();
        if before == after {
            self.write(&self.entry.filename, &bytes)?;
            made.push(self.entry.clone());
        } else {
            made.push(self.apply(&plain, &picture, &self.entry.filename)?);
        }
        for copy in 1..=self.config.copies {
            let mut random = Random::new(self.config.seed, &self.entry.filename, copy);
            let recipe = Recipe::draw(&mut random, self.limits, before, after, &self.entry.boxes);
            made.push(self.apply(&recipe, &picture, &names.copy(&self.entry.filename, copy))?);
        }
        Ok(made)
    }

    fn apply(&self, recipe: &Recipe, picture: &Picture, filename: &str) -> Result<Entry, Failure> {
        let copy = recipe.picture(picture).ok_or_else(|| Failure::internal("a crop is not in its picture"))?;
        self.write(filename, &copy.encode_jpeg(QUALITY).map_err(Failure::internal)?)?;
        Ok(Entry {
            filename: filename.to_owned(),
            width: recipe.width,
            height: recipe.height,
            source: self.entry.source.clone(),
            boxes: recipe.boxes(&self.entry.boxes),
        })
    }

    fn write(&self, filename: &str, bytes: &[u8]) -> Result<(), Failure> {
        fs::write(self.output.join("train").join(filename), bytes)
            .map_err(|error| Failure::internal(format!("`train/{}`: {error}", printable(filename))))
    }

    fn bad(&self, message: impl ToString) -> Failure {
        Failure::bad_input(format!("`train/{}`: {}", printable(&self.entry.filename), message.to_string()))
    }
}

/// Gives copies names that no other picture has.
struct Names(HashSet<String>);

impl Names {
    fn new(entries: &[Entry]) -> Self {
        Self(entries.iter().map(|entry| entry.filename.clone()).collect())
    }

    /// `a.jpg` gives `a~1.jpg`; where that is taken (by a copy of `a.png`, say), `a~1~.jpg`, and so on.
    fn copy(&mut self, filename: &str, copy: u64) -> String {
        let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
        let mut stem = stem.to_owned();
        // Room within the 255 bytes of a name.
        while stem.len() > 200 {
            stem.pop();
        }
        let mut name = format!("{stem}~{copy}.jpg");
        while !is_plain_name(&name) || !self.0.insert(name.clone()) {
            stem.push('~');
            name = format!("{stem}~{copy}.jpg");
            if name.len() > 255 {
                stem = format!("picture{}", self.0.len());
            }
        }
        name
    }
}

/// Passes the test split through, byte for byte.
fn pass_test(dataset: &Dataset, input: &Path, output: &Path) -> Result<(), Failure> {
    let pictures = dataset.test.iter().map(|entry| format!("test/{}", entry.filename));
    for name in pictures.chain(["test.csv".to_owned()]) {
        let bytes = fs::read(input.join(&name)).map_err(|error| Failure::bad_input(format!("`{name}`: {error}")))?;
        fs::write(output.join(&name), bytes).map_err(|error| Failure::internal(format!("`{name}`: {error}")))?;
    }
    Ok(())
}

flowrun_plugin::export!(BoxesAugment);
