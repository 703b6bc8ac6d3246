//! What is told of a run: events to the record and the reporter, lines to the logs of steps.

use std::io::Write;

use flowrun_core::event::{Event, Stamped};
use flowrun_core::outcome::Say;
use flowrun_core::schedule::NodeId;
use flowrun_core::stored::memo::Stat;

use super::Driver;
use crate::store::{StoreError, StoredResult};

/// Lines of a step's log that its failure shows.
const TAIL: usize = 20;

impl Driver<'_> {
    /// Adds to a step's log, which is made with its first line: most light steps say nothing.
    pub(super) fn write_log(&mut self, id: NodeId, text: &str) {
        let Some(record) = &self.record else { return };
        let node = &mut self.nodes[id.0];
        let open = || std::fs::OpenOptions::new().create(true).append(true).open(record.log_path(&node.label)).ok();
        if let Some(file) = node.log.get_or_insert_with(open) {
            // A log that cannot be written fails no step.
            let _ = writeln!(file, "{text}");
        }
    }

    pub(super) fn said(&mut self, id: NodeId, say: Say) {
        let step = self.nodes[id.0].label.clone();
        match say {
            Say::Line { text, .. } => {
                self.write_log(id, &text);
                let tail = &mut self.nodes[id.0].tail;
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(text.clone());
                self.emit(Event::Line { step, text });
            }
            Say::Progress { done, total, what } => self.emit(Event::Progress { step, done, total, what }),
            Say::Metric { name, value, step: iteration } => self.emit(Event::Metric { step, name, value, iteration }),
        }
    }

    /// The one way by which anything is told.
    pub(crate) fn emit(&mut self, event: Event) {
        let stamped = Stamped { at: crate::run::now_ms(), event };
        if let (Some(record), true, false) = (&mut self.record, stamped.event.is_kept(), self.record_broken)
            && let Ok(line) = serde_json::to_string(&stamped)
        {
            let appended = match stamped.event {
                // Thousands come at once, and one that is lost is found again.
                Event::Cached { .. } => record.note_event(&line),
                _ => record.append_event(&line),
            };
            self.recorded(appended);
        }
        if self.retelling.as_mut().is_some_and(|retelling| !retelling.hear(&stamped.event)) {
            self.retelling = None;
            self.session.project.looks.spoil();
        }
        self.report.event(&stamped);
    }

    /// Tells of the machine what holds as well for a run that only says again what this one found.
    pub(crate) fn remark(&mut self, event: Event) {
        let retelling = self.retelling.take().map(|retelling| retelling.remarking(event.clone()));
        self.emit(event);
        self.retelling = retelling;
    }

    /// Takes down where a result was found. One that was not read from a file of the store cannot be looked at again.
    pub(super) fn retell(&mut self, entry: &StoredResult, state: Option<Stat>) {
        match (&mut self.retelling, state) {
            (Some(retelling), Some(state)) => retelling.found(entry, &state),
            _ => self.retelling = None,
        }
    }

    /// Writes down what is only noted, before anything is waited for.
    pub(super) fn write_record(&mut self) {
        if let Some(record) = self.record.as_mut().filter(|_| !self.record_broken) {
            let written = record.write_notes();
            self.recorded(written);
        }
    }

    fn recorded(&mut self, written: Result<(), StoreError>) {
        let Err(error) = written else { return };
        self.record_broken = true;
        let text = format!("the record of this run cannot be written: {error}");
        self.report.event(&Stamped { at: crate::run::now_ms(), event: Event::Warned { text } });
    }
}
