//! The scheduler: which step may do what next. A pure state machine; the engine's driver feeds it and obeys it.
//!
//! ```text
//!                 all waited-for done                    hit
//!   Waiting ───────────────────────► Looking ───────────────────────────► Done
//!      │                              │ ▲ ▲ │ miss                           ▲
//!      │ one failed / was skipped     │ │ │ ▼        fits the machine        │ ended well, was made by another run,
//!      └───────────► Done(Skipped)    │ │ │ Queued ──────────────► Running ──┤ or attempts are used up
//!                                     │ │ │   ▲                     │        │
//!      a fan-out: fan(n) makes n      │ │ │   └──── Pausing ◄───────┼────────┘ failed, attempts left
//!      instances, each Looking;       │ │ └── Away ◄────────────────┘ another run is making it
//!      it is Done when they are, or   │ └──── Held (another step makes the same result)
//!      looks again to gather          │
//!                                     ▼
//!                                  Fanned
//! ```
//! The cache look-up is a state, so that it can be seen, and so is waiting for another run: such a step has given its room back, since the
//! other run may need long, and what it makes may be a hit here. Exactly one function changes a state: [`Scheduler::set`]. Order among
//! steps that may start is the pipeline's; one that does not fit lets smaller ones pass.
//!
//! Knows nothing of time (a pause is an order to come back), of keys, or of what a step is.

mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::lang::graph::Edge;
use crate::outcome::FailureKind;

pub use state::{End, Machine, Need, NodeId, Order, RetryPolicy, SkipWhy, Spec, State};

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
    /// What waits for the machine, by what it takes: of those that take the same, only the first needs to be looked at.
    queued: BTreeMap<Need, BTreeSet<NodeId>>,
    awaited: usize,
    looking: usize,
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
            queued: BTreeMap::new(),
            awaited: 0,
            looking: 0,
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

    /// Whether a step is being looked up: whether it must run is not known yet.
    pub fn is_looking(&self) -> bool {
        self.looking > 0
    }

    /// Whether nothing new is started any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Its result was in the cache: when it was looked up, or only when it was to start, since another run made it meanwhile.
    pub fn hit(&mut self, id: NodeId) {
        debug_assert!(matches!(self.nodes[id.0].state, State::Looking | State::Running(_)));
        self.give_room_back(id);
        self.finish(id, End::Succeeded);
    }

    /// Another run is making its result: it gives its room back until `back`.
    pub fn away(&mut self, id: NodeId) {
        debug_assert!(matches!(self.nodes[id.0].state, State::Running(_)));
        self.give_room_back(id);
        if self.stopping {
            return self.finish(id, End::Skipped(SkipWhy::Stopped));
        }
        self.set(id, State::Away);
    }

    /// The other run has let go: look again.
    pub fn back(&mut self, id: NodeId) {
        if self.nodes[id.0].state == State::Away {
            self.look(id);
        }
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
        let spec = Spec { waits: Vec::new(), gathers: false, ..self.nodes[id.0].spec.clone() };
        let made: Vec<NodeId> = (0..count).map(|index| NodeId(self.nodes.len() + index)).collect();
        self.nodes.extend((0..count).map(|_| Node::new(spec.clone(), Some(id))));
        self.nodes[id.0].instances.clone_from(&made);
        self.set(id, State::Fanned(count));
        debug_assert!(count > 0 || !self.nodes[id.0].spec.gathers);
        if count == 0 {
            self.finish(id, End::Succeeded);
        }
        made.iter().for_each(|instance| self.look(*instance));
        made
    }

    /// An attempt, or the making of its key, ended: well or with a kind of failure.
    pub fn ended(&mut self, id: NodeId, result: Result<(), FailureKind>) {
        let attempt = self.give_room_back(id).unwrap_or(u32::MAX);
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
        let awaits =
            |state: &State| matches!(state, State::Looking | State::Running(_) | State::Pausing(_) | State::Away);
        self.awaited -= usize::from(awaits(&self.nodes[id.0].state));
        self.awaited += usize::from(awaits(&state));
        self.looking -= usize::from(self.nodes[id.0].state == State::Looking);
        self.looking += usize::from(state == State::Looking);
        self.over += usize::from(matches!(state, State::Done(_)));
        let was = matches!(self.nodes[id.0].state, State::Queued(_));
        match matches!(state, State::Queued(_)) {
            is if is == was => {}
            true => drop(self.queued.entry(self.clamped(id)).or_default().insert(id)),
            false => self.leave_queue(id),
        }
        self.nodes[id.0].state = state;
    }

    fn leave_queue(&mut self, id: NodeId) {
        let need = self.clamped(id);
        let Some(alike) = self.queued.get_mut(&need) else { return };
        alike.remove(&id);
        if alike.is_empty() {
            self.queued.remove(&need);
        }
    }

    /// Starts what fits, in order.
    fn admit(&mut self) {
        while let Some(id) = self.first_that_fits() {
            let State::Queued(attempt) = self.nodes[id.0].state else { return };
            let need = self.clamped(id);
            self.slots -= 1;
            self.free.cpu -= need.cpu;
            self.free.memory -= need.memory;
            self.free.gpu -= need.gpu;
            self.set(id, State::Running(attempt));
            self.orders.push_back(Order::Start(id, attempt));
        }
    }

    fn first_that_fits(&self) -> Option<NodeId> {
        let fits =
            |need: &Need| need.cpu <= self.free.cpu && need.memory <= self.free.memory && need.gpu <= self.free.gpu;
        let fitting = self.queued.iter().filter(|(need, _)| self.slots > 0 && fits(need));
        fitting.filter_map(|(_, alike)| alike.first().copied()).min()
    }

    fn clamped(&self, id: NodeId) -> Need {
        let (need, has) = (self.nodes[id.0].spec.need, self.machine.has);
        Need { cpu: need.cpu.min(has.cpu), memory: need.memory.min(has.memory), gpu: need.gpu.min(has.gpu) }
    }

    /// Frees what a running step takes; returns the attempt it was at, or nothing where it does not run. A change of its state follows.
    fn give_room_back(&mut self, id: NodeId) -> Option<u32> {
        let State::Running(attempt) = self.nodes[id.0].state else { return None };
        let need = self.clamped(id);
        self.slots += 1;
        self.free.cpu += need.cpu;
        self.free.memory += need.memory;
        self.free.gpu += need.gpu;
        Some(attempt)
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
        let waits = |state: &State| {
            matches!(state, State::Waiting(_) | State::Queued(_) | State::Pausing(_) | State::Held(_) | State::Away)
        };
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
            // Of a part nobody can make the whole.
            _ if self.nodes[fan.0].spec.gathers && ends.iter().any(|(_, end)| *end != End::Succeeded) => End::Tolerated,
            _ if self.nodes[fan.0].spec.gathers => return self.look_or_end(fan),
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
