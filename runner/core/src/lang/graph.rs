//! Which steps wait for which: from references, `needs`, and the values that templates use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::Direction::{Incoming, Outgoing};
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

fn graph(pipeline: &Pipeline) -> DiGraphMap<usize, ()> {
    let mut graph = DiGraphMap::new();
    for (index, step) in pipeline.steps.values().enumerate() {
        graph.add_node(index);
        for id in waits_for(step, pipeline).keys() {
            if let Some(other) = pipeline.steps.get_index_of(id) {
                graph.add_edge(other, index, ());
            }
        }
    }
    graph
}

/// Ids of the steps in each circle, in the order in which they wait for each other.
pub fn cycles(pipeline: &Pipeline) -> Vec<Vec<String>> {
    let graph = graph(pipeline);
    let name = |index: usize| pipeline.steps.get_index(index).map(|(id, _)| id.clone()).unwrap_or_default();
    let circular = |part: &Vec<usize>| part.len() > 1 || graph.contains_edge(part[0], part[0]);
    let mut found: Vec<Vec<String>> = tarjan_scc(&graph)
        .into_iter()
        .filter(circular)
        .map(|part| shortest_circle(&graph, &part).into_iter().map(name).collect())
        .collect();
    found.sort();
    found
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

/// Indices of the steps so that each comes after all it waits for; ties in the file's order.
///
/// # Errors
/// When steps wait for each other, which `check` has reported before.
pub fn order(pipeline: &Pipeline) -> Result<Vec<usize>, Vec<Vec<String>>> {
    // petgraph's order is any that fits; people expect the file's order where there is a choice: that of reading the file again and
    // again, and taking in each reading what waits for nothing any more. A step is taken in the reading in which the last before it
    // was, or in the next one where that stands further down.
    let graph = graph(pipeline);
    let count = pipeline.steps.len();
    let mut open: Vec<usize> = (0..count).map(|index| graph.neighbors_directed(index, Incoming).count()).collect();
    let mut next: BinaryHeap<Reverse<(usize, usize)>> =
        (0..count).filter(|index| open[*index] == 0).map(|index| Reverse((0, index))).collect();
    let mut result = Vec::with_capacity(count);
    while let Some(Reverse((reading, index))) = next.pop() {
        result.push(index);
        for after in graph.neighbors_directed(index, Outgoing) {
            open[after] -= 1;
            if open[after] == 0 {
                next.push(Reverse((reading + usize::from(after < index), after)));
            }
        }
    }
    if result.len() == count { Ok(result) } else { Err(cycles(pipeline)) }
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
        assert_eq!(order(&pipeline), Ok(vec![1, 2, 3, 0]));
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
        assert_eq!(order(&pipeline), Ok(again_and_again(&pipeline)));
        assert_eq!(order(&pipeline), Ok(vec![1, 3, 2, 0, 4]));
    }

    #[test]
    fn a_circle_is_printed_in_its_order() {
        let pipeline = pipeline(serde_json::json!({
            "a": {"run": "x", "needs": ["c"]}, "b": {"run": "x", "needs": ["a"]}, "c": {"run": "x", "needs": ["b"]}, "d": {"run": "x", "needs": ["a"]}}));
        assert_eq!(cycles(&pipeline), [["a", "c", "b"]]);
    }
}
