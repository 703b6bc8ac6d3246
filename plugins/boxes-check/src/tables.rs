//! Finds the CSV of each split among a data set's files, by its header and its name, and reads it into rows of text.

use crate::findings::{Action, Kind, Report};
use boxes::catalog::printable;
use boxes::{Catalog, File, Split};
use flowrun_plugin::Failure;

/// A table's columns, in the order of [`Row::cells`].
pub const COLUMNS: [&str; 8] = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"];
/// `width` and `height` may be missing: they are also in the picture.
const OPTIONAL: [usize; 2] = [1, 2];
/// The largest CSV read: three million boxes.
const MAX_TABLE: u64 = 256 << 20;

/// One line of a table.
#[derive(Debug, Clone)]
pub struct Row {
    /// The file it stands in, where that is not the table's own.
    pub file: Option<String>,
    /// The line it starts on, 1 for the header.
    pub line: Option<u64>,
    /// The cells by [`COLUMNS`]; `None` where the table has no such column.
    pub cells: [Option<String>; 8],
}

/// A split's boxes as written.
#[derive(Debug)]
pub struct Table {
    /// Which split it is used as.
    pub split: Split,
    /// Words of file and folder names that mean this split.
    pub words: &'static [&'static str],
    /// Its path in the data set.
    pub path: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

const TRAIN: &[&str] = &["train", "training"];
const TEST: &[&str] = &["test", "testing"];
const VALID: &[&str] = &["valid", "validation", "val"];
/// All words that mean some split.
pub const ALL_WORDS: [&[&str]; 3] = [TRAIN, TEST, VALID];

/// Which of [`ALL_WORDS`] a picture or table belongs to by its folders, the innermost first, then by its tar's name.
#[must_use]
pub fn split_words(file: &File) -> Option<&'static [&'static str]> {
    let parts = file.folder().rsplit('/').chain(file.tar.as_deref());
    parts.into_iter().find_map(|part| ALL_WORDS.into_iter().find(|words| has_word(part, words)))
}

fn has_word(name: &str, words: &[&str]) -> bool {
    let lower = name.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|token| words.contains(&token))
}

fn table_words(file: &File) -> Option<&'static [&'static str]> {
    let stem = file.name().rsplit_once('.').map_or(file.name(), |(stem, _)| stem);
    ALL_WORDS.into_iter().find(|words| has_word(stem, words)).or_else(|| split_words(file))
}

/// Reads the tables of the data set: train's, and test's where there is one.
///
/// `named` are the paths that the configuration gives for train and test.
///
/// # Errors
/// [`Failure`] where no table can be train's, or a named one is not there.
pub fn read_all(catalog: &Catalog, named: [Option<&str>; 2], report: &mut Report) -> Result<Vec<Table>, Failure> {
    let mut candidates: Vec<_> = candidates(catalog).collect();
    let mut tables = Vec::new();
    for (split, name) in Split::ALL.into_iter().zip(named) {
        let Some(name) = name else { continue };
        let Some(place) = candidates.iter().position(|candidate| candidate.0.path == name) else {
            let message = format!("no CSV of boxes `{}` in the data set", printable(name));
            return Err(Failure::bad_config(format!("{}_csv", split.name()), message));
        };
        let (file, bytes) = candidates.remove(place);
        tables.push(parse(file, &bytes, split, words_of(split), report)?);
    }
    for (split, words) in [(Split::Train, TRAIN), (Split::Test, TEST), (Split::Test, VALID)] {
        let mut of_split: Vec<_> = candidates.extract_if(.., |(file, _)| table_words(file) == Some(words)).collect();
        // A loose table before one in a tar (people mend the loose one), an outer one before an inner one.
        of_split.sort_by_key(|(file, _)| (file.tar.is_some(), file.path.matches('/').count(), file.path.clone()));
        let mut of_split = of_split.into_iter();
        let taken = tables.iter().any(|table| table.split == split);
        let first = if taken { None } else { of_split.next() };
        for (file, bytes) in of_split {
            if first.as_ref().is_none_or(|first| first.1 != bytes) && named[split as usize].is_none() {
                let message = format!("another table is used for `{}`", split.name());
                report.add_file(Some(split), &file.path, Kind::TableUnused, Action::Dropped, message);
            }
        }
        if let Some((file, bytes)) = first {
            tables.push(parse(file, &bytes, split, words, report)?);
        }
    }
    if !tables.iter().any(|table| table.split == Split::Train) {
        tables.push(only_table(candidates, report)?);
    }
    tables.sort_by_key(|table| table.split);
    Ok(tables)
}

pub(crate) fn words_of(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => TRAIN,
        Split::Test => TEST,
    }
}

/// The one table, of no split by its name, that is train's.
fn only_table(candidates: Vec<(&File, Vec<u8>)>, report: &mut Report) -> Result<Table, Failure> {
    let names: Vec<String> = candidates.iter().map(|(file, _)| format!("`{}`", printable(&file.path))).collect();
    match <[_; 1]>::try_from(candidates) {
        Ok([(file, bytes)]) => parse(file, &bytes, Split::Train, TRAIN, report),
        Err(_) if names.is_empty() => Err(Failure::bad_input(format!(
            "no CSV of boxes for the training pictures: one such as `train.csv` with the columns `{}` is needed",
            COLUMNS.join(",")
        ))),
        Err(_) => Err(Failure::bad_input(format!(
            "several CSVs of boxes and none is called `train`: name one with `train_csv`, of {}",
            names.join(", ")
        ))),
    }
}

/// Whether there is any table of boxes.
#[must_use]
pub fn any(catalog: &Catalog) -> bool {
    candidates(catalog).next().is_some()
}

/// The CSV files whose header has the columns.
fn candidates(catalog: &Catalog) -> impl Iterator<Item = (&File, Vec<u8>)> {
    let is_csv = |file: &&File| file.path.to_lowercase().ends_with(".csv") && file.size <= MAX_TABLE;
    let read = |file| Some((file, File::read(file, MAX_TABLE).ok()?));
    let has_columns =
        |(_, bytes): &(&File, Vec<u8>)| reader(bytes).byte_headers().is_ok_and(|header| columns(header).is_some());
    catalog.files.iter().filter(is_csv).filter_map(read).filter(has_columns)
}

fn reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    csv::ReaderBuilder::new().flexible(true).from_reader(bytes)
}

/// Where each of [`COLUMNS`] stands; `None` where one that is needed is missing.
fn columns(header: &csv::ByteRecord) -> Option<[Option<usize>; 8]> {
    let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_lowercase()).collect();
    let places = COLUMNS.map(|column| names.iter().position(|name| name == column));
    let whole = (0..8).all(|column| places[column].is_some() || OPTIONAL.contains(&column));
    whole.then_some(places)
}

fn parse(
    file: &File,
    bytes: &[u8],
    split: Split,
    words: &'static [&'static str],
    report: &mut Report,
) -> Result<Table, Failure> {
    file_flaws(file, bytes, split, report);
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let broken = |error: csv::Error| Failure::bad_input(format!("`{}`: {error}", printable(&file.path)));
    let mut reader = reader(bytes);
    let header = reader.byte_headers().map_err(broken)?.clone();
    let places = columns(&header).ok_or_else(|| Failure::internal("a table lost its columns"))?;
    let (mut rows, mut lines, mut record) = (Vec::new(), Lines::default(), csv::ByteRecord::new());
    while reader.read_byte_record(&mut record).map_err(broken)? {
        let start = record.position().map_or(0, csv::Position::byte);
        let line = lines.at(bytes, usize::try_from(start).unwrap_or(usize::MAX));
        let cell = |place: Option<usize>| Some(String::from_utf8_lossy(record.get(place?)?).into_owned());
        let cells = places.map(cell);
        if record.len() == header.len() {
            rows.push(Row { file: None, line: Some(line), cells });
        }
        let mut add = |kind, action, message: String| {
            let filename = printable(&cell(places[0]).unwrap_or_default());
            let fields = Vec::new();
            report.add(crate::findings::Finding {
                split: Some(split),
                file: None,
                line: Some(line),
                filename,
                kind,
                fields,
                message,
                action,
            });
        };
        if record.len() != header.len() {
            let message = format!("{} cells, the header has {}", record.len(), header.len());
            add(Kind::WrongColumnCount, Action::Dropped, message);
        } else if std::str::from_utf8(record.as_slice()).is_err() {
            add(Kind::NotUtf8, Action::Kept, "not UTF-8; what is not was replaced".to_owned());
        }
    }
    Ok(Table { split, words, path: file.path.clone(), rows })
}

fn file_flaws(file: &File, bytes: &[u8], split: Split, report: &mut Report) {
    let mut add = |kind, message| report.add_file(Some(split), &file.path, kind, Action::Fixed, message);
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        add(
            Kind::Utf8Bom,
            "starts with a byte order mark, which a naive reader takes for part of the first column's name",
        );
    }
    if bytes.windows(2).any(|pair| pair == b"\r\n") {
        add(Kind::Crlf, "lines end with CR LF");
    }
}

/// Counts lines up to rising offsets.
#[derive(Default)]
struct Lines {
    offset: usize,
    before: u64,
}

impl Lines {
    /// The line, from 1, of the record that starts at `offset` or at the first byte after line ends there.
    fn at(&mut self, bytes: &[u8], offset: usize) -> u64 {
        let rest = bytes.get(offset..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let start = (offset + blank).min(bytes.len()).max(self.offset);
        self.before += bytes[self.offset..start].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.offset = start;
        self.before + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        folder
    }

    const HEADER: &str = "filename,class,xmin,ymin,xmax,ymax\n";

    fn chosen(files: &[(&str, &str)]) -> Result<Vec<(Split, String)>, Failure> {
        let folder = folder(files);
        let catalog = Catalog::read(folder.path()).expect("listed");
        let tables = read_all(&catalog, [None, None], &mut Report::new())?;
        Ok(tables.into_iter().map(|table| (table.split, table.path)).collect())
    }

    #[test]
    fn tables_are_found_by_name_folder_and_header() {
        let found = chosen(&[("train_labels.csv", HEADER), ("test_labels.csv", HEADER), ("notes.csv", "a,b\n")]);
        let names = |names: [(Split, &str); 2]| names.map(|(split, name)| (split, name.to_owned())).to_vec();
        assert_eq!(found, Ok(names([(Split::Train, "train_labels.csv"), (Split::Test, "test_labels.csv")])));
        let found = chosen(&[("train/_annotations.csv", HEADER), ("valid/_annotations.csv", HEADER)]);
        assert_eq!(
            found,
            Ok(names([(Split::Train, "train/_annotations.csv"), (Split::Test, "valid/_annotations.csv")]))
        );
        assert_eq!(chosen(&[("boxes.csv", HEADER)]), Ok(vec![(Split::Train, "boxes.csv".to_owned())]));
        assert!(matches!(chosen(&[("a.csv", HEADER), ("b.csv", HEADER)]), Err(Failure::BadInput(_))));
        assert!(matches!(chosen(&[("train.csv", "a,b\n")]), Err(Failure::BadInput(_))));
    }

    #[test]
    fn lines_are_those_an_editor_shows() {
        let text = "\u{feff}filename,class,xmin,ymin,xmax,ymax\r\n\"a\r\nb\",c,1,2,3,4\r\n\r\nd,c,1,2,3,4\r\ne,c,1\r\n";
        let folder = folder(&[("train.csv", text)]);
        let catalog = Catalog::read(folder.path()).expect("listed");
        let mut report = Report::new();
        let tables = read_all(&catalog, [None, None], &mut report).expect("read");
        assert_eq!(tables[0].rows.iter().map(|row| row.line).collect::<Vec<_>>(), [Some(2), Some(5)]);
        let kinds: Vec<_> = report.findings.iter().map(|finding| (finding.kind, finding.line)).collect();
        assert_eq!(kinds, [(Kind::Utf8Bom, None), (Kind::Crlf, None), (Kind::WrongColumnCount, Some(6))]);
    }

    #[test]
    fn a_named_table_must_be_there() {
        let folder = folder(&[("train.csv", HEADER)]);
        let catalog = Catalog::read(folder.path()).expect("listed");
        let failure = read_all(&catalog, [Some("dirty.csv"), None], &mut Report::new()).expect_err("refused");
        assert!(matches!(failure, Failure::BadConfig { path, .. } if path == "train_csv"));
    }
}
