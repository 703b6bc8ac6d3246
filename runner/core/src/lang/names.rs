//! Which names are in reach of a template or expression, and what is said about those that are not.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::check::is_fan_out;
use super::finding::{Rule, did_you_mean, one_of};
use super::written::{Pipeline, Step};

/// Which names a text may use where it stands.
#[derive(Clone, Default)]
pub(super) struct Names<'a> {
    /// Whether params are in reach.
    pub(super) params: bool,
    /// Whether values of steps are.
    pub(super) steps: bool,
    /// The step that the text belongs to.
    pub(super) owner: &'a str,
    /// The step whose `matrix` or `item` is in reach.
    pub(super) fan: Option<&'a Step>,
    /// The step whose `inputs` and `outputs` are.
    pub(super) files: Option<&'a Step>,
}

/// The rule that a name breaks, what is wrong, and advice.
type Refusal = (Rule, String, Option<String>);

impl Names<'_> {
    /// Whether a dotted name may be used.
    pub(super) fn admit(&self, name: &str, pipeline: &Pipeline, lamed: &BTreeSet<String>) -> Result<(), Refusal> {
        let words: Vec<&str> = name.split('.').collect();
        let empty = IndexMap::new();
        let own = ["matrix", "item", "inputs", "outputs"];
        if lamed.contains(self.owner) && words.first().is_some_and(|word| own.contains(word)) {
            return Ok(());
        }
        match words.as_slice() {
            ["params", rest @ ..] if self.params => known("params", rest, pipeline.params.keys(), name),
            ["matrix", rest @ ..] if self.fan.is_some_and(|step| !step.matrix.is_empty()) => {
                known("matrix", rest, self.fan.map_or(empty.keys(), |step| step.matrix.keys()), name)
            }
            ["item", ..] if self.fan.is_some_and(|step| step.foreach.is_some()) => Ok(()),
            ["inputs", rest @ ..] if self.files.is_some() => {
                known("inputs", rest, self.files.into_iter().flat_map(|step| step.inputs.keys()), name)
            }
            ["outputs", rest @ ..] if self.files.is_some() => {
                known("outputs", rest, self.files.into_iter().flat_map(|step| step.outputs.keys()), name)
            }
            [step, rest @ ..] if self.steps && pipeline.steps.contains_key(*step) => {
                self.admit_value(step, rest, pipeline, lamed)
            }
            _ => Err((
                Rule::UndefinedVariable,
                format!("`{name}` is not defined here"),
                Some(self.reach(&words, pipeline)),
            )),
        }
    }

    fn admit_value(
        &self,
        id: &str,
        rest: &[&str],
        pipeline: &Pipeline,
        lamed: &BTreeSet<String>,
    ) -> Result<(), Refusal> {
        let Some(step) = pipeline.steps.get(id).filter(|_| !lamed.contains(id)) else { return Ok(()) };
        let declared = || one_of(step.values.iter().map(String::as_str));
        match rest {
            ["values"] => Ok(()),
            ["values", ..] if is_fan_out(step) => {
                let hint = format!("`{id}.values` is a list, one item an instance");
                Err((Rule::JoinNeeded, format!("step `{id}` runs more than once"), Some(hint)))
            }
            ["values", value, ..] if step.values.iter().any(|known| known == value) => Ok(()),
            ["values", value, ..] => {
                let hint = did_you_mean(value, step.values.iter().map(String::as_str)).unwrap_or_else(|| {
                    format!("its values are {}: `values: [...]` of the step declares them", declared())
                });
                Err((Rule::UndeclaredOutput, format!("step `{id}` declares no value `{value}`"), Some(hint)))
            }
            _ => {
                let hint = format!("write `{id}.values.NAME`, or take its files through `inputs`");
                Err((
                    Rule::UndefinedVariable,
                    format!("`{}` is not defined here", [&[id], rest].concat().join(".")),
                    Some(hint),
                ))
            }
        }
    }

    fn reach(&self, words: &[&str], pipeline: &Pipeline) -> String {
        let mut reach: Vec<&str> = Vec::new();
        let all = [
            ("params", self.params),
            ("matrix", self.fan.is_some_and(|step| !step.matrix.is_empty())),
            ("item", self.fan.is_some_and(|step| step.foreach.is_some())),
            ("inputs", self.files.is_some()),
            ("outputs", self.files.is_some()),
        ];
        reach.extend(all.iter().filter(|(_, there)| *there).map(|(name, _)| *name));
        let first = words.first().copied().unwrap_or_default();
        if pipeline.params.contains_key(first) && self.params {
            return format!("did you mean `params.{first}`?");
        }
        let steps = pipeline.steps.keys().map(String::as_str).filter(|step| self.steps && *step != self.owner);
        did_you_mean(first, reach.iter().copied().chain(steps)).unwrap_or_else(|| {
            let more = if self.steps { ", and `STEP.values.NAME`" } else { "" };
            format!("in reach here: {}{more}", one_of(reach))
        })
    }
}

fn known<'a>(
    owner: &str,
    rest: &[&str],
    known: impl Iterator<Item = &'a String> + Clone,
    name: &str,
) -> Result<(), Refusal> {
    match rest.first() {
        Some(first) if !known.clone().any(|one| one == first) => {
            let whole: Vec<String> = known.map(|name| format!("{owner}.{name}")).collect();
            let close = did_you_mean(&format!("{owner}.{first}"), whole.iter().map(String::as_str));
            let hint = close.unwrap_or_else(|| match whole.is_empty() {
                true => format!("there are no `{owner}` here"),
                false => format!("there are {}", one_of(whole.iter().map(String::as_str))),
            });
            Err((Rule::UndefinedVariable, format!("`{name}` is not defined"), Some(hint)))
        }
        _ => Ok(()),
    }
}
