//! What a step reads and makes, as the store keeps it: files, and folders as Merkle trees of names, modes and digests.
//!
//! ```text
//! Artifact ─┬─ file    digest of the bytes
//!           └─ folder  digest of its Tree, itself a blob:
//!                        "flowrun-tree 1\n"
//!                        one line an entry, sorted by name:  MODE SP DIGEST SP SIZE SP NAME-AS-JSON LF
//! ```
//! Times, owners and absolute paths are never part of it. One folder has one listing: what is read must be, byte for byte, what would be
//! written, so that no folder has two digests. Knows nothing of disks: the engine walks them.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What an entry of a folder is. Of permissions only "a user may run it" counts: the rest is the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A plain file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link; the digest is of the target's text, which stays inside the folder.
    Symlink,
    /// A folder; the digest is of its [`Tree`].
    Folder,
}

impl Mode {
    const TEXTS: [(Mode, &'static str); 4] =
        [(Mode::File, "file"), (Mode::Executable, "exec"), (Mode::Symlink, "link"), (Mode::Folder, "tree")];

    pub(crate) fn text(self) -> &'static str {
        Self::TEXTS.iter().find(|(mode, _)| *mode == self).map_or("file", |(_, text)| text)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::TEXTS.iter().find(|(_, known)| *known == text).map(|(mode, _)| *mode)
    }
}

/// One file, link or folder by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is.
    pub mode: Mode,
    /// The digest of its bytes, its link text or its [`Tree`].
    pub digest: Digest,
    /// Bytes of the file; for a folder, of all files below it.
    pub size: u64,
}

impl Artifact {
    /// For people: how large it is, and enough of its digest to tell it from another: `12 kB 1a2b3c4d5e`.
    pub fn brief(&self) -> String {
        format!("{} {}", size_text(self.size), self.digest.short())
    }
}

/// Bytes in decimal units: `812 B`, `3.4 kB`, `12 MB`.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A folder: names to what they hold. Names are single path components, never `.`, `..`, or holding `/` or NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Entries by name, in byte order of the names.
    pub entries: BTreeMap<String, Artifact>,
}

const MAGIC: &str = "flowrun-tree 1\n";
/// Bytes of most lines: the digest has 64, the rest is short.
const LINE: usize = 100;

/// Why bytes are not a stored folder.
#[derive(Debug, thiserror::Error)]
pub enum BadTree {
    /// It starts with another line than a tree of this version does.
    #[error("not a folder listing of a version that this flowrun reads")]
    Version,
    /// A line is not an entry.
    #[error("line {0} of the folder listing is damaged")]
    Line(usize),
    /// Its lines are entries, but not written as they are written: another order, a name twice, another spelling, no line feed at the end.
    #[error("the folder listing is not in its one form")]
    Form,
}

impl Tree {
    /// The stored bytes, whose blake3 is the folder's digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.entries.len() * LINE);
        bytes.extend_from_slice(MAGIC.as_bytes());
        for (name, entry) in &self.entries {
            // Writing to memory, and a text as JSON, cannot fail.
            let _ = write!(bytes, "{} {} {} ", entry.mode.text(), entry.digest, entry.size);
            let _ = serde_json::to_writer(&mut bytes, name);
            bytes.push(b'\n');
        }
        bytes
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// When the bytes are of another version, damaged, or not what [`Tree::to_bytes`] writes: also when a name could lead out of the folder.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadTree> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadTree::Version)?;
        let body = text.strip_prefix(MAGIC).ok_or(BadTree::Version)?;
        let mut tree = Self::default();
        for (index, line) in body.lines().enumerate() {
            let (name, entry) = parse_line(line).ok_or(BadTree::Line(index + 2))?;
            tree.entries.insert(name, entry);
        }
        if tree.to_bytes() == bytes { Ok(tree) } else { Err(BadTree::Form) }
    }

    /// The folder as an artifact; its size is the sum of its entries'.
    pub fn artifact(&self) -> Artifact {
        self.artifact_of(Digest::of(&self.to_bytes()))
    }

    /// The same for who knows the digest of its bytes already.
    pub fn artifact_of(&self, digest: Digest) -> Artifact {
        // No disk holds so much, but a listing can say so.
        let size = self.entries.values().fold(0, |sum: u64, entry| sum.saturating_add(entry.size));
        Artifact { mode: Mode::Folder, digest, size }
    }
}

fn parse_line(line: &str) -> Option<(String, Artifact)> {
    let mut words = line.splitn(4, ' ');
    let mode = Mode::parse(words.next()?)?;
    let digest = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let name: String = serde_json::from_str(words.next()?).ok()?;
    is_component(&name).then_some((name, Artifact { mode, digest, size }))
}

/// Whether `name` is one plain component of a path.
pub fn is_component(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Artifact {
        Artifact { mode: Mode::File, digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    #[test]
    fn a_tree_survives_its_bytes_and_its_digest_sees_names_modes_and_content() {
        let mut tree = Tree::default();
        tree.entries.insert("a b\n\"c".into(), file(b"1"));
        tree.entries.insert("z".into(), Artifact { mode: Mode::Executable, ..file(b"2") });
        let read = Tree::from_bytes(&tree.to_bytes()).expect("own bytes");
        assert_eq!(read, tree);
        let before = tree.artifact().digest;
        tree.entries.insert("z".into(), file(b"2"));
        assert_ne!(tree.artifact().digest, before);
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        let line = format!("file {} 1 \"../x\"\n", Digest::of(b""));
        assert!(matches!(Tree::from_bytes(format!("{MAGIC}{line}").as_bytes()), Err(BadTree::Line(2))));
    }
}
