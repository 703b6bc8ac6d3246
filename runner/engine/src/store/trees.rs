//! Looking into kept folders: what lies at a path, and what differs between two.

use std::collections::BTreeSet;
use std::fmt;

use flowrun_core::artifact::{Artifact, Mode, size_text};

use super::{Result, Store, StoreError};

/// How one entry of a folder differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path inside the folder.
    pub path: String,
    /// What it was.
    pub old: Option<Artifact>,
    /// What it is.
    pub new: Option<Artifact>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.shown();
        let size = |artifact: &Artifact| size_text(artifact.size);
        match (&self.old, &self.new) {
            (None, None) => write!(f, "{path}"),
            (None, Some(new)) => write!(f, "{path} added, {}", size(new)),
            (Some(old), None) => write!(f, "{path} removed, {}", size(old)),
            (Some(old), Some(new)) if old.digest == new.digest => write!(f, "{path} is {}", becomes(new.mode)),
            (Some(old), Some(new)) => {
                write!(f, "{path} changed, {} → {}", size(old), size(new))?;
                if old.mode == new.mode { Ok(()) } else { write!(f, ", {}", becomes(new.mode)) }
            }
        }
    }
}

impl Change {
    /// The path; a folder's ends in `/`.
    pub fn shown(&self) -> String {
        let is_folder = [&self.old, &self.new].into_iter().flatten().all(|artifact| artifact.mode == Mode::Folder);
        if is_folder { format!("{}/", self.path) } else { self.path.clone() }
    }
}

fn becomes(mode: Mode) -> &'static str {
    match mode {
        Mode::File => "a plain file now",
        Mode::Executable => "executable now",
        Mode::Symlink => "a link now",
        Mode::Folder => "a folder now",
    }
}

impl Store {
    /// What lies at a path inside a folder.
    ///
    /// # Errors
    /// When a listing is missing.
    pub fn subpath(&self, artifact: &Artifact, path: &str) -> Result<Option<Artifact>> {
        let mut at = *artifact;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if at.mode != Mode::Folder {
                return Ok(None);
            }
            match self.tree(&at.digest)?.entries.get(part) {
                Some(entry) => at = *entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// What differs between two folders, at most `limit` entries; folders that agree are not entered, and one that was added or removed is
    /// one entry.
    ///
    /// # Errors
    /// When a listing is missing.
    pub fn diff(&self, old: &Artifact, new: &Artifact, limit: usize) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        self.diff_below(old, new, "", limit, &mut changes)?;
        Ok(changes)
    }

    fn diff_below(
        &self,
        old: &Artifact,
        new: &Artifact,
        prefix: &str,
        limit: usize,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let listing = |artifact: &Artifact| match self.tree(&artifact.digest) {
            _ if artifact.mode != Mode::Folder => Ok(Default::default()),
            Ok(tree) => Ok(tree.entries),
            // What is gone cannot be compared; the rest still can.
            Err(StoreError::Missing(_)) => Ok(Default::default()),
            Err(error) => Err(error),
        };
        let (old, new) = (listing(old)?, listing(new)?);
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            if changes.len() >= limit {
                return Ok(());
            }
            let path = format!("{prefix}{name}");
            match (old.get(name), new.get(name)) {
                (Some(before), Some(after)) if before == after => {}
                (Some(before), Some(after)) if before.mode == Mode::Folder && after.mode == Mode::Folder => {
                    self.diff_below(before, after, &format!("{path}/"), limit, changes)?;
                }
                (before, after) => changes.push(Change { path, old: before.copied(), new: after.copied() }),
            }
        }
        Ok(())
    }
}
