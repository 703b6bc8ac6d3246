//! The one task that owns a run's state. Everything else sends it messages.
//!
//! ```text
//!            orders                     ┌─ look (blocking thread) ──┐
//! Scheduler ───────► Driver ── spawns ──┼─ attempt (task) ──────────┼──► Message ──► Driver ──► Scheduler
//!                      │                └─ pause (timer) ───────────┘
//!                      └──► emit: the record, the reporter
//! ```
//! Bounds: steps speak through channels of 256 lines each and the driver's own of 1024 messages; a step that talks faster than the
//! driver listens is slowed down, never cut off.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowrun_core::digest::Digest;
use flowrun_core::event::{Counts, Event, RunOutcome, Skip, Stamped};
use flowrun_core::key::Manifest;
use flowrun_core::lang::graph::Edge;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plan::{Instance, Plan, Planned};
use flowrun_core::schedule::{End, NodeId, Order, Scheduler, SkipWhy, State};
use indexmap::IndexMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::execute::{self, Attempt};
use super::look::{Looked, Missed, Question, StepResult, Upstream};
use super::session::Session;
use super::{Report, Stop};
use crate::store::{RunRecord, Sandbox, StoredEntry, StoredOutput};

/// Lines of a step's log that its failure shows.
const TAIL: usize = 20;

/// How often the reporter may redraw.
const TICK: Duration = Duration::from_millis(100);

enum Message {
    Looked(NodeId, Box<Looked>),
    Said(NodeId, Say),
    Ended(NodeId, Box<Result<StepResult, Failure>>),
    Resume(NodeId),
}

/// What is known of a node of the scheduler.
struct Node {
    planned: usize,
    label: String,
    instance: Option<Instance>,
    missed: Option<Arc<Missed>>,
    manifest: Option<Manifest>,
    result: Option<Arc<StepResult>>,
    would_run: bool,
    key: Option<Digest>,
    started: Option<Instant>,
    tail: VecDeque<String>,
    log: Option<std::fs::File>,
}

impl Node {
    fn new(planned: usize, label: String, instance: Option<Instance>) -> Self {
        Self {
            planned,
            label,
            instance,
            missed: None,
            manifest: None,
            result: None,
            would_run: false,
            key: None,
            started: None,
            tail: VecDeque::new(),
            log: None,
        }
    }

    fn took_ms(&self) -> u64 {
        self.started.map_or(0, |started| started.elapsed().as_millis() as u64)
    }
}

/// What a run is asked to do differently.
pub(crate) struct Wishes {
    pub(crate) dry_run: bool,
    pub(crate) forced: std::collections::BTreeSet<NodeId>,
    pub(crate) resumed: BTreeMap<String, Digest>,
}

pub(crate) struct Driver<'a> {
    pub(crate) session: Arc<Session>,
    plan: &'a Plan,
    scheduler: Scheduler,
    nodes: Vec<Node>,
    wishes: Wishes,
    record: Option<RunRecord>,
    run: String,
    report: &'a mut dyn Report,
    stop: Stop,
    token: CancellationToken,
    making: HashMap<Digest, NodeId>,
    counts: Counts,
    pub(crate) failures: Vec<(String, Failure)>,
    sender: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    record_broken: bool,
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
        Self {
            session,
            plan,
            scheduler,
            nodes,
            wishes,
            record,
            run,
            report,
            stop,
            token,
            making: HashMap::new(),
            counts: Counts::default(),
            failures: Vec::new(),
            sender,
            inbox,
            record_broken: false,
        }
    }

    /// Runs to the end.
    pub(crate) async fn drive(&mut self) -> (RunOutcome, Counts) {
        let mut ticker = tokio::time::interval(TICK);
        let stop = self.stop.clone();
        let mut asked = false;
        loop {
            for order in self.scheduler.take_orders() {
                self.obey(order);
            }
            if self.scheduler.is_done() {
                break;
            }
            if !self.scheduler.is_busy() {
                self.emit(Event::Warned { text: "nothing can move and nothing runs: a bug of flowrun's".into() });
                break;
            }
            tokio::select! {
                message = self.inbox.recv() => if let Some(message) = message { self.handle(message) },
                _ = ticker.tick() => self.report.tick(),
                () = stop.asked(), if !asked => {
                    asked = true;
                    self.scheduler.stop();
                }
                // What still runs dies with this process: its guards see to it.
                () = stop.forced() => break,
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

    fn obey(&mut self, order: Order) {
        match order {
            Order::Look(id) => self.look(id),
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
            Message::Looked(id, looked) => self.looked(id, *looked),
            Message::Said(id, say) => self.said(id, say),
            Message::Ended(id, result) => self.ended(id, *result),
            Message::Resume(id) => self.scheduler.resume(id),
        }
    }

    fn planned(&self, id: NodeId) -> &Planned {
        &self.plan.steps[self.nodes[id.0].planned]
    }

    fn look(&mut self, id: NodeId) {
        let node = &self.nodes[id.0];
        let planned = self.planned(id).clone();
        let (upstream, pending) = self.upstream(&planned);
        let question = Question {
            label: node.label.clone(),
            instance: node.instance.clone(),
            upstream,
            pending,
            forced: self.wishes.forced.contains(&NodeId(node.planned)),
            resumed: self.wishes.resumed.get(&node.label).copied(),
            planned,
        };
        let (session, sender) = (self.session.clone(), self.sender.clone());
        tokio::task::spawn_blocking(move || {
            let looked = session.look(&question);
            let _ = sender.blocking_send(Message::Looked(id, Box::new(looked)));
        });
    }

    /// What the steps before a step give it, and which of them only would.
    fn upstream(&self, planned: &Planned) -> (IndexMap<String, Upstream>, Vec<String>) {
        let mut upstream = IndexMap::new();
        let mut pending = Vec::new();
        for (before, edge) in &planned.waits {
            let node = &self.nodes[before.0];
            if *edge == Edge::Data && self.would_run(*before) {
                pending.push(node.label.clone());
            }
            let instances = self.scheduler.instances(*before);
            let given = match (&node.result, self.plan.steps[node.planned].is_fan_out()) {
                (_, true) => Upstream::Many(
                    instances
                        .iter()
                        .filter_map(|id| {
                            let node = &self.nodes[id.0];
                            Some((node.instance.as_ref()?.label.clone(), node.result.clone()?))
                        })
                        .collect(),
                ),
                (Some(result), false) => Upstream::One(result.clone()),
                (None, false) => Upstream::Nothing,
            };
            upstream.insert(node.label.clone(), given);
        }
        (upstream, pending)
    }

    fn would_run(&self, id: NodeId) -> bool {
        self.nodes[id.0].would_run
            || self.scheduler.instances(id).iter().any(|instance| self.nodes[instance.0].would_run)
    }

    fn looked(&mut self, id: NodeId, looked: Looked) {
        let label = self.nodes[id.0].label.clone();
        match looked {
            Looked::Hit(entry) => self.hit(id, *entry),
            Looked::Miss(missed) => self.missed(id, *missed),
            Looked::Skip(expression) => {
                self.emit(Event::Skipped { step: label, why: Skip::Condition { expression } });
                self.scheduler.skip(id);
            }
            Looked::Pass => {
                self.emit(Event::Passed { step: label });
                self.scheduler.hit(id);
            }
            Looked::Fan(instances) => self.fan(id, instances),
            Looked::After(steps) => {
                let reasons = vec![flowrun_core::event::Reason::After { steps }];
                self.emit(Event::Missed { step: label, key: None, reasons });
                self.nodes[id.0].would_run = true;
                self.scheduler.hit(id);
            }
            Looked::Fail(failure) => self.failed(id, failure),
        }
    }

    fn hit(&mut self, id: NodeId, entry: StoredEntry) {
        let outputs = entry.outputs.iter().map(|(name, output)| (name.clone(), output.as_event())).collect();
        let result = StepResult { outputs, values: entry.values.clone() };
        self.emit(Event::Cached {
            step: self.nodes[id.0].label.clone(),
            key: entry.key,
            from: entry.run.clone(),
            took_ms: entry.took_ms,
            outputs: result.outputs.clone(),
            values: result.values.clone(),
        });
        self.counts.cached += 1;
        self.nodes[id.0].key = Some(entry.key);
        if self.wishes.dry_run {
            self.nodes[id.0].manifest = serde_json::from_value(entry.manifest).ok();
        }
        self.nodes[id.0].result = Some(Arc::new(result));
        self.scheduler.hit(id);
    }

    fn missed(&mut self, id: NodeId, missed: Missed) {
        if let Some(other) = self.making.get(&missed.key).copied() {
            return self.scheduler.hold(id, other);
        }
        let step = self.nodes[id.0].label.clone();
        self.emit(Event::Missed { step, key: Some(missed.key), reasons: missed.reasons.clone() });
        if self.wishes.dry_run {
            self.nodes[id.0].would_run = true;
            self.nodes[id.0].manifest = Some(missed.manifest);
            return self.scheduler.hit(id);
        }
        self.making.insert(missed.key, id);
        self.nodes[id.0].key = Some(missed.key);
        self.nodes[id.0].missed = Some(Arc::new(missed));
        self.scheduler.miss(id);
    }

    fn fan(&mut self, id: NodeId, instances: Vec<Instance>) {
        let planned = self.nodes[id.0].planned;
        let step = self.nodes[id.0].label.clone();
        let labels: Vec<String> = instances.iter().map(|instance| format!("{step}[{}]", instance.label)).collect();
        self.emit(Event::Expanded { step, instances: labels.clone() });
        let made = self.scheduler.fan(id, instances.len());
        debug_assert_eq!(made.first().map_or(self.nodes.len(), |first| first.0), self.nodes.len());
        for (instance, label) in instances.into_iter().zip(labels) {
            self.nodes.push(Node::new(planned, label, Some(instance)));
        }
    }

    fn start(&mut self, id: NodeId, attempt: u32) {
        let Some(missed) = self.nodes[id.0].missed.clone() else {
            return self.failed(
                id,
                Failure::new(FailureKind::Infrastructure, "started before it was looked up: a bug of flowrun's"),
            );
        };
        let label = self.nodes[id.0].label.clone();
        self.emit(Event::Started { step: label.clone(), attempt });
        self.open_log(id, attempt);
        self.nodes[id.0].started = Some(Instant::now());
        let attempt = Attempt {
            run: self.run.clone(),
            label,
            number: attempt,
            planned: self.planned(id).clone(),
            job: Arc::new(missed.job.clone()),
            origins: missed.origins.clone(),
            key: missed.key,
        };
        let (session, sender, token) = (self.session.clone(), self.sender.clone(), self.token.child_token());
        tokio::spawn(async move {
            let (say, mut said) = mpsc::channel(256);
            let listener = {
                let sender = sender.clone();
                tokio::spawn(async move {
                    while let Some(say) = said.recv().await {
                        let _ = sender.send(Message::Said(id, say)).await;
                    }
                })
            };
            let result = execute::attempt(session, attempt, say, token).await;
            // Its last words come before its end.
            let _ = listener.await;
            let _ = sender.send(Message::Ended(id, Box::new(result))).await;
        });
    }

    fn open_log(&mut self, id: NodeId, attempt: u32) {
        let Some(record) = &self.record else { return };
        let path = record.log_path(&self.nodes[id.0].label);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        self.nodes[id.0].log = file.ok();
        if attempt > 1 {
            self.write_log(id, &format!("--- attempt {attempt} ---"));
        }
    }

    fn write_log(&mut self, id: NodeId, text: &str) {
        if let Some(file) = &mut self.nodes[id.0].log {
            // A log that cannot be written fails no step.
            let _ = writeln!(file, "{text}");
        }
    }

    fn said(&mut self, id: NodeId, say: Say) {
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

    fn ended(&mut self, id: NodeId, result: Result<StepResult, Failure>) {
        self.nodes[id.0].log = None;
        match result {
            Ok(result) => self.succeeded(id, result),
            Err(failure) => self.failed(id, failure),
        }
    }

    fn succeeded(&mut self, id: NodeId, result: StepResult) {
        let node = &self.nodes[id.0];
        let Some(missed) = node.missed.clone() else { return };
        let entry = StoredEntry {
            key: missed.key,
            manifest: serde_json::to_value(&missed.manifest).unwrap_or_default(),
            outputs: result.outputs.iter().map(|(name, output)| (name.clone(), StoredOutput::of(output))).collect(),
            values: result.values.clone(),
            run: self.run.clone(),
            took_ms: node.took_ms(),
            created_unix_ms: super::now_ms(),
            sandbox: Sandbox::default(),
        };
        let (label, took_ms) = (node.label.clone(), node.took_ms());
        if let Err(error) = self.session.store.save_entry(&entry, &self.session.tag(&label)) {
            self.emit(Event::Warned { text: format!("the result of `{label}` is not in the cache: {error}") });
        }
        self.emit(Event::Finished {
            step: label,
            key: missed.key,
            took_ms,
            outputs: result.outputs.clone(),
            values: result.values.clone(),
        });
        self.counts.ran += 1;
        self.making.remove(&missed.key);
        self.nodes[id.0].result = Some(Arc::new(result));
        self.scheduler.ended(id, Ok(()));
    }

    fn failed(&mut self, id: NodeId, failure: Failure) {
        self.scheduler.ended(id, Err(failure.kind));
        let (label, took_ms) = (self.nodes[id.0].label.clone(), self.nodes[id.0].took_ms());
        if let State::Pausing(attempt) = *self.scheduler.state(id) {
            let delay_ms = self.planned(id).retry().pause_after(attempt).as_millis() as u64;
            return self.emit(Event::Retrying { step: label, attempt, failure, delay_ms });
        }
        if let Some(key) = self.nodes[id.0].key {
            self.making.remove(&key);
        }
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
        if let Some(key) = self.nodes[id.0].key {
            self.making.remove(&key);
        }
        self.counts.skipped += 1;
        let step = self.nodes[id.0].label.clone();
        self.emit(Event::Skipped { step, why });
    }

    /// The one way by which anything is told.
    pub(crate) fn emit(&mut self, event: Event) {
        let stamped = Stamped { at: super::now_ms(), event };
        let kept = stamped.event.is_kept();
        if let (Some(record), true, false) = (&mut self.record, kept, self.record_broken)
            && let Ok(line) = serde_json::to_string(&stamped)
            && let Err(error) = record.append_event(&line)
        {
            self.record_broken = true;
            let text = format!("the record of this run cannot be written: {error}");
            self.report.event(&Stamped { at: stamped.at, event: Event::Warned { text } });
        }
        self.report.event(&stamped);
    }

    /// What a dry run found of a step: its manifest, and whether its result is there. Nothing where it cannot be known yet.
    pub(crate) fn found(&self, label: &str) -> Option<(Manifest, bool)> {
        let node = self.nodes.iter().find(|node| node.label == label)?;
        Some((node.manifest.clone()?, !node.would_run))
    }

    /// What a step of the plan made, for results.
    pub(crate) fn made(&self) -> IndexMap<String, Upstream> {
        let all: Vec<(NodeId, Edge)> = (0..self.plan.steps.len()).map(|index| (NodeId(index), Edge::Data)).collect();
        let everything = Planned { id: String::new(), step: flowrun_core::lang::written::Step::default(), waits: all };
        self.upstream(&everything).0
    }
}
