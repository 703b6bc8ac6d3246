//! What the driver knows of a node of the scheduler: a step, a fan-out, or one of its instances.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use flowrun_core::digest::Digest;
use flowrun_core::key::Manifest;
use flowrun_core::plan::Instance;
use flowrun_core::schedule::NodeId;
use tokio_util::sync::DropGuard;

use crate::run::look::{Before, Missed, StepResult};
use crate::store::Claim;

/// What is known of a node of the scheduler.
pub(super) struct Node {
    pub(super) planned: usize,
    pub(super) label: String,
    pub(super) instance: Option<Arc<Instance>>,
    /// Of a fan-out or a divided step that was looked at: what its instances are given.
    pub(super) before: Option<Arc<Before>>,
    /// Of an instance: its fan-out.
    pub(super) fan: Option<NodeId>,
    pub(super) missed: Option<Arc<Missed>>,
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) result: Option<Arc<StepResult>>,
    pub(super) would_run: bool,
    pub(super) key: Option<Digest>,
    /// Kept from the first attempt until the result is saved.
    pub(super) claim: Option<Claim>,
    /// Ends the wait for another run.
    pub(super) wait: Option<DropGuard>,
    pub(super) started: Option<Instant>,
    pub(super) tail: VecDeque<String>,
    /// Nothing until the running attempt says something; then its log, where that can be written.
    pub(super) log: Option<Option<std::fs::File>>,
}

impl Node {
    pub(super) fn new(planned: usize, label: String, instance: Option<Arc<Instance>>) -> Self {
        Self {
            planned,
            label,
            instance,
            before: None,
            fan: None,
            missed: None,
            manifest: None,
            result: None,
            would_run: false,
            key: None,
            claim: None,
            wait: None,
            started: None,
            tail: VecDeque::new(),
            log: None,
        }
    }

    /// Whether it is memory alone: no claim, no open log, nobody who waits for it.
    pub(super) fn holds_nothing(&self) -> bool {
        self.claim.is_none() && self.wait.is_none() && self.log.is_none()
    }

    pub(super) fn took_ms(&self) -> u64 {
        self.started.map_or(0, |started| started.elapsed().as_millis() as u64)
    }
}
