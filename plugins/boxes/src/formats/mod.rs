//! Data sets of pictures with boxes in the layouts that others write: COCO, Pascal VOC, YOLO, and our own folder.
//!
//! ```text
//!   files (Catalog) ──> detect ──> one reader a layout ──> Source: pictures, boxes as written, flaws, each with its place
//!                                                             └──> strict: the first flaw is an error, else a Dataset
//!   Dataset ──> write: the annotations of a layout, and where each picture belongs in it
//! ```
//!
//! | layout | a box is | the source of that |
//! |---|---|---|
//! | `flowrun` | `xmin,ymin,xmax,ymax`, whole pixels from 0, the larger edges just outside | [`crate::dataset`] |
//! | `coco` | `[x, y, width, height]`, pixels from 0, fractions allowed | cocodataset.org, "Data format" |
//! | `voc` | `xmin,ymin,xmax,ymax`, pixels from 1, the larger edges inside | the development kit of VOC 2012, "Annotation" |
//! | `yolo` | `centre x, centre y, width, height` as parts of the picture's sides | docs.ultralytics.com, "Object Detection Datasets" |
//!
//! Names in annotations are looked up in the list of files, never opened as paths. It does not know what is a flaw of a
//! box (`boxes-check`): a box beyond its picture, or without an area, is read and written as it is.

mod coco;
mod lookup;
mod splits;
mod strict;
mod voc;
mod write;
mod yolo;

use crate::catalog::{Catalog, File, printable};
use crate::dataset::Split;
use serde::{Deserialize, Serialize};
use std::fmt;
pub use strict::{Loaded, load};
pub use write::{Layout, write};

/// A layout of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own folder: [`crate::dataset`].
    Flowrun,
    /// JSON files with `images`, `annotations` and `categories`.
    Coco,
    /// An XML file a picture.
    Voc,
    /// A text file a picture, and `data.yaml` or `classes.txt`.
    Yolo,
}

impl Format {
    /// As it is called in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flowrun => "flowrun",
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Yolo => "yolo",
        }
    }
}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, by its path in the data set.
    pub file: String,
    /// The line, from 1; none for what is about the whole file.
    pub line: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", printable(&self.file))?;
        self.line.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

/// Why a data set cannot be read, or not be written.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct FormatError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

impl FormatError {
    /// About a whole file.
    pub(crate) fn file(file: &str, message: impl fmt::Display) -> Self {
        Self { place: Place { file: file.to_owned(), line: None }, message: message.to_string() }
    }

    /// About a line, from 1.
    pub(crate) fn line(file: &str, line: u64, message: impl fmt::Display) -> Self {
        Self { place: Place { file: file.to_owned(), line: Some(line) }, message: message.to_string() }
    }
}

/// What kind of flaw a reader met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlawKind {
    /// A picture that is not there.
    MissingPicture,
    /// A name that leads out of the data set.
    UnsafeName,
    /// A line or an entry that is not of the layout.
    Malformed,
    /// A class by a number that no name has.
    UnknownClass,
    /// A picture that cannot be read, where its size is needed.
    UnreadablePicture,
}

/// A part of the annotations that could not be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The split it is in.
    pub split: Split,
    /// Where it is written.
    pub place: Place,
    /// The picture it is about, as written; empty where none is named.
    pub picture: String,
    /// What kind.
    pub kind: FlawKind,
    /// What is wrong, in words.
    pub message: String,
}

/// A box as it is written, in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The class's name.
    pub class: String,
    /// `xmin`, `ymin`, `xmax`, `ymax` as [`crate::Rect`] has them, not rounded; NaN for what is not a number.
    pub edges: [f64; 4],
    /// Where it is written.
    pub place: Place,
}

/// A picture that the annotations list.
#[derive(Debug, Clone)]
pub struct Annotated<'a> {
    /// Its file.
    pub file: &'a File,
    /// Its size as the annotations say it, where they do.
    pub stated: Option<(f64, f64)>,
    /// Its boxes, in the order written.
    pub boxes: Vec<Written>,
    /// Where it is listed.
    pub place: Place,
}

/// A data set as it is written.
#[derive(Debug, Default)]
pub struct Source<'a> {
    /// The pictures of train and of test, sorted by path.
    pub pictures: [Vec<Annotated<'a>>; 2],
    /// The class names, sorted, also those without boxes.
    pub classes: Vec<String>,
    /// What could not be taken.
    pub flaws: Vec<Flaw>,
    /// Annotations that are of no split that is used, by path.
    pub unused: Vec<String>,
}

impl<'a> Source<'a> {
    fn flaw(&mut self, split: Split, place: Place, picture: &str, kind: FlawKind, message: impl Into<String>) {
        self.flaws.push(Flaw { split, place, picture: picture.to_owned(), kind, message: message.into() });
    }

    fn finish(mut self) -> Self {
        for pictures in &mut self.pictures {
            pictures.sort_by(|a, b| a.file.path.cmp(&b.file.path));
        }
        self.classes.sort();
        self.classes.dedup();
        self
    }

    fn add(&mut self, split: Split, picture: Annotated<'a>) {
        self.pictures[split as usize].push(picture);
    }
}

/// Which layout the files are in; `None` where it is none of the four. Our own is looked for first, then COCO, VOC, YOLO.
#[must_use]
pub fn detect(catalog: &Catalog) -> Option<Format> {
    let has = |path: &str| catalog.files.iter().any(|file| file.path == path);
    if has("images.csv") && has("classes.json") {
        Some(Format::Flowrun)
    } else if coco::find(catalog).next().is_some() {
        Some(Format::Coco)
    } else if voc::find(catalog).next().is_some() {
        Some(Format::Voc)
    } else {
        yolo::is_one(catalog).then_some(Format::Yolo)
    }
}

/// Reads the annotations of a data set in the layout `format`, less its pixels.
///
/// # Errors
/// [`FormatError`] for what is not of the layout at all; flaws of single boxes and pictures are in [`Source::flaws`].
/// [`Format::Flowrun`] has no loose reading: it is [`crate::Dataset::read`]'s.
pub fn read<'a>(catalog: &'a Catalog, format: Format) -> Result<Source<'a>, FormatError> {
    match format {
        Format::Flowrun => Err(FormatError::file("images.csv", "a data set folder is read by its own reader")),
        Format::Coco => coco::read(catalog),
        Format::Voc => voc::read(catalog),
        Format::Yolo => yolo::read(catalog),
    }
}

/// Reads an annotation file as text.
fn text(file: &File, limit: u64) -> Result<String, FormatError> {
    let bytes = file.read(limit).map_err(|error| FormatError::file(&file.path, error))?;
    let text = String::from_utf8(bytes).map_err(|_| FormatError::file(&file.path, "the file is not UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Counts lines up to rising offsets of a text.
struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    /// The line, from 1, of the byte at `offset`.
    fn at(&mut self, offset: usize) -> u64 {
        let passed = self.text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.offset = self.offset.max(offset);
        self.line
    }
}

#[cfg(test)]
mod tests;
