//! What runs with nothing to do left for the next of them ([`flowrun_core::stored::repeat`]): a file a way of asking, replaced whole.
//!
//! Losing one costs time. `gc` removes them all, since what they count on may go with it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;

use super::{Result, Store, root_of};

const FOLDER: &str = "repeats";

/// What was left in the store of a project, without opening it; nothing where there is none.
pub(crate) fn read_repeat(project: &Path, asked: &Digest) -> Option<Vec<u8>> {
    std::fs::read(root_of(project).join(FOLDER).join(asked.to_string())).ok()
}

impl Store {
    /// Keeps it for the next run that is asked in this way.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep_repeat(&self, asked: &Digest, text: &str) -> Result<()> {
        self.write_whole(&self.path(FOLDER).join(asked.to_string()), text.as_bytes())
    }

    /// The folder of all that it keeps.
    pub(crate) fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Removes what holds no longer; it being there still would only cost time.
    pub(crate) fn drop_repeat(&self, asked: &Digest) {
        let _ = std::fs::remove_file(self.path(FOLDER).join(asked.to_string()));
    }

    pub(super) fn drop_repeats(&self) -> Result<()> {
        self.discard(&self.path(FOLDER))
    }

    /// The files that hold a content, each with its mode and bytes; those that were seen before are left out.
    ///
    /// # Errors
    /// When a listing is missing.
    pub(crate) fn files_of(
        &self,
        artifact: &Artifact,
        seen: &mut HashSet<(Digest, Mode)>,
    ) -> Result<Vec<(PathBuf, Mode, u64)>> {
        let (mut files, mut pending) = (Vec::new(), vec![*artifact]);
        while let Some(next) = pending.pop() {
            if !seen.insert((next.digest, next.mode)) {
                continue;
            }
            let (mode, size) = match next.mode {
                Mode::Folder => {
                    let tree = self.tree(&next.digest)?;
                    pending.extend(tree.entries.values());
                    (Mode::File, tree.to_bytes().len() as u64)
                }
                Mode::Symlink | Mode::File => (Mode::File, next.size),
                Mode::Executable => (Mode::Executable, next.size),
            };
            files.push((self.blob(&next.digest, mode == Mode::Executable), mode, size));
        }
        Ok(files)
    }
}
