//! Wheels that lie in flowrun's own cache: an environment all of whose wheels do is built from them, and nobody is asked.

use std::path::PathBuf;

use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::PackagePin;

use super::PythonLock;
use crate::fetch::{Cache, Scratch, kept_by_hash};

/// A folder with all wheels of a lock; nothing where one is not here.
pub(super) fn wheels(cache: &Cache, lock: &PythonLock) -> Result<Option<Scratch>, Failure> {
    linked(cache, lock.packages.iter())
}

/// A folder with those that were built of their sources: no index has them.
pub(super) fn built(cache: &Cache, lock: &PythonLock) -> Result<Option<Scratch>, Failure> {
    linked(cache, lock.packages.iter().filter(|package| package.is_source()))
}

fn linked<'a>(cache: &Cache, packages: impl Iterator<Item = &'a PackagePin>) -> Result<Option<Scratch>, Failure> {
    let wheel = |package: &PackagePin| kept_by_hash(cache, &package.name, &package.version, &package.wheel()?.sha256);
    let found: Option<Vec<PathBuf>> = packages.map(wheel).collect();
    let Some(found) = found.filter(|found| !found.is_empty()) else { return Ok(None) };
    let folder = cache.scratch()?;
    for wheel in found {
        let link = folder.path().join(wheel.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(&wheel, link).map_err(|error| cache.trouble(&error))?;
    }
    Ok(Some(folder))
}
