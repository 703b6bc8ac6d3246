//! `flowrun/boxes-convert`: a data set of pictures with boxes in one layout is turned into another.
//!
//! Input `dataset` (folder or tar), output `dataset` (folder), values `images`, `boxes`, `classes`. The layouts themselves are
//! [`boxes::formats`]'s; this module knows the step's names and copies the pictures. Nothing is mended here: what is wrong
//! is refused by file and line, and `flowrun/boxes-check` is the step that mends.

use boxes::catalog::printable;
use boxes::formats::{self, Format, Layout, Loaded};
use boxes::{Catalog, Split};
use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// The largest picture file copied. Photographs are below 50 MB; a component has 2 GiB of memory as a rule.
const MAX_PICTURE: u64 = 256 << 20;
/// The layout of the input.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Given {
    /// What its files look like.
    #[default]
    Auto,
    /// Our own folder.
    Flowrun,
    /// COCO's JSON.
    Coco,
    /// Pascal VOC's XML.
    Voc,
    /// YOLO's text files.
    Yolo,
}

/// The step's `with`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The layout of the input.
    #[serde(default)]
    pub from: Given,
    /// The layout that is wanted.
    pub to: Format,
}

/// The plugin.
pub struct BoxesConvert;

impl Plugin for BoxesConvert {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        let (input, output) = (task.input("dataset")?, task.output("dataset")?);
        let catalog = Catalog::read(input).map_err(|error| Failure::bad_input(format!("`dataset`: {error}")))?;
        for refused in catalog.refused.iter().take(10) {
            task.warn(format!("`{}` is passed over: {}", printable(&refused.name), refused.reason));
        }
        let from = layout(config.from, &catalog)?;
        let loaded = formats::load(input, &catalog, from).map_err(Failure::bad_input)?;
        warn_of_unused(&loaded, task);
        let layout = formats::write(&loaded.dataset, config.to, output).map_err(Failure::bad_input)?;
        copy_pictures(&loaded, &layout, output, task)?;
        boxes::notes::copy(&catalog, output).map_err(Failure::internal)?;
        let pictures = || loaded.dataset.train.iter().chain(&loaded.dataset.test);
        let (images, boxes) = (pictures().count(), pictures().map(|entry| entry.boxes.len()).sum::<usize>());
        task.info(format!("{images} pictures with {boxes} boxes, from {} to {}", from.name(), config.to.name()));
        Ok(values! { "images": images, "boxes": boxes, "classes": loaded.dataset.classes.len() })
    }
}

fn layout(from: Given, catalog: &Catalog) -> Result<Format, Failure> {
    match from {
        Given::Flowrun => Ok(Format::Flowrun),
        Given::Coco => Ok(Format::Coco),
        Given::Voc => Ok(Format::Voc),
        Given::Yolo => Ok(Format::Yolo),
        Given::Auto => formats::detect(catalog).ok_or_else(|| {
            Failure::bad_input(
                "the data set is in no layout that is known: neither `images.csv` with `classes.json` (flowrun), nor a JSON \
                 with `images`, `annotations` and `categories` (coco), nor an XML with an `<annotation>` (voc), nor \
                 `data.yaml` or `classes.txt` with text files of pictures (yolo)",
            )
        }),
    }
}

fn warn_of_unused(loaded: &Loaded<'_>, task: &Task) {
    if let Some(first) = loaded.unused.first() {
        let count = loaded.unused.len();
        task.warn(format!("{count} of neither train nor test are left out, the first is `{}`", printable(first)));
    }
}

fn copy_pictures(loaded: &Loaded<'_>, layout: &Layout, output: &Path, task: &Task) -> Result<(), Failure> {
    let total = loaded.files.iter().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    for split in Split::ALL {
        let (files, places) = (&loaded.files[split as usize], &layout[split as usize]);
        for (file, place) in files.iter().zip(places) {
            let said = |error: std::io::Error| Failure::bad_input(format!("`{}`: {error}", printable(&file.path)));
            let bytes = file.read(MAX_PICTURE).map_err(said)?;
            let failed = |error: std::io::Error| Failure::internal(format!("`{}`: {error}", printable(place)));
            fs::write(output.join(place), bytes).map_err(failed)?;
            done += 1;
            if done % 64 == 0 || done == total {
                task.progress(done, total, "pictures");
            }
        }
    }
    Ok(())
}

flowrun_plugin::export!(BoxesConvert);
