//! A look at what an earlier run looked at: whether it is as it was.

use std::os::fd::OwnedFd;
use std::path::Path;

use flowrun_core::artifact::Artifact;
use flowrun_core::stored::repeat::{Look, Seen, State};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::store::{Memo, Store, is_kept, now_nanos, stat_of};

/// What a look finds.
pub(super) enum Compared {
    Same,
    /// The same bytes in another state; which, where that can be believed next time.
    Touched(Option<State>),
    Other,
}

/// Looks again.
pub(super) struct Looker<'a> {
    store: &'a Store,
    root: &'a Path,
    folder: OwnedFd,
    /// The store's folder, where most looks go, and its path as looks write it.
    kept: (OwnedFd, String),
    /// The memory of files, once it is needed.
    memo: Option<Memo>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(root: &'a Path, store: &'a Store) -> std::io::Result<Self> {
        let open =
            |path: &Path| rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let place = store.root();
        let written = format!("{}/", place.strip_prefix(root).unwrap_or(place).display());
        Ok(Self { store, root, folder: open(root)?, kept: (open(place)?, written), memo: None })
    }

    pub(super) fn compare(&mut self, look: &Look<'_>) -> Compared {
        if let Seen::Real(state) = look.seen {
            let real = std::fs::canonicalize(self.root.join(look.path));
            let same = real.is_ok_and(|real| State::of_bytes(real.as_os_str().as_encoded_bytes()) == state);
            return if same { Compared::Same } else { Compared::Other };
        }
        let flags = match look.seen {
            Seen::Leads(_) => AtFlags::empty(),
            _ => AtFlags::SYMLINK_NOFOLLOW,
        };
        let (folder, path) = match look.path.strip_prefix(&self.kept.1) {
            Some(path) => (&self.kept.0, path),
            None => (&self.folder, look.path),
        };
        let found = match rustix::fs::statat(folder, path, flags) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) if look.seen == Seen::Absent => return Compared::Same,
            Err(_) => return Compared::Other,
        };
        let same = match &look.seen {
            Seen::Absent | Seen::Real(_) => false,
            Seen::There => true,
            Seen::Itself(state) | Seen::Leads(state) | Seen::File(state, _) => State::of(&stat_of(&found)) == *state,
            Seen::Kept(mode, size) => is_kept(&found, *mode, *size),
        };
        match &look.seen {
            _ if same => Compared::Same,
            Seen::File(_, artifact) if FileType::from_raw_mode(found.st_mode).is_file() => {
                self.read_again(look.path, artifact, State::of(&stat_of(&found)), &found)
            }
            _ => Compared::Other,
        }
    }

    fn read_again(&mut self, path: &str, artifact: &Artifact, state: State, found: &rustix::fs::Stat) -> Compared {
        let memo = self.memo.get_or_insert_with(|| Memo::load(self.store));
        let rested = stat_of(found).is_settled(now_nanos());
        match self.store.hash_source(&self.root.join(path), memo) {
            Ok(now) if now == *artifact => Compared::Touched(rested.then_some(state)),
            _ => Compared::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_find_what_they_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("tempdir");
        let root = folder.path();
        std::fs::write(root.join("a"), "a").expect("write");
        std::os::unix::fs::symlink("a", root.join("link")).expect("link");
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).expect("link");
        let store = Store::open(root).expect("opens");
        let mut looker = Looker::new(root, &store).expect("opens");
        let state = |path: &str| State::of(&stat_of(&rustix::fs::lstat(root.join(path)).expect("there")));
        let mut same = |path, seen| matches!(looker.compare(&Look { path, seen }), Compared::Same);
        assert!(same("a", Seen::There) && !same("b", Seen::There) && same("dangling", Seen::There));
        assert!(same("b", Seen::Absent) && same("a/b", Seen::Absent) && !same("a", Seen::Absent));
        assert!(!same("dangling", Seen::Absent), "it may lead somewhere");
        assert!(same("a", Seen::Itself(state("a"))) && !same("link", Seen::Itself(state("a"))));
        assert!(same("link", Seen::Leads(state("a"))) && !same("link", Seen::Leads(state("link"))));
        assert!(!same("a", Seen::Kept(flowrun_core::artifact::Mode::File, 1)), "no stamp");
    }
}
