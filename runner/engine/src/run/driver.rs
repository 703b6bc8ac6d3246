//! The one task that owns a run's state. Everything else sends it messages.
//!
//! ```text
//!            orders                     ┌─ look (threads) ──────────┐
//! Scheduler ───────► Driver ── spawns ──┼─ claim, attempt (task) ───┼──► Message ──► Driver ──► Scheduler
//!                      │                └─ pause, wait (timers) ────┘
//!                      └──► emit: the record, the reporter
//! ```
//! Bounds: steps speak through channels of 256 lines each and the driver's own of 1024 messages; a step that talks faster than the
//! driver listens is slowed down, never cut off. Plugins speak to the driver's own directly.
//!
//! Here stands the loop; [`looking`] asks what a step's result is, [`attempts`] starts what must run, [`elsewhere`] asks whether another run makes
//! it, [`supplying`] has what they stand on brought first, [`ending`] sees the run off, [`telling`] is how anybody hears of it.

mod attempts;
mod elsewhere;
mod ending;
mod looking;
mod looks;
mod node;
mod supplying;
mod telling;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flowrun_core::digest::Digest;
use flowrun_core::event::{Counts, Event, RunOutcome, Skip};
use flowrun_core::outcome::{Failure, Say};
use flowrun_core::plan::{Plan, Planned};
use flowrun_core::schedule::{End, NodeId, Order, Scheduler, SkipWhy, State};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::execute::Made;
use super::repeat::Retelling;
use super::resume::Resumed;
use super::session::Session;
use super::{Report, Stop};
use crate::store::{Holder, RunRecord};
use elsewhere::Claiming;
pub(crate) use looking::Found;
use looks::{GLANCE, Looks};
use node::Node;
use supplying::{Supplied, Supplies};

/// How often the reporter may redraw.
const TICK: Duration = Duration::from_millis(100);

enum Message {
    Claimed(NodeId, Claiming),
    Held(NodeId, Holder),
    Free(NodeId),
    Said(NodeId, Say),
    Ended(NodeId, Box<Result<Made, Failure>>),
    Resume(NodeId),
    Bringing(Say),
    Supplied(Supplied),
}

/// What a run is asked to do differently.
pub(crate) struct Wishes {
    pub(crate) dry_run: bool,
    /// Whether what a dry run found of steps is asked for after it.
    pub(crate) recalled: bool,
    pub(crate) keep_going: bool,
    pub(crate) forced: std::collections::BTreeSet<NodeId>,
    pub(crate) resumed: Option<Resumed>,
}

pub(crate) struct Driver<'a> {
    pub(crate) session: Arc<Session>,
    plan: &'a Plan,
    /// The steps of the plan, to be handed on.
    steps: Vec<Arc<Planned>>,
    scheduler: Scheduler,
    nodes: Vec<Node>,
    wishes: Wishes,
    record: Option<RunRecord>,
    run: String,
    report: &'a mut dyn Report,
    stop: Stop,
    token: CancellationToken,
    making: HashMap<Digest, NodeId>,
    supplies: Supplies,
    counts: Counts,
    pub(crate) failures: Vec<(String, Failure)>,
    sender: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    looks: Arc<Looks>,
    /// Whether nothing is started any more, for those who are about to.
    halted: Arc<AtomicBool>,
    record_broken: bool,
    /// What the next run can say again, as long as this one has nothing to do.
    retelling: Option<Retelling>,
    /// Whether it was said that claims cannot be had.
    unclaimed: bool,
}

impl<'a> Driver<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a run, each used once, here")]
    pub(crate) fn new(
        session: Arc<Session>,
        plan: &'a Plan,
        scheduler: Scheduler,
        wishes: Wishes,
        record: Option<RunRecord>,
        run: String,
        report: &'a mut dyn Report,
        stop: Stop,
    ) -> Self {
        let (sender, inbox) = mpsc::channel(1024);
        let nodes =
            plan.steps.iter().enumerate().map(|(index, step)| Node::new(index, step.id.clone(), None)).collect();
        let token = stop.token();
        let retelling = session.project.looks.are_wanted().then(Retelling::default);
        Self {
            session,
            plan,
            steps: plan.steps.clone(),
            scheduler,
            nodes,
            wishes,
            record,
            run,
            report,
            stop,
            token,
            making: HashMap::new(),
            supplies: Supplies::default(),
            counts: Counts::default(),
            failures: Vec::new(),
            sender,
            inbox,
            looks: Arc::default(),
            halted: Arc::default(),
            record_broken: false,
            retelling,
            unclaimed: false,
        }
    }

    /// Runs to the end.
    pub(crate) async fn drive(&mut self) -> (RunOutcome, Counts) {
        let mut ticker = tokio::time::interval(TICK);
        let mut glances = tokio::time::interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = self.looks.clone();
        let stop = self.stop.clone();
        let mut asked = false;
        loop {
            self.halted.store(self.scheduler.is_stopping(), Ordering::Relaxed);
            for order in self.scheduler.take_orders() {
                self.obey(order);
            }
            self.supply();
            if self.scheduler.is_done() {
                break;
            }
            if !self.scheduler.is_busy() {
                self.emit(Event::Warned { text: "nothing can move and nothing runs: a bug of flowrun's".into() });
                break;
            }
            if self.inbox.is_empty() {
                self.write_record();
            }
            tokio::select! {
                message = self.inbox.recv() => if let Some(message) = message { self.handle(message) },
                () = looks.news() => self.looked_at(),
                _ = glances.tick(), if self.scheduler.is_looking() => self.glance(),
                _ = ticker.tick() => self.report.tick(),
                () = stop.asked(), if !asked => {
                    asked = true;
                    self.scheduler.stop();
                }
                () = stop.forced() => {
                    self.abandon();
                    break;
                }
            }
        }
        let outcome = if asked || self.stop.is_asked() {
            RunOutcome::Interrupted
        } else if self.failures.is_empty() {
            RunOutcome::Succeeded
        } else {
            RunOutcome::Failed
        };
        (outcome, self.counts)
    }

    /// Looks after those who look steps up.
    fn glance(&mut self) {
        self.looked_at();
        if self.looks.are_stuck() {
            self.look_on_a_thread();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Look(id) => self.look(id),
            Order::Start(id, attempt) if !self.may_start(id, attempt) => {}
            Order::Start(id, attempt) => self.start(id, attempt),
            Order::Pause(id, _, pause) => {
                let sender = self.sender.clone();
                let token = self.token.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = token.cancelled() => {}
                    }
                    let _ = sender.send(Message::Resume(id)).await;
                });
            }
            Order::Skip(id, why) => self.skipped(id, why),
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Claimed(id, claiming) => self.claimed(id, claiming),
            Message::Held(id, holder) => self.held(id, holder),
            Message::Free(id) => self.free(id),
            Message::Said(id, say) => self.said(id, say),
            Message::Ended(id, result) => self.ended(id, *result),
            Message::Resume(id) => self.scheduler.resume(id),
            Message::Bringing(say) => self.bringing(say),
            Message::Supplied(supplied) => self.supplied(supplied),
        }
    }

    fn planned(&self, id: NodeId) -> &Arc<Planned> {
        &self.steps[self.nodes[id.0].planned]
    }

    fn failed(&mut self, id: NodeId, failure: Failure) {
        self.scheduler.ended(id, Err(failure.kind));
        let (label, took_ms) = (self.nodes[id.0].label.clone(), self.nodes[id.0].took_ms());
        if let State::Pausing(attempt) = *self.scheduler.state(id) {
            let delay_ms = self.planned(id).retry().pause_after(attempt).as_millis() as u64;
            return self.emit(Event::Retrying { step: label, attempt, failure, delay_ms });
        }
        self.let_go(id);
        let tolerated = *self.scheduler.state(id) == State::Done(End::Tolerated);
        let tail = self.nodes[id.0].tail.drain(..).collect();
        self.counts.failed += 1;
        if !tolerated {
            self.failures.push((label.clone(), failure.clone()));
        }
        self.emit(Event::Failed { step: label, failure, took_ms, tolerated, tail });
    }

    fn skipped(&mut self, id: NodeId, why: SkipWhy) {
        let name = |id: NodeId| self.nodes[id.0].label.clone();
        let why = match why {
            // Told when it was looked at, with its expression; a fan-out of skipped instances has told through them.
            SkipWhy::Condition => {
                self.counts.skipped += 1;
                return;
            }
            SkipWhy::Failed(before) => Skip::Failed { step: name(before) },
            SkipWhy::Skipped(before) => Skip::Skipped { step: name(before) },
            SkipWhy::Stopped => Skip::Stopped,
            SkipWhy::LeftOut => Skip::LeftOut,
        };
        self.let_go(id);
        self.counts.skipped += 1;
        let step = self.nodes[id.0].label.clone();
        self.emit(Event::Skipped { step, why });
    }
}
