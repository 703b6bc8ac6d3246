//! A table of any kind: the first rows of a CSV, and how many more there are. Cells are texts; a column of numbers is set
//! to the right. Knows no column's meaning.

use crate::html::{Text, count, grouped, put};
use std::path::Path;

/// How many columns are shown.
const COLUMNS: usize = 40;
/// How many letters of a cell are shown.
const LETTERS: usize = 300;

/// The part of a table that is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sheet {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Rows in all.
    all: usize,
    /// Columns in all.
    wide: usize,
}

/// Reads a CSV with a header: at most `most` of its rows are kept, all are counted.
///
/// # Errors
/// In words, where it is none.
pub fn read(path: &Path, most: usize) -> Result<Sheet, String> {
    let fault = |error: csv::Error| format!("the table is not readable: {error}");
    let mut reader = csv::Reader::from_path(path).map_err(fault)?;
    let cells = |record: &csv::StringRecord| record.iter().take(COLUMNS).map(cut).collect::<Vec<_>>();
    let header = reader.headers().map_err(fault)?;
    let (wide, mut columns) = (header.len(), cells(header));
    if let Some(first) = columns.first_mut() {
        *first = first.trim_start_matches('\u{feff}').to_owned();
    }
    let mut sheet = Sheet { columns, wide, ..Sheet::default() };
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(fault)? {
        if sheet.rows.len() < most {
            sheet.rows.push(cells(&record));
        }
        sheet.all += 1;
    }
    Ok(sheet)
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(LETTERS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

impl Sheet {
    /// How many rows and columns it has, in words.
    pub(crate) fn size(&self) -> String {
        format!("{}, {}.", count(self.all, "row", "rows"), count(self.wide, "column", "columns"))
    }

    /// Writes the section's body.
    pub(crate) fn write(&self, out: &mut String) {
        if self.all == 0 {
            out.push_str(r#"<p class="quiet">The table has no rows.</p>"#);
            return;
        }
        if !self.rows.is_empty() {
            self.rows(out);
        }
        if self.all > self.rows.len() {
            put!(out, r#"<p class="quiet">and {} not shown</p>"#, count(self.all - self.rows.len(), "row", "rows"));
        }
        if self.wide > COLUMNS {
            put!(out, r#"<p class="quiet">and {} more columns</p>"#, grouped(self.wide - COLUMNS));
        }
    }

    fn rows(&self, out: &mut String) {
        let right: Vec<&str> =
            (0..self.columns.len()).map(|place| if self.numbers(place) { RIGHT } else { "" }).collect();
        out.push_str(r#"<div class="scroll tall" tabindex="0"><table class="words"><thead><tr>"#);
        for (name, right) in self.columns.iter().zip(&right) {
            put!(out, "<th{right}>{}</th>", Text(name));
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for (cell, right) in row.iter().zip(&right) {
                put!(out, "<td{right}>{}</td>", Text(cell));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
    }

    /// Whether all shown cells of a column that hold anything hold a number, and one does.
    fn numbers(&self, place: usize) -> bool {
        let mut cells = self.rows.iter().map(|row| row[place].trim()).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    }
}

/// The style of a cell of a column of numbers.
const RIGHT: &str = r#" style="text-align:right""#;
