//! The two streams: data on standard output, talk on standard error, each with colours where it wants them.
//!
//! A reader that went away is not an error: [`Error::Gone`] ends the command quietly.

use std::borrow::Borrow;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;

use crate::error::Error;
use crate::show::line::Line;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// Where a terminal shows them and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Settles colours for the whole command.
pub(crate) fn choose_colour(colour: Colour) {
    match colour {
        Colour::Auto => ColorChoice::Auto,
        Colour::Always => ColorChoice::AlwaysAnsi,
        Colour::Never => ColorChoice::Never,
    }
    .write_global();
}

/// Whether standard error takes colours. Asked once: after [`choose_colour`] the answer stays.
pub(crate) fn err_is_coloured() -> bool {
    static COLOURED: OnceLock<bool> = OnceLock::new();
    *COLOURED.get_or_init(|| AutoStream::choice(&io::stderr()) != ColorChoice::Never)
}

fn out_is_coloured() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// The columns of standard output; nothing where it is no terminal, and lines may be as long as they are.
pub(crate) fn out_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0))
}

/// Writes lines of data, cut to the terminal where it is one.
pub(crate) fn lines(lines: &[Line]) -> Result<(), Error> {
    write(lines, out_width())
}

/// The same for lines that are made one after the other.
pub(crate) fn each_line(lines: impl Iterator<Item = Line>) -> Result<(), Error> {
    write(lines, out_width())
}

/// Writes lines of data whole: what a terminal has no room for goes on in its next row.
pub(crate) fn whole_lines(lines: &[Line]) -> Result<(), Error> {
    write(lines, None)
}

/// Many lines at once: each would be a call of its own.
fn write<L: Borrow<Line>>(lines: impl IntoIterator<Item = L>, width: Option<usize>) -> Result<(), Error> {
    let colour = out_is_coloured();
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    for line in lines {
        let line = line.borrow();
        let painted = match width {
            Some(width) => line.fit(width).paint(colour),
            None => line.paint(colour),
        };
        writeln!(out, "{}", painted.trim_end_matches(' ')).map_err(Error::out)?;
    }
    out.flush().map_err(Error::out)
}

/// Writes text of data as it is.
pub(crate) fn text(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::out)
}

/// Writes a JSON document of data, indented for people.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Error> {
    // Our own types with text keys: they always have a JSON form.
    let mut document = serde_json::to_string_pretty(value).unwrap_or_default();
    document.push('\n');
    text(&document)
}

/// Writes a line of talk. Where nobody hears it, nothing is lost.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes styled lines of talk.
pub(crate) fn say_lines(lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let colour = err_is_coloured();
    let text: String = lines.iter().map(|line| line.paint(colour).trim_end_matches(' ').to_owned() + "\n").collect();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
