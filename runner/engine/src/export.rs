//! What a pipeline's lock is turned into, as far as files, folders and the index are concerned; the texts are [`flowrun_core::export`]'s.
//!
//! Only a lock that holds what the pipeline asks for is worth anything to another tool, so one that does not is refused as `run --locked`
//! refuses it. Knows nothing of formats.

use std::collections::BTreeSet;
use std::path::Path;

use flowrun_core::export::{Bill, Environment, Place, is_ours};
use flowrun_core::lang::finding;
use flowrun_core::pins::Wants;

use crate::fetch::{Cache, Platform, infrastructure, refused};
use crate::lockfile::Lockfile;
use crate::locking::{self, LockingError};
use crate::project::Project;
use crate::python;

/// A pipeline whose lock holds what it asks for, on some platforms.
#[derive(Clone, Debug)]
pub struct Export {
    /// The pipeline.
    pub project: Project,
    lock: Lockfile,
    shown: String,
    platforms: BTreeSet<String>,
}

impl Export {
    /// Of a pipeline under a profile or none, for a platform or all of its lock.
    ///
    /// # Errors
    /// When it cannot be opened, or its lock does not hold what it asks for.
    pub fn open(file: Option<&Path>, profile: Option<&str>, only: Option<Platform>) -> Result<Self, LockingError> {
        let project = Project::open_locked(file, profile)?;
        let lock = Lockfile::of(&project.file)?;
        let shown = lock.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let platforms = match only {
            Some(platform) => BTreeSet::from([platform.to_string()]),
            None => lock.pins.platforms.clone(),
        };
        let export = Self { project, lock, shown, platforms };
        export.is_locked(&locking::wants_of(&export.project)?)?;
        Ok(export)
    }

    fn is_locked(&self, wants: &Wants) -> Result<(), LockingError> {
        let mut platforms: Vec<Platform> = self.platforms.iter().filter_map(|name| name.parse().ok()).collect();
        if platforms.is_empty() {
            platforms.push(Platform::current()?);
        }
        locking::holds(&self.lock, wants, &platforms)
    }

    /// The Python environment of a step. Where several platforms were opened, that of the first.
    ///
    /// # Errors
    /// When there is no such step, or it has none.
    pub fn environment<'a>(&'a self, step: &'a str) -> Result<Environment<'a>, LockingError> {
        let steps = &self.project.program.pipeline.steps;
        if !steps.contains_key(step) {
            let failure = refused(format!("no step `{step}`"));
            let hint = finding::did_you_mean(step, steps.keys().map(String::as_str));
            return Err(hint.map_or(failure.clone(), |hint| failure.hint(hint)).into());
        }
        let platform = self.platforms.first().map_or("", String::as_str);
        let profile = self.project.program.profile.as_deref();
        let found = Environment::of(&self.lock.pins, &self.shown, profile, step, platform);
        found.ok_or_else(|| {
            let some: Vec<_> = steps.iter().filter(|(_, step)| step.python.is_some()).collect();
            let names: Vec<String> = some.iter().map(|(id, _)| format!("`{id}`")).collect();
            let hint = match names.as_slice() {
                [] => "no step of this pipeline has one".to_owned(),
                names => format!("steps that have one: {}", names.join(", ")),
            };
            refused(format!("step `{step}` has no Python environment")).hint(hint).into()
        })
    }

    /// What a bill of materials is made of.
    pub fn bill(&self) -> Bill<'_> {
        let Self { project, lock, platforms, .. } = self;
        let profile = project.program.profile.as_deref();
        Bill { name: &project.name, pipeline: &project.program.pipeline, pins: &lock.pins, profile, platforms }
    }
}

/// Where the index has the files of an environment, in the order of its packages.
///
/// # Errors
/// When it cannot be asked, or has other files than the locked ones.
pub async fn places(environment: &Environment<'_>) -> Result<Vec<Place>, LockingError> {
    let found = python::addresses(&Cache::of_user()?, environment).await?;
    Ok(found.into_iter().map(Place::Url).collect())
}

/// Writes what an image is built of into a folder, which is made where it is not there. Nothing is written over that was not made so.
///
/// # Errors
/// When the folder holds something else, or cannot be written.
pub fn write_context(folder: &Path, files: &[(&'static str, String)]) -> Result<(), LockingError> {
    let io = |error: std::io::Error| infrastructure(format!("cannot write `{}`: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(io)?;
    if let Some(other) = stranger(folder, files).map_err(io)? {
        let text = format!("`{}` holds `{other}`, which `flowrun image` has not written", folder.display());
        return Err(refused(text).hint("`--output DIR` names another folder").into());
    }
    // The first is the Dockerfile, by which the folder is known: what a crash leaves half written is written anew.
    files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)).map_err(io)?;
    Ok(())
}

/// A file of a folder that was not made here.
fn stranger(folder: &Path, files: &[(&'static str, String)]) -> std::io::Result<Option<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = files.iter().any(|(known, _)| **known == name) && entry.file_type()?.is_file();
        found.push((!known, name));
    }
    if found.is_empty() {
        return Ok(None);
    }
    let ours = std::fs::read_to_string(folder.join(files[0].0)).is_ok_and(|text| is_ours(&text));
    Ok(found.into_iter().find(|(strange, _)| *strange || !ours).map(|(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_over_that_was_not_made_here() {
        let bed = tempfile::tempdir().expect("tempdir");
        let folder = bed.path().join("new/context");
        let files = |text: &str| {
            let mark = "# Made by `flowrun image`: do not edit it, make it anew.\n";
            [("Dockerfile", format!("{mark}{text}")), ("requirements.txt", text.to_owned())]
        };
        for text in ["one", "two"] {
            write_context(&folder, &files(text)).expect("writes");
            assert_eq!(std::fs::read_to_string(folder.join("requirements.txt")).expect("read"), text);
        }
        let refused = |what: &str| {
            let error = write_context(&folder, &files("three")).expect_err("refuses");
            assert!(error.to_string().contains(&format!("holds `{what}`")), "{error}");
        };
        std::fs::write(folder.join("mine"), "").expect("write");
        refused("mine");
        std::fs::remove_file(folder.join("mine")).expect("remove");
        std::fs::remove_file(folder.join("requirements.txt")).expect("remove");
        std::os::unix::fs::symlink("/etc/hosts", folder.join("requirements.txt")).expect("link");
        refused("requirements.txt");
        std::fs::remove_file(folder.join("requirements.txt")).expect("remove");
        std::fs::write(folder.join("Dockerfile"), "FROM x\n").expect("write");
        refused("Dockerfile");
        assert_eq!(std::fs::read_to_string(folder.join("Dockerfile")).expect("read"), "FROM x\n");
    }
}
