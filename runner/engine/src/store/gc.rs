//! Making room: old results first, then the records of old runs, then whatever nothing refers to any more.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;

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

struct Old {
    path: PathBuf,
    used: SystemTime,
    blobs: Vec<(Digest, u64)>,
}

impl Store {
    /// Makes room.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while any other flowrun has the store open; otherwise when it cannot be read.
    pub fn gc(&self, policy: GcPolicy) -> Result<GcReport> {
        let path = self.path("lock");
        let lock = std::fs::File::open(&path).map_err(StoreError::io(&path))?;
        self.inner._lock.unlock().map_err(StoreError::io(&path))?;
        let free = lock.try_lock();
        let result = match free {
            Ok(()) => self.collect(policy),
            Err(_) => Err(StoreError::Busy),
        };
        drop(lock);
        self.inner._lock.lock_shared().map_err(StoreError::io(&path))?;
        result
    }

    fn collect(&self, policy: GcPolicy) -> Result<GcReport> {
        let mut report = GcReport::default();
        let mut old = self.old_entries()?;
        old.sort_by_key(|entry| entry.used);
        let limit = policy.older_than.and_then(|age| SystemTime::now().checked_sub(age));
        let mut kept = old.split_off(old.partition_point(|entry| limit.is_some_and(|limit| entry.used < limit)));
        let mut gone = old;
        while policy.max_bytes.is_some_and(|most| size_of(&kept) > most) && !kept.is_empty() {
            gone.push(kept.remove(0));
        }
        report.entries = gone.len();
        report.kept_bytes = size_of(&kept);
        if !policy.dry_run {
            gone.iter().try_for_each(|entry| self.discard(&entry.path))?;
        }
        self.collect_runs(policy, &mut report)?;
        let referred: HashSet<Digest> =
            kept.iter().flat_map(|entry| entry.blobs.iter().map(|(digest, _)| *digest)).collect();
        self.collect_blobs(&referred, policy.dry_run, &mut report)?;
        Ok(report)
    }

    fn old_entries(&self) -> Result<Vec<Old>> {
        let mut found = Vec::new();
        for path in files_below(&self.path("entries"))? {
            let name: String =
                path.iter().rev().take(2).collect::<Vec<_>>().iter().rev().map(|part| part.to_string_lossy()).collect();
            let key = name.trim_end_matches(".json").parse::<Digest>();
            let used = std::fs::metadata(&path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let entry = key.ok().and_then(|key| self.peek_entry(&key).ok().flatten());
            let mut blobs = Vec::new();
            // An entry that cannot be read refers to nothing and is the first to go.
            let used = if entry.is_some() { used } else { SystemTime::UNIX_EPOCH };
            for output in entry.iter().flat_map(|entry| entry.outputs.values()) {
                self.blobs_of(&output.artifact, &mut blobs);
            }
            // Listings of input folders stay with the entry: they are what "why" is told from.
            let inputs = entry.iter().filter_map(|entry| entry.manifest.as_object()).flat_map(|leaves| leaves.values());
            for artifact in
                inputs.filter_map(|leaf| serde_json::from_value::<Artifact>(leaf.get("content")?.clone()).ok())
            {
                self.listings_of(&artifact, &mut blobs);
            }
            found.push(Old { path, used, blobs });
        }
        Ok(found)
    }

    fn blobs_of(&self, artifact: &Artifact, blobs: &mut Vec<(Digest, u64)>) {
        let own = if artifact.mode == Mode::Folder { 0 } else { artifact.size };
        blobs.push((artifact.digest, own));
        if artifact.mode == Mode::Folder
            && let Ok(tree) = self.tree(&artifact.digest)
        {
            tree.entries.values().for_each(|entry| self.blobs_of(entry, blobs));
        }
    }

    fn listings_of(&self, artifact: &Artifact, blobs: &mut Vec<(Digest, u64)>) {
        if artifact.mode == Mode::Folder
            && let Ok(tree) = self.tree(&artifact.digest)
        {
            blobs.push((artifact.digest, 0));
            tree.entries.values().for_each(|entry| self.listings_of(entry, blobs));
        }
    }

    fn collect_runs(&self, policy: GcPolicy, report: &mut GcReport) -> Result<()> {
        for run in self.runs()?.into_iter().skip(RECORDS_KEPT).filter(|run| !run.live) {
            report.runs += 1;
            if !policy.dry_run {
                self.discard(&self.path("runs").join(run.id))?;
            }
        }
        Ok(())
    }

    fn collect_blobs(&self, referred: &HashSet<Digest>, dry_run: bool, report: &mut GcReport) -> Result<()> {
        for path in files_below(&self.path("blobs"))? {
            let name: String =
                path.iter().rev().take(2).collect::<Vec<_>>().iter().rev().map(|part| part.to_string_lossy()).collect();
            let digest = name.trim_end_matches(".x").parse::<Digest>();
            if digest.is_ok_and(|digest| referred.contains(&digest)) {
                continue;
            }
            report.blobs += 1;
            report.bytes += std::fs::metadata(&path).map_or(0, |found| found.len());
            if !dry_run {
                self.discard(&path)?;
            }
        }
        Ok(())
    }
}

/// Bytes of contents that these refer to, each counted once.
fn size_of(entries: &[Old]) -> u64 {
    let mut seen = HashSet::new();
    entries.iter().flat_map(|entry| &entry.blobs).filter(|(digest, _)| seen.insert(*digest)).map(|(_, size)| size).sum()
}

fn files_below(folder: &std::path::Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(StoreError::io(folder))?.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files_below(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}
