//! YOLO's layout: a text file a picture, read.
//!
//! ```text
//! images/train/NAME.jpg  labels/train/NAME.txt  data.yaml      (or train/images/…, train/labels/…; or both in one folder)
//! ```
//!
//! A line is `class centre_x centre_y width height`: the class's number from 0, the rest parts of the picture's width and
//! height. A picture without a text file, or with an empty one, shows nothing. Names are `names` in `data.yaml` (a list, or
//! numbers with names), else the lines of `classes.txt` or `obj.names`. Source: docs.ultralytics.com, "Object Detection
//! Datasets Overview"; that the text file of `…/images/…/NAME.jpg` is `…/labels/…/NAME.txt` is its `img2label_paths`.
//! The paths in `data.yaml` are not followed: folder names tell the splits.
//!
//! Sizes come from the pictures' headers, and edges are as precise as a whole pixel only.

use super::lookup::{is_picture, stem};
use super::splits::{self, Word};
use super::{Annotated, FlawKind, FormatError, Place, Source, Written, text};
use crate::catalog::{Catalog, File};
use crate::dataset::Split;
use crate::picture::Picture;
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The largest text file read: ten thousand boxes are 400 kB.
const MAX_LABELS: u64 = 16 << 20;
/// The largest file of names read.
const MAX_NAMES: u64 = 1 << 20;
/// The largest picture file read where its first part does not tell its size.
const MAX_PICTURE: u64 = 256 << 20;
/// The part of a picture file that holds its size as a rule.
const HEAD: u64 = 256 << 10;
const YAMLS: [&str; 4] = ["data.yaml", "data.yml", "dataset.yaml", "dataset.yml"];
const LISTS: [&str; 3] = ["classes.txt", "obj.names", "classes.names"];

/// The file of class names: a YAML before a list, an outer one before an inner one.
fn names_file(catalog: &Catalog) -> Option<(&File, bool)> {
    let outermost = |names: &[&str]| {
        let named = catalog.files.iter().filter(|file| names.contains(&file.name()));
        named.min_by_key(|file| file.path.matches('/').count())
    };
    let is_names = |file: &&File| read_names(file, true).is_ok();
    let yaml = outermost(&YAMLS).filter(|file| outermost(&LISTS).is_none() || is_names(file));
    yaml.map(|file| (file, true)).or_else(|| outermost(&LISTS).map(|file| (file, false)))
}

/// Whether there are class names, and text files that belong to pictures.
pub(super) fn is_one(catalog: &Catalog) -> bool {
    let labels = Labels::new(catalog);
    names_file(catalog).is_some() && pictures(catalog).any(|picture| labels.of(picture).is_some())
}

fn pictures(catalog: &Catalog) -> impl Iterator<Item = &File> {
    catalog.files.iter().filter(|file| is_picture(file.name()))
}

/// Reads all of them.
pub(super) fn read(catalog: &Catalog) -> Result<Source<'_>, FormatError> {
    let (file, is_yaml) = names_file(catalog)
        .ok_or_else(|| FormatError::file(".", "no class names: neither `data.yaml` nor `classes.txt`"))?;
    let names = read_names(file, is_yaml)?;
    let words: Vec<(&File, Option<Word>)> = pictures(catalog).map(|file| (file, splits::of_folders(file))).collect();
    let used = splits::used(&words.iter().map(|(_, word)| *word).collect::<Vec<_>>());
    let mut source = Source { classes: names.values().cloned().collect(), ..Source::default() };
    let labels = Labels::new(catalog);
    for (file, word) in words {
        match used(word) {
            Some(split) => read_picture(file, labels.of(file), &names, split, &mut source)?,
            None => source.unused.push(file.path.clone()),
        }
    }
    Ok(source.finish())
}

/// The text files, by their paths.
struct Labels<'a>(HashMap<&'a str, &'a File>);

impl<'a> Labels<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        let texts = catalog.files.iter().filter(|file| file.name().ends_with(".txt") && !LISTS.contains(&file.name()));
        Self(texts.map(|file| (file.path.as_str(), file)).collect())
    }

    /// The text file of a picture: that below `labels` where the picture is below `images`, else that beside it.
    fn of(&self, picture: &File) -> Option<&'a File> {
        let path = stem(&picture.path);
        let mut parts: Vec<&str> = path.split('/').collect();
        let images = parts.iter().rposition(|part| *part == "images");
        let other = images.map(|place| {
            parts[place] = "labels";
            format!("{}.txt", parts.join("/"))
        });
        let of = |path: &str| self.0.get(path).copied();
        other.and_then(|path| of(&path)).or_else(|| of(&format!("{path}.txt")))
    }
}

fn read_picture<'a>(
    file: &'a File,
    labels: Option<&File>,
    names: &BTreeMap<u32, String>,
    split: Split,
    source: &mut Source<'a>,
) -> Result<(), FormatError> {
    let place = Place { file: labels.unwrap_or(file).path.clone(), line: None };
    let (width, height) = match size_of(file) {
        Ok(size) => size,
        Err(message) => {
            let place = Place { file: file.path.clone(), line: None };
            source.flaw(split, place, &file.path, FlawKind::UnreadablePicture, message);
            return Ok(());
        }
    };
    let mut boxes = Vec::new();
    let text = labels.map(|labels| text(labels, MAX_LABELS)).transpose()?.unwrap_or_default();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place { line: Some(number), ..place.clone() };
        match parse(line, names) {
            Ok((class, parts)) => boxes.push(Written { class, edges: edges(parts, width, height), place }),
            Err((kind, message)) => source.flaw(split, place, file.name(), kind, message),
        }
    }
    source.add(split, Annotated { file, stated: None, boxes, place });
    Ok(())
}

/// A picture's width and height, from its header.
pub(super) fn size_of(file: &File) -> Result<(u32, u32), String> {
    let head = file.head(HEAD).map_err(|error| error.to_string())?;
    match Picture::size_of(&head) {
        Err(_) if file.size > HEAD => {
            let bytes = file.read(MAX_PICTURE).map_err(|error| error.to_string())?;
            Picture::size_of(&bytes)
        }
        size => size,
    }
    .map_err(|error| error.to_string())
}

/// One line: the class's name, and centre x, centre y, width, height as parts (NaN for what is not a number).
fn parse(line: &str, names: &BTreeMap<u32, String>) -> Result<(String, [f64; 4]), (FlawKind, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[class, x, y, width, height] = words.as_slice() else {
        let message =
            format!("{} numbers, of which a box has 5: class, centre x, centre y, width, height", words.len());
        return Err((FlawKind::Malformed, message));
    };
    let number = class.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && (0.0..1e9).contains(number));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of 0 to 1e9")]
    let name = number.and_then(|number| names.get(&(number as u32)));
    let Some(name) = name else {
        let shown = crate::catalog::printable(class);
        return Err((FlawKind::UnknownClass, format!("no class has the number `{shown}`: there are {}", names.len())));
    };
    Ok((name.clone(), [x, y, width, height].map(|word| word.parse().unwrap_or(f64::NAN))))
}

fn edges([x, y, width, height]: [f64; 4], across: u32, down: u32) -> [f64; 4] {
    let (across, down) = (f64::from(across), f64::from(down));
    [(x - width / 2.0) * across, (y - height / 2.0) * down, (x + width / 2.0) * across, (y + height / 2.0) * down]
}

/// The class names by their numbers.
fn read_names(file: &File, is_yaml: bool) -> Result<BTreeMap<u32, String>, FormatError> {
    let text = text(file, MAX_NAMES)?;
    if !is_yaml {
        let lines = text.lines().map(str::trim).map(str::to_owned);
        let names: BTreeMap<u32, String> = (0..).zip(lines).filter(|(_, name)| !name.is_empty()).collect();
        return Ok(names);
    }
    let data: Data = serde_saphyr::from_str(&text).map_err(|error| FormatError::file(&file.path, error))?;
    Ok(data.names.0)
}

#[derive(Deserialize)]
struct Data {
    names: Names,
}

struct Names(BTreeMap<u32, String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("class names: a list, or numbers with names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = BTreeMap::new();
                for number in 0.. {
                    let Some(name) = list.next_element::<String>()? else { break };
                    names.insert(number, name);
                }
                Ok(Names(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = BTreeMap::new();
                while let Some((number, name)) = map.next_entry::<u32, String>()? {
                    names.insert(number, name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
