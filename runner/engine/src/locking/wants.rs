//! What a checked pipeline asks for, with its plugins as they are now.

use std::collections::BTreeMap;

use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::pins::Wants;
use flowrun_core::stored::lock::PluginPin;
use sha2::{Digest as _, Sha256};

use crate::builtin;
use crate::fetch::{ONNXRUNTIME, hex};
use crate::project::Project;
use crate::wasm;

/// What the project asks for.
pub(crate) fn of(project: &Project) -> Result<Wants, Failure> {
    let pipeline = &project.program.pipeline;
    let mut plugins = BTreeMap::new();
    for uses in pipeline.steps.values().filter_map(|step| step.uses.as_ref()) {
        if !plugins.contains_key(uses) {
            plugins.insert(uses.clone(), plugin(project, uses)?);
        }
    }
    Ok(Wants::of(pipeline, project.program.profile.as_deref(), plugins, ONNXRUNTIME))
}

fn plugin(project: &Project, uses: &str) -> Result<PluginPin, Failure> {
    if let Some(pin) = builtin::pin(uses).or_else(|| project.plugins.get(uses).cloned()) {
        return Ok(pin);
    }
    let path = project.path(uses);
    let bytes = wasm::component_bytes(&path).map_err(|error| {
        Failure::new(FailureKind::Step, format!("cannot read the plugin {}: {error}", path.display()))
    })?;
    let said = project.program.manifests.get(uses).map(|described| &described.manifest);
    let (name, version) = match said {
        Some(manifest) => (manifest.name.clone(), manifest.version.clone()),
        None => (path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), String::new()),
    };
    Ok(PluginPin { name, version, sha256: hex(Sha256::new_with_prefix(&bytes)), size: bytes.len() as u64 })
}
