//! Making room: old results first, then the records of old runs, then whatever nothing refers to any more.
//!
//! Results go before the contents they refer to: a crash in between leaves contents too many, never a result without its own.
//! A record of a run refers to nothing: what an old run made stays only as long as the result of its step does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flowrun_core::artifact::Artifact;
use flowrun_core::digest::Digest;

use super::entries::newest;
use super::referred::Referred;
use super::scratch::is_held;
use super::{Result, Store, StoreError};

/// Records that stay however old they are: what `runs` and `--resume` are asked about.
const RECORDS_KEPT: usize = 20;

/// What may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcPolicy {
    /// Bytes of contents that may stay; results unused longest go first.
    pub max_bytes: Option<u64>,
    /// Results that were not used for so long go.
    pub older_than: Option<Duration>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Results.
    pub entries: usize,
    /// Contents.
    pub blobs: usize,
    /// Bytes of those contents.
    pub bytes: u64,
    /// Records of runs.
    pub runs: usize,
    /// Bytes of contents that stay.
    pub kept_bytes: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Results.
    pub entries: usize,
    /// Contents.
    pub blobs: usize,
    /// Bytes of those contents.
    pub bytes: u64,
    /// Records of runs.
    pub runs: usize,
}

struct Old {
    path: PathBuf,
    key: Option<Digest>,
    used: SystemTime,
    outputs: Vec<Artifact>,
    inputs: Vec<Artifact>,
}

struct Blob {
    path: PathBuf,
    digest: Option<Digest>,
    bytes: u64,
}

impl Store {
    /// Makes room.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while any other flowrun has the store open, or a run of this process goes on; otherwise when it cannot be
    /// read.
    pub fn gc(&self, policy: GcPolicy) -> Result<GcReport> {
        let path = self.path("lock");
        let lock = std::fs::File::open(&path).map_err(StoreError::io(&path))?;
        // A lock cannot be made exclusive while it is shared, also by ourselves.
        self.inner.lock.unlock().map_err(StoreError::io(&path))?;
        let result = match lock.try_lock() {
            Ok(()) => self.any_live().and_then(|live| if live { Err(StoreError::Busy) } else { self.collect(policy) }),
            Err(_) => Err(StoreError::Busy),
        };
        drop(lock);
        self.inner.lock.lock_shared().map_err(StoreError::io(&path))?;
        result
    }

    /// What the store holds, for people to read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn size(&self) -> Result<StoreSize> {
        let blobs = self.blobs()?;
        Ok(StoreSize {
            entries: files_below(&self.path("entries"))?.len(),
            bytes: blobs.iter().map(|blob| blob.bytes).sum(),
            blobs: blobs.len(),
            runs: self.runs()?.len(),
        })
    }

    fn any_live(&self) -> Result<bool> {
        Ok(folders_in(&self.path("runs"))?.iter().any(|run| is_held(&run.join("lock"))))
    }

    fn collect(&self, policy: GcPolicy) -> Result<GcReport> {
        let blobs = self.blobs()?;
        let mut sizes = HashMap::new();
        for blob in &blobs {
            if let Some(digest) = blob.digest {
                *sizes.entry(digest).or_default() += blob.bytes;
            }
        }
        let mut referred = Referred::new(self, &sizes);
        let (gone, kept) = self.choose(policy, &mut referred)?;
        let mut report = GcReport { entries: gone.len(), kept_bytes: referred.bytes(), ..GcReport::default() };
        let remove = |path: &Path| if policy.dry_run { Ok(()) } else { self.discard(path) };
        gone.iter().try_for_each(|entry| remove(&entry.path))?;
        if !policy.dry_run {
            self.prune_history(&kept.iter().filter_map(|entry| entry.key).collect())?;
            self.clear_claims()?;
            self.drop_repeats()?;
        }
        for run in self.old_runs()? {
            report.runs += 1;
            remove(&run)?;
        }
        for blob in blobs.iter().filter(|blob| !blob.digest.is_some_and(|digest| referred.has(&digest))) {
            report.blobs += 1;
            report.bytes += blob.bytes;
            remove(&blob.path)?;
        }
        Ok(report)
    }

    /// Which results go and which stay, and what those that stay refer to.
    fn choose(&self, policy: GcPolicy, referred: &mut Referred<'_>) -> Result<(Vec<Old>, Vec<Old>)> {
        let mut all = self.old_entries()?;
        all.sort_by_key(|entry| entry.used);
        let limit = policy.older_than.and_then(|age| SystemTime::now().checked_sub(age));
        // One that cannot be read is of no use to anybody.
        let is_old = |entry: &Old| entry.key.is_none() || limit.is_some_and(|limit| entry.used < limit);
        let (mut gone, kept): (Vec<Old>, Vec<Old>) = all.into_iter().partition(is_old);
        kept.iter().for_each(|entry| referred.add(&entry.outputs, &entry.inputs));
        let mut kept = kept.into_iter().peekable();
        while policy.max_bytes.is_some_and(|most| referred.bytes() > most) {
            let Some(entry) = kept.next() else { break };
            referred.remove(&entry.outputs, &entry.inputs);
            gone.push(entry);
        }
        Ok((gone, kept.collect()))
    }

    fn old_entries(&self) -> Result<Vec<Old>> {
        let paths = files_below(&self.path("entries"))?;
        Ok(paths.into_iter().map(|path| self.old_entry(path)).collect())
    }

    fn old_entry(&self, path: PathBuf) -> Old {
        let used = std::fs::metadata(&path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let key = digest_of(&path, ".json");
        let Some(entry) = key.and_then(|key| self.peek_entry(&key).ok().flatten()) else {
            return Old { path, key: None, used, outputs: Vec::new(), inputs: Vec::new() };
        };
        let outputs = entry.outputs.values().map(|output| output.artifact).collect();
        let leaves = entry.manifest.as_object().into_iter().flat_map(|leaves| leaves.values());
        let inputs = leaves.filter_map(|leaf| serde_json::from_value(leaf.get("content")?.clone()).ok()).collect();
        Old { path, key, used, outputs, inputs }
    }

    fn blobs(&self) -> Result<Vec<Blob>> {
        let paths = files_below(&self.path("blobs"))?;
        let blob = |path: PathBuf| Blob {
            digest: digest_of(&path, ".x"),
            bytes: std::fs::symlink_metadata(&path).map_or(0, |found| found.len()),
            path,
        };
        Ok(paths.into_iter().map(blob).collect())
    }

    /// Records that may go: all but the newest, and folders of runs that died before they were one.
    fn old_runs(&self) -> Result<Vec<PathBuf>> {
        let kept: HashSet<PathBuf> =
            self.runs()?.into_iter().take(RECORDS_KEPT).map(|run| self.path("runs").join(run.id)).collect();
        Ok(folders_in(&self.path("runs"))?.into_iter().filter(|run| !kept.contains(run)).collect())
    }

    /// Leaves only keys whose results are there: nothing else is ever compared with.
    fn prune_history(&self, kept: &HashSet<Digest>) -> Result<()> {
        for path in files_below(&self.path("history"))? {
            let text = std::fs::read(&path).map_err(StoreError::io(&path))?;
            let keys = newest(&String::from_utf8_lossy(&text), |key| kept.contains(key));
            let lines: String = keys.iter().rev().map(|key| format!("{key}\n")).collect();
            match lines.as_bytes() {
                [] => self.discard(&path)?,
                lines if lines == text => {}
                lines => self.write_whole(&path, lines)?,
            }
        }
        Ok(())
    }
}

/// The digest that `ab/cdef….SUFFIX` is named by.
fn digest_of(path: &Path, suffix: &str) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.file_name()?.to_str()?;
    format!("{folder}{}", name.strip_suffix(suffix).unwrap_or(name)).parse().ok()
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(StoreError::io(folder))? {
        let entry = entry.map_err(StoreError::io(folder))?;
        match entry.file_type().map_err(StoreError::io(folder))?.is_dir() {
            true => found.extend(files_below(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(StoreError::io(folder))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect())
}
