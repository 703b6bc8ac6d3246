//! What of the cache nobody used for long, and giving its room back.
//!
//! When something was last used is the time of a small file that whoever uses it touches. Something is taken away by one rename, so that half of it is
//! never found.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::BuiltPin;

use super::{Cache, read_json};

/// Nobody holds a lock on a wheel that it reads. One that was looked for so lately stays, whatever is asked: longer than anything takes that
/// reads wheels.
const IN_USE: Duration = Duration::from_secs(3600);

/// Notes that something is used now. Where that cannot be written, it is brought again one day.
pub(crate) fn touch(marker: &Path) {
    let _ = File::options().write(true).open(marker).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Whether something was not used for so long; without a marker, its folder's own time counts.
pub(crate) fn is_unused(root: &Path, marker: &Path, age: Duration) -> bool {
    let used = fs::metadata(marker).or_else(|_| fs::metadata(root)).and_then(|found| found.modified());
    used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused > age))
}

/// Removes wheels that nobody used for so long, and gives their number. Environments that were built of them stay.
///
/// # Errors
/// When the cache cannot be written.
pub fn remove_unused_wheels(cache: &Cache, age: Duration, dry_run: bool) -> Result<usize, Failure> {
    let Ok(entries) = fs::read_dir(cache.path(&["wheels"])) else { return Ok(0) };
    let (mut removed, built) = (0, built_here(cache));
    for root in entries.flatten().map(|entry| entry.path()) {
        let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if root.is_symlink() || built.contains(&name) || !is_unused(&root, &root.join("stamp.json"), age.max(IN_USE)) {
            continue;
        }
        removed += 1;
        if !dry_run {
            cache.take_away(&root)?;
        }
    }
    Ok(removed)
}

/// The wheels that were built on this machine, by sha256: there may be no other copy of one.
fn built_here(cache: &Cache) -> BTreeSet<String> {
    let memos = fs::read_dir(cache.path(&["built"])).into_iter().flatten().flatten();
    memos.filter_map(|memo| Some(read_json::<BuiltPin>(&memo.path())?.wheel.sha256)).collect()
}

impl Cache {
    /// Removes a folder, whole or not at all as far as anybody sees.
    pub(crate) fn take_away(&self, root: &Path) -> Result<(), Failure> {
        let scratch = self.scratch()?;
        fs::rename(root, scratch.path().join("gone")).map_err(|error| self.trouble(&error))
    }
}
