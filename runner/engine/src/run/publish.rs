//! Results: copies of what the pipeline names under `results`, where a person finds them.
//!
//! Copies, never links: what a person does to them must not reach the store.

use std::path::{Path, PathBuf};

use flowrun_core::key::Content;
use flowrun_core::outcome::Failure;
use flowrun_core::plan;
use indexmap::IndexMap;

use super::look::{Upstream, store_failure};
use super::session::Session;
use crate::store::How;

/// Puts every result that was made in its place. Names and paths of those, and warnings about the others.
pub(crate) fn publish(session: &Session, made: &IndexMap<String, Upstream>) -> (Vec<(String, PathBuf)>, Vec<String>) {
    let folder = session.project.root.join("results").join(&session.project.name);
    let mut published = Vec::new();
    let mut warnings = Vec::new();
    for (name, reference) in plan::results(&session.project.program.pipeline) {
        if reference.step().is_some_and(|step| matches!(made.get(step), None | Some(Upstream::Nothing))) {
            continue;
        }
        match place(session, &folder, name, &reference, made) {
            Ok(path) => published.push((name.to_owned(), path)),
            Err(failure) => warnings.push(format!("result `{name}`: {}", failure.message)),
        }
    }
    (published, warnings)
}

fn place(
    session: &Session,
    folder: &Path,
    name: &str,
    reference: &flowrun_core::lang::reference::Reference,
    made: &IndexMap<String, Upstream>,
) -> Result<PathBuf, Failure> {
    let mut origins = Vec::new();
    let input = session.input(reference, made, &mut origins)?;
    session.ensure(&origins)?;
    let Content::Known(artifact) = input.content else {
        return Err(Failure::new(flowrun_core::outcome::FailureKind::Step, "a download cannot be a result"));
    };
    let extension = input.file.as_deref().and_then(|file| Path::new(file).extension());
    let path = folder.join(name);
    let path = extension.map_or_else(|| path.clone(), |extension| path.with_extension(extension));
    if path.exists()
        && session.hash(&path).is_ok_and(|found| found.digest == artifact.digest && found.mode == artifact.mode)
    {
        return Ok(path);
    }
    let disk = |error: std::io::Error| store_failure(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(disk)?;
    let aside = folder.join(format!(".{name}.{}", std::process::id()));
    session.store.discard(&aside).map_err(store_failure)?;
    session.store.materialise(&artifact, &aside, How::Copy).map_err(store_failure)?;
    // A folder cannot be renamed over one that is not empty.
    session.store.discard(&path).map_err(store_failure)?;
    std::fs::rename(&aside, &path).map_err(disk)?;
    Ok(path)
}
