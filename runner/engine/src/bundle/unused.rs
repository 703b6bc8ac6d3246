//! Bundles that were opened and that nobody runs any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flowrun_core::outcome::Failure;

use super::read::KIND;
use crate::fetch::{Cache, Lock, is_unused, touch};

/// The name of an opened bundle's lock. Who opens it notes there that it is used, since what a step may see has no such file in it.
fn lock_of(root: &Path) -> String {
    format!("bundle-{}", root.file_name().unwrap_or_default().to_string_lossy())
}

fn marker(cache: &Cache, root: &Path) -> PathBuf {
    cache.path(&["locks", &format!("{}.lock", lock_of(root))])
}

/// While this is held, nobody takes the bundle away.
pub(super) fn held(cache: &Cache, root: &Path) -> Result<Lock, Failure> {
    let lock = cache.share_now(&lock_of(root))?;
    touch(&marker(cache, root));
    Ok(lock)
}

/// Removes what was unpacked of bundles that nobody runs and nobody used for so long, and gives their number.
///
/// # Errors
/// When the cache cannot be read or written.
pub fn remove_unused(cache: &Cache, age: Duration, dry_run: bool) -> Result<usize, Failure> {
    let Ok(entries) = fs::read_dir(cache.path(&[KIND])) else { return Ok(0) };
    let mut removed = 0;
    for root in entries.flatten().map(|entry| entry.path()) {
        if !is_unused(&root, &marker(cache, &root), age) {
            continue;
        }
        let Some(_alone) = cache.lock_if_free(&lock_of(&root))? else { continue };
        removed += 1;
        if !dry_run {
            cache.take_away(&root)?;
        }
    }
    Ok(removed)
}
