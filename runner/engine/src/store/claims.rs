//! Claims: whoever makes a result says so, so that two runs that need it make it once.
//!
//! A claim is a file `claims/KEY` with an exclusive lock on it. The lock is the claim; the file is only where it hangs, and holds the id of the
//! run for others to read. The kernel takes the lock back at death, so there is nothing to clean up before the next may claim.
//!
//! ```text
//!   open, creating ──► try the lock ──► is the name still this file's? ──► write the run's id ──► … ──► remove the file ──► let go
//!        ▲                  │ taken                  │ no: its holder removed it between
//!        │                  ▼                        │ our opening it and our lock
//!        └──────────────  Busy      ◄────────────────┘ again from the start
//! ```
//!
//! | a death | leaves | and then |
//! |---|---|---|
//! | before the lock | an empty file that nobody holds | the next claimant takes it over |
//! | holding it | the file, with the id of a run that is no more | the same; the id is only read while somebody holds the lock |
//! | between removing and letting go | nothing | the next claimant makes a new file |
//!
//! Removing before letting go is what makes the look at the name enough: whoever gets the lock of a file that still has its name is its only
//! holder, and whoever comes later either finds it held or makes another. A file that lies about is harmless; `gc` removes it.
//!
//! **No deadlock.** Whatever holds a claim runs, or pauses before its next attempt, and waits at most for room on its own machine, which running
//! steps give back. A step that waits for another run's claim holds none itself and takes no room. So every chain of waiting ends at
//! something that runs: two runs may wait for each other with different steps, never with the same.
//!
//! **In doubt work is done twice.** Where locks cannot be had (a file system without them, no more open files) the caller is told so and goes on
//! without a claim: what two runs make of one key is the same result, and each saves it whole.

#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flowrun_core::artifact::is_component;
use flowrun_core::digest::Digest;

use super::{Result, Store, StoreError};

/// The longest id that is read: a run's is 20 bytes.
const LONGEST_ID: u64 = 100;

/// What a try to claim comes to.
#[derive(Debug)]
pub enum Claimed {
    /// Nobody else makes it, as long as this lives.
    Mine(Claim),
    /// Somebody else makes it.
    Busy(Holder),
}

/// Who makes a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The run; nothing where its id is not written yet.
    pub run: Option<String>,
}

/// A claim that is held. Dropping it lets go.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The lock goes after this, with its file. Where it cannot be removed it lies about, held by nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A lock file that was looked at.
enum Tried {
    /// We hold it, and its name is its own.
    Ours(File),
    /// Somebody else does.
    Theirs(File),
    /// There is none.
    Gone,
}

impl Store {
    /// Claims the making of a result.
    ///
    /// # Errors
    /// When it cannot be known whether somebody else makes it. Then it may be made all the same.
    pub fn claim(&self, key: &Digest, run: &str) -> Result<Claimed> {
        let path = self.claim_path(key);
        loop {
            match look_at(&path, true).map_err(StoreError::io(&path))? {
                Tried::Ours(lock) => {
                    // The lock is what counts: a claim whose id cannot be written is one without a name.
                    let _ = name(&lock, run);
                    return Ok(Claimed::Mine(Claim { path, _lock: lock }));
                }
                Tried::Theirs(lock) => return Ok(Claimed::Busy(holder(&lock))),
                Tried::Gone => {}
            }
        }
    }

    /// Who makes a result now, without claiming it. In doubt nobody: a wait must end.
    pub fn claimed_by(&self, key: &Digest) -> Option<Holder> {
        match look_at(&self.claim_path(key), false) {
            Ok(Tried::Theirs(lock)) => Some(holder(&lock)),
            _ => None,
        }
    }

    /// Removes claims that nobody holds.
    pub(super) fn clear_claims(&self) -> Result<()> {
        let folder = self.path("claims");
        for entry in std::fs::read_dir(&folder).map_err(StoreError::io(&folder))?.flatten() {
            if let Ok(Tried::Ours(lock)) = look_at(&entry.path(), false) {
                drop(Claim { path: entry.path(), _lock: lock });
            }
        }
        Ok(())
    }

    fn claim_path(&self, key: &Digest) -> PathBuf {
        self.path("claims").join(key.to_string())
    }
}

/// Tries the lock of a claim's file until it is clear who holds it.
fn look_at(path: &Path, create: bool) -> io::Result<Tried> {
    // Each further round means that somebody else's claim has ended meanwhile.
    loop {
        let file = match File::options().read(true).write(true).create(create).truncate(false).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(Tried::Gone),
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) if has_name(&file, path)? => return Ok(Tried::Ours(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Tried::Theirs(file)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whether a path still names an open file.
fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn name(mut lock: &File, run: &str) -> io::Result<()> {
    // What a dead holder left may be longer.
    if lock.metadata()?.len() > 0 {
        lock.set_len(0)?;
    }
    lock.write_all(run.as_bytes())
}

fn holder(lock: &File) -> Holder {
    let mut text = String::new();
    let read = lock.take(LONGEST_ID).read_to_string(&mut text);
    Holder { run: (read.is_ok() && is_component(&text)).then_some(text) }
}
