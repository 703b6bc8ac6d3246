//! Results by key, and which keys a step had: the files of [`flowrun_core::stored::entry`], and a line a key for the history.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flowrun_core::digest::Digest;
use flowrun_core::stored::entry::StoredEntry;

use super::{Result, Store, StoreError, file_name};

/// Keys of a step that are looked at for the nearest; further back, "what changed" tells nobody anything.
pub(super) const HISTORY: usize = 20;

/// Uses within an hour count once, so that a run of cached steps writes nothing.
const USE_GRAIN: Duration = Duration::from_secs(3600);

/// What a look-up finds.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one lives for a moment, and most are hits")]
pub enum Lookup {
    /// The result, all its contents there.
    Hit(StoredEntry),
    /// Nothing.
    Absent,
    /// Something that cannot be used, and why.
    Damaged(String),
}

impl Store {
    pub(super) fn entry_path(&self, key: &Digest) -> PathBuf {
        let hex = key.to_string();
        self.path("entries").join(&hex[..2]).join(format!("{}.json", &hex[2..]))
    }

    /// Keeps a result, under its key and in the history of its step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_entry(&self, entry: &StoredEntry, tag: &str) -> Result<()> {
        let path = self.entry_path(&entry.key);
        self.write_whole(&path, entry.to_text().as_bytes())?;
        let history = self.path("history").join(file_name(tag));
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(&history).map_err(StoreError::io(&history))?;
        file.write_all(format!("{}\n", entry.key).as_bytes()).map_err(StoreError::io(&history))
    }

    /// A result by key, its contents not looked at.
    ///
    /// # Errors
    /// When it is damaged; the message says how.
    pub fn peek_entry(&self, key: &Digest) -> std::result::Result<Option<StoredEntry>, String> {
        Ok(self.open_entry(key)?.map(|(entry, _)| entry))
    }

    /// A result by key, and its file.
    fn open_entry(&self, key: &Digest) -> std::result::Result<Option<(StoredEntry, File)>, String> {
        let unreadable = |error: std::io::Error| format!("its entry cannot be read: {error}");
        let mut file = match File::open(self.entry_path(key)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        StoredEntry::parse(&bytes, key).map(|entry| Some((entry, file))).map_err(|bad| bad.to_string())
    }

    /// A result by key, with all its contents. A hit counts as a use, for gc. What cannot be read is damaged: a miss, and a loud one.
    ///
    /// # Errors
    /// None today: kept for stores that lie elsewhere.
    pub fn load_entry(&self, key: &Digest) -> Result<Lookup> {
        let (entry, file) = match self.open_entry(key) {
            Ok(None) => return Ok(Lookup::Absent),
            Ok(Some(found)) => found,
            Err(problem) => return Ok(Lookup::Damaged(problem)),
        };
        for (name, output) in &entry.outputs {
            match self.has_all(&output.artifact) {
                Ok(true) => {}
                Ok(false) => return Ok(Lookup::Damaged(format!("its output `{name}` is gone or damaged"))),
                Err(error) => return Ok(Lookup::Damaged(format!("its output `{name}` cannot be read: {error}"))),
            }
        }
        touch(&file);
        Ok(Lookup::Hit(entry))
    }

    /// The last keys of a step, newest first, each once.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn latest_for(&self, tag: &str) -> Result<Vec<Digest>> {
        let path = self.path("history").join(file_name(tag));
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io(&path)(error)),
        };
        Ok(newest(&text, |_| true))
    }
}

/// Says that a result was used, so that gc keeps it longer. Best effort.
fn touch(entry: &File) {
    let now = SystemTime::now();
    if entry.metadata().and_then(|found| found.modified()).is_ok_and(|used| used + USE_GRAIN < now) {
        let _ = entry.set_modified(now);
    }
}

/// The last of the wanted keys in a history, newest first, each once. Damaged lines are none.
pub(super) fn newest(history: &str, wanted: impl Fn(&Digest) -> bool) -> Vec<Digest> {
    let mut keys = Vec::new();
    for key in history.lines().rev().filter_map(|line| line.parse::<Digest>().ok()).filter(wanted) {
        if !keys.contains(&key) {
            keys.push(key);
        }
        if keys.len() == HISTORY {
            break;
        }
    }
    keys
}
