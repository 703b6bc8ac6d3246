//! The plugins that a pipeline takes from registries, made ready before it is checked: found by the lock and in the cache, else brought.
//!
//! A reference that makes no sense is left to the check, which shows the place. Only the first of several steps is named where one
//! reference cannot be had.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowrun_core::outcome::Failure;
use flowrun_core::plugin::Described;
use flowrun_core::stored::lock::PluginPin;

use super::pull::{Pulled, kept, pull};
use super::reference::Reference;
use crate::fetch::{Cache, infrastructure};
use crate::{manifest, wasm};

/// A plugin that is at hand.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// What it is, whether the lock holds it already or not.
    pub(crate) pin: PluginPin,
    /// What it says of itself, or why that cannot be used.
    pub(crate) described: Result<Option<Arc<Described>>, String>,
}

/// A plugin that cannot be had.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) step: String,
    pub(crate) failure: Failure,
}

/// The plugins that `uses`, pairs of a step and a reference, name; by the reference. Blocks while one is brought.
pub(crate) fn ready(
    cache: &Cache,
    locked: &BTreeMap<String, PluginPin>,
    uses: &[(String, String)],
) -> Result<BTreeMap<String, Ready>, Missing> {
    let mut all = BTreeMap::new();
    for (step, uses) in uses {
        let Ok(reference) = Reference::parse(uses) else { continue };
        if !all.contains_key(uses) {
            let made = one(cache, &reference, locked.get(uses));
            all.insert(uses.clone(), made.map_err(|failure| Missing { step: step.clone(), failure })?);
        }
    }
    Ok(all)
}

fn one(cache: &Cache, reference: &Reference, pinned: Option<&PluginPin>) -> Result<Ready, Failure> {
    if let Some(pin) = pinned
        && let Some((_, bytes)) = kept(cache, &pin.sha256)
    {
        return Ok(Ready { pin: pin.clone(), described: manifest::describe(&bytes, None) });
    }
    let pulled = wait(cache, reference, pinned)?;
    let bytes = wasm::component_bytes(&pulled.path)
        .map_err(|error| infrastructure(format!("`{}` {error}", pulled.path.display())))?;
    let described = manifest::describe(&bytes, None);
    let pin =
        pinned.cloned().unwrap_or_else(|| pin(reference, &pulled, described.as_ref().ok().and_then(Option::as_ref)));
    Ok(Ready { pin, described })
}

/// One that says nothing of itself is called what its repository is.
fn pin(reference: &Reference, pulled: &Pulled, described: Option<&Arc<Described>>) -> PluginPin {
    let (name, version) = match described {
        Some(described) => (described.manifest.name.clone(), described.manifest.version.clone()),
        None => (reference.repository().to_owned(), String::new()),
    };
    PluginPin { name, version, sha256: pulled.sha256.clone(), size: pulled.size }
}

/// Pipelines are opened by code that does not wait in other ways, and may itself run where one must not block: so on a thread of its own.
fn wait(cache: &Cache, reference: &Reference, pinned: Option<&PluginPin>) -> Result<Pulled, Failure> {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| infrastructure(format!("cannot wait for the network: {error}")))?;
        runtime.block_on(pull(cache, reference, pinned))
    };
    let ended = std::thread::scope(|scope| scope.spawn(work).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
