//! The end of a run: what it made goes to the disk; or nothing is waited for any more.

use std::time::Duration;

use flowrun_core::event::{Counts, Event};
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::schedule::{NodeId, Order, State};

use super::{Driver, Node, TICK};
use crate::run::Asked;

/// How long the disk may be busy at the end of a run before that is said.
const SILENCE: Duration = Duration::from_secs(1);

impl Driver<'_> {
    /// Ends it; what failed and was not tolerated comes back.
    ///
    /// What it knows of each of thousands of steps is left where it is: the process is about to end, and to give it back piece by piece would
    /// only take time. What is held outside of the process is given back.
    pub(crate) fn leave(self) -> Vec<(String, Failure)> {
        let Self { nodes, scheduler, failures, .. } = self;
        if nodes.iter().all(Node::holds_nothing) {
            std::mem::forget(nodes);
        }
        std::mem::forget(scheduler);
        failures
    }

    /// Leaves what the next run can say again, where this one had nothing to do. Where it cannot be written, the next one looks at every step.
    pub(crate) fn leave_repeat(&mut self, asked: &Asked, at: u64, counts: Counts) {
        let Some(retelling) = self.retelling.take() else { return };
        // Whoever repeats this run counts on its record.
        self.write_record();
        let (store, run) = (self.session.store.clone(), self.run.clone());
        if !self.record_broken {
            let _ = retelling.leave(asked, &store, at, &run, counts);
        }
    }

    /// Waits until what the run made is on the disk, so that it may say so. Whoever will not wait need not.
    pub(crate) async fn settle(&mut self) {
        let (store, stop) = (self.session.store.clone(), self.stop.clone());
        let mut settling = tokio::task::spawn_blocking(move || store.settle());
        let mut ticker = tokio::time::interval(TICK);
        let silence = tokio::time::sleep(SILENCE);
        tokio::pin!(silence);
        let settled = loop {
            tokio::select! {
                settled = &mut settling => break settled,
                _ = ticker.tick() => self.report.tick(),
                () = &mut silence, if !silence.is_elapsed() => {
                    self.emit(Event::Preparing { what: "writing what was made to the disk".into() });
                }
                () = stop.forced() => return,
            }
        };
        if let Ok(Err(error)) = settled {
            self.emit(Event::Warned { text: format!("what was made may not survive a power loss: {error}") });
        }
    }

    /// Ends what runs without waiting for it. It dies with this process: its guards see to that.
    pub(super) fn abandon(&mut self) {
        self.scheduler.stop();
        for id in (0..self.nodes.len()).map(NodeId) {
            if matches!(self.scheduler.state(id), State::Running(_)) {
                self.failed(id, Failure::new(FailureKind::Interrupted, "killed"));
            }
        }
        for order in self.scheduler.take_orders() {
            if let Order::Skip(id, why) = order {
                self.skipped(id, why);
            }
        }
    }
}
