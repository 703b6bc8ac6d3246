//! What is asked when a step is looked up: the step, what those before it gave, and what is the same for all instances of a fan-out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use flowrun_core::artifact::Artifact;
use flowrun_core::event::Output;
use flowrun_core::expr::Scope;
use flowrun_core::key::Input;
use flowrun_core::plan::{self, Instance, Planned};
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::Origin;
use crate::run::resume::Kept;

/// What a step made and gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StepResult {
    /// Its outputs by name.
    pub(crate) outputs: IndexMap<String, Output>,
    /// Its values.
    pub(crate) values: Map<String, Json>,
}

/// What a step before gives to one after it.
#[derive(Clone, Debug)]
pub(crate) enum Upstream {
    /// A step that ran once.
    One(Arc<StepResult>),
    /// A fan-out: the instances that ended well, by label.
    Many(Vec<(String, Arc<StepResult>)>),
    /// Nothing, or not yet: it was skipped, or a plan only knows that it would run.
    Nothing,
}

/// What a step is given by those before it, and what follows from that: the same for all instances of a fan-out, which may be many.
#[derive(Default)]
pub(crate) struct Before {
    pub(crate) upstream: IndexMap<String, Upstream>,
    /// Those that a plan knows would run.
    pub(crate) pending: Vec<String>,
    names: OnceLock<Scope>,
    pub(super) given: OnceLock<Given>,
    /// Programs by the words of a script that may name them.
    pub(in crate::run) tools: Mutex<HashMap<String, Arc<BTreeMap<String, Artifact>>>>,
    /// Of a fan-out: whether no instance of it has ever had a result here.
    pub(super) unseen: OnceLock<bool>,
}

/// A step's inputs, resolved.
pub(super) struct Given {
    pub(super) inputs: IndexMap<String, Input>,
    pub(super) origins: Vec<Origin>,
    /// What templates see, with the paths of inputs and outputs.
    pub(super) names: Scope,
}

impl Before {
    pub(crate) fn new(upstream: IndexMap<String, Upstream>, pending: Vec<String>) -> Self {
        Self { upstream, pending, ..Self::default() }
    }

    /// What templates see of the run: made once, since lists of thousands of items may be among it.
    pub(super) fn names(&self, params: &Map<String, Json>) -> Scope {
        self.names.get_or_init(|| plan::context(params, &values_of(&self.upstream))).clone()
    }
}

/// Everything that looking needs to know of the run so far.
pub(crate) struct Question {
    pub(crate) planned: Arc<Planned>,
    pub(crate) label: String,
    pub(crate) instance: Option<Arc<Instance>>,
    pub(crate) before: Arc<Before>,
    /// What the parts of a divided step made, once all have ended well.
    pub(crate) parts: Option<Vec<(String, Arc<StepResult>)>>,
    /// Steps before it, and parts of it, that a plan knows would run.
    pub(crate) pending: Vec<String>,
    pub(crate) forced: bool,
    /// Whether it is only asked for whether it would run, and why.
    pub(crate) brief: bool,
    /// Whether its manifest is asked for also where the result is there.
    pub(crate) recalled: bool,
    /// What it had in the run that is taken up.
    pub(crate) resumed: Option<Kept>,
}

impl Question {
    pub(super) fn add_item_to(&self, names: &mut Scope) {
        if let Some(item) = self.instance.as_ref().and_then(|instance| instance.item.as_ref()) {
            item.add_to(names);
        }
    }

    pub(super) fn is_cached(&self) -> bool {
        self.planned.step.cache != Some(false)
    }

    /// Whether it is known that it never had a result here.
    pub(in crate::run) fn is_unseen(&self) -> bool {
        self.instance.is_some() && self.before.unseen.get() == Some(&true)
    }
}

fn values_of(upstream: &IndexMap<String, Upstream>) -> IndexMap<String, Json> {
    let values = |upstream: &Upstream| match upstream {
        Upstream::One(result) => Some(Json::Object(result.values.clone())),
        Upstream::Many(results) => {
            Some(results.iter().map(|(_, result)| Json::Object(result.values.clone())).collect())
        }
        Upstream::Nothing => None,
    };
    upstream.iter().filter_map(|(id, one)| Some((id.clone(), values(one)?))).collect()
}
