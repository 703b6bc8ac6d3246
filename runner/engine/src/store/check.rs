//! Reading everything again: damage that no stamp shows.

use flowrun_core::artifact::{Artifact, Mode};

use super::blobs::hash_file;
use super::{Result, Store, StoreError};

/// What is wrong with a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is not there.
    Missing,
    /// Its bytes are not what they were. It has been removed.
    Damaged,
}

/// A content of an artifact that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its path inside the artifact; empty for the artifact itself.
    pub path: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl Store {
    /// Hashes every content of an artifact again, and removes what is damaged.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn check(&self, artifact: &Artifact) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        self.check_below(artifact, "", &mut problems)?;
        Ok(problems)
    }

    fn check_below(&self, artifact: &Artifact, path: &str, problems: &mut Vec<Problem>) -> Result<()> {
        let place = self.blob(&artifact.digest, artifact.mode == Mode::Executable);
        let flaw = match hash_file(&place) {
            Ok((digest, size))
                if digest == artifact.digest && (artifact.mode == Mode::Folder || size == artifact.size) =>
            {
                None
            }
            Ok(_) => Some(Flaw::Damaged),
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Some(Flaw::Missing),
            Err(error) => return Err(error),
        };
        if let Some(flaw) = flaw {
            if flaw == Flaw::Damaged {
                self.discard(&place)?;
            }
            problems.push(Problem { path: path.to_owned(), flaw });
        } else if artifact.mode == Mode::Folder {
            for (name, entry) in &self.tree(&artifact.digest)?.entries {
                let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                self.check_below(entry, &below, problems)?;
            }
        }
        Ok(())
    }
}
