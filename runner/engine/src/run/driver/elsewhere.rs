//! What another run makes that a step would make: the claim before a step starts, and the wait for whoever was first.
//!
//! ```text
//!   Start ──► claim ─┬─ ours ───► look once more ─┬─ still nothing ──► the attempt, which holds the claim until its result is saved
//!                    │                            └─ made meanwhile ─► a hit
//!                    ├─ theirs ─► Away: look at the claim now and then ── it is free ──► back to Looking
//!                    └─ in doubt ► the attempt, without a claim
//! ```
//! A step claims when it starts and not when it is looked up: one that waits for room must not keep another run from making its result
//! that has room. The look after the claim is what makes it once: whoever made it saved it before letting go. Why no two runs can wait for
//! each other for ever is told with the claims, in the store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flowrun_core::digest::Digest;
use flowrun_core::event::Event;
use flowrun_core::schedule::{NodeId, State};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::{Driver, Message};
use crate::run::execute::Gate;
use crate::store::{Claim, Claimed, Holder, Lookup, Store, StoredResult};

/// Between the first two looks at a claim; doubled for each further one. Light steps are over by then, and nothing is said of them.
const SHORTEST_WAIT: Duration = Duration::from_millis(25);

/// The most between two looks: what a person does not feel, and what costs nothing.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// What a claim before the start comes to.
pub(super) enum Claiming {
    /// Nobody makes it, and nobody has.
    Free(Claim),
    /// Another run made it meanwhile.
    Made(Box<StoredResult>),
    /// Another run is making it.
    Elsewhere,
    /// Nothing is started any more.
    TooLate,
    /// It cannot be known, and why.
    Unknown(String),
}

fn claim(store: &Store, key: &Digest, run: &str) -> Claiming {
    match store.claim(key, run) {
        Ok(Claimed::Mine(claim)) => match store.load_entry(key) {
            Ok(Lookup::Hit(entry)) => Claiming::Made(Box::new(entry)),
            _ => Claiming::Free(claim),
        },
        Ok(Claimed::Busy(_)) => Claiming::Elsewhere,
        Err(error) => Claiming::Unknown(error.to_string()),
    }
}

impl Driver<'_> {
    /// What a step asks when it starts: whether it may make its result. The answer comes as a message, and the step goes on at once where it may.
    pub(super) fn gate(&self, id: NodeId, key: Digest) -> Gate {
        let (store, run, sender) = (self.session.store.clone(), self.run.clone(), self.sender.clone());
        let halted = self.halted.clone();
        Box::new(move || {
            let claiming = match claim(&store, &key, &run) {
                // It would be started only to be stopped.
                Claiming::Free(_) | Claiming::Unknown(_) if halted.load(Ordering::Relaxed) => Claiming::TooLate,
                claiming => claiming,
            };
            let begins = matches!(claiming, Claiming::Free(_) | Claiming::Unknown(_));
            sender.blocking_send(Message::Claimed(id, claiming)).is_ok() && begins
        })
    }

    pub(super) fn claimed(&mut self, id: NodeId, claiming: Claiming) {
        match claiming {
            Claiming::Made(entry) => self.hit(id, *entry),
            Claiming::TooLate => self.scheduler.away(id),
            Claiming::Elsewhere if self.scheduler.is_stopping() => self.scheduler.away(id),
            Claiming::Elsewhere => self.wait(id),
            Claiming::Free(claim) => {
                self.nodes[id.0].claim = Some(claim);
                self.begun(id, 1);
            }
            Claiming::Unknown(problem) => {
                if !std::mem::replace(&mut self.unclaimed, true) {
                    let text = format!("other runs may do the same work as this one: {problem}");
                    self.emit(Event::Warned { text });
                }
                self.begun(id, 1);
            }
        }
    }

    fn wait(&mut self, id: NodeId) {
        self.scheduler.away(id);
        let Some(key) = self.nodes[id.0].key else { return self.free(id) };
        let over = CancellationToken::new();
        self.nodes[id.0].wait = Some(over.clone().drop_guard());
        let (store, sender) = (self.session.store.clone(), self.sender.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watch(store, key, id, &sender) => {}
                () = over.cancelled() => {}
            }
        });
    }

    /// It is still being made.
    pub(super) fn held(&mut self, id: NodeId, holder: Holder) {
        if *self.scheduler.state(id) == State::Away {
            self.emit(Event::Waiting { step: self.nodes[id.0].label.clone(), run: holder.run });
        }
    }

    /// Whoever made it has let go, with or without a result.
    pub(super) fn free(&mut self, id: NodeId) {
        self.let_go(id);
        self.scheduler.back(id);
    }

    /// Nobody needs to wait for this step's result any more, nor it for another's.
    pub(super) fn let_go(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        (node.claim, node.wait) = (None, None);
        if let Some(key) = node.key
            && self.making.get(&key) == Some(&id)
        {
            self.making.remove(&key);
        }
    }
}

/// Looks at a claim until nobody holds it, and tells by whom it is held where that is new.
async fn watch(store: Store, key: Digest, id: NodeId, sender: &Sender<Message>) {
    let (mut pause, mut told) = (SHORTEST_WAIT, None);
    loop {
        tokio::time::sleep(pause).await;
        let store = store.clone();
        let held = tokio::task::spawn_blocking(move || store.claimed_by(&key)).await;
        let Ok(Some(holder)) = held else { break };
        if told.as_ref() != Some(&holder) {
            told = Some(holder.clone());
            let _ = sender.send(Message::Held(id, holder)).await;
        }
        pause = (pause * 2).min(LONGEST_WAIT);
    }
    let _ = sender.send(Message::Free(id)).await;
}
