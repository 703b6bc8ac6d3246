//! A line of styled text that knows how wide it is.
//!
//! Whatever comes from a step or a file is tamed when it is put in: no control character reaches a terminal through here.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

/// How a piece of text is meant; what it looks like is decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As the terminal writes.
    Plain,
    /// Less important.
    Dim,
    /// More important.
    Strong,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Was there and is not.
    Gone,
    /// Deserves a look.
    Warn,
    /// At work.
    Busy,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Dim => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Gone => AnsiColor::Red.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Busy => AnsiColor::Cyan.on_default(),
        }
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    parts: Vec<(Tone, String)>,
}

impl Line {
    /// An empty line.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The line with more text.
    #[must_use]
    pub(crate) fn with(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.push(tone, text);
        self
    }

    /// The line with plain text.
    #[must_use]
    pub(crate) fn plain(self, text: impl AsRef<str>) -> Self {
        self.with(Tone::Plain, text)
    }

    /// The line with text in the background.
    #[must_use]
    pub(crate) fn dim(self, text: impl AsRef<str>) -> Self {
        self.with(Tone::Dim, text)
    }

    /// The line with text filled up with blanks to `width` columns.
    #[must_use]
    pub(crate) fn cell(self, tone: Tone, text: impl AsRef<str>, width: usize) -> Self {
        let text = tame(text.as_ref());
        let blanks = width.saturating_sub(width_of(&text));
        self.with(tone, text).blanks(blanks)
    }

    /// The line with text shifted to the right end of `width` columns.
    #[must_use]
    pub(crate) fn right(self, tone: Tone, text: impl AsRef<str>, width: usize) -> Self {
        let text = tame(text.as_ref());
        let blanks = width.saturating_sub(width_of(&text));
        self.blanks(blanks).with(tone, text)
    }

    fn blanks(mut self, blanks: usize) -> Self {
        const SOME: &str = "                                                                ";
        let mut left = blanks;
        while left > 0 {
            let some = left.min(SOME.len());
            self.push(Tone::Plain, &SOME[..some]);
            left -= some;
        }
        self
    }

    /// Adds text.
    pub(crate) fn push(&mut self, tone: Tone, text: impl AsRef<str>) {
        let text = tame(text.as_ref());
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            // Plain text has no codes around it.
            Some((Tone::Plain, last)) if tone == Tone::Plain => last.push_str(&text),
            _ => self.parts.push((tone, text.into_owned())),
        }
    }

    /// Adds another line's text.
    #[must_use]
    pub(crate) fn join(mut self, other: Line) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Its columns.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(|(_, text)| width_of(text)).sum()
    }

    /// The line cut to `width` columns; `…` stands for what is gone.
    #[must_use]
    pub(crate) fn fit(&self, width: usize) -> Line {
        if self.width() <= width {
            return self.clone();
        }
        let mut left = width.saturating_sub(1);
        let mut cut = Line::new();
        for (tone, text) in &self.parts {
            let kept = head(text, left);
            left -= width_of(kept);
            let whole = kept.len() == text.len();
            cut.push(*tone, kept);
            if !whole {
                if width > 0 {
                    cut.push(*tone, "…");
                }
                break;
            }
        }
        cut
    }

    /// Its text, with the terminal's codes where `colour`.
    pub(crate) fn paint(&self, colour: bool) -> String {
        let mut painted = String::with_capacity(self.parts.iter().map(|(_, text)| text.len()).sum());
        for (tone, text) in &self.parts {
            if colour && *tone != Tone::Plain {
                let style = tone.style();
                // Writing to memory cannot fail.
                let _ = write!(painted, "{style}{text}{style:#}");
            } else {
                painted.push_str(text);
            }
        }
        painted
    }
}

/// The longest beginning of `text` that fits into `width` columns.
fn head(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > width {
            return &text[..at];
        }
    }
    text
}

/// The columns of tamed text.
pub(crate) fn width_of(text: &str) -> usize {
    if is_usual(text) {
        return text.len();
    }
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// Whether it is what nearly all text is: printable, a byte and a column each.
fn is_usual(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Text that cannot steer a terminal: escape sequences dropped, tabs as blanks, other control characters and those that
/// reorder text as `·`.
pub(crate) fn tame(text: &str) -> Cow<'_, str> {
    if is_usual(text) {
        return text.into();
    }
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(steers) {
        return text.into();
    }
    let text = anstream::adapter::strip_str(text).to_string();
    // Of a line that was written over itself, the last state is what a person would have seen.
    let last = text.trim_end_matches(['\r', '\n']).rsplit('\r').next().unwrap_or_default();
    let tamed = last.chars().fold(String::new(), |mut tamed, c| {
        match c {
            '\t' => tamed.push_str("    "),
            c if steers(c) => tamed.push('·'),
            c => tamed.push(c),
        }
        tamed
    });
    tamed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_not_bytes() {
        let line = Line::new().plain("日本").with(Tone::Bad, "abc");
        assert_eq!(line.width(), 7);
        let texts: Vec<String> = [7, 6, 5, 4, 3, 1, 0].into_iter().map(|width| line.fit(width).paint(false)).collect();
        assert_eq!(texts, ["日本abc", "日本a…", "日本…", "日…", "日…", "…", ""]);
        for width in 0..9 {
            assert!(line.fit(width).width() <= width);
        }
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(tame("\x1b[2Jgone\x1b]0;title\x07 a\tb\u{7}\u{202e}c"), "gone a    b·c");
        assert_eq!(tame(" 10%\r 50%\r100%\r\n"), "100%");
        let line = Line::new().plain("\x1b[31mred");
        assert_eq!(line.paint(true), "red");
    }
}
