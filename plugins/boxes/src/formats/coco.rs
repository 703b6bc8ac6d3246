//! COCO's layout: `annotations/instances_train2017.json` and the like, read.
//!
//! ```json
//! {"images": [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}],
//!  "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [x, y, width, height]}],
//!  "categories": [{"id": 3, "name": "leaf"}]}
//! ```
//!
//! Source: cocodataset.org, "Data format", 1 "Object Detection": boxes are in pixels from the top left corner of the
//! picture, counted from 0. `x + width` is thus the edge just outside. Masks, crowds and areas are passed over; an
//! annotation that is a crowd (`iscrowd` 1) is a region and no box, and is left out.

use super::lookup::Pictures;
use super::splits::{self, Word};
use super::{Annotated, FlawKind, FormatError, Lines, Place, Source, Written, text};
use crate::catalog::{Catalog, File};
use crate::dataset::Split;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The largest JSON read: COCO's own largest has 450 MB, most of it masks; a component has 2 GiB as a rule.
const MAX_JSON: u64 = 512 << 20;
/// How much of a file is looked at to tell what it is.
const LOOK: u64 = 1 << 20;

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    images: Vec<&'a RawValue>,
    #[serde(borrow)]
    annotations: Vec<&'a RawValue>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
}

/// The JSON files that are COCO's by their keys.
pub(super) fn find(catalog: &Catalog) -> impl Iterator<Item = &File> {
    let is_json = |file: &&File| file.name().to_ascii_lowercase().ends_with(".json");
    catalog.files.iter().filter(is_json).filter(|file| looks_like_one(file))
}

/// `images`, `annotations` and `categories` stand in any order and far apart: the start and the whole are both looked at.
fn looks_like_one(file: &File) -> bool {
    let object = |bytes: &[u8]| bytes.trim_ascii_start().first() == Some(&b'{') || bytes.starts_with(b"\xEF\xBB\xBF");
    let has = |bytes: &[u8], key: &str| bytes.windows(key.len()).any(|part| part == key.as_bytes());
    let Ok(head) = file.head(LOOK) else { return false };
    let keys = ["\"images\"", "\"annotations\"", "\"categories\""];
    if !object(&head) || !keys.iter().any(|key| has(&head, key)) {
        return false;
    }
    file.read(MAX_JSON).is_ok_and(|bytes| keys.iter().all(|key| has(&bytes, key)))
}

/// Reads all of them.
pub(super) fn read(catalog: &Catalog) -> Result<Source<'_>, FormatError> {
    let files: Vec<(&File, Option<Word>)> = find(catalog).map(|file| (file, splits::of_file(file))).collect();
    if files.is_empty() {
        return Err(FormatError::file(".", "no JSON file with `images`, `annotations` and `categories`"));
    }
    let used = splits::used(&files.iter().map(|(_, word)| *word).collect::<Vec<_>>());
    let (mut source, pictures) = (Source::default(), Pictures::new(catalog));
    for (file, word) in files {
        match used(word) {
            Some(split) => read_file(file, split, word, &pictures, &mut source)?,
            None => source.unused.push(file.path.clone()),
        }
    }
    Ok(source.finish())
}

fn read_file<'a>(
    file: &File,
    split: Split,
    word: Option<Word>,
    pictures: &Pictures<'a>,
    source: &mut Source<'a>,
) -> Result<(), FormatError> {
    let text = text(file, MAX_JSON)?;
    let whole: Whole =
        serde_json::from_str(&text).map_err(|error| FormatError::line(&file.path, error.line() as u64, error))?;
    let names: HashMap<i64, &str> = whole.categories.iter().map(|one| (one.id, one.name.as_str())).collect();
    source.classes.extend(whole.categories.iter().map(|one| one.name.clone()));
    let mut reader = Reader { file, split, text: &text, source };
    let mut listed: HashMap<i64, (String, Option<Annotated<'a>>)> = HashMap::new();
    for (place, image) in reader.parse::<Image>(&whole.images) {
        let stated = image.width.zip(image.height);
        let found = match pictures.find(&image.file_name, file.folder(), word) {
            Ok(found) => Some(Annotated { file: found, stated, boxes: Vec::new(), place: place.clone() }),
            Err((kind, message)) => {
                reader.source.flaw(split, place.clone(), &image.file_name, kind, message);
                None
            }
        };
        if listed.insert(image.id, (image.file_name.clone(), found)).is_some() {
            let message = format!("a second picture of the id {}", image.id);
            reader.source.flaw(split, place, &image.file_name, FlawKind::Malformed, message);
        }
    }
    reader.boxes(&whole.annotations, &names, &mut listed);
    for picture in listed.into_values().filter_map(|(_, picture)| picture) {
        source.add(split, picture);
    }
    Ok(())
}

struct Reader<'r, 'a> {
    file: &'r File,
    split: Split,
    text: &'r str,
    source: &'r mut Source<'a>,
}

impl<'a> Reader<'_, 'a> {
    /// Each entry of a list, with its line; one that is not what it should be is a flaw.
    fn parse<T: for<'de> Deserialize<'de>>(&mut self, entries: &[&RawValue]) -> Vec<(Place, T)> {
        let (mut lines, mut parsed) = (Lines::new(self.text), Vec::with_capacity(entries.len()));
        for entry in entries {
            let offset = (entry.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
            let place = Place { file: self.file.path.clone(), line: Some(lines.at(offset)) };
            match serde_json::from_str(entry.get()) {
                Ok(one) => parsed.push((place, one)),
                Err(error) => self.source.flaw(self.split, place, "", FlawKind::Malformed, error.to_string()),
            }
        }
        parsed
    }

    fn boxes(
        &mut self,
        entries: &[&RawValue],
        names: &HashMap<i64, &str>,
        listed: &mut HashMap<i64, (String, Option<Annotated<'a>>)>,
    ) {
        for (place, one) in self.parse::<Annotation>(entries) {
            let Some((name, picture)) = listed.get_mut(&one.image_id) else {
                let message = format!("no picture has the id {}", one.image_id);
                self.source.flaw(self.split, place, "", FlawKind::MissingPicture, message);
                continue;
            };
            let Some(class) = names.get(&one.category_id) else {
                let message = format!("no category has the id {}", one.category_id);
                self.source.flaw(self.split, place, name, FlawKind::UnknownClass, message);
                continue;
            };
            let [x, y, width, height] = one.bbox;
            if let (Some(picture), 0) = (picture, one.iscrowd) {
                let edges = [x, y, x + width, y + height];
                picture.boxes.push(Written { class: (*class).to_owned(), edges, place });
            }
        }
    }
}
