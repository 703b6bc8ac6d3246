//! A bundle: a pipeline, its lock, its data and all that the lock pins in one archive, which runs where there is no network.
//!
//! ```text
//! pack    project, lock ── gather ──► wheels, downloads, plugins in the user's cache ── write ──► NAME.flow
//! open    NAME.flow ── read, every file against its sha256 ──► the user's cache: bundles/DIGEST, wheels, urls, components
//! ```
//! The same project and lock give the same bytes. Once opened, a bundle is a pipeline file in the user's cache, and a run of it finds everything
//! where a run finds what it fetched itself: nothing else is different about it. It holds no Python: that one is on the machine.
//!
//! What is in it and what of that is believed is told in [`flowrun_core::stored::bundle`].

mod gather;
mod read;
mod unused;
mod write;

use std::path::{Path, PathBuf};

use flowrun_core::stored::bundle::{Bundle, FORMAT};

use crate::fetch::{Cache, Platform, refused};
use crate::lockfile::Lockfile;
use crate::locking::{self, LockingError};
use crate::project::Project;

pub(crate) use read::open;
pub use unused::remove_unused;

/// How a bundle's file name ends.
pub const EXTENSION: &str = "flow";

/// Whether a file is a bundle by its name.
pub fn is_bundle(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == EXTENSION)
}

/// A bundle that was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Its file.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// What is in it.
    pub bundle: Bundle,
}

/// Packs a project as its lock pins it, for these platforms. Says what it does.
///
/// # Errors
/// When the lock does not hold everything, or something cannot be brought; then there is no bundle.
pub async fn pack(
    project: &Project,
    platforms: &[Platform],
    output: &Path,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<Packed, LockingError> {
    let cache = Cache::of_user()?;
    let lock = Lockfile::of(&project.file)?;
    let wants = locking::wants_of(project)?;
    locking::holds(&lock, &wants, platforms)?;
    // Before anything is brought.
    write::is_writable(output)?;
    let kept = gather::kept(project, &lock.pins, &cache, platforms, tell).await?;
    let files = gather::files(project, &lock, output)?;
    tell("packing".to_owned());
    let bundle = Bundle {
        flowrun_bundle: FORMAT,
        flowrun: env!("CARGO_PKG_VERSION").to_owned(),
        pipeline: project.file_in_project(),
        profile: project.program.profile.clone(),
        platforms: platforms.iter().map(Platform::to_string).collect(),
        project: files.iter().map(|(path, found)| (path.clone(), found.entry.clone())).collect(),
        kept: kept.keys().cloned().collect(),
    };
    bundle.check().map_err(|why| refused(why).hint("a bundle holds what lies in the project, and links to that"))?;
    let size = write::write(output, &bundle, &files, &kept)?;
    Ok(Packed { path: output.to_owned(), size, bundle })
}
