//! For a terminal: lines that stay scroll above a small region that is drawn again and again.
//!
//! ```text
//!   ✓ check    cached  0.4 s saved        what stays
//!   ⠹ train    42 s  ━━━━━╸───  8/20 epochs   ┐
//!     1/7 done · 1 running · 5 waiting · 43 s  ┘ the region; the cursor rests below it, hidden
//! ```
//! Each drawing is one write: back to the region's first line, everything below it cleared, what stays, the new region. After
//! the terminal has become narrower the old region's lines have wrapped, so its height is counted in the new width.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use flowrun_core::event::{Event, Stamped};

use super::{MOST_LISTED, Stopping, frame, now};
use crate::output;
use crate::show::amount::grouped;
use crate::show::line::{Line, Tone};
use crate::story::Story;

/// Whether the cursor is hidden, so that whoever ends the program can show it again.
static CURSOR_HIDDEN: AtomicBool = AtomicBool::new(false);

const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";
/// Between these a terminal shows nothing, so that no half-drawn region is seen; others ignore them.
const HOLD: &str = "\x1b[?2026h";
const RELEASE: &str = "\x1b[?2026l";
const CLEAR_BELOW: &str = "\x1b[J";

/// Shows the cursor again, if it was hidden.
pub(crate) fn restore_terminal() {
    if CURSOR_HIDDEN.swap(false, Ordering::SeqCst) {
        // Where even this cannot be written there is no terminal any more.
        let _ = write!(io::stderr(), "\r{CLEAR_BELOW}{SHOW}");
    }
}

/// The reporter for terminals.
pub(crate) struct Live {
    story: Story,
    stopping: Stopping,
    colour: bool,
    /// The widths of the region's lines as they were last drawn.
    drawn: Vec<usize>,
    /// Lines that stay and have not been written yet.
    kept: Vec<Line>,
    cached: usize,
    begun: bool,
}

impl Live {
    /// A reporter that also tells of stopping.
    pub(crate) fn new(stopping: Stopping, story: Story) -> Self {
        let colour = output::err_is_coloured();
        Self { story, stopping, colour, drawn: Vec::new(), kept: Vec::new(), cached: 0, begun: false }
    }

    /// The run so far.
    pub(crate) fn story(&self) -> &Story {
        &self.story
    }

    /// Takes in an event. What is worth a line is written with the next drawing.
    pub(crate) fn event(&mut self, event: &Stamped) {
        self.story.take(event);
        match &event.event {
            Event::Cached { .. } if self.story.steps.len() > MOST_LISTED => self.cached += 1,
            Event::Repeated { steps, .. } => self.cached += steps,
            Event::RunFinished { .. } if self.cached > 0 => {
                let text = format!("{} steps cached", grouped(self.cached));
                self.kept.push(Line::new().with(Tone::Good, "  ✓ ").dim(text));
            }
            event => self.kept.extend(frame::kept(event, &self.story)),
        }
    }

    /// Draws.
    pub(crate) fn tick(&mut self) {
        self.begun = true;
        let (width, height) = size();
        let region = match self.story.ending {
            Some(_) => Vec::new(),
            None => frame::frame(&self.story, now(), width, height, self.stopping.stage()),
        };
        self.draw(&region, width);
    }

    /// Takes the region away for good and shows the cursor.
    pub(crate) fn clear(&mut self) {
        let (width, _) = size();
        self.draw(&[], width);
        restore_terminal();
    }

    fn draw(&mut self, region: &[Line], width: usize) {
        if region.is_empty() && self.drawn.is_empty() && self.kept.is_empty() {
            return;
        }
        let mut text = String::from(HOLD);
        if self.begun && !CURSOR_HIDDEN.swap(true, Ordering::SeqCst) {
            text.push_str(HIDE);
        }
        let up = rows(&self.drawn, width);
        text.push('\r');
        if up > 0 {
            text.push_str(&format!("\x1b[{up}A"));
        }
        text.push_str(CLEAR_BELOW);
        for line in self.kept.drain(..).map(|line| line.fit(width)).chain(region.iter().cloned()) {
            text.push_str(line.paint(self.colour).trim_end_matches(' '));
            text.push('\n');
        }
        text.push_str(RELEASE);
        // Where the terminal is gone the run goes on without it.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        self.drawn = region.iter().map(Line::width).collect();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// How many rows lines of these widths take where a row has `width` columns.
fn rows(widths: &[usize], width: usize) -> usize {
    widths.iter().map(|line| line.div_ceil(width.max(1)).max(1)).sum()
}

/// Columns and rows; one column less than there are, since a full row would wrap on some terminals.
fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or((79, 24), |(width, height)| (usize::from(width.0).saturating_sub(1), usize::from(height.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_take_more_rows() {
        assert_eq!(rows(&[10, 0, 21], 10), 5);
        assert_eq!(rows(&[], 10), 0);
        assert_eq!(rows(&[3], 0), 3);
    }
}
