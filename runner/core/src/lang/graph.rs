//! Which steps wait for which: from references, `needs`, and the values that templates use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use petgraph::Direction::Incoming;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use serde_json::Value as Json;

use super::reference::Reference;
use super::written::{Condition, EnvValue, Pipeline, Step};
use crate::expr;

/// Why a step waits for another; the strongest reason where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    /// `needs`: only order.
    Order,
    /// It uses a value or an output: without it, it cannot run.
    Data,
}

/// The steps that `step` waits for, by id.
pub fn waits_for(step: &Step, pipeline: &Pipeline) -> BTreeMap<String, Edge> {
    let mut edges: BTreeMap<String, Edge> = step.needs.iter().map(|id| (id.clone(), Edge::Order)).collect();
    let inputs = step.inputs.values().filter_map(|text| Reference::parse(text).ok());
    let steps = inputs.filter_map(|reference| reference.step().map(str::to_owned)).chain(used_steps(step));
    for id in steps {
        edges.insert(id, Edge::Data);
    }
    edges.retain(|id, _| pipeline.steps.contains_key(id));
    edges
}

fn used_steps(step: &Step) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut template = |text: &str| names.extend(expr::names(text).unwrap_or_default());
    [&step.run, &step.fail].into_iter().flatten().for_each(|text| template(text));
    for value in step.env.values() {
        if let EnvValue::Text(text) = value {
            template(text);
        }
    }
    let onnx = step.onnx.iter().flat_map(|onnx| onnx.templated()).map(|(_, value)| value);
    step.with.values().chain(onnx).for_each(|value| strings(value, &mut template));
    let expressions =
        [step.r#if.as_ref().map(Condition::text), step.foreach.as_ref().and_then(Json::as_str).map(str::to_owned)];
    for text in expressions.iter().flatten() {
        names.extend(expr::expression_names(expr::whole(text).unwrap_or(text)).unwrap_or_default());
    }
    names.iter().filter_map(|name| name.split('.').next()).map(str::to_owned).collect()
}

fn strings(value: &Json, visit: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => visit(text),
        Json::Array(items) => items.iter().for_each(|item| strings(item, visit)),
        Json::Object(entries) => entries.values().for_each(|item| strings(item, visit)),
        _ => {}
    }
}

/// What each step of a pipeline waits for, as places in the file. Made once, when the file is checked.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    waits: Vec<Vec<(usize, Edge)>>,
}

impl Graph {
    /// The graph of all steps.
    pub fn of(pipeline: &Pipeline) -> Self {
        let place = |(id, edge): (String, Edge)| Some((pipeline.steps.get_index_of(&id)?, edge));
        let waits = |step: &Arc<Step>| waits_for(step, pipeline).into_iter().filter_map(place).collect();
        Self { waits: pipeline.steps.values().map(waits).collect() }
    }

    /// What a step waits for, in the order of ids.
    pub fn waits(&self, index: usize) -> &[(usize, Edge)] {
        self.waits.get(index).map_or(&[], Vec::as_slice)
    }

    /// Steps in each circle, in the order in which they wait for each other.
    pub fn cycles(&self) -> Vec<Vec<usize>> {
        // Nearly all pipelines have none, which is seen at once.
        if self.order().is_some() {
            return Vec::new();
        }
        let mut graph = DiGraphMap::new();
        for (index, waits) in self.waits.iter().enumerate() {
            graph.add_node(index);
            for (before, _) in waits {
                graph.add_edge(*before, index, ());
            }
        }
        let circular = |part: &Vec<usize>| part.len() > 1 || graph.contains_edge(part[0], part[0]);
        tarjan_scc(&graph).into_iter().filter(circular).map(|part| shortest_circle(&graph, &part)).collect()
    }

    /// Steps so that each comes after all it waits for, ties in the file's order; nothing where steps wait for each other.
    pub fn order(&self) -> Option<Vec<usize>> {
        // People expect the file's order where there is a choice: that of reading the file again and again, and taking in each reading
        // what waits for nothing any more. A step is taken in the reading in which the last before it was, or in the next one where that
        // stands further down.
        let mut open: Vec<usize> = self.waits.iter().map(Vec::len).collect();
        let after = self.after();
        let mut next: BinaryHeap<Reverse<(usize, usize)>> =
            (0..open.len()).filter(|index| open[*index] == 0).map(|index| Reverse((0, index))).collect();
        let mut result = Vec::with_capacity(open.len());
        while let Some(Reverse((reading, index))) = next.pop() {
            result.push(index);
            for &after in &after[index] {
                open[after] -= 1;
                if open[after] == 0 {
                    next.push(Reverse((reading + usize::from(after < index), after)));
                }
            }
        }
        (result.len() == open.len()).then_some(result)
    }

    /// Those that wait for each step.
    fn after(&self) -> Vec<Vec<usize>> {
        let mut after = vec![Vec::new(); self.waits.len()];
        for (index, waits) in self.waits.iter().enumerate() {
            waits.iter().for_each(|(before, _)| after[*before].push(index));
        }
        after
    }
}

/// The shortest way from the first step of a knot back to itself, against the arrows: who waits for whom.
fn shortest_circle(graph: &DiGraphMap<usize, ()>, part: &[usize]) -> Vec<usize> {
    let inside: BTreeSet<usize> = part.iter().copied().collect();
    let Some(&start) = inside.first() else { return Vec::new() };
    let mut from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph.neighbors_directed(node, Incoming).filter(|next| inside.contains(next)) {
            if next == start {
                let mut path = vec![node];
                while let Some(&before) = path.last().filter(|last| **last != start).and_then(|last| from.get(last)) {
                    path.push(before);
                }
                path.reverse();
                return path;
            }
            if next != start && !from.contains_key(&next) {
                from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    part.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(steps: Json) -> Pipeline {
        serde_json::from_value(serde_json::json!({"flowrun": 1, "steps": steps})).expect("pipeline")
    }

    #[test]
    fn references_values_and_needs_are_edges() {
        let pipeline = pipeline(serde_json::json!({
            "gate": {"fail": "{{ c.values.x }}", "if": "b.values.y < 1", "needs": ["a"]},
            "a": {"run": "true"}, "b": {"run": "x", "inputs": {"d": "a.out"}}, "c": {"run": "y"}}));
        let edges = waits_for(&pipeline.steps["gate"], &pipeline);
        assert_eq!(
            edges.into_iter().collect::<Vec<_>>(),
            [("a".into(), Edge::Order), ("b".into(), Edge::Data), ("c".into(), Edge::Data)]
        );
        assert_eq!(Graph::of(&pipeline).order(), Some(vec![1, 2, 3, 0]));
    }

    #[test]
    fn the_order_is_that_of_reading_the_file_again_and_again() {
        // `a` after `c`, `b` after nothing, `c` after `d`, `d` after `b`, `e` after `a`.
        let step = |needs: &[&str]| serde_json::json!({"run": "true", "needs": needs});
        let pipeline = pipeline(serde_json::json!({
            "a": step(&["c"]), "b": step(&[]), "c": step(&["d"]), "d": step(&["b"]), "e": step(&["a"])}));
        let again_and_again = |pipeline: &Pipeline| {
            let mut taken: Vec<usize> = Vec::new();
            while taken.len() < pipeline.steps.len() {
                for (index, step) in pipeline.steps.values().enumerate() {
                    let ready =
                        step.needs.iter().all(|id| taken.iter().any(|at| pipeline.steps.get_index_of(id) == Some(*at)));
                    if ready && !taken.contains(&index) {
                        taken.push(index);
                    }
                }
            }
            taken
        };
        let order = Graph::of(&pipeline).order();
        assert_eq!(order, Some(again_and_again(&pipeline)));
        assert_eq!(order, Some(vec![1, 3, 2, 0, 4]));
    }

    #[test]
    fn a_circle_is_printed_in_its_order() {
        let pipeline = pipeline(serde_json::json!({
            "a": {"run": "x", "needs": ["c"]}, "b": {"run": "x", "needs": ["a"]}, "c": {"run": "x", "needs": ["b"]}, "d": {"run": "x", "needs": ["a"]}}));
        let graph = Graph::of(&pipeline);
        assert_eq!((graph.cycles(), graph.order()), (vec![vec![0, 2, 1]], None));
        assert_eq!(graph.waits(3), [(0, Edge::Order)]);
    }
}
