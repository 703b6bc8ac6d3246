//! Results by key, and which keys a step had: the files of [`flowrun_core::stored::entry`], and a line a key for the history.

use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flowrun_core::digest::Digest;
use flowrun_core::stored::entry::{StoredEntry, StoredResult};

use super::memo::{Stat, stat_of, stat_of_std};
use super::{Result, Store, StoreError, file_name};

/// Keys of a step that are looked at for the nearest; further back, "what changed" tells nobody anything.
pub(super) const HISTORY: usize = 20;

/// Uses within an hour count once, so that a run of cached steps writes nothing.
const USE_GRAIN: Duration = Duration::from_secs(3600);

/// What a look-up finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// The result, all its contents there.
    Hit(StoredResult),
    /// Nothing.
    Absent,
    /// Something that cannot be used, and why.
    Damaged(String),
}

impl Store {
    pub(crate) fn entry_path(&self, key: &Digest) -> PathBuf {
        self.fanned("entries", key, ".json")
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
        let Some(Opened { bytes, .. }) = self.open_entry(key)? else { return Ok(None) };
        StoredEntry::parse(&bytes, key).map(Some).map_err(|bad| bad.to_string())
    }

    fn open_entry(&self, key: &Digest) -> std::result::Result<Option<Opened>, String> {
        let unreadable = |error: std::io::Error| format!("its entry cannot be read: {error}");
        let mut file = match File::open(self.entry_path(key)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let found = file.metadata().map_err(unreadable)?;
        let bytes = read_all(&mut file, found.len()).map_err(unreadable)?;
        Ok(Some(Opened { file, found, bytes }))
    }

    /// A result by key, with all its contents. A hit counts as a use, for gc. What cannot be read is damaged: a miss, and a loud one.
    ///
    /// # Errors
    /// None today: kept for stores that lie elsewhere.
    pub fn load_entry(&self, key: &Digest) -> Result<Lookup> {
        self.find_entry(key).map(|(found, _)| found)
    }

    /// The same, and the state of the file that a hit was read from.
    ///
    /// # Errors
    /// As [`Store::load_entry`].
    pub(crate) fn find_entry(&self, key: &Digest) -> Result<(Lookup, Option<Stat>)> {
        let none = |found| Ok((found, None));
        let opened = match self.open_entry(key) {
            Ok(None) => return none(Lookup::Absent),
            Ok(Some(opened)) => opened,
            Err(problem) => return none(Lookup::Damaged(problem)),
        };
        let entry = match StoredResult::parse_result(&opened.bytes, key) {
            Ok(entry) => entry,
            Err(bad) => return none(Lookup::Damaged(bad.to_string())),
        };
        for (name, output) in &entry.outputs {
            match self.has_all(&output.artifact) {
                Ok(true) => {}
                Ok(false) => return none(Lookup::Damaged(format!("its output `{name}` is gone or damaged"))),
                Err(error) => return none(Lookup::Damaged(format!("its output `{name}` cannot be read: {error}"))),
            }
        }
        let state = opened.touch();
        Ok((Lookup::Hit(entry), state))
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

/// The file of a result, and what is in it.
struct Opened {
    file: File,
    found: Metadata,
    bytes: Vec<u8>,
}

impl Opened {
    /// Says that the result was used, so that gc keeps it longer: best effort. Tells the state in which the file is then.
    fn touch(&self) -> Option<Stat> {
        let now = SystemTime::now();
        if !self.found.modified().is_ok_and(|used| used + USE_GRAIN < now) {
            return Some(stat_of_std(&self.found));
        }
        let _ = self.file.set_modified(now);
        rustix::fs::fstat(&self.file).ok().map(|found| stat_of(&found))
    }
}

/// All of a file of this many bytes. There is room for one more, so that the system itself says with the first read that this was all:
/// a further one, and a look at how much is left, would cost as much again.
fn read_all(file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    let room = size.min(AT_ONCE) as usize + 1;
    let mut bytes = vec![0; room];
    let read = file.read(&mut bytes)?;
    bytes.truncate(read);
    if read as u64 != size {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// What a file says of its size is believed up to here; entries are a thousandth of it.
const AT_ONCE: u64 = 1 << 20;

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
