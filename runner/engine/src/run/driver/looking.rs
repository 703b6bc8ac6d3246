//! Looking steps up: what they are asked with, and what follows from the answer.

use std::sync::Arc;

use flowrun_core::digest::Digest;
use flowrun_core::event::{Event, Reason, Skip};
use flowrun_core::key::Manifest;
use flowrun_core::lang::graph::Edge;
use flowrun_core::plan::{Instance, Planned};
use flowrun_core::schedule::{End, NodeId, State};
use indexmap::IndexMap;

use super::{Driver, Node};
use crate::run::look::{Before, Hit, Looked, Missed, Question, StepResult, Upstream};
use crate::store::StoredResult;

/// What a dry run found of a step, so that its job can be made again.
pub(crate) struct Found {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) cached: bool,
    pub(crate) question: Question,
}

impl Driver<'_> {
    pub(super) fn look(&mut self, id: NodeId) {
        let question = self.question(id);
        if self.looks.add(id, question) {
            self.look_on_a_thread();
        }
    }

    /// Has one more thread look until nothing is left to look at.
    pub(super) fn look_on_a_thread(&self) {
        let (looks, session) = (self.looks.clone(), self.session.clone());
        tokio::task::spawn_blocking(move || {
            let mut answer = None;
            while let Some((id, question)) = looks.next(answer.take()) {
                answer = Some((id, session.look(&question)));
            }
        });
    }

    /// Takes in what was found.
    pub(super) fn looked_at(&mut self) {
        for (id, looked) in self.looks.take() {
            // One that could not be supplied is over before it was looked at.
            if !matches!(self.scheduler.state(id), State::Done(_)) {
                self.looked(id, looked);
            }
        }
    }

    /// All that looking at a step needs to know.
    pub(super) fn question(&mut self, id: NodeId) -> Question {
        let before = self.before(id);
        let node = &self.nodes[id.0];
        let parts = self.parts(id);
        let mut pending = before.pending.clone();
        for instance in self.scheduler.instances(id).iter().filter(|_| parts.is_some()) {
            let part = &self.nodes[instance.0];
            pending.extend(part.would_run.then(|| part.label.clone()));
        }
        Question {
            parts,
            label: node.label.clone(),
            instance: node.instance.clone(),
            before,
            pending,
            forced: self.wishes.forced.contains(&NodeId(node.planned)),
            brief: self.wishes.dry_run && !self.wishes.recalled,
            recalled: self.wishes.recalled,
            resumed: self.wishes.resumed.as_ref().and_then(|run| run.steps.get(&node.label).cloned()),
            planned: self.planned(id).clone(),
        }
    }

    /// What the steps before a step give it: found out once for all instances of a fan-out and parts of a divided step.
    fn before(&mut self, id: NodeId) -> Arc<Before> {
        if let Some(before) = self.nodes[id.0].fan.and_then(|fan| self.nodes[fan.0].before.clone()) {
            return before;
        }
        let planned = self.planned(id).clone();
        let (upstream, pending) = self.upstream(&planned);
        let before = Arc::new(Before::new(upstream, pending));
        if planned.is_fan_out() || planned.parts().is_some() {
            self.nodes[id.0].before = Some(before.clone());
        }
        before
    }

    /// What the parts of a divided step made, once it looks again to put it together.
    fn parts(&self, id: NodeId) -> Option<Vec<(String, Arc<StepResult>)>> {
        let instances = self.scheduler.instances(id);
        if self.planned(id).parts().is_none() || instances.is_empty() {
            return None;
        }
        let made = |id: &NodeId| {
            let node = &self.nodes[id.0];
            Some((node.instance.as_ref()?.label.clone(), node.result.clone()?))
        };
        Some(instances.iter().filter_map(made).collect())
    }

    /// What the steps before a step give it, and which of them only would.
    pub(super) fn upstream(&self, planned: &Planned) -> (IndexMap<String, Upstream>, Vec<String>) {
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

    pub(super) fn would_run(&self, id: NodeId) -> bool {
        self.nodes[id.0].would_run
            || self.scheduler.instances(id).iter().any(|instance| self.nodes[instance.0].would_run)
    }

    pub(super) fn looked(&mut self, id: NodeId, looked: Looked) {
        let label = |driver: &Self| driver.nodes[id.0].label.clone();
        match looked {
            Looked::Hit(hit) => {
                let Hit { entry, manifest, state, since } = *hit;
                self.changed_since(id, since);
                self.nodes[id.0].manifest = manifest.map(Arc::new);
                self.retell(&entry, state);
                self.hit(id, entry);
            }
            Looked::Miss(mut missed) => {
                self.changed_since(id, missed.since.take());
                self.missed(id, *missed);
            }
            Looked::Would(key, reasons) => self.would_run_under(id, key, reasons),
            Looked::Skip(expression) => {
                self.emit(Event::Skipped { step: label(self), why: Skip::Condition { expression } });
                self.scheduler.skip(id);
            }
            Looked::Pass => {
                self.emit(Event::Passed { step: label(self) });
                self.scheduler.hit(id);
            }
            Looked::Fan(instances) => self.fan(id, instances),
            Looked::After(steps) => {
                let reasons = vec![Reason::After { steps }];
                self.emit(Event::Missed { step: label(self), key: None, reasons });
                self.nodes[id.0].would_run = true;
                self.scheduler.hit(id);
            }
            Looked::Fail(failure) => self.failed(id, failure),
        }
    }

    /// Says once how a step differs from what it was in the run that is taken up.
    pub(super) fn changed_since(&mut self, id: NodeId, reasons: Option<Vec<Reason>>) {
        let (Some(reasons), Some(resumed)) = (reasons, &mut self.wishes.resumed) else { return };
        let (step, run) = (self.nodes[id.0].label.clone(), resumed.run.clone());
        resumed.steps.remove(&step);
        self.emit(Event::ChangedSince { step, run, reasons });
    }

    pub(super) fn hit(&mut self, id: NodeId, entry: StoredResult) {
        let outputs = entry.outputs.into_iter().map(|(name, output)| (name, output.into_event())).collect();
        let result = StepResult { outputs, values: entry.values };
        self.emit(Event::Cached {
            step: self.nodes[id.0].label.clone(),
            key: entry.key,
            from: entry.run,
            took_ms: entry.took_ms,
            outputs: result.outputs.clone(),
            values: result.values.clone(),
        });
        self.counts.cached += 1;
        self.let_go(id);
        self.nodes[id.0].key = Some(entry.key);
        self.nodes[id.0].result = Some(Arc::new(result));
        self.scheduler.hit(id);
    }

    pub(super) fn missed(&mut self, id: NodeId, missed: Missed) {
        if let Some(other) = self.making.get(&missed.key).copied() {
            return self.scheduler.hold(id, other);
        }
        if self.wishes.dry_run {
            self.nodes[id.0].manifest = self.wishes.recalled.then_some(missed.manifest);
            return self.would_run_under(id, missed.key, missed.reasons);
        }
        let step = self.nodes[id.0].label.clone();
        self.emit(Event::Missed { step, key: Some(missed.key), reasons: missed.reasons.clone() });
        self.making.insert(missed.key, id);
        self.nodes[id.0].key = Some(missed.key);
        self.nodes[id.0].missed = Some(Arc::new(missed));
        self.scheduler.miss(id);
    }

    /// In a plan it is over with that: those after it go on as if it had run.
    fn would_run_under(&mut self, id: NodeId, key: Digest, reasons: Vec<Reason>) {
        self.nodes[id.0].would_run = true;
        self.emit(Event::Missed { step: self.nodes[id.0].label.clone(), key: Some(key), reasons });
        self.scheduler.hit(id);
    }

    pub(super) fn fan(&mut self, id: NodeId, instances: Vec<Instance>) {
        let planned = self.nodes[id.0].planned;
        let step = self.nodes[id.0].label.clone();
        let labels: Vec<String> = instances.iter().map(|instance| format!("{step}[{}]", instance.label)).collect();
        self.emit(Event::Expanded { step, instances: labels.clone() });
        let made = self.scheduler.fan(id, instances.len());
        debug_assert_eq!(made.first().map_or(self.nodes.len(), |first| first.0), self.nodes.len());
        for (instance, label) in instances.into_iter().zip(labels) {
            self.nodes.push(Node { fan: Some(id), ..Node::new(planned, label, Some(Arc::new(instance))) });
        }
    }

    /// What a dry run found of a step; nothing where it has no key, or none yet.
    pub(crate) fn found(&mut self, label: &str) -> Option<Found> {
        self.found_at(NodeId(self.nodes.iter().position(|node| node.label == label)?))
    }

    /// What a dry run found of every step that has a key, by its label.
    pub(crate) fn all_found(&mut self) -> impl Iterator<Item = (String, Found)> {
        (0..self.nodes.len()).filter_map(|index| Some((self.nodes[index].label.clone(), self.found_at(NodeId(index))?)))
    }

    pub(super) fn found_at(&mut self, id: NodeId) -> Option<Found> {
        let node = &self.nodes[id.0];
        let (manifest, cached) = (node.manifest.clone()?, !node.would_run);
        Some(Found { manifest, cached, question: self.question(id) })
    }

    /// What a step of the plan made, for results.
    pub(crate) fn made(&self) -> IndexMap<String, Upstream> {
        let all: Vec<(NodeId, Edge)> = (0..self.plan.steps.len()).map(|index| (NodeId(index), Edge::Data)).collect();
        let everything = Planned { id: String::new(), step: Arc::default(), waits: all };
        let mut made = self.upstream(&everything).0;
        // A fan-out that did not come to a good end has made a part of itself; nobody is given a part for the whole.
        for (index, upstream) in made.values_mut().enumerate() {
            if *self.scheduler.state(NodeId(index)) != State::Done(End::Succeeded) {
                *upstream = Upstream::Nothing;
            }
        }
        made
    }
}
