//! Components that were built of the same source before, in the user's cache.
//!
//! The compilers of Python and JavaScript make other bytes of the same source each time: they keep the memory of an interpreter that has just
//! started. A component that is made once and kept leaves the steps that use it cached.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flowrun_core::digest::Digest;
use flowrun_core::outcome::Failure;

use super::trouble;
use crate::fetch::Cache;

/// The component that was built of a folder's source by these tools, or what `build` makes.
pub(super) async fn or(
    cache: &Cache,
    dir: &Path,
    built_by: &[&str],
    build: impl Future<Output = Result<Vec<u8>, Failure>>,
) -> Result<Vec<u8>, Failure> {
    let kept = cache.folder("built")?.join(format!("{}.wasm", digest(dir, built_by)?));
    // What was cut short is no component.
    if let Some(bytes) = std::fs::read(&kept).ok().filter(|bytes| wasmparser::validate(bytes).is_ok()) {
        return Ok(bytes);
    }
    let bytes = build.await?;
    let aside = kept.with_extension(std::process::id().to_string());
    std::fs::write(&aside, &bytes).and_then(|()| std::fs::rename(&aside, &kept)).map_err(trouble(&kept))?;
    Ok(bytes)
}

/// A digest of every source file by its path, and of what builds them.
fn digest(dir: &Path, built_by: &[&str]) -> Result<Digest, Failure> {
    let mut text = String::new();
    for part in built_by {
        text.push_str(&format!("{}\n", Digest::of(part.as_bytes())));
    }
    for path in sources(dir)? {
        let bytes = std::fs::read(&path).map_err(trouble(&path))?;
        let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        text.push_str(&format!("{} {name:?}\n", Digest::of(&bytes)));
    }
    Ok(Digest::of(text.as_bytes()))
}

/// The files that a component is built of: all but its cases, what was built, and what is hidden. Sorted.
fn sources(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(trouble(&folder))? {
            let path = entry.map_err(trouble(&folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let built = name.ends_with(".wasm") || ["target", "__pycache__", "node_modules"].contains(&name.as_str());
            if built || name.starts_with('.') || path == dir.join("tests") {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// A source file that has changed since the folder's component was built.
///
/// # Errors
/// When the folder cannot be read.
pub fn newer(dir: &Path, component: &Path) -> Result<Option<PathBuf>, Failure> {
    let changed = |path: &Path| path.metadata().and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let built = changed(component);
    Ok(sources(dir)?.into_iter().find(|path| changed(path) > built))
}
