//! Runs as append-only records. A run is alive as long as its process holds the lock in its folder: that is right even after SIGKILL.
//!
//! Events are lines of JSON that mean nothing here. Each is written at once, but for those that are only noted: what a death of the run loses of
//! them must be found again without them. One that was cut off, by a death or a full disk, is skipped by readers; the next one begins
//! a line of its own. A run that takes up another carries over what it needs of that one's events, so that its own record tells all of it,
//! whatever becomes of the other.

use std::io::Write;
use std::path::{Path, PathBuf};

use flowrun_core::artifact::is_component;
use flowrun_core::digest::Digest;
use flowrun_core::stored;
use serde_json::Value as Json;

use super::scratch::is_held;
use super::{Result, Store, StoreError, file_name};

/// What was carried over from the run that was taken up.
const CARRIED: &str = "carried.jsonl";

/// The events of the run that this one repeats, by another name.
const REPEATED: &str = "repeated.jsonl";

const EVENTS: &str = "events.jsonl";

/// Bytes of events that wait to be written; more are, so that memory stays small.
const MOST_NOTED: usize = 64 << 10;

/// A run that is being recorded.
#[derive(Debug)]
pub struct RunRecord {
    store: Store,
    folder: PathBuf,
    events: std::fs::File,
    /// Lines that are not written yet.
    noted: String,
    /// Whether the last line may lack its end.
    torn: bool,
    _lock: std::fs::File,
}

/// A recorded run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInfo {
    /// Its id.
    pub id: String,
    /// What was written down when it began: `pipeline`, `file`.
    pub meta: Json,
    /// Whether it is still running.
    pub live: bool,
}

/// A run id: UTC date and time, then two characters for the millisecond, so that ids sort by when runs began, and two that tell apart those of
/// one millisecond. `20261123-190412-k3f9`. Two can still be alike: [`RunRecord::create`] takes one only once.
pub fn new_run_id(unix_ms: u64, entropy: u64) -> String {
    let (days, seconds) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    let (year, month, day) = civil(days as i64);
    let mixed = Digest::of(format!("{unix_ms} {entropy}").as_bytes());
    // 1000 milliseconds fit into 32 * 32.
    let millis = unix_ms % 1000;
    let parts = [millis / 32, millis % 32, u64::from(mixed.as_bytes()[0]), u64::from(mixed.as_bytes()[1])];
    let letters: String = parts.iter().map(|part| char::from(ALPHABET[(part % 32) as usize])).collect();
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}-{letters}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// No letters that look like others (Crockford's base 32), in the order in which text sorts.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Year, month and day of a day count since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl RunRecord {
    /// Begins a record.
    ///
    /// # Errors
    /// When it cannot be written, or there is one of that id.
    pub fn create(store: &Store, id: &str, meta: &Json) -> Result<Self> {
        if !is_component(id) {
            return Err(no_such(id));
        }
        let folder = store.path("runs").join(id);
        std::fs::create_dir(&folder).map_err(StoreError::io(&folder))?;
        let begun = Self::begin(store, folder.clone(), meta);
        if begun.is_err() {
            // A full disk gets no fuller.
            let _ = store.discard(&folder);
        }
        begun
    }

    fn begin(store: &Store, folder: PathBuf, meta: &Json) -> Result<Self> {
        let path = folder.join("lock");
        let lock = std::fs::File::create_new(&path).map_err(StoreError::io(&path))?;
        lock.lock().map_err(StoreError::io(&path))?;
        let logs = folder.join("logs");
        std::fs::create_dir(&logs).map_err(StoreError::io(&logs))?;
        let path = folder.join(EVENTS);
        let events =
            std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(StoreError::io(&path))?;
        // Last: a run is one for others once this is there.
        store.write_whole(&folder.join("meta.json"), meta.to_string().as_bytes())?;
        Ok(Self { store: store.clone(), folder, events, noted: String::new(), torn: false, _lock: lock })
    }

    /// Adds an event, after those that were noted before it: one write.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append_event(&mut self, line: &str) -> Result<()> {
        self.note(line);
        self.write_notes()
    }

    /// Adds an event that need not be written at once: with the next one that must, with [`RunRecord::write_notes`], or when there are many.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn note_event(&mut self, line: &str) -> Result<()> {
        self.note(line);
        if self.noted.len() < MOST_NOTED { Ok(()) } else { self.write_notes() }
    }

    fn note(&mut self, line: &str) {
        self.noted.push_str(line);
        self.noted.push('\n');
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// When it cannot be written; it is not tried again.
    pub fn write_notes(&mut self) -> Result<()> {
        if self.noted.is_empty() {
            return Ok(());
        }
        if self.torn {
            self.noted.insert(0, '\n');
        }
        let written = self.events.write_all(self.noted.as_bytes());
        self.noted.clear();
        self.torn = written.is_err();
        written.map_err(StoreError::io(&self.folder.join(EVENTS)))
    }

    /// Carries over events of the run that this one takes up.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn carry(&self, lines: &[String]) -> Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.store.write_whole(&self.folder.join(CARRIED), text.as_bytes())
    }

    /// Takes over the events of a run that this one repeats. They are whole: that run has ended.
    ///
    /// # Errors
    /// When that run's record is not there any more, or this one cannot be written.
    pub(crate) fn repeat(&self, run: &str) -> Result<()> {
        let events = self.store.path("runs").join(run).join(EVENTS);
        let place = self.folder.join(REPEATED);
        let linked = std::fs::hard_link(&events, &place);
        // Some file systems know no links, and none makes as many as one wants.
        linked.or_else(|_| super::blobs::copy(&events, &place)).map_err(StoreError::io(&place))
    }

    /// Puts a file into the record, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.store.write_whole(&self.folder.join(file_name(name)), bytes)
    }

    /// Where a step's log goes.
    pub fn log_path(&self, label: &str) -> PathBuf {
        log_path(&self.folder, label)
    }
}

fn no_such(id: &str) -> StoreError {
    StoreError::NoSuchRun(format!("no run `{id}` here"))
}

fn log_path(folder: &Path, label: &str) -> PathBuf {
    folder.join("logs").join(format!("{}.log", file_name(label)))
}

impl Store {
    /// Every recorded run, newest first.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn runs(&self) -> Result<Vec<RunInfo>> {
        let path = self.path("runs");
        let mut ids: Vec<String> = std::fs::read_dir(&path)
            .map_err(StoreError::io(&path))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        ids.sort_by(|a, b| b.cmp(a));
        Ok(ids.into_iter().filter_map(|id| self.run_info(id)).collect())
    }

    fn run_info(&self, id: String) -> Option<RunInfo> {
        let bytes = std::fs::read(self.path("runs").join(&id).join("meta.json")).ok()?;
        // The events of a run whose first file is damaged can still be told.
        Some(RunInfo { meta: serde_json::from_slice(&bytes).unwrap_or_default(), live: self.is_live(&id), id })
    }

    /// Whether a run is still going on.
    pub fn is_live(&self, id: &str) -> bool {
        is_component(id) && is_held(&self.path("runs").join(id).join("lock"))
    }

    /// The run that a person means: `@latest`, an id, or the only one that starts so.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn resolve(&self, name: &str) -> Result<String> {
        let runs = self.runs()?;
        let fail = |text: String| Err(StoreError::NoSuchRun(text));
        if name.is_empty() {
            return Err(no_such(name));
        }
        if name == "@latest" {
            return runs.first().map_or_else(|| fail("there is no run here yet".into()), |run| Ok(run.id.clone()));
        }
        let fitting: Vec<&str> = runs.iter().map(|run| run.id.as_str()).filter(|id| id.starts_with(name)).collect();
        match fitting.as_slice() {
            [only] => Ok((*only).to_owned()),
            _ if fitting.contains(&name) => Ok(name.to_owned()),
            [] => Err(no_such(name)),
            many => fail(format!("`{name}` fits {} runs: write more of its id", many.len())),
        }
    }

    /// The lines of a run's events; those that are torn or damaged are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn events(&self, id: &str) -> Result<Vec<String>> {
        let mut own = self.lines(id, EVENTS)?;
        let repeated = self.lines_of(id, REPEATED)?;
        if !repeated.is_empty() {
            let quiet = |line: &String| stored::record::event(line).is_some_and(|stamped| stamped.event.is_quiet());
            let first = own.len().min(1);
            own.splice(first..first, repeated.into_iter().filter(quiet));
        }
        Ok(own)
    }

    /// The lines that a run carried over from the one that it took up; none where it took up none.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn carried(&self, id: &str) -> Result<Vec<String>> {
        self.lines_of(id, CARRIED)
    }

    /// The lines of a file that few records have.
    fn lines_of(&self, id: &str, name: &str) -> Result<Vec<String>> {
        match self.lines(id, name) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            lines => lines,
        }
    }

    fn lines(&self, id: &str, name: &str) -> Result<Vec<String>> {
        if !is_component(id) {
            return Err(no_such(id));
        }
        let path = self.path("runs").join(id).join(name);
        let bytes = std::fs::read(&path).map_err(StoreError::io(&path))?;
        Ok(stored::record::lines(&bytes).map(str::to_owned).collect())
    }

    /// Removes a record that was only begun.
    pub(crate) fn forget_run(&self, record: RunRecord, id: &str) {
        drop(record);
        let _ = self.discard(&self.path("runs").join(id));
    }

    /// Where the log of a recorded run's step is.
    pub fn log_of(&self, id: &str, label: &str) -> PathBuf {
        log_path(&self.path("runs").join(id), label)
    }
}
