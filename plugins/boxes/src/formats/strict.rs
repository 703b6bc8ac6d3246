//! A data set in any layout as a [`Dataset`], or the first thing that is wrong with it.

use super::yolo::size_of;
use super::{Annotated, Format, FormatError, Place, Written, read};
use crate::catalog::{Catalog, File, printable};
use crate::dataset::{Dataset, Entry, Labelled, Split};
use crate::rect::Rect;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Edges further out than this are no numbers of pixels.
const FAR: f64 = 1e7;

/// A data set, and where its pictures are.
pub struct Loaded<'a> {
    /// The tables.
    pub dataset: Dataset,
    /// The picture file of each entry of train and of test.
    pub files: [Vec<&'a File>; 2],
    /// Annotations that are of no split that is used, by path.
    pub unused: Vec<String>,
}

/// Reads the data set in the folder (or tar) `root`, whose files `catalog` lists, in the layout `format`. Edges are rounded to
/// whole pixels; every picture's size is read from its header.
///
/// # Errors
/// [`FormatError`] with file and line, also for a picture that is missing, is listed twice in a split, or is not of the size
/// that is stated.
pub fn load<'a>(root: &Path, catalog: &'a Catalog, format: Format) -> Result<Loaded<'a>, FormatError> {
    if format == Format::Flowrun {
        return own(root, catalog);
    }
    let source = read(catalog, format)?;
    if let Some(flaw) = source.flaws.into_iter().next() {
        let about = if flaw.picture.is_empty() { String::new() } else { format!("`{}`: ", printable(&flaw.picture)) };
        return Err(FormatError { place: flaw.place, message: about + &flaw.message });
    }
    let dataset = Dataset { classes: source.classes, ..Dataset::default() };
    let mut loaded = Loaded { dataset, files: [Vec::new(), Vec::new()], unused: source.unused };
    for (split, pictures) in Split::ALL.into_iter().zip(source.pictures) {
        let mut names = BTreeSet::new();
        for picture in pictures {
            if !names.insert(picture.file.name()) {
                let name = printable(picture.file.name());
                let message = format!("a second picture `{name}` of {}: names must differ in a split", split.name());
                return Err(FormatError { place: picture.place, message });
            }
            loaded.files[split as usize].push(picture.file);
            loaded.dataset.split_mut(split).push(entry(picture)?);
        }
    }
    Ok(loaded)
}

fn entry(picture: Annotated<'_>) -> Result<Entry, FormatError> {
    let (width, height) = size_of(picture.file).map_err(|message| FormatError::file(&picture.file.path, message))?;
    let real = (f64::from(width), f64::from(height));
    if let Some((across, down)) = picture.stated.filter(|stated| *stated != real) {
        let name = printable(picture.file.name());
        let message = format!("`{name}` has {width} x {height} pixels, this says {across} x {down}");
        return Err(FormatError { place: picture.place, message });
    }
    let boxes = picture.boxes.into_iter().map(labelled).collect::<Result<_, _>>()?;
    let filename = picture.file.name().to_owned();
    Ok(Entry { source: filename.clone(), filename, width, height, boxes })
}

fn labelled(one: Written) -> Result<Labelled, FormatError> {
    let [xmin, ymin, xmax, ymax] = one.edges;
    let wrong = |place: Place, message: &str| Err(FormatError { place, message: message.to_owned() });
    if !one.edges.iter().all(|edge| edge.abs() <= FAR) {
        return wrong(one.place, "an edge that is not a number of pixels");
    }
    if one.class.trim().is_empty() {
        return wrong(one.place, "a box without a class");
    }
    #[expect(clippy::cast_possible_truncation, reason = "within ±1e7")]
    let whole = |edge: f64| edge.round() as i32;
    Ok(Labelled { class: one.class, rect: Rect::new(whole(xmin), whole(ymin), whole(xmax), whole(ymax)) })
}

fn own<'a>(root: &Path, catalog: &'a Catalog) -> Result<Loaded<'a>, FormatError> {
    let dataset = Dataset::read(root).map_err(|error| FormatError::file(".", error))?;
    let by_path: HashMap<&str, &File> = catalog.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut loaded = Loaded { dataset, files: [Vec::new(), Vec::new()], unused: Vec::new() };
    for split in Split::ALL {
        for entry in loaded.dataset.split(split) {
            let path = format!("{}/{}", split.name(), entry.filename);
            let file = by_path.get(path.as_str()).copied();
            let file = file.ok_or_else(|| FormatError::file(&path, "`images.csv` lists it, and it is not there"))?;
            loaded.files[split as usize].push(file);
        }
    }
    Ok(loaded)
}
