//! Columns of text under each other.

use std::borrow::Cow;

use super::line::{Line, Tone, tame, width_of};

/// One cell.
pub(crate) struct Cell {
    tone: Tone,
    text: String,
    right: bool,
}

/// A cell.
pub(crate) fn cell(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { tone, text: tamed(text.into()), right: false }
}

/// A cell at the right end of its column.
pub(crate) fn figure(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { right: true, ..cell(tone, text) }
}

fn tamed(text: String) -> String {
    match tame(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(tamed) => tamed,
    }
}

/// A column wider than this does not push the others away.
const WIDEST: usize = 48;

/// Rows as lines, two blanks between columns; the last column is as wide as it is.
pub(crate) fn rows(rows: Vec<Vec<Cell>>) -> Vec<Line> {
    let mut columns = Columns::default();
    rows.iter().for_each(|row| columns.measure(row.iter().map(|cell| &*cell.text)));
    rows.into_iter().map(|row| columns.line(row)).collect()
}

/// How wide columns are: for tables of which only one row at a time is to be in memory.
#[derive(Default)]
pub(crate) struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// Makes room for the texts of a row.
    pub(crate) fn measure<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        for (column, text) in texts.into_iter().enumerate() {
            if column == self.widths.len() {
                self.widths.push(0);
            }
            let width = width_of(text);
            if width <= WIDEST {
                self.widths[column] = self.widths[column].max(width);
            }
        }
    }

    /// A row whose texts were measured, but for a last one that is as wide as it is.
    pub(crate) fn line(&self, row: impl IntoIterator<Item = Cell, IntoIter: ExactSizeIterator>) -> Line {
        let row = row.into_iter();
        let last = row.len().saturating_sub(1);
        let mut line = Line::new();
        for (index, cell) in row.enumerate() {
            if index > 0 {
                line = line.plain("  ");
            }
            line = match cell.right {
                true => line.right(cell.tone, cell.text, self.widths[index]),
                false if index == last => line.with(cell.tone, cell.text),
                false => line.cell(cell.tone, cell.text, self.widths[index]),
            };
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let row =
            |name: &str, size: &str| vec![cell(Tone::Plain, name), figure(Tone::Dim, size), cell(Tone::Plain, "x")];
        let lines = rows(vec![row("a", "1 kB"), row("日本", "12 kB")]);
        let texts: Vec<String> = lines.iter().map(|line| line.paint(false)).collect();
        assert_eq!(texts, ["a      1 kB  x", "日本  12 kB  x"]);
    }
}
