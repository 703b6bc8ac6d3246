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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use flowrun_core::artifact::{Artifact, Mode};

    use super::super::tests::{bed, entry};
    use super::super::{GcPolicy, Lookup};
    use super::*;

    fn mine(claimed: Claimed) -> Claim {
        match claimed {
            Claimed::Mine(claim) => claim,
            Claimed::Busy(by) => panic!("it is held by {by:?}"),
        }
    }

    /// The run that holds it, as one who wants it is told.
    fn refused(store: &Store, key: &Digest) -> Option<String> {
        match store.claim(key, "me") {
            Ok(Claimed::Busy(by)) => by.run,
            other => panic!("it is not held: {other:?}"),
        }
    }

    /// The run that holds it, as one who only looks is told.
    fn seen(store: &Store, key: &Digest) -> Option<String> {
        store.claimed_by(key).expect("it is held").run
    }

    #[test]
    fn one_store_claims_and_another_sees_by_whom() {
        let bed = bed();
        let other = Store::open(&bed.root).expect("opens");
        let (key, free) = (Digest::of(b"key"), Digest::of(b"free"));
        let claim = mine(bed.store.claim(&key, "20260101-000000-aaaa").expect("claim"));
        for store in [&bed.store, &other] {
            assert_eq!(refused(store, &key).as_deref(), Some("20260101-000000-aaaa"));
            assert_eq!(seen(store, &key).as_deref(), Some("20260101-000000-aaaa"));
        }
        mine(other.claim(&free, "x").expect("another key"));
        drop(claim);
        assert!(other.claimed_by(&key).is_none());
        assert!(!bed.store.claim_path(&key).exists(), "what is let go of leaves nothing");
        mine(other.claim(&key, "y").expect("claim"));
    }

    #[test]
    fn what_a_death_left_is_taken_over_and_not_named() {
        let bed = bed();
        let key = Digest::of(b"key");
        for left in ["", "20260101-000000-a-much-longer-name"] {
            std::fs::write(bed.store.claim_path(&key), left).expect("write");
            assert!(bed.store.claimed_by(&key).is_none());
            let claim = mine(bed.store.claim(&key, "short").expect("claim"));
            assert_eq!(seen(&bed.store, &key).as_deref(), Some("short"));
            // A holder that has not come to writing its id yet.
            std::fs::write(bed.store.claim_path(&key), "").expect("write");
            assert_eq!(refused(&bed.store, &key), None);
            drop(claim);
        }
    }

    #[test]
    fn a_file_that_lost_its_name_is_no_claim() {
        let bed = bed();
        let key = Digest::of(b"key");
        let path = bed.store.claim_path(&key);
        let claim = mine(bed.store.claim(&key, "old").expect("claim"));
        // Somebody opens it; its holder lets go; somebody else claims anew; then the first one gets the lock of the old file.
        let late = File::open(&path).expect("open");
        drop(claim);
        let claim = mine(bed.store.claim(&key, "new").expect("claim"));
        late.try_lock().expect("nobody holds the old file");
        assert!(!has_name(&late, &path).expect("stat"));
        assert_eq!(seen(&bed.store, &key).as_deref(), Some("new"));
        drop(claim);
        assert!(!has_name(&late, &path).expect("stat"), "nor does it when the name is nobody's");
    }

    const ROUNDS: usize = 40;

    /// What one of many does in a round: the result is looked up, or claimed, looked up again and made.
    fn take_part(store: &Store, round: usize, artifact: Artifact, inside: &AtomicUsize, made: &AtomicUsize) {
        let key = Digest::of(format!("round {round}").as_bytes());
        while !matches!(store.load_entry(&key), Ok(Lookup::Hit(_))) {
            let Claimed::Mine(claim) = store.claim(&key, "run").expect("claim") else {
                std::thread::yield_now();
                continue;
            };
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it at once");
            if matches!(store.load_entry(&key), Ok(Lookup::Absent)) {
                made.fetch_add(1, Ordering::SeqCst);
                store.save_entry(&entry(key, artifact), "p/s").expect("save");
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(claim);
        }
    }

    #[test]
    fn in_a_crowd_one_at_a_time_holds_it_and_the_result_is_made_once() {
        let bed = bed();
        let digest = bed.store.put_bytes(b"made").expect("put");
        let artifact = Artifact { mode: Mode::File, digest, size: 4 };
        let counts: Vec<[AtomicUsize; 2]> = (0..ROUNDS).map(|_| Default::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let store = Store::open(&bed.root).expect("opens");
                    for (round, [inside, made]) in counts.iter().enumerate() {
                        take_part(&store, round, artifact, inside, made);
                    }
                });
            }
        });
        assert!(counts.iter().all(|[_, made]| made.load(Ordering::SeqCst) == 1), "{counts:?}");
    }

    /// Set for the child of the test below: the project whose store it is to claim in.
    const HOLDER: &str = "FLOWRUN_TEST_HOLDER";

    #[test]
    fn a_killed_process_lets_go() {
        let key = Digest::of(b"key");
        if let Some(root) = std::env::var_os(HOLDER) {
            let store = Store::open(Path::new(&root)).expect("opens");
            let _claim = mine(store.claim(&key, "holder").expect("claim"));
            std::thread::park();
            unreachable!("it is killed");
        }
        let bed = bed();
        let me = std::env::current_exe().expect("exe");
        let mut child = std::process::Command::new(me)
            .args(["--exact", "store::claims::tests::a_killed_process_lets_go"])
            .env(HOLDER, &bed.root)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        let begun = std::time::Instant::now();
        while bed.store.claimed_by(&key) != Some(Holder { run: Some("holder".into()) }) {
            assert!(begun.elapsed().as_secs() < 60, "the other process does not claim");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(bed.store.claim_path(&key).exists() && bed.store.claimed_by(&key).is_none());
        drop(mine(bed.store.claim(&key, "me").expect("claim")));
    }

    #[test]
    fn gc_removes_what_nobody_holds() {
        let bed = bed();
        let (left, held) = (Digest::of(b"left"), Digest::of(b"held"));
        std::fs::write(bed.store.claim_path(&left), "dead").expect("write");
        let claim = mine(bed.store.claim(&held, "r").expect("claim"));
        bed.store.gc(GcPolicy { dry_run: true, ..GcPolicy::default() }).expect("gc");
        assert!(bed.store.claim_path(&left).exists(), "a dry run removes nothing");
        bed.store.gc(GcPolicy::default()).expect("gc");
        assert!(!bed.store.claim_path(&left).exists());
        assert_eq!(seen(&bed.store, &held).as_deref(), Some("r"));
        drop(claim);
    }

    #[test]
    fn where_it_cannot_be_known_the_caller_is_told() {
        let bed = bed();
        std::fs::remove_dir(bed.store.path("claims")).expect("rmdir");
        std::fs::write(bed.store.path("claims"), "").expect("write");
        let key = Digest::of(b"key");
        assert!(bed.store.claim(&key, "r").is_err());
        assert!(bed.store.claimed_by(&key).is_none(), "a wait must end");
    }
}
