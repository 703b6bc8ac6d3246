//! Columns of text under each other.

use super::line::{Line, Tone, width_of};

/// One cell.
pub(crate) struct Cell {
    tone: Tone,
    text: String,
    right: bool,
}

/// A cell.
pub(crate) fn cell(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { tone, text: super::line::tame(&text.into()), right: false }
}

/// A cell at the right end of its column.
pub(crate) fn figure(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { right: true, ..cell(tone, text) }
}

/// A column wider than this does not push the others away.
const WIDEST: usize = 48;

/// Rows as lines, two blanks between columns; the last column is as wide as it is.
pub(crate) fn rows(rows: Vec<Vec<Cell>>) -> Vec<Line> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| row.get(column)).map(|cell| width_of(&cell.text));
        widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.into_iter().map(|row| line(row, &widths)).collect()
}

fn line(row: Vec<Cell>, widths: &[usize]) -> Line {
    let last = row.len().saturating_sub(1);
    let mut line = Line::new();
    for (index, cell) in row.into_iter().enumerate() {
        if index > 0 {
            line = line.plain("  ");
        }
        line = match cell.right {
            true => line.right(cell.tone, cell.text, widths[index]),
            false if index == last => line.with(cell.tone, cell.text),
            false => line.cell(cell.tone, cell.text, widths[index]),
        };
    }
    line
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
