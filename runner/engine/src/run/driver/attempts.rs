//! Attempts at steps that must run: how each is started, and what its end means.
//!
//! ```text
//!   Start ──► a thread of its own ──► Claimed, Said…, Ended
//! ```
//! The answer to the claim, all that a step says and its end come as messages, in this order.

use std::sync::Arc;
use std::time::Instant;

use flowrun_core::event::Event;
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::schedule::NodeId;
use tokio::sync::mpsc::error::TrySendError;

use super::{Driver, Message};
use crate::run::execute::{self, Attempt, Made};
use crate::wasm;

impl Driver<'_> {
    pub(super) fn start(&mut self, id: NodeId, attempt: u32) {
        let Some(missed) = self.nodes[id.0].missed.clone() else {
            return self.failed(
                id,
                Failure::new(FailureKind::Infrastructure, "started before it was looked up: a bug of flowrun's"),
            );
        };
        // Between attempts the claim is kept.
        let gate = (missed.may_be_shared && attempt == 1).then(|| self.gate(id, missed.key));
        if gate.is_none() {
            self.begun(id, attempt);
        }
        let attempt = Attempt {
            run: self.run.clone(),
            label: self.nodes[id.0].label.clone(),
            number: attempt,
            planned: self.planned(id).clone(),
            job: missed.job.clone(),
            origins: missed.origins.clone(),
            key: missed.key,
            manifest: Some(missed.manifest.clone()),
            gate,
        };
        self.spawn(id, attempt);
    }

    /// It goes to its thread directly, and speaks to the driver from there.
    fn spawn(&mut self, id: NodeId, attempt: Attempt) {
        let (session, token, kill) = (self.session.clone(), self.token.child_token(), self.stop.kill());
        let (sender, ends) = (self.sender.clone(), self.sender.clone());
        let ear: wasm::Ear = Arc::new(move |say| match sender.try_send(Message::Said(id, say)) {
            Err(TrySendError::Full(Message::Said(_, say))) => Some(say),
            _ => None,
        });
        let work = move || execute::attempt_here(&session, attempt, &ear, &token, &kill);
        let started = self.session.guests.start(work, move |result| {
            if let Some(result) = result.transpose() {
                let _ = ends.blocking_send(Message::Ended(id, Box::new(result)));
            }
        });
        if let Err(failure) = started {
            self.failed(id, failure);
        }
    }

    /// An attempt has begun.
    pub(super) fn begun(&mut self, id: NodeId, attempt: u32) {
        let step = self.nodes[id.0].label.clone();
        self.emit(Event::Started { step, attempt });
        if attempt > 1 {
            self.write_log(id, &format!("--- attempt {attempt} ---"));
        }
        self.nodes[id.0].started = Some(Instant::now());
    }

    pub(super) fn ended(&mut self, id: NodeId, result: Result<Made, Failure>) {
        self.nodes[id.0].log = None;
        match result {
            Ok(made) => self.succeeded(id, made),
            Err(failure) => self.failed(id, failure),
        }
    }

    fn succeeded(&mut self, id: NodeId, made: Made) {
        let Made { result, warnings, took_ms } = made;
        warnings.into_iter().for_each(|text| self.emit(Event::Warned { text }));
        let Some(key) = self.nodes[id.0].key else { return };
        self.emit(Event::Finished {
            step: self.nodes[id.0].label.clone(),
            key,
            took_ms,
            outputs: result.outputs.clone(),
            values: result.values.clone(),
        });
        self.counts.ran += 1;
        self.let_go(id);
        self.nodes[id.0].missed = None;
        self.nodes[id.0].result = Some(Arc::new(result));
        self.scheduler.ended(id, Ok(()));
    }
}
