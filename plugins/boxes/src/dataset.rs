//! The data set folder that goes from step to step, read and written.
//!
//! ```text
//! train/PICTURE… test/PICTURE…     the pictures, flat
//! train.csv test.csv               filename,width,height,class,xmin,ymin,xmax,ymax: one line a box, whole pixels
//! images.csv                       split,filename,width,height,source: one line a picture, those without boxes too
//! classes.json                     ["Apple rust leaf", …], sorted; a class's place in it is its number
//! ```
//!
//! UTF-8, LF, RFC 4180 quotes. File names are literal: they may hold `%`, `+`, `=`, `&` and blanks. `source` is the picture
//! that an augmented copy was made from, else the picture itself. This module checks only what keeps a reader safe:
//! names that are plain, numbers that are numbers, boxes whose picture is listed.

use crate::Rect;
use crate::catalog::{is_plain_name, printable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

/// One of the two parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is learned from.
    Train,
    /// What is judged by.
    Test,
}

impl Split {
    /// Both, in the order written.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// `train` or `test`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// A box and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// The class's name.
    pub class: String,
    /// Where.
    pub rect: Rect,
}

/// A picture of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name in its split's folder.
    pub filename: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The picture it was made from; its own name for an original.
    pub source: String,
    /// Its boxes, in the order of the CSV.
    pub boxes: Vec<Labelled>,
}

/// A data set, less the pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// Class names, sorted.
    pub classes: Vec<String>,
    /// Pictures to learn from.
    pub train: Vec<Entry>,
    /// Pictures to judge by.
    pub test: Vec<Entry>,
}

/// Why a folder cannot be read as a data set, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file system's complaint.
    #[error("`{file}`: {error}")]
    Io {
        /// The file, within the data set.
        file: String,
        /// What is wrong.
        error: io::Error,
    },
    /// A CSV or JSON file that is not one, or has other columns.
    #[error("`{file}`: {message}")]
    Syntax {
        /// The file, within the data set.
        file: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A file's name that is not a plain name.
    #[error("`{file}`: `{}` is not a plain file name", printable(.name))]
    Name {
        /// The file, within the data set.
        file: String,
        /// The name.
        name: String,
    },
    /// A box whose picture is not in `images.csv`.
    #[error("`{file}`: `{}` is not in `images.csv`", printable(.name))]
    Unlisted {
        /// The file, within the data set.
        file: String,
        /// The picture.
        name: String,
    },
}

#[derive(Serialize, Deserialize)]
struct ImageRow {
    split: Split,
    filename: String,
    width: u32,
    height: u32,
    source: String,
}

#[derive(Serialize, Deserialize)]
struct BoxRow {
    filename: String,
    width: u32,
    height: u32,
    class: String,
    xmin: i32,
    ymin: i32,
    xmax: i32,
    ymax: i32,
}

const IMAGE_COLUMNS: [&str; 5] = ["split", "filename", "width", "height", "source"];
const BOX_COLUMNS: [&str; 8] = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"];

impl Dataset {
    /// The pictures of a split.
    #[must_use]
    pub fn split(&self, split: Split) -> &[Entry] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// The pictures of a split, to change.
    pub fn split_mut(&mut self, split: Split) -> &mut Vec<Entry> {
        match split {
            Split::Train => &mut self.train,
            Split::Test => &mut self.test,
        }
    }

    /// Reads the tables of the data set folder `root`.
    ///
    /// # Errors
    /// [`DatasetError`], the first.
    pub fn read(root: &Path) -> Result<Self, DatasetError> {
        let text = fs::read_to_string(root.join("classes.json")).map_err(|error| io_error("classes.json", error))?;
        let classes = serde_json::from_str(&text)
            .map_err(|error| DatasetError::Syntax { file: "classes.json".into(), message: error.to_string() })?;
        let mut dataset = Self { classes, ..Self::default() };
        for row in rows::<ImageRow>(root, "images.csv")? {
            if let Some(name) = [&row.filename, &row.source].into_iter().find(|name| !is_plain_name(name)) {
                return Err(DatasetError::Name { file: "images.csv".into(), name: name.clone() });
            }
            let ImageRow { split, filename, width, height, source } = row;
            dataset.split_mut(split).push(Entry { filename, width, height, source, boxes: Vec::new() });
        }
        for split in Split::ALL {
            dataset.read_boxes(root, split)?;
        }
        Ok(dataset)
    }

    fn read_boxes(&mut self, root: &Path, split: Split) -> Result<(), DatasetError> {
        let file = format!("{}.csv", split.name());
        let entries = self.split_mut(split);
        let places: BTreeMap<String, usize> =
            entries.iter().enumerate().map(|(place, entry)| (entry.filename.clone(), place)).collect();
        for row in rows::<BoxRow>(root, &file)? {
            let Some(place) = places.get(&row.filename) else {
                return Err(DatasetError::Unlisted { file, name: row.filename });
            };
            let rect = Rect::new(row.xmin, row.ymin, row.xmax, row.ymax);
            entries[*place].boxes.push(Labelled { class: row.class, rect });
        }
        Ok(())
    }

    /// Writes the tables, and makes the folders for the pictures, in the existing folder `root`.
    ///
    /// # Errors
    /// [`DatasetError`]; a name that is not plain, or twice in a split, is refused before anything is written.
    pub fn write(&self, root: &Path) -> Result<(), DatasetError> {
        let mut images = writer(&IMAGE_COLUMNS, "images.csv")?;
        for split in Split::ALL {
            let file = format!("{}.csv", split.name());
            let (mut boxes, mut seen) = (writer(&BOX_COLUMNS, &file)?, BTreeSet::new());
            for entry in self.split(split) {
                if !is_plain_name(&entry.filename) || !seen.insert(&entry.filename) {
                    return Err(DatasetError::Name { file, name: entry.filename.clone() });
                }
                images.serialize(image_row(split, entry)).map_err(|error| syntax("images.csv", &error))?;
                for row in box_rows(entry) {
                    boxes.serialize(row).map_err(|error| syntax(&file, &error))?;
                }
            }
            fs::create_dir_all(root.join(split.name())).map_err(|error| io_error(split.name(), error))?;
            finish(root, &file, boxes)?;
        }
        finish(root, "images.csv", images)?;
        let classes = serde_json::Value::from(self.classes.clone());
        fs::write(root.join("classes.json"), format!("{classes:#}\n")).map_err(|error| io_error("classes.json", error))
    }
}

fn image_row(split: Split, entry: &Entry) -> ImageRow {
    let Entry { filename, width, height, source, .. } = entry.clone();
    ImageRow { split, filename, width, height, source }
}

fn box_rows(entry: &Entry) -> impl Iterator<Item = BoxRow> {
    entry.boxes.iter().map(|Labelled { class, rect }| BoxRow {
        filename: entry.filename.clone(),
        width: entry.width,
        height: entry.height,
        class: class.clone(),
        xmin: rect.xmin,
        ymin: rect.ymin,
        xmax: rect.xmax,
        ymax: rect.ymax,
    })
}

fn rows<T: for<'de> Deserialize<'de>>(root: &Path, file: &str) -> Result<Vec<T>, DatasetError> {
    let bytes = fs::read(root.join(file)).map_err(|error| io_error(file, error))?;
    csv::Reader::from_reader(bytes.as_slice())
        .into_deserialize()
        .collect::<Result<_, _>>()
        .map_err(|error| syntax(file, &error))
}

/// The header is written by hand: a table without rows has one too.
fn writer(columns: &[&str], file: &str) -> Result<csv::Writer<Vec<u8>>, DatasetError> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(columns).map_err(|error| syntax(file, &error))?;
    Ok(writer)
}

fn finish(root: &Path, file: &str, writer: csv::Writer<Vec<u8>>) -> Result<(), DatasetError> {
    let bytes = writer.into_inner().map_err(|error| io_error(file, error.into_error()))?;
    fs::write(root.join(file), bytes).map_err(|error| io_error(file, error))
}

fn io_error(file: &str, error: io::Error) -> DatasetError {
    DatasetError::Io { file: file.to_owned(), error }
}

fn syntax(file: &str, error: &csv::Error) -> DatasetError {
    DatasetError::Syntax { file: file.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(filename: &str) -> Entry {
        let boxes = vec![Labelled { class: "a, \"b\"".into(), rect: Rect::new(1, 2, 3, 4) }];
        Entry { filename: filename.into(), width: 10, height: 20, source: filename.into(), boxes }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let bare = Entry { boxes: Vec::new(), ..entry("bare.jpg") };
        let dataset = Dataset {
            classes: vec!["a, \"b\"".into()],
            train: vec![entry("x%2B y+=&.jpg"), bare],
            test: vec![entry("ü.jpg")],
        };
        dataset.write(folder.path()).expect("written");
        assert_eq!(Dataset::read(folder.path()).expect("read"), dataset);
        let text = fs::read_to_string(folder.path().join("images.csv")).expect("read");
        assert!(text.starts_with("split,filename,width,height,source\ntrain,x%2B y+=&.jpg,10,20,x%2B y+=&.jpg\n"));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["../x.jpg", "/x.jpg", "..", "", "a/b.jpg", "a\\b.jpg", "a\nb"] {
            let dataset = Dataset { train: vec![entry(name)], ..Dataset::default() };
            assert!(dataset.write(folder.path()).is_err(), "{name:?} was written");
        }
        Dataset::default().write(folder.path()).expect("written");
        let row = "split,filename,width,height,source\ntrain,../x.jpg,1,1,x.jpg\n";
        fs::write(folder.path().join("images.csv"), row).expect("written");
        assert!(matches!(Dataset::read(folder.path()), Err(DatasetError::Name { .. })));
    }
}
