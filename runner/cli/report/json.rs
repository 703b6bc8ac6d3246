//! Every event as one JSON object a line on standard output: the event format itself, for programs.

use std::io::Write;

use flowrun_core::event::Stamped;

use crate::story::Story;

/// The reporter for programs.
#[derive(Default)]
pub(crate) struct Json {
    story: Story,
    gone: bool,
}

impl Json {
    /// The run so far.
    pub(crate) fn story(&self) -> &Story {
        &self.story
    }

    /// Writes an event. When its reader goes away the run goes on without it.
    pub(crate) fn event(&mut self, event: &Stamped) {
        self.story.take(event);
        if self.gone {
            return;
        }
        let mut out = std::io::stdout().lock();
        let written = serde_json::to_writer(&mut out, event).map_err(std::io::Error::from).and_then(|()| writeln!(out));
        self.gone = written.and_then(|()| out.flush()).is_err();
    }
}
