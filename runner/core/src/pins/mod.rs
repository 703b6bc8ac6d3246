//! What is pinned, decided: what a pipeline wants, what of it a lock holds, what is missing, what changed.
//!
//! ```text
//! Program, plugins ── Wants ──┐
//!                             ├─ carry() ─► Pins without what nobody has resolved ── missing() ─► the engine's work
//! the lock that is there ─────┤
//!                             ├─ drift() ─► what `--locked` refuses
//! old and new lock ───────────┴─ changes() ─► what a person reviews
//! ```
//! A lock is for a file with all its profiles. `flowrun lock` knows the wants of each and writes the lock anew from them; a run knows those
//! of its own profile, and leaves alone what others have.
//!
//! Knows nothing of how anything is found out: the engine asks registries and indices.

mod carry;
mod changes;
mod drift;
mod runtime;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use crate::lang::written::{Pipeline, Source};
use crate::stored::lock::{PluginPin, PythonWish, SourcePin};

pub use carry::{Missing, carry, missing, preferences};
pub use changes::{Change, changes};
pub use drift::drift;
pub use runtime::{CUDA_PLATFORM, is_on_cuda, known_libraries, requirement, runtime_of, take_runtime, without_cuda};

/// What a pipeline under one profile asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// The profile.
    pub profile: Option<String>,
    /// The platforms that the pipeline names.
    pub platforms: BTreeSet<String>,
    /// What each step uses, in the file's order; those that use nothing that can be pinned are left out.
    pub steps: IndexMap<String, StepWants>,
    /// The plugins as they are now, by what `uses` says.
    pub plugins: BTreeMap<String, PluginPin>,
    /// The sources that are fetched.
    pub sources: BTreeMap<String, SourcePin>,
}

/// What a step asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepWants {
    /// Its plugin, as `uses` says.
    pub plugin: Option<String>,
    /// What the plugin may use.
    pub allow: BTreeSet<String>,
    /// Its Python.
    pub python: Option<PythonWish>,
    /// Its ONNX Runtime: see [`runtime_of`].
    pub runtime: Option<String>,
}

impl Wants {
    /// What a checked pipeline asks for; its plugins are as the engine found them. `runtime` is the version of ONNX Runtime where a step
    /// names none.
    pub fn of(pipeline: &Pipeline, profile: Option<&str>, plugins: BTreeMap<String, PluginPin>, runtime: &str) -> Self {
        let steps = pipeline.steps.iter().map(|(id, step)| {
            let python = step.python.as_ref().filter(|_| step.run.is_some());
            let wants = StepWants {
                plugin: step.uses.clone(),
                allow: step.allow.iter().map(|capability| capability.name().to_owned()).collect(),
                python: python.map(PythonWish::from),
                runtime: step.onnx.as_ref().map(|onnx| runtime_of(onnx, runtime)),
            };
            (id.clone(), wants)
        });
        let sources = pipeline.sources.iter().filter_map(|(name, source)| Some((name.clone(), source_pin(source)?)));
        Self {
            profile: profile.map(str::to_owned),
            platforms: pipeline.platforms.iter().map(|platform| platform.name().to_owned()).collect(),
            steps: steps.filter(|(_, wants)| *wants != StepWants::default()).collect(),
            plugins,
            sources: sources.collect(),
        }
    }

    /// The wheels it asks for by `name==version`, each alone: runtimes that need nothing else, and sources.
    pub fn wheels(&self) -> BTreeSet<String> {
        let runtimes = self.steps.values().filter_map(|step| step.runtime.clone()).filter(|pin| !is_on_cuda(pin));
        let sources = self.sources.values().filter_map(|source| match source {
            SourcePin::Pypi(wheel) => Some(wheel.clone()),
            SourcePin::Url(_) => None,
        });
        runtimes.chain(sources).collect()
    }

    /// The runtimes it asks for that are locked with their libraries: those on CUDA.
    pub fn runtimes(&self) -> BTreeSet<String> {
        self.steps.values().filter_map(|step| step.runtime.clone()).filter(|pin| is_on_cuda(pin)).collect()
    }

    /// The environments it asks for, each once, with the first step that has it.
    pub fn environments(&self) -> Vec<(&str, &PythonWish)> {
        let mut all: Vec<(&str, &PythonWish)> = Vec::new();
        for (id, step) in &self.steps {
            if let Some(wish) = &step.python
                && !all.iter().any(|(_, known)| *known == wish)
            {
                all.push((id, wish));
            }
        }
        all
    }
}

fn source_pin(source: &Source) -> Option<SourcePin> {
    match (&source.pypi, &source.sha256) {
        (Some(pin), _) => Some(SourcePin::Pypi(pin.clone())),
        (None, Some(sha256)) => Some(SourcePin::Url(sha256.to_lowercase())),
        (None, None) => None,
    }
}
