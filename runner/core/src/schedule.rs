//! The scheduler: which step may do what next. A pure state machine; the engine's driver feeds it and obeys it.
//!
//! ```text
//!                 all waited-for done                    hit
//!   Waiting ───────────────────────► Looking ───────────────────────────► Done
//!      │                              │  ▲ │ miss                           ▲
//!      │ one failed / was skipped     │  │ ▼        fits the machine        │ ended well, or attempts are used up
//!      └───────────► Done(Skipped)    │  │ Queued ──────────────► Running ──┤
//!                                     │  │   ▲                              │ failed, attempts left
//!      a fan-out: fan(n) makes n      │  │   └───────── Pausing ◄───────────┘
//!      instances, each Looking;       │  └── Held (another step makes the same result)
//!      it is Done when they are       ▼
//!                                  Fanned
//! ```
//! The cache look-up is a state, so that it can be seen. Exactly one function changes a state: [`Scheduler::set`]. Order among steps
//! that may start is the pipeline's; one that does not fit lets smaller ones pass.
//!
//! Knows nothing of time (a pause is an order to come back), of keys, or of what a step is.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::lang::graph::Edge;
use crate::outcome::FailureKind;

/// A step, a fan-out or one of its instances, inside one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// What a step takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Graphics processors.
    pub gpu: u64,
}

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The resources; a need is clamped to them, so that a step too large runs alone.
    pub has: Need,
    /// The most steps at once.
    pub jobs: usize,
}

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts: u32,
    /// The pause before the second, doubled for each further one.
    pub backoff: Duration,
    /// The kinds of failure that are tried again.
    pub on: Vec<FailureKind>,
}

/// The longest pause between attempts; doubling would soon be days.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl RetryPolicy {
    /// One attempt.
    pub fn never() -> Self {
        Self { attempts: 1, backoff: Duration::ZERO, on: Vec::new() }
    }

    /// The pause after the n-th attempt failed.
    pub fn pause_after(&self, attempt: u32) -> Duration {
        self.backoff.saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
    }
}

/// A step as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it waits for, and why.
    pub waits: Vec<(NodeId, Edge)>,
    /// What it takes.
    pub need: Need,
    /// When it is tried again.
    pub retry: RetryPolicy,
    /// Whether its failure is no failure of the run.
    pub tolerated: bool,
    /// Whether it is left out of this run.
    pub left_out: bool,
}

/// Why a step did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipWhy {
    /// Its own condition was false.
    Condition,
    /// This one failed.
    Failed(NodeId),
    /// This one was skipped, and its outputs are missing.
    Skipped(NodeId),
    /// The run stopped before its turn.
    Stopped,
    /// It was left out of this run.
    LeftOut,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well: ran or cached.
    Succeeded,
    /// With a failure.
    Failed,
    /// With a failure that the run overlooks.
    Tolerated,
    /// Without running.
    Skipped(SkipWhy),
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// For this many others.
    Waiting(usize),
    /// Its key is being made and looked up.
    Looking,
    /// Another step makes the same result; then it looks again.
    Held(NodeId),
    /// For this many of its instances.
    Fanned(usize),
    /// Must run, and waits for the machine.
    Queued(u32),
    /// Runs its n-th attempt.
    Running(u32),
    /// Failed its n-th attempt and waits to try again.
    Pausing(u32),
    /// Over.
    Done(End),
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Make its key and look it up; answer with `hit`, `miss`, `skip`, `hold`, `fan` or `ended`.
    Look(NodeId),
    /// Run it; answer with `ended`.
    Start(NodeId, u32),
    /// Come back with `resume` after the pause.
    Pause(NodeId, u32, Duration),
    /// Tell that it did not run.
    Skip(NodeId, SkipWhy),
}

struct Node {
    spec: Spec,
    state: State,
    dependents: Vec<(NodeId, Edge)>,
    fan: Option<NodeId>,
    instances: Vec<NodeId>,
    holders: Vec<NodeId>,
}

/// The state of a run.
pub struct Scheduler {
    nodes: Vec<Node>,
    machine: Machine,
    free: Need,
    slots: usize,
    orders: VecDeque<Order>,
    queued: BTreeSet<NodeId>,
    awaited: usize,
    over: usize,
    keep_going: bool,
    stopping: bool,
}

impl Scheduler {
    /// A run over `specs`, whose waits name indices into it. Circles are refused before: here they would never end.
    pub fn new(specs: Vec<Spec>, machine: Machine, keep_going: bool) -> Self {
        let nodes = specs.into_iter().map(|spec| Node::new(spec, None)).collect();
        let mut scheduler = Self {
            nodes,
            free: machine.has,
            slots: machine.jobs.max(1),
            machine,
            orders: VecDeque::new(),
            queued: BTreeSet::new(),
            awaited: 0,
            over: 0,
            keep_going,
            stopping: false,
        };
        scheduler.wire();
        scheduler
    }

    fn wire(&mut self) {
        for index in 0..self.nodes.len() {
            for (before, edge) in self.nodes[index].spec.waits.clone() {
                self.nodes[before.0].dependents.push((NodeId(index), edge));
            }
        }
        for index in 0..self.nodes.len() {
            let id = NodeId(index);
            if self.nodes[index].spec.left_out {
                self.finish(id, End::Skipped(SkipWhy::LeftOut));
            } else if self.nodes[index].state == State::Waiting(0) {
                self.look(id);
            }
        }
    }

    /// What to do now, in order; empty when only answers can change anything.
    pub fn take_orders(&mut self) -> Vec<Order> {
        self.admit();
        self.orders.drain(..).collect()
    }

    /// Where a step is.
    pub fn state(&self, id: NodeId) -> &State {
        &self.nodes[id.0].state
    }

    /// How many steps there are, instances counted.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing to do at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Instances of a fan-out, in order.
    pub fn instances(&self, id: NodeId) -> &[NodeId] {
        &self.nodes[id.0].instances
    }

    /// Whether everything is over.
    pub fn is_done(&self) -> bool {
        self.over == self.nodes.len()
    }

    /// Whether an answer of the driver is awaited. When not, and the run is not done, that is a bug of the scheduler's.
    pub fn is_busy(&self) -> bool {
        self.awaited > 0
    }

    /// Its result was in the cache.
    pub fn hit(&mut self, id: NodeId) {
        debug_assert_eq!(self.nodes[id.0].state, State::Looking);
        self.finish(id, End::Succeeded);
    }

    /// It must run.
    pub fn miss(&mut self, id: NodeId) {
        debug_assert_eq!(self.nodes[id.0].state, State::Looking);
        if self.stopping {
            return self.finish(id, End::Skipped(SkipWhy::Stopped));
        }
        self.set(id, State::Queued(1));
    }

    /// Its condition was false.
    pub fn skip(&mut self, id: NodeId) {
        self.finish(id, End::Skipped(SkipWhy::Condition));
    }

    /// `other` is making the same result: look again when it is done.
    pub fn hold(&mut self, id: NodeId, other: NodeId) {
        match self.nodes[other.0].state {
            State::Done(_) => self.look(id),
            _ => {
                self.nodes[other.0].holders.push(id);
                self.set(id, State::Held(other));
            }
        }
    }

    /// It is a fan-out of `count` instances, which get the ids returned.
    pub fn fan(&mut self, id: NodeId, count: usize) -> Vec<NodeId> {
        let spec = Spec { waits: Vec::new(), ..self.nodes[id.0].spec.clone() };
        let made: Vec<NodeId> = (0..count).map(|index| NodeId(self.nodes.len() + index)).collect();
        self.nodes.extend((0..count).map(|_| Node::new(spec.clone(), Some(id))));
        self.nodes[id.0].instances.clone_from(&made);
        self.set(id, State::Fanned(count));
        if count == 0 {
            self.finish(id, End::Succeeded);
        }
        made.iter().for_each(|instance| self.look(*instance));
        made
    }

    /// An attempt, or the making of its key, ended: well or with a kind of failure.
    pub fn ended(&mut self, id: NodeId, result: Result<(), FailureKind>) {
        let attempt = match self.nodes[id.0].state {
            State::Running(attempt) => {
                self.release(id);
                attempt
            }
            _ => u32::MAX,
        };
        let spec = &self.nodes[id.0].spec;
        match result {
            Ok(()) => self.finish(id, End::Succeeded),
            Err(kind) if attempt < spec.retry.attempts && spec.retry.on.contains(&kind) && !self.stopping => {
                let pause = spec.retry.pause_after(attempt);
                self.set(id, State::Pausing(attempt));
                self.orders.push_back(Order::Pause(id, attempt, pause));
            }
            Err(_) if spec.tolerated => self.finish(id, End::Tolerated),
            Err(_) => self.finish(id, End::Failed),
        }
    }

    /// The pause is over.
    pub fn resume(&mut self, id: NodeId) {
        if let State::Pausing(attempt) = self.nodes[id.0].state {
            self.set(id, State::Queued(attempt + 1));
        }
    }

    /// Start nothing more: what has not started is skipped, what runs may end.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.end_all(VecDeque::new());
    }

    fn look(&mut self, id: NodeId) {
        if let Some((id, end)) = self.look_or_end(id) {
            self.finish(id, end);
        }
    }

    fn look_or_end(&mut self, id: NodeId) -> Option<(NodeId, End)> {
        if self.stopping {
            return Some((id, End::Skipped(SkipWhy::Stopped)));
        }
        self.set(id, State::Looking);
        self.orders.push_back(Order::Look(id));
        None
    }

    fn set(&mut self, id: NodeId, state: State) {
        let awaits = |state: &State| matches!(state, State::Looking | State::Running(_) | State::Pausing(_));
        self.awaited -= usize::from(awaits(&self.nodes[id.0].state));
        self.awaited += usize::from(awaits(&state));
        self.over += usize::from(matches!(state, State::Done(_)));
        match state {
            State::Queued(_) => self.queued.insert(id),
            _ => self.queued.remove(&id),
        };
        self.nodes[id.0].state = state;
    }

    /// Starts what fits, in order.
    fn admit(&mut self) {
        for id in self.queued.iter().copied().collect::<Vec<_>>() {
            let State::Queued(attempt) = self.nodes[id.0].state else { continue };
            if self.slots == 0 {
                break;
            }
            let need = self.clamped(id);
            if need.cpu <= self.free.cpu && need.memory <= self.free.memory && need.gpu <= self.free.gpu {
                self.slots -= 1;
                self.free.cpu -= need.cpu;
                self.free.memory -= need.memory;
                self.free.gpu -= need.gpu;
                self.set(id, State::Running(attempt));
                self.orders.push_back(Order::Start(id, attempt));
            }
        }
    }

    fn clamped(&self, id: NodeId) -> Need {
        let (need, has) = (self.nodes[id.0].spec.need, self.machine.has);
        Need { cpu: need.cpu.min(has.cpu), memory: need.memory.min(has.memory), gpu: need.gpu.min(has.gpu) }
    }

    fn release(&mut self, id: NodeId) {
        let need = self.clamped(id);
        self.slots += 1;
        self.free.cpu += need.cpu;
        self.free.memory += need.memory;
        self.free.gpu += need.gpu;
    }

    /// Ends a step and lets those that wait for it know.
    fn finish(&mut self, id: NodeId, end: End) {
        self.end_all(VecDeque::from([(id, end)]));
    }

    /// A loop, not a recursion: a chain of ten thousand skips must not overflow the stack.
    fn end_all(&mut self, mut ending: VecDeque<(NodeId, End)>) {
        let mut swept = !self.stopping;
        loop {
            while let Some((id, end)) = ending.pop_front() {
                ending.extend(self.end_one(id, end));
                if end == End::Failed && !self.keep_going && !self.stopping {
                    self.stopping = true;
                    swept = false;
                }
            }
            if std::mem::replace(&mut swept, true) {
                return;
            }
            ending.extend(self.not_started().map(|id| (id, End::Skipped(SkipWhy::Stopped))));
        }
    }

    fn not_started(&self) -> impl Iterator<Item = NodeId> {
        let waits =
            |state: &State| matches!(state, State::Waiting(_) | State::Queued(_) | State::Pausing(_) | State::Held(_));
        self.nodes.iter().enumerate().filter(move |(_, node)| waits(&node.state)).map(|(index, _)| NodeId(index))
    }

    /// Ends one step; what ends with it comes back.
    fn end_one(&mut self, id: NodeId, end: End) -> Vec<(NodeId, End)> {
        if matches!(self.nodes[id.0].state, State::Done(_)) {
            return Vec::new();
        }
        self.set(id, State::Done(end));
        if let End::Skipped(why) = end {
            self.orders.push_back(Order::Skip(id, why));
        }
        let dependents = std::mem::take(&mut self.nodes[id.0].dependents);
        let mut more: Vec<(NodeId, End)> =
            dependents.into_iter().filter_map(|(dependent, edge)| self.tell(dependent, id, end, edge)).collect();
        more.extend(self.nodes[id.0].fan.and_then(|fan| self.tell_fan(fan)));
        for holder in std::mem::take(&mut self.nodes[id.0].holders) {
            if self.nodes[holder.0].state == State::Held(id) {
                more.extend(self.look_or_end(holder));
            }
        }
        more
    }

    fn tell(&mut self, id: NodeId, before: NodeId, end: End, edge: Edge) -> Option<(NodeId, End)> {
        let State::Waiting(left) = self.nodes[id.0].state else { return None };
        let lost = match (end, edge) {
            (End::Succeeded, _) | (End::Tolerated | End::Skipped(SkipWhy::Condition), Edge::Order) => None,
            // A choice of steps holds all that they wait for, so what waits for a step outside it is outside too.
            (End::Skipped(SkipWhy::LeftOut), _) => Some(SkipWhy::LeftOut),
            (End::Failed | End::Tolerated, _) => Some(SkipWhy::Failed(before)),
            (End::Skipped(SkipWhy::Failed(first)), _) => Some(SkipWhy::Failed(first)),
            (End::Skipped(SkipWhy::Stopped), _) => Some(SkipWhy::Stopped),
            (End::Skipped(_), _) => Some(SkipWhy::Skipped(before)),
        };
        if let Some(why) = lost {
            return Some((id, End::Skipped(why)));
        }
        self.set(id, State::Waiting(left - 1));
        if left == 1 { self.look_or_end(id) } else { None }
    }

    fn tell_fan(&mut self, fan: NodeId) -> Option<(NodeId, End)> {
        let State::Fanned(left) = self.nodes[fan.0].state else { return None };
        self.set(fan, State::Fanned(left - 1));
        if left > 1 {
            return None;
        }
        let ends: Vec<(NodeId, End)> = self.nodes[fan.0]
            .instances
            .iter()
            .filter_map(|id| match self.nodes[id.0].state {
                State::Done(end) => Some((*id, end)),
                _ => None,
            })
            .collect();
        let failed = ends.iter().any(|(_, end)| matches!(end, End::Failed));
        let stopped = ends.iter().any(|(_, end)| matches!(end, End::Skipped(SkipWhy::Stopped)));
        let skipped = ends.iter().all(|(_, end)| matches!(end, End::Skipped(_)));
        let end = match (failed, stopped, skipped) {
            (true, _, _) => End::Failed,
            (_, true, _) => End::Skipped(SkipWhy::Stopped),
            (_, _, true) => End::Skipped(SkipWhy::Condition),
            _ => End::Succeeded,
        };
        Some((fan, end))
    }
}

impl Node {
    fn new(spec: Spec, fan: Option<NodeId>) -> Self {
        let state = State::Waiting(spec.waits.len());
        Self { spec, state, dependents: Vec::new(), fan, instances: Vec::new(), holders: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
