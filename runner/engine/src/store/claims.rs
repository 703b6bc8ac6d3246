//! Claims: whoever makes a result says so, so that two runs that need it make it once.
//!
//! A run that claims has one file of its own, its *badge*: it holds the run's id for others to read, and the run holds an exclusive lock on it as
//! long as it has the store open. A claim is one more name of that file, `claims/KEY`. The name says that somebody claims, the lock that he lives.
//! The kernel takes the lock back at death, so there is nothing to clean up before the next may claim.
//!
//! ```text
//!   link the badge to the name ──► it was free: ours ──► … ──► remove the name
//!        ▲          │ it is there
//!        │          ▼
//!        │   open it, try its lock ──── taken, and the name is still this file's ──► Busy
//!        │          │ ours: a death left it, and it cannot be anybody's any more
//!        │          ▼
//!        └── remove the name, then the lock
//! ```
//!
//! | a death | leaves | and then |
//! |---|---|---|
//! | before the link | a badge in the folder of half-written things | it is swept |
//! | holding it | a name of a file that nobody holds | the next claimant removes it and links his own |
//! | between removing a dead one's name and linking | nothing | the next claimant links his own |
//!
//! Only two may remove a name: its living holder, and who holds the lock of the file that has it, which is a dead one's. The look at the name
//! once that lock is had (`has_name`) keeps the second from removing what came after. A name that lies about is harmless; `gc` removes it.
//!
//! Why a link and not a file a claim: a file that is made and removed again costs ext4 more than the name, and leaves an inode that is
//! not given again for some minutes and is in the way of every file that is made meanwhile. Where files cannot have two names (exFAT, some
//! network file systems) a claim is such a file, `claims/KEY` itself, with the lock on it; so it was for everybody once, and either sees the other's.
//!
//! **No deadlock.** Whatever holds a claim runs, or pauses before its next attempt, and waits at most for room on its own machine, which running
//! steps give back. A step that waits for another run's claim holds none itself and takes no room. So every chain of waiting ends at
//! something that runs: two runs may wait for each other with different steps, never with the same.
//!
//! **In doubt work is done twice.** Where locks cannot be had (a file system without them, no more open files) the caller is told so and goes on
//! without a claim: what two runs make of one key is the same result, and each saves it whole.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
    _badge: Arc<Badge>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A lock of its own goes after this, with its file. Where the name cannot be removed it lies about, held by nobody in the end.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A file that says which run claims, and its lock.
#[derive(Debug)]
struct Badge {
    path: PathBuf,
    _lock: File,
}

/// The badges of the runs of an open store: of one, mostly.
#[derive(Debug, Default)]
pub(super) struct Badges(Mutex<HashMap<String, Arc<Badge>>>);

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
        let badge = self.badge(run)?;
        loop {
            match std::fs::hard_link(&badge.path, &path) {
                Ok(()) => return Ok(Claimed::Mine(Claim { path, _badge: badge })),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if wants_a_file(error.kind()) => return claim_by_file(path, run),
                Err(error) => return Err(StoreError::io(&path)(error)),
            }
            match look_at(&path, false).map_err(StoreError::io(&path))? {
                Tried::Theirs(lock) => return Ok(Claimed::Busy(holder(&lock))),
                // The name goes before the lock, with the file.
                Tried::Ours(_dead) => self.discard(&path)?,
                Tried::Gone => {}
            }
        }
    }

    fn badge(&self, run: &str) -> Result<Arc<Badge>> {
        let mut badges = self.inner.badges.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(badge) = badges.get(run) {
            return Ok(badge.clone());
        }
        let path = self.aside();
        let lock = File::create_new(&path).map_err(StoreError::io(&path))?;
        // The lock is what counts: a claim whose id cannot be written is one without a name.
        let _ = name(&lock, run);
        lock.lock().map_err(StoreError::io(&path))?;
        let badge = Arc::new(Badge { path, _lock: lock });
        badges.insert(run.to_owned(), badge.clone());
        Ok(badge)
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
            if let Ok(Tried::Ours(_dead)) = look_at(&entry.path(), false) {
                // What cannot be removed now will be next time.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn claim_path(&self, key: &Digest) -> PathBuf {
        self.path("claims").join(key.to_string())
    }
}

/// Where a file cannot have another name.
fn wants_a_file(kind: ErrorKind) -> bool {
    use ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(kind, CrossesDevices | TooManyLinks | PermissionDenied | Unsupported)
}

/// Claims with a file that has no other name.
fn claim_by_file(path: PathBuf, run: &str) -> Result<Claimed> {
    loop {
        match look_at(&path, true).map_err(StoreError::io(&path))? {
            Tried::Ours(lock) => {
                // The lock is what counts: a claim whose id cannot be written is one without a name.
                let _ = name(&lock, run);
                let badge = Badge { path: path.clone(), _lock: lock };
                return Ok(Claimed::Mine(Claim { path, _badge: Arc::new(badge) }));
            }
            Tried::Theirs(lock) => return Ok(Claimed::Busy(holder(&lock))),
            Tried::Gone => {}
        }
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
            // A badge stays locked when a claim with it ends.
            Err(TryLockError::WouldBlock) if has_name(&file, path)? => return Ok(Tried::Theirs(file)),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
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
