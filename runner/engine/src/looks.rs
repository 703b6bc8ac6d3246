//! What a run has looked at outside of its store, so that the next one can tell by a look at each that nothing has changed.
//!
//! Whoever reads anything that a step's key, or whether it is in the cache, may hang on writes down here what it looked at and in which state
//! that was. A state is taken down only when it had rested since before the run began, as the memory of files has it (`store/memo.rs`): then it is
//! still the one that was read, whenever during the run that was. What cannot be looked at again in this way spoils it all, and the next run
//! looks at every step.
//!
//! Knows nothing of steps and of what follows from a look.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flowrun_core::artifact::Artifact;
use flowrun_core::stored::memo::Stat;
use flowrun_core::stored::repeat::{Seen, State};
use rustix::io::Errno;

use crate::store::{now_nanos, stat_of};

/// Looks that are remembered at most: to look at more takes longer than anybody waits for nothing.
const MOST: usize = 300_000;

/// Takes down looks; clones share them. By default nobody wants them, and nothing is taken down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks(Option<Arc<Taken>>);

#[derive(Debug)]
struct Taken {
    began: i128,
    /// Nothing where something cannot be looked at again.
    looks: Mutex<Option<Vec<(PathBuf, Seen)>>>,
}

impl Looks {
    /// Looks that somebody wants, from now on.
    pub(crate) fn wanted() -> Self {
        Self(Some(Arc::new(Taken { began: now_nanos(), looks: Mutex::new(Some(Vec::new())) })))
    }

    /// Says that the next run must look at every step.
    pub(crate) fn spoil(&self) {
        let Some(taken) = &self.0 else { return };
        *taken.looks.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a run may be repeated so far.
    pub(crate) fn are_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|taken| taken.looks.lock().unwrap_or_else(PoisonError::into_inner).is_some())
    }

    /// All of them, where they are wanted and none spoils them.
    pub(crate) fn take(&self) -> Option<Vec<(PathBuf, Seen)>> {
        self.0.as_ref()?.looks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn add(&self, path: &Path, seen: Seen) {
        let Some(taken) = &self.0 else { return };
        let mut looks = taken.looks.lock().unwrap_or_else(PoisonError::into_inner);
        match looks.as_mut().filter(|looks| looks.len() < MOST) {
            Some(looks) => looks.push((path.to_owned(), seen)),
            None => *looks = None,
        }
    }

    fn add_rested(&self, path: &Path, stat: &Stat, seen: impl FnOnce(State) -> Seen) {
        match &self.0 {
            Some(taken) if stat.is_settled(taken.began) => self.add(path, seen(State::of(stat))),
            _ => self.spoil(),
        }
    }

    /// A file of the workspace was in this state, and held this.
    pub(crate) fn file(&self, path: &Path, stat: &Stat, artifact: Artifact) {
        self.add_rested(path, stat, |state| Seen::File(state, artifact));
    }

    /// A folder, or a link itself, was in this state.
    pub(crate) fn itself(&self, path: &Path, stat: &Stat) {
        self.add_rested(path, stat, Seen::Itself);
    }

    /// There is something, whatever it holds.
    pub(crate) fn there(&self, path: &Path) {
        self.add(path, Seen::There);
    }

    /// Something really lies there, once all links are followed.
    pub(crate) fn really(&self, path: &Path, real: &Path) {
        self.add(path, Seen::Real(State::of_bytes(real.as_os_str().as_encoded_bytes())));
    }

    /// Looks at what is read whole, or is looked through: there in its state, or not there; and at what it leads to, where it is a link.
    pub(crate) fn glance(&self, path: &Path) {
        if !self.are_wanted() {
            return;
        }
        match rustix::fs::lstat(path) {
            Ok(found) => {
                self.itself(path, &stat_of(&found));
                if rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink() {
                    self.follow(path);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => self.add(path, Seen::Absent),
            Err(_) => self.spoil(),
        }
    }

    fn follow(&self, link: &Path) {
        match rustix::fs::stat(link) {
            Ok(found) => self.add_rested(link, &stat_of(&found), Seen::Leads),
            // A link that leads nowhere may lead somewhere next time, and nothing of it would tell.
            Err(_) => self.spoil(),
        }
    }
}
