//! Before the first step starts, what all steps that may follow stand on is there, or the run ends before anything has run: see
//! [`supply`](crate::run::supply).
//!
//! ```text
//!   Start (the first) ──► Held: nothing is looked up any more ──► Coming ──► Supplied ─┬─ well ─► There: what was kept starts
//!                         starts are kept until then, and then                         └─ not ──► that step fails, nothing starts
//! ```
//! A run in which everything is cached starts nothing, and needs nothing. Left to the step itself are: one with an `if`, which may never run; one
//! that may fail; one that is tried again; and all of them with `--keep-going`, which asks for what can be had.

use std::sync::Arc;

use flowrun_core::event::Event;
use flowrun_core::outcome::{Failure, Say};
use flowrun_core::plan::Planned;
use flowrun_core::schedule::{NodeId, State};
use tokio::sync::mpsc;

use super::{Driver, Message};
use crate::run::supply;

/// Where the supplies of a run are.
#[derive(Default)]
pub(super) enum Supplies {
    /// Nothing has started.
    #[default]
    Unasked,
    /// It is not known yet which steps must run: some are being looked up. These starts wait.
    Held(Vec<(NodeId, u32)>),
    /// They are being brought; these starts wait for them.
    Coming(Vec<(NodeId, u32)>),
    /// They are there, or left to each step.
    There,
}

/// How bringing supplies went: what failed, and for which step.
pub(super) type Supplied = Result<(), (NodeId, Failure)>;

impl Driver<'_> {
    /// Whether a step may start now. Where not, it is started when its supplies are there.
    pub(super) fn may_start(&mut self, id: NodeId, attempt: u32) -> bool {
        let wanted = matches!(self.supplies, Supplies::Unasked) && self.wants_supplies();
        match &mut self.supplies {
            Supplies::There => return true,
            Supplies::Held(kept) | Supplies::Coming(kept) => kept.push((id, attempt)),
            Supplies::Unasked if wanted => self.supplies = Supplies::Held(vec![(id, attempt)]),
            Supplies::Unasked => {
                self.supplies = Supplies::There;
                return true;
            }
        }
        false
    }

    /// Whether anything may have to be brought ahead at all.
    fn wants_supplies(&self) -> bool {
        let stands_on_some = |planned: &Arc<Planned>| supply::needs_any(&self.session, &planned.step);
        !self.wishes.keep_going && self.steps.iter().any(stands_on_some)
    }

    /// Has supplies brought once it is known what must run.
    pub(super) fn supply(&mut self) {
        if self.scheduler.is_looking() || !matches!(self.supplies, Supplies::Held(_)) {
            return;
        }
        let Supplies::Held(kept) = std::mem::take(&mut self.supplies) else { return };
        let steps = self.to_supply();
        if steps.is_empty() || self.scheduler.is_stopping() {
            self.supplies = Supplies::There;
            return self.release(kept);
        }
        self.supplies = Supplies::Coming(kept);
        self.bring(steps);
    }

    /// The steps that will run as far as can be known, and whose failure ends the run.
    fn to_supply(&self) -> Vec<(NodeId, Arc<Planned>)> {
        let runs = |id: NodeId, planned: &Planned| match self.scheduler.state(id) {
            State::Done(_) => false,
            State::Queued(_) | State::Running(_) => true,
            _ => planned.step.r#if.is_none(),
        };
        let counts = |planned: &Planned| !planned.step.continue_on_error.unwrap_or(false);
        let all = self.steps.iter().enumerate().map(|(index, planned)| (NodeId(index), planned));
        let wanted = all.filter(|(id, planned)| runs(*id, planned) && counts(planned));
        let wanted = wanted.filter(|(_, planned)| supply::needs_any(&self.session, &planned.step));
        wanted.map(|(id, planned)| (id, planned.clone())).collect()
    }

    fn bring(&self, steps: Vec<(NodeId, Arc<Planned>)>) {
        let (session, sender, token) = (self.session.clone(), self.sender.clone(), self.token.clone());
        tokio::spawn(async move {
            let (say, mut said) = mpsc::channel(256);
            let hear = async {
                while let Some(say) = said.recv().await {
                    let _ = sender.send(Message::Bringing(say)).await;
                }
            };
            let bring = async {
                for (id, planned) in steps {
                    let brought = supply::bring(&session, &planned.step, supply::For::Run, &say).await;
                    let tried_again =
                        |failure: &Failure| planned.retry().attempts > 1 && planned.retry().on.contains(&failure.kind);
                    if let Some(failure) = brought.err().filter(|failure| !tried_again(failure)) {
                        return Err((id, failure));
                    }
                }
                drop(say);
                Ok(())
            };
            let supplied = tokio::select! {
                (supplied, ()) = async { tokio::join!(bring, hear) } => supplied,
                // Steps that start now are told so themselves.
                () = token.cancelled() => Ok(()),
            };
            let _ = sender.send(Message::Supplied(supplied)).await;
        });
    }

    pub(super) fn bringing(&mut self, say: Say) {
        if let Some(what) = supply::told(say) {
            self.emit(Event::Preparing { what });
        }
    }

    pub(super) fn supplied(&mut self, supplied: Supplied) {
        let Supplies::Coming(kept) = std::mem::replace(&mut self.supplies, Supplies::There) else { return };
        if let Err((id, failure)) = supplied
            && !matches!(self.scheduler.state(id), State::Done(_))
        {
            self.failed(id, failure);
        }
        self.release(kept);
    }

    fn release(&mut self, kept: Vec<(NodeId, u32)>) {
        for (id, attempt) in kept {
            match self.scheduler.state(id) {
                State::Running(_) if self.scheduler.is_stopping() => self.scheduler.away(id),
                State::Running(_) => self.start(id, attempt),
                // It is the one that failed.
                _ => {}
            }
        }
    }
}
