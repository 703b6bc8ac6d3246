//! The instances of a fan-out, and the parts of a divided step: what tells each from the others.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::artifact::{Artifact, is_component};
use crate::expr::{self, BadTemplate, Scope};
use crate::lang::written::Step;

/// One run of a fan-out.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// What tells it from the others: `seed=1`, or the item; one component of a path.
    pub label: String,
    /// What it runs for; nothing for a part of a divided step.
    pub item: Option<Item>,
    /// The part of a divided step that it does.
    pub part: Option<Part>,
}

/// A place in the lists of a fan-out. All instances share the lists: what templates see is put together when somebody looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    lists: Arc<Lists>,
    index: usize,
}

#[derive(Debug, PartialEq)]
enum Lists {
    /// Of a `foreach`.
    One(Vec<Json>),
    /// Of a `matrix`: every combination, the last list's items next to each other.
    Several(Vec<(String, Vec<Json>)>),
}

impl Item {
    /// Adds what templates see: `item` or `matrix`.
    pub fn add_to(&self, names: &mut Scope) {
        match &*self.lists {
            Lists::One(items) => names.insert("item", &items[self.index]),
            Lists::Several(lists) => names.insert("matrix", combination(lists, self.index)),
        }
    }
}

/// The combination at a place, by the names of the lists.
fn combination<T>(lists: &[(String, Vec<T>)], index: usize) -> IndexMap<&str, &T> {
    let mut every: usize = lists.iter().map(|(_, items)| items.len()).product();
    let mut picked = IndexMap::with_capacity(lists.len());
    for (name, items) in lists {
        every /= items.len();
        picked.insert(name.as_str(), &items[index / every % items.len()]);
    }
    picked
}

/// A part of a divided step.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which, counted from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
    /// The input that is divided.
    pub input: String,
    /// The folder with this part's files, and those that all parts get.
    pub folder: Artifact,
}

/// The most instances a fan-out may have; more is a mistake in the list rather than a plan.
const MOST_INSTANCES: usize = 100_000;

/// The instances of a fan-out.
///
/// # Errors
/// When a list cannot be rendered or is none.
pub fn instances(step: &Step, names: &Scope) -> Result<Vec<Instance>, BadTemplate> {
    let (lists, labels) = match &step.foreach {
        Some(list) => {
            let items = list_of(list, names, "foreach")?;
            let labels = items.iter().map(label_of).collect();
            (Lists::One(items), labels)
        }
        None => {
            let lists = lists_of(step, names)?;
            let labels = combined_labels(&lists);
            (Lists::Several(lists), labels)
        }
    };
    let all: usize = labels.len();
    if all > MOST_INSTANCES {
        return Err(refuse(format!("{all} instances are more than {MOST_INSTANCES}")));
    }
    let lists = Arc::new(lists);
    let item = |index| Some(Item { lists: lists.clone(), index });
    let one = |(index, label)| Instance { label, item: item(index), part: None };
    Ok(distinct(labels).into_iter().enumerate().map(one).collect())
}

/// The labels, with the place instead of one that is no name, or that another has.
fn distinct(mut labels: Vec<String>) -> Vec<String> {
    let mut taken = HashSet::with_capacity(labels.len());
    let odd: Vec<usize> = (0..labels.len())
        .filter(|index| !is_component(&labels[*index]) || !taken.insert(labels[*index].as_str()))
        .collect();
    drop(taken);
    odd.into_iter().for_each(|index| labels[index] = index.to_string());
    labels
}

fn list_of(list: &Json, names: &Scope, name: &str) -> Result<Vec<Json>, BadTemplate> {
    let value = match list {
        Json::String(text) => expr::evaluate(text, names)?,
        other => expr::render_json(other, names)?,
    };
    match value {
        Json::Array(items) => Ok(items),
        other => Err(refuse(format!("`{name}` gives {other}, which is not a list"))),
    }
}

/// The lists of a matrix by name.
fn lists_of(step: &Step, names: &Scope) -> Result<Vec<(String, Vec<Json>)>, BadTemplate> {
    let mut combinations: usize = 1;
    let mut lists = Vec::with_capacity(step.matrix.len());
    for (name, list) in &step.matrix {
        let items = list_of(list, names, name)?;
        combinations = combinations.saturating_mul(items.len());
        if combinations > MOST_INSTANCES {
            return Err(refuse(format!("the matrix has more than {MOST_INSTANCES} combinations")));
        }
        lists.push((name.clone(), items));
    }
    Ok(lists)
}

/// The labels of all combinations, in order: `lr=0.1,seed=1`.
fn combined_labels(lists: &[(String, Vec<Json>)]) -> Vec<String> {
    let labelled = |(name, items): &(String, Vec<Json>)| -> Vec<String> {
        items.iter().map(|item| format!("{name}={}", label_of(item))).collect()
    };
    let longer = |heads: Vec<String>, tails: Vec<String>| -> Vec<String> {
        heads.iter().flat_map(|head| tails.iter().map(move |tail| [head, ",", tail].concat())).collect()
    };
    lists.iter().map(labelled).reduce(longer).unwrap_or_else(|| vec![String::new()])
}

/// Characters of a label that one value gives.
const LABEL: usize = 40;

/// A value as part of a file name: letters, digits, `.`, `_` and `-`; empty for what has no short text.
fn label_of(value: &Json) -> String {
    let text = match value {
        Json::String(text) => Cow::Borrowed(text),
        Json::Number(_) | Json::Bool(_) => Cow::Owned(value.to_string()),
        _ => return String::new(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.len() <= LABEL && text.chars().all(plain) {
        true => text.into_owned(),
        false => text.chars().take(LABEL).map(|c| if plain(c) { c } else { '_' }).collect(),
    }
}

fn refuse(message: String) -> BadTemplate {
    BadTemplate { message, range: None }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use serde_json::{Map, json};

    use super::super::context;
    use super::super::tests::step;
    use super::*;

    fn seen(instance: &Instance, expression: &str) -> Json {
        let mut names = Scope::default();
        instance.item.as_ref().expect("it runs for something").add_to(&mut names);
        expr::evaluate(expression, &names).expect("it is seen")
    }

    #[test]
    fn an_instance_sees_what_its_label_says() {
        let three = step(json!({"matrix": {"b": [1, 2, 3], "a": ["x", "y"], "c": [true, false]}}));
        let made = instances(&three, &Scope::default()).expect("lists");
        assert_eq!(made.len(), 12);
        for instance in made {
            let seen = seen(&instance, "matrix");
            assert_eq!(
                instance.label,
                format!("b={},a={},c={}", seen["b"], seen["a"].as_str().expect("text"), seen["c"])
            );
        }
        let empty = step(json!({"matrix": {"a": [1, 2], "b": []}}));
        assert_eq!(instances(&empty, &Scope::default()).expect("lists"), []);
    }

    #[test]
    fn a_matrix_is_every_combination_in_order() {
        let step = step(json!({"matrix": {"lr": [0.1, 1], "mode": "{{ params.modes }}"}}));
        let context = context(&Map::from_iter([("modes".into(), json!(["a b", "a/b"]))]), &IndexMap::new());
        let labels: Vec<String> = instances(&step, &context).expect("lists").into_iter().map(|one| one.label).collect();
        assert_eq!(labels, ["lr=0.1,mode=a_b", "1", "lr=1,mode=a_b", "3"]);
    }

    #[test]
    fn foreach_takes_a_value_of_a_step_and_names_odd_items_by_number() {
        let values = IndexMap::from([("split".to_owned(), json!({"folds": ["x", {"a": 1}, "x", "../y"]}))]);
        let step = step(json!({"foreach": "{{ split.values.folds }}"}));
        let made = instances(&step, &context(&Map::new(), &values)).expect("list");
        let labels: Vec<&str> = made.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["x", "1", "2", ".._y"]);
        assert_eq!(seen(&made[1], "item"), json!({"a": 1}));
    }
}
