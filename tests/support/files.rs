//! Doing to files what a clock, a person or a failing disk does.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Changes a file and sets its times back to what they were.
pub fn unseen(path: &Path, change: impl FnOnce(&Path)) {
    let before = path.metadata().expect("metadata");
    change(path);
    let times =
        FileTimes::new().set_accessed(before.accessed().expect("time")).set_modified(before.modified().expect("time"));
    File::options().write(true).open(path).expect("open").set_times(times).expect("times");
    let after = path.metadata().expect("metadata");
    assert_eq!(
        (after.len(), after.modified().ok()),
        (before.len(), before.modified().ok()),
        "not the same size and time"
    );
}

/// Puts other bytes of the same size under a file's name, by renaming a file that was made ready with the same times.
pub fn replaced_unseen(path: &Path, bytes: &[u8]) {
    let ready = path.with_file_name("made-ready.tmp");
    std::fs::copy(path, &ready).expect("copy");
    let before = path.metadata().expect("metadata");
    std::fs::write(&ready, bytes).expect("write");
    File::options()
        .write(true)
        .open(&ready)
        .expect("open")
        .set_modified(before.modified().expect("time"))
        .expect("time");
    assert_eq!(ready.metadata().expect("metadata").len(), before.len(), "not the same size");
    std::fs::rename(ready, path).expect("rename");
}

/// Ways in which a file is damaged.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    Deleted,
    Emptied,
    Truncated,
    Flipped,
    Longer,
}

impl Damage {
    pub const ALL: [Self; 5] = [Self::Deleted, Self::Emptied, Self::Truncated, Self::Flipped, Self::Longer];

    /// Does it, also to a file that is read-only.
    pub fn to(self, path: &Path) {
        let before = path.metadata().expect("metadata").permissions();
        let mut bytes = std::fs::read(path).expect("read");
        match self {
            Self::Deleted => return std::fs::remove_file(path).expect("remove"),
            Self::Emptied => bytes.clear(),
            Self::Truncated => bytes.truncate(bytes.len() / 2),
            Self::Flipped => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
            }
            Self::Longer => bytes.extend_from_slice(b"more"),
        }
        // In place: a file with a second name is damaged under both.
        std::fs::set_permissions(path, Permissions::from_mode(0o644)).expect("chmod");
        std::fs::write(path, bytes).expect("write");
        std::fs::set_permissions(path, before).expect("chmod");
    }
}
