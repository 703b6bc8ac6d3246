//! Data sets in COCO's, Pascal VOC's and YOLO's layouts as tables, so that their boxes are judged as those of a CSV are.
//!
//! The layouts themselves are [`boxes::formats`]'s. A row keeps the file and the line that its box was written in.

use crate::findings::{Action, Finding, Kind, Report};
use crate::tables::{self, Row, Table};
use boxes::formats::{self, Annotated, FlawKind, Format, Source};
use boxes::{Catalog, File, Split};
use flowrun_plugin::Failure;
use std::collections::{HashMap, HashSet};

/// Pictures that had an entry which could not be taken: they do not show nothing.
pub type Flawed = HashSet<(Split, String)>;
/// The tables, the picture files of each, and [`Flawed`].
pub type Read<'a> = (Vec<Table>, Vec<Vec<&'a File>>, Flawed);

/// The layout to read a data set in, where it is not CSVs: those go first, and always where the configuration names one.
#[must_use]
pub fn of(catalog: &Catalog, named: [Option<&str>; 2]) -> Option<Format> {
    if named.iter().any(Option::is_some) || tables::any(catalog) {
        return None;
    }
    formats::detect(catalog).filter(|format| *format != Format::Flowrun)
}

/// Reads all annotations of the layout.
///
/// # Errors
/// [`Failure`] where a file is not of the layout at all, or there is nothing to learn from.
pub fn read<'a>(catalog: &'a Catalog, format: Format, report: &mut Report) -> Result<Read<'a>, Failure> {
    let source = formats::read(catalog, format).map_err(Failure::bad_input)?;
    let flawed = flaws(&source, report);
    if let Some(first) = source.unused.first() {
        let message = format!("{} of neither train nor test are left out, this is the first", source.unused.len());
        report.add_file(None, first, Kind::TableUnused, Action::Dropped, message);
    }
    let (mut made, mut files) = (Vec::new(), Vec::new());
    for (split, pictures) in Split::ALL.into_iter().zip(source.pictures) {
        if pictures.is_empty() && split == Split::Test {
            continue;
        }
        if pictures.is_empty() {
            let message = format!("no training pictures in the data set, which is in the layout of {}", format.name());
            return Err(Failure::bad_input(message));
        }
        let (table, of_table) = table(split, format, pictures, report);
        made.push(table);
        files.push(of_table);
    }
    Ok((made, files, flawed))
}

/// Tells what could not be taken.
fn flaws(source: &Source<'_>, report: &mut Report) -> Flawed {
    let mut flawed = Flawed::new();
    for flaw in &source.flaws {
        let kind = match flaw.kind {
            FlawKind::MissingPicture => Kind::MissingFile,
            FlawKind::UnsafeName => Kind::UnsafeFilename,
            FlawKind::Malformed => Kind::MalformedEntry,
            FlawKind::UnknownClass => Kind::UnknownClass,
            FlawKind::UnreadablePicture => Kind::UnreadablePicture,
        };
        report.add(Finding {
            split: Some(flaw.split),
            file: Some(flaw.place.file.clone()),
            line: flaw.place.line,
            filename: flaw.picture.clone(),
            kind,
            fields: Vec::new(),
            message: flaw.message.clone(),
            action: Action::Dropped,
        });
        let name = flaw.picture.rsplit('/').next().unwrap_or_default();
        flawed.insert((flaw.split, name.to_owned()));
    }
    flawed
}

/// A split's rows and its picture files by name; of two files of one name the first is taken.
fn table<'a>(
    split: Split,
    format: Format,
    pictures: Vec<Annotated<'a>>,
    report: &mut Report,
) -> (Table, Vec<&'a File>) {
    let (mut rows, mut files, mut taken) = (Vec::new(), Vec::new(), HashMap::new());
    for picture in pictures {
        let first = *taken.entry(picture.file.name()).or_insert(picture.file);
        if first.path != picture.file.path {
            let message = format!("the split has another picture of this name: `{}`", first.path);
            report.add_file(Some(split), &picture.file.path, Kind::DuplicatePicture, Action::Dropped, message);
            continue;
        }
        if files.iter().next_back().is_none_or(|last: &&File| last.path != first.path) {
            files.push(first);
        }
        rows.extend(rows_of(&picture));
    }
    files.sort_by(|a, b| a.name().cmp(b.name()));
    (Table { split, words: tables::words_of(split), path: format.name().to_owned(), rows }, files)
}

fn rows_of(picture: &Annotated<'_>) -> impl Iterator<Item = Row> {
    picture.boxes.iter().map(|one| {
        let [xmin, ymin, xmax, ymax] = one.edges.map(|edge| Some(edge.to_string()));
        let width = picture.stated.map(|(width, _)| width.to_string());
        let height = picture.stated.map(|(_, height)| height.to_string());
        let (filename, class) = (Some(picture.file.name().to_owned()), Some(one.class.clone()));
        let cells = [filename, width, height, class, xmin, ymin, xmax, ymax];
        Row { file: Some(one.place.file.clone()), line: one.place.line, cells }
    })
}
