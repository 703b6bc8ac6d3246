//! Wheels that lie in flowrun's own cache: an environment all of whose wheels do is built from them, and nobody is asked.

use std::path::PathBuf;

use flowrun_core::outcome::Failure;
use tempfile::TempDir;

use super::PythonLock;
use crate::fetch::{Cache, kept_by_hash};

/// A folder with all wheels of a lock; nothing where one is not here.
pub(super) fn wheels(cache: &Cache, lock: &PythonLock) -> Result<Option<TempDir>, Failure> {
    let wheel = |line: &String| {
        let (package, sha256) = line.split_once(" --hash=sha256:")?;
        let (name, version) = package.split_once("==")?;
        kept_by_hash(cache, name, version, sha256)
    };
    let found: Option<Vec<PathBuf>> = lock.requirements_txt.iter().map(wheel).collect();
    let Some(found) = found.filter(|found| !found.is_empty()) else { return Ok(None) };
    let folder = cache.scratch()?;
    for wheel in found {
        let link = folder.path().join(wheel.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(&wheel, link).map_err(|error| cache.trouble(&error))?;
    }
    Ok(Some(folder))
}
