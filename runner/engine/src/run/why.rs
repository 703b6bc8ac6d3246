//! Why a step has no result: what differs from the nearest earlier one of the same step.
//!
//! A reason names one leaf of the key, with what it was and what it is ([`Difference`]), and has lines of detail for what those two do
//! not tell by themselves:
//!
//! | leaf | the difference tells | the detail |
//! |---|---|---|
//! | a short text: `env.MODE`, `with.copies` | everything | nothing |
//! | a long text, or one of several lines | too much | a unified diff |
//! | `with.NAME` that is a text of several lines, or a map | JSON in one line | a unified diff of the text, of the map a line an entry |
//! | `python` | every hash of every wheel | a unified diff of the wheels' names and versions |
//! | a file: `input.NAME`, `code.NAME` | sizes and digests | a unified diff, where both are small texts whose bytes are here |
//! | a folder | sizes and digests | its files that were added, removed, renamed, changed, with sizes; of a lone small text its diff |
//! | a digest: `plugin`, `tool.NAME` | both digests | nothing |
//!
//! **Where bytes come from.** What a step read is in the store since it ran, unless `gc` took it. What it would read now is in the
//! workspace, and its bytes count only if their digest is the leaf's: it may have changed again. Where they are not to be had, sizes and
//! digests still tell. Damage is not looked for here.
//!
//! **Bounds.** Reasons go into the run's record, so each is bounded: lines and their lengths by [`crate::diff`], files by [`MOST_FILES`].
//! **Secrets** are leaves by name only, so nothing here can tell a value.
//!
//! Knows nothing of how reasons are shown; decides nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;
use flowrun_core::event::Reason;
use flowrun_core::key::{Difference, Leaf, Manifest};
use serde_json::Value as Json;

use super::look::Question;
use super::session::Session;
use crate::diff;
use crate::store::{Change, Store, StoredEntry};

/// The largest file whose lines are compared: source code and tables for people are smaller; a data set is not read line by line.
const LARGEST_TEXT: u64 = 256 << 10;

/// A text of one line up to here needs no diff: it is shown whole beside the other.
const SHORT: usize = 32;

/// Files named of one folder.
const MOST_FILES: usize = 100;

/// Entries of two folders compared to find renames. Beyond it is said that there are more; nobody counts them.
const MOST_COMPARED: usize = 10_000;

/// Contents whose differences are remembered. Hundreds of instances of a fan-out miss for one edited file, few for many different ones.
const MOST_REMEMBERED: usize = 64;

/// How contents differ that were compared before.
#[derive(Default)]
pub(crate) struct Told(Mutex<HashMap<(Artifact, Artifact), Vec<String>>>);

/// Where the bytes of contents may be: the store, and files of the workspace that are to be brought into it.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a> {
    pub(crate) store: &'a Store,
    pub(crate) origins: &'a [(PathBuf, Artifact)],
    pub(crate) told: &'a Told,
}

impl Session {
    /// Why there is no result under this manifest: what differs from the nearest earlier one.
    /// The manifest is asked for only where there is an earlier one.
    pub(super) fn why<'a>(
        &self,
        question: &Question,
        manifest: &dyn Fn() -> &'a Manifest,
        origins: &[(PathBuf, Artifact)],
    ) -> Vec<Reason> {
        let known = if question.is_unseen() { Vec::new() } else { self.earlier(&question.label) };
        if known.is_empty() {
            return vec![Reason::New];
        }
        let manifest = manifest();
        let Some((_, nearest)) = self.nearest_of(&known, manifest, None) else { return vec![Reason::New] };
        let reasons = self.differences(manifest, &nearest, origins);
        if reasons.is_empty() { vec![Reason::Damaged { problem: "its stored result is gone".into() }] } else { reasons }
    }

    /// What differs between a manifest and an earlier one, the most telling first.
    pub(crate) fn differences(
        &self,
        manifest: &Manifest,
        earlier: &Manifest,
        origins: &[(PathBuf, Artifact)],
    ) -> Vec<Reason> {
        let bytes = Bytes { store: &self.store, origins, told: &self.told };
        let mut differences = manifest.differences(earlier);
        differences.sort_by_key(|difference| rank(&difference.leaf));
        let reason = |difference: Difference| Reason::Changed { detail: bytes.detail(&difference), difference };
        differences.into_iter().map(reason).collect()
    }

    /// The earlier result of this step, other than `but`, with the fewest differences; the newest of several.
    pub(crate) fn nearest(
        &self,
        label: &str,
        manifest: &Manifest,
        but: Option<Digest>,
    ) -> Option<(StoredEntry, Manifest)> {
        self.nearest_of(&self.earlier(label), manifest, but)
    }

    /// Keys that a step had.
    fn earlier(&self, label: &str) -> Vec<Digest> {
        self.store.latest_for(&self.tag(label)).unwrap_or_default()
    }

    fn nearest_of(&self, keys: &[Digest], manifest: &Manifest, but: Option<Digest>) -> Option<(StoredEntry, Manifest)> {
        keys.iter()
            .filter(|key| Some(**key) != but)
            .filter_map(|key| self.store.peek_entry(key).ok().flatten())
            .filter_map(|entry| {
                let earlier: Manifest = serde_json::from_value(entry.manifest.clone()).ok()?;
                Some((entry, earlier))
            })
            .min_by_key(|(_, earlier)| manifest.differences(earlier).len())
    }
}

/// What tells most comes first: what a person edits, then what a machine brings. The names of files follow their contents.
fn rank(leaf: &str) -> usize {
    const ORDER: [&str; 11] =
        ["input.", "code.", "run", "with.", "onnx.", "env.", "python", "plugin", "tool.", "output.", "values"];
    ORDER.iter().position(|prefix| leaf.starts_with(prefix)).unwrap_or(ORDER.len())
}

impl Bytes<'_> {
    /// What a difference does not tell by itself, a line each.
    pub(crate) fn detail(&self, difference: &Difference) -> Vec<String> {
        match (&difference.old, &difference.new) {
            (Some(Leaf::Text(old)), Some(Leaf::Text(new))) => texts(&difference.leaf, old, new),
            (Some(Leaf::Content(old)), Some(Leaf::Content(new))) => self.remembered(*old, *new),
            (None, Some(Leaf::Text(new))) => texts(&difference.leaf, "", new),
            (Some(Leaf::Text(old)), None) => texts(&difference.leaf, old, ""),
            _ => Vec::new(),
        }
    }

    fn remembered(&self, old: Artifact, new: Artifact) -> Vec<String> {
        // Held while they are compared: who waits for it most likely asks for the same.
        let mut told = self.told.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST_REMEMBERED {
            told.clear();
        }
        told.entry((old, new)).or_insert_with(|| self.contents(&old, &new)).clone()
    }

    /// How two contents differ: a diff of two small texts, or the files of two folders.
    pub(crate) fn contents(&self, old: &Artifact, new: &Artifact) -> Vec<String> {
        match (old.mode, new.mode) {
            (Mode::Folder, Mode::Folder) => self.folders(old, new),
            (Mode::Folder, _) | (_, Mode::Folder) => Vec::new(),
            _ => match (self.text(old), self.text(new)) {
                (Some(old), Some(new)) => diff::unified(&old, &new),
                _ => Vec::new(),
            },
        }
    }

    fn folders(&self, old: &Artifact, new: &Artifact) -> Vec<String> {
        // A listing that is lost is none of this step's trouble: the digests still differ.
        let Ok(changes) = self.store.diff(old, new, MOST_COMPARED) else { return Vec::new() };
        let mut lines = files(&changes);
        if let [Change { old: Some(old), new: Some(new), .. }] = changes.as_slice() {
            lines.extend(self.contents(old, new));
        }
        let more = lines.len().saturating_sub(MOST_FILES);
        if more > 0 && changes.len() > 1 {
            let many = if changes.len() == MOST_COMPARED { "more than " } else { "" };
            lines.truncate(MOST_FILES);
            lines.push(format!("and {many}{more} more files"));
        }
        lines
    }

    /// The bytes as text, where they are few, to be had, and text.
    fn text(&self, artifact: &Artifact) -> Option<String> {
        if artifact.size > LARGEST_TEXT {
            return None;
        }
        let stored = self.store.get_bytes(&artifact.digest).ok().flatten();
        let bytes = stored.or_else(|| self.workspace(artifact))?;
        String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
    }

    /// Bytes that the workspace still has as they were when they were hashed.
    fn workspace(&self, artifact: &Artifact) -> Option<Vec<u8>> {
        let path = self.origins.iter().find_map(|(path, origin)| match origin.mode {
            Mode::Folder => Some(path.join(self.inside(origin, artifact)?)),
            _ => (origin == artifact).then(|| path.clone()),
        })?;
        let bytes = match artifact.mode {
            Mode::Symlink => std::fs::read_link(path).ok()?.into_os_string().into_encoded_bytes(),
            _ if std::fs::metadata(&path).ok()?.len() == artifact.size => std::fs::read(path).ok()?,
            _ => return None,
        };
        (Digest::of(&bytes) == artifact.digest).then_some(bytes)
    }

    /// Where in a folder something lies.
    fn inside(&self, folder: &Artifact, wanted: &Artifact) -> Option<PathBuf> {
        let tree = self.store.tree(&folder.digest).ok()?;
        tree.entries.iter().find_map(|(name, entry)| match entry.mode {
            _ if entry == wanted => Some(PathBuf::from(name)),
            Mode::Folder => Some(Path::new(name).join(self.inside(entry, wanted)?)),
            _ => None,
        })
    }
}

/// The entries that differ, a line each; one that only has another name is one line.
fn files(changes: &[Change]) -> Vec<String> {
    let mut come: HashMap<Artifact, VecDeque<&Change>> = HashMap::new();
    for change in changes.iter().filter(|change| change.old.is_none()) {
        // Empty ones are all alike: that one went and one came tells nothing.
        if let Some(new) = change.new.filter(|new| new.size > 0) {
            come.entry(new).or_default().push_back(change);
        }
    }
    let mut renamed = BTreeSet::new();
    let mut lines = Vec::new();
    for change in changes {
        let gone = change.old.filter(|_| change.new.is_none());
        match gone.and_then(|gone| come.get_mut(&gone)?.pop_front()) {
            Some(other) => {
                renamed.insert(&other.path);
                lines.push(format!("{} → {} renamed", change.shown(), other.shown()));
            }
            None => lines.push(change.to_string()),
        }
    }
    if renamed.is_empty() {
        return lines;
    }
    let told = changes.iter().zip(lines);
    told.filter(|(change, _)| !renamed.contains(&change.path)).map(|(_, line)| line).collect()
}

fn texts(leaf: &str, old: &str, new: &str) -> Vec<String> {
    let is_short = |text: &str| !text.contains('\n') && text.chars().count() <= SHORT;
    if is_short(old) && is_short(new) || is_digest(old) || is_digest(new) {
        return Vec::new();
    }
    if leaf == "python" {
        return diff::unified(&wheels(old, new), &wheels(new, old));
    }
    let is_json = leaf.starts_with("with.") || leaf.starts_with("onnx.");
    match is_json {
        true => diff::unified(&unfolded(old), &unfolded(new)),
        false => diff::unified(old, new),
    }
}

/// A JSON value as a person wrote it: a text of several lines as those, a map or a list a line an entry.
fn unfolded(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Json::String(written)) if written.contains('\n') => written,
        Ok(value @ (Json::Object(_) | Json::Array(_))) => serde_json::to_string_pretty(&value).unwrap_or_default(),
        _ => text.to_owned(),
    }
}

/// A lock's lines without hashes, but for one that differs from the other's only by them.
fn wheels(lock: &str, other: &str) -> String {
    let wish = |line: &str| line.split(" --hash=").next().unwrap_or(line).to_owned();
    let others: BTreeSet<&str> = other.lines().collect();
    let wishes: BTreeSet<String> = other.lines().map(wish).collect();
    let shown = |line: &str| match wish(line) {
        known if wishes.contains(&known) && !others.contains(line) => {
            format!("{known} (hashes {})\n", Digest::of(line.as_bytes()).short())
        }
        wish => format!("{wish}\n"),
    };
    lock.lines().map(shown).collect()
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").unwrap_or(text).parse::<Digest>().is_ok()
}

#[cfg(test)]
mod tests;
