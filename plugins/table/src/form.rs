//! Tables in files: CSV, TSV, JSON (a list of objects), JSON lines, Parquet.
//!
//! A CSV says nothing of types, so all cells of a column decide, without regard to rows that are kept later: whole numbers, if every one is
//! written as flowrun would write it (so that `007` stays a text); else decimal numbers; else `true`/`false`; else texts. An empty cell is null.

use crate::cell::{Cell, Table};
use crate::parquets;
use serde::Deserialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value as Json;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// A format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Comma-separated values (RFC 4180), UTF-8.
    Csv,
    /// The same with tabs.
    Tsv,
    /// A list of objects.
    Json,
    /// An object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Form {
    /// The format that a file's name says.
    ///
    /// # Errors
    /// When it says none.
    pub fn of(path: &Path) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        match name.rsplit('.').next() {
            Some("csv") => Ok(Self::Csv),
            Some("tsv") => Ok(Self::Tsv),
            Some("json") => Ok(Self::Json),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(format!("`{name}` does not say its format: .csv, .tsv, .json, .jsonl or .parquet was expected")),
        }
    }
}

/// Reads a table.
///
/// # Errors
/// What is wrong with it, and where.
pub fn read(form: Form, path: &Path) -> Result<Table, String> {
    let file = File::open(path).map_err(|error| format!("the table: {error}"))?;
    match form {
        Form::Csv => read_csv(BufReader::new(file), b','),
        Form::Tsv => read_csv(BufReader::new(file), b'\t'),
        Form::Json | Form::Jsonl => {
            let mut text = String::new();
            BufReader::new(file).read_to_string(&mut text).map_err(|error| format!("the table: {error}"))?;
            let text = text.trim_start_matches('\u{feff}');
            if form == Form::Json { read_json(text) } else { read_lines(text) }
        }
        Form::Parquet => parquets::read(file),
    }
}

/// Writes a table.
///
/// # Errors
/// The file system's, or that the format cannot hold it.
pub fn write(form: Form, path: &Path, table: &Table) -> Result<(), String> {
    let file = File::create(path).map_err(|error| error.to_string())?;
    let mut to = BufWriter::new(file);
    match form {
        Form::Csv => write_csv(&mut to, table, b','),
        Form::Tsv => write_csv(&mut to, table, b'\t'),
        Form::Json => write_json(&mut to, table),
        Form::Jsonl => write_lines(&mut to, table),
        Form::Parquet => parquets::write(&mut to, table),
    }?;
    to.flush().map_err(|error| error.to_string())
}

fn read_csv(from: impl Read, delimiter: u8) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(from);
    let bad = |error: csv::Error| format!("the table: {error}");
    let mut columns: Vec<String> = reader.headers().map_err(bad)?.iter().map(str::to_owned).collect();
    if let Some(first) = columns.first_mut() {
        *first = first.trim_start_matches('\u{feff}').to_owned();
    }
    for (index, name) in columns.iter().enumerate() {
        if columns[..index].contains(name) {
            return Err(format!("the table has two columns `{name}`"));
        }
    }
    let mut texts: Vec<Vec<String>> = Vec::new();
    for record in reader.records() {
        texts.push(record.map_err(bad)?.iter().map(str::to_owned).collect());
    }
    let kinds: Vec<Kind> =
        (0..columns.len()).map(|place| Kind::of(texts.iter().map(|row| row[place].as_str()))).collect();
    let row = |row: Vec<String>| row.into_iter().zip(&kinds).map(|(text, kind)| kind.cell(text)).collect();
    Ok(Table { columns, rows: texts.into_iter().map(row).collect() })
}

/// What all cells of a CSV's column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Float,
    Bool,
    Text,
}

impl Kind {
    fn of<'a>(cells: impl Iterator<Item = &'a str> + Clone) -> Self {
        let all = |fits: fn(&str) -> bool| cells.clone().filter(|cell| !cell.is_empty()).all(fits);
        let some = cells.clone().any(|cell| !cell.is_empty());
        match some {
            true if all(is_int) => Self::Int,
            true if all(is_float) => Self::Float,
            true if all(|cell| cell == "true" || cell == "false") => Self::Bool,
            _ => Self::Text,
        }
    }

    fn cell(self, text: String) -> Cell {
        match self {
            _ if text.is_empty() => Cell::Null,
            Self::Int => text.parse().map_or(Cell::Null, Cell::Int),
            Self::Float => text.parse().map_or(Cell::Null, Cell::float),
            Self::Bool => Cell::Bool(text == "true"),
            Self::Text => Cell::Text(text),
        }
    }
}

fn is_int(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

/// Digits with at most one point and an exponent, no needless zero before, and not beyond what a decimal number can hold.
fn is_float(text: &str) -> bool {
    let body = text.strip_prefix('-').unwrap_or(text);
    let plain = body.starts_with(|c: char| c.is_ascii_digit())
        && body.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    let padded = body.len() > 1 && body.starts_with('0') && body.as_bytes()[1].is_ascii_digit();
    plain && !padded && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn write_csv(to: &mut impl Write, table: &Table, delimiter: u8) -> Result<(), String> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(to);
    writer.write_record(&table.columns).map_err(|error| error.to_string())?;
    for row in &table.rows {
        writer.write_record(row.iter().map(Cell::text)).map_err(|error| error.to_string())?;
    }
    writer.flush().map_err(|error| error.to_string())
}

/// A JSON object with its keys in the order written, which JSON's own maps lose.
struct Entries(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> serde::de::Visitor<'de> for Visit {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Visit)
    }
}

fn read_json(text: &str) -> Result<Table, String> {
    let rows: Vec<Entries> =
        serde_json::from_str(text).map_err(|error| format!("the table is not a JSON list of objects: {error}"))?;
    from_objects(rows.into_iter().enumerate().map(|(index, row)| (index + 1, row)))
}

fn read_lines(text: &str) -> Result<Table, String> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row =
            serde_json::from_str(line).map_err(|error| format!("line {} is not a JSON object: {error}", index + 1))?;
        rows.push((index + 1, row));
    }
    from_objects(rows.into_iter())
}

/// Columns are all keys, in the order of their first appearance; a key that a row lacks is null.
fn from_objects(objects: impl Iterator<Item = (usize, Entries)>) -> Result<Table, String> {
    let mut table = Table::default();
    let mut places = std::collections::HashMap::new();
    for (number, Entries(entries)) in objects {
        let mut row = vec![Cell::Null; table.columns.len()];
        for (name, value) in entries {
            let place = *places.entry(name.clone()).or_insert_with(|| {
                table.columns.push(name.clone());
                table.columns.len() - 1
            });
            row.resize(row.len().max(place + 1), Cell::Null);
            row[place] = cell(value).map_err(|message| format!("row {number}, column `{name}`: {message}"))?;
        }
        table.rows.push(row);
    }
    let width = table.columns.len();
    table.rows.iter_mut().for_each(|row| row.resize(width, Cell::Null));
    Ok(table)
}

fn cell(value: Json) -> Result<Cell, String> {
    match value {
        Json::Null => Ok(Cell::Null),
        Json::Bool(value) => Ok(Cell::Bool(value)),
        Json::String(value) => Ok(Cell::Text(value)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Cell::Int(whole)),
            (None, Some(decimal)) if decimal.is_finite() => Ok(Cell::Float(decimal)),
            _ => Err(format!("{number} is too large")),
        },
        Json::Array(_) | Json::Object(_) => {
            Err("a list or object is not a cell; `flowrun/json` can take it apart".to_owned())
        }
    }
}

struct RowJson<'a>(&'a [String], &'a [Cell]);

impl serde::Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, cell) in self.0.iter().zip(self.1) {
            match cell {
                Cell::Null => map.serialize_entry(name, &()),
                Cell::Bool(value) => map.serialize_entry(name, value),
                Cell::Int(value) => map.serialize_entry(name, value),
                Cell::Float(value) => map.serialize_entry(name, value),
                Cell::Text(value) => map.serialize_entry(name, value),
            }?;
        }
        map.end()
    }
}

fn write_json(to: &mut impl Write, table: &Table) -> Result<(), String> {
    let rows: Vec<RowJson<'_>> = table.rows.iter().map(|row| RowJson(&table.columns, row)).collect();
    serde_json::to_writer_pretty(&mut *to, &rows).map_err(|error| error.to_string())?;
    to.write_all(b"\n").map_err(|error| error.to_string())
}

fn write_lines(to: &mut impl Write, table: &Table) -> Result<(), String> {
    for row in &table.rows {
        serde_json::to_writer(&mut *to, &RowJson(&table.columns, row)).map_err(|error| error.to_string())?;
        to.write_all(b"\n").map_err(|error| error.to_string())?;
    }
    Ok(())
}
