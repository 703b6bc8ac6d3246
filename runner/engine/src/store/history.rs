//! Whether steps have a history at all, asked for many at once.
//!
//! To look for a file that is not there takes several microseconds, which is much of what planning one of 100,000 instances takes.

use super::{Store, file_name};

/// So many names of a folder are read in the time in which one file is looked for.
const NAMES: usize = 8;

impl Store {
    /// Whether surely no step whose tag begins so has a history; asked for so many of them. Where more steps have one than it is worth to look
    /// through, that is not known.
    pub(crate) fn has_no_history(&self, begin: &str, steps: usize) -> bool {
        // A tag that is no plain name is followed by its digest; this one, like theirs, has a `/`.
        let begin = file_name(begin);
        let begin = begin.rsplit_once('~').map_or(&*begin, |(begin, _)| begin);
        let Ok(mut names) = self.path("history").read_dir() else { return false };
        let is_other = |name: std::ffi::OsString| !name.as_encoded_bytes().starts_with(begin.as_bytes());
        let others = names.by_ref().take(steps.saturating_mul(NAMES));
        others.into_iter().all(|entry| entry.is_ok_and(|entry| is_other(entry.file_name()))) && names.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bed, entry, folder};
    use super::super::{Digest, Take};

    #[test]
    fn what_has_a_history_is_not_taken_for_new() {
        let bed = bed();
        let artifact = bed.store.ingest(&folder(&bed, "made"), Take::Copy).expect("ingest");
        assert!(bed.store.has_no_history("p/light[", 10));
        let long = format!("p/{}[", "x".repeat(200));
        for (key, tag) in [(b"1", "p/light[seed=1]"), (b"2", &format!("{long}seed=1]"))] {
            bed.store.save_entry(&entry(Digest::of(key), artifact), tag).expect("save");
        }
        assert!(!bed.store.has_no_history("p/light[", 10) && !bed.store.has_no_history(&long, 10));
        assert!(bed.store.has_no_history("p/heavy[", 1) && bed.store.has_no_history("q/light[", 1));
        assert!(!bed.store.has_no_history("p/heavy[", 0), "there are more than it is worth to look at");
    }
}
