//! What a bundle says of itself, its `bundle.json`: a pipeline with all it stands on, in one archive.
//!
//! ```text
//! NAME.flow, a zip whose files are stored as they are
//!   bundle.json                 what is in it, each file by its sha256; the digest of this text is the bundle's
//!   project/…                   the pipeline, its lock, code, local plugins, data: at their places in the project
//!   wheels|urls|components/SHA  what is found by its sha256 wherever it lies
//! ```
//! It comes from anybody. What it says is believed only as far as [`parse`](Bundle::parse) lets it: no path leads out, nothing lies below
//! a link or a file, and a file is taken only with the sha256 and the size that it has here.
//!
//! | | this flowrun | later |
//! |---|---|---|
//! | bundle of format 1 | reads it; a key that it does not know is an error | reads it |
//! | a later bundle | refuses it | |

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::lock::{is_file_name, is_sha256};
use crate::artifact::is_component;

/// What this flowrun writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Folders inside one another: what a store keeps, and the folders of the project around.
const DEEPEST: usize = 250;

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// See [`FORMAT`].
    pub flowrun_bundle: u32,
    /// The flowrun that packed it.
    pub flowrun: String,
    /// The pipeline's file in the project.
    pub pipeline: String,
    /// The profile that it was packed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The machines that it runs on.
    pub platforms: BTreeSet<String>,
    /// The project's files and folders, by their paths.
    pub project: BTreeMap<String, Entry>,
    /// What is found by its sha256.
    pub kept: BTreeSet<Kept>,
}

/// Something of the project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Entry {
    /// A folder.
    Folder,
    /// A link, and what it says; it stays inside the project.
    Link(String),
    /// A file.
    File {
        /// Its sha256, 64 hexadecimal digits.
        sha256: String,
        /// Its bytes.
        size: u64,
        /// Whether it may be executed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
}

/// Something that is found by its sha256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What it is.
    pub kind: Kind,
    /// Its sha256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// The name that it is kept under.
    pub file: String,
}

/// The kinds of things that are found by their sha256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Wheels.
    Wheels,
    /// What an address gave.
    Urls,
    /// Plugins of registries.
    Components,
}

impl Kind {
    /// The folder that they are kept in, in a bundle and in the user's cache.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Wheels => "wheels",
            Self::Urls => "urls",
            Self::Components => "components",
        }
    }

    /// Whether one is kept under such a name: another would stand in the way of what is kept there besides.
    fn may_be_called(self, file: &str) -> bool {
        match self {
            Self::Wheels => is_file_name(file) && file.ends_with(".whl"),
            Self::Urls => file == "content",
            Self::Components => file == "component.wasm",
        }
    }
}

impl Kept {
    /// Its name in the archive.
    pub fn member(&self) -> String {
        format!("{}/{}", self.kind.folder(), self.sha256)
    }
}

/// Why a text is not a bundle's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBundle {
    /// It is not one, or it names what no bundle may hold.
    #[error("{0}")]
    Damaged(String),
    /// It is a later flowrun's.
    #[error("it is of format {0}, and this flowrun reads {FORMAT}")]
    Newer(u64),
}

impl Bundle {
    /// The stored text: the same for the same content.
    pub fn to_text(&self) -> String {
        // Maps with texts as keys, texts and numbers: nothing in it could fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the stored text. The format comes first: a later one may have any shape.
    ///
    /// # Errors
    /// When it is not a bundle's, or names what no bundle may hold.
    pub fn parse(text: &str) -> Result<Self, BadBundle> {
        #[derive(Deserialize)]
        struct Format {
            flowrun_bundle: u64,
        }
        let damaged = |error: serde_json::Error| BadBundle::Damaged(format!("`bundle.json`: {error}"));
        let Format { flowrun_bundle } = serde_json::from_str(text).map_err(damaged)?;
        if flowrun_bundle != u64::from(FORMAT) {
            return Err(BadBundle::Newer(flowrun_bundle));
        }
        let bundle: Self = serde_json::from_str(text).map_err(damaged)?;
        bundle.check().map_err(BadBundle::Damaged)?;
        Ok(bundle)
    }

    /// Whether it holds nothing but what a bundle may hold.
    ///
    /// # Errors
    /// Says what it must not hold.
    pub fn check(&self) -> Result<(), String> {
        for (path, entry) in &self.project {
            self.check_place(path)?;
            match entry {
                Entry::File { sha256, .. } if !is_sha256(sha256) => return Err(format!("`{path}` has no sha256")),
                Entry::Link(target) if !stays_inside(path, target) => {
                    return Err(format!("`{path}` is a link that leads out of the project"));
                }
                _ => {}
            }
        }
        if let Some(kept) =
            self.kept.iter().find(|kept| !is_sha256(&kept.sha256) || !kept.kind.may_be_called(&kept.file))
        {
            return Err(format!("`{}` is no name of a file with a sha256", kept.member().escape_debug()));
        }
        match self.project.get(&self.pipeline) {
            Some(Entry::File { .. }) => Ok(()),
            _ => Err(format!("its pipeline `{}` is not in it", self.pipeline.escape_debug())),
        }
    }

    /// A path lies in folders that are in the bundle too.
    fn check_place(&self, path: &str) -> Result<(), String> {
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() > DEEPEST || !parts.iter().all(|part| is_component(part)) {
            return Err(format!("`{}` is not a path in a project", path.escape_debug()));
        }
        match path.rsplit_once('/').map(|(folder, _)| self.project.get(folder)) {
            None | Some(Some(Entry::Folder)) => Ok(()),
            Some(_) => Err(format!("`{}` lies in what is no folder", path.escape_debug())),
        }
    }
}

/// Whether a link at `path` leads to something in the project: first up, never above it, then down.
fn stays_inside(path: &str, target: &str) -> bool {
    let above = path.matches('/').count();
    let parts: Vec<&str> = target.split('/').filter(|part| *part != ".").collect();
    let up = parts.iter().take_while(|part| **part == "..").count();
    up <= above && up < parts.len() && parts[up..].iter().all(|part| is_component(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(project: &[(&str, Entry)]) -> Bundle {
        let file = Entry::File { sha256: "a".repeat(64), size: 1, executable: false };
        let pipeline = ("p.yaml", file);
        let all = project.iter().chain([&pipeline]).map(|(path, entry)| ((*path).to_owned(), entry.clone()));
        let kept = Kept { kind: Kind::Wheels, sha256: "b".repeat(64), size: 2, file: "x-1-py3-none-any.whl".into() };
        Bundle {
            flowrun_bundle: FORMAT,
            flowrun: "0.1.0".into(),
            pipeline: "p.yaml".into(),
            profile: None,
            platforms: BTreeSet::from(["linux-x86_64".into()]),
            project: all.collect(),
            kept: BTreeSet::from([kept]),
        }
    }

    fn refused(bundle: &Bundle) -> String {
        match Bundle::parse(&bundle.to_text()) {
            Err(BadBundle::Damaged(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let link = Entry::Link("../p.yaml".into());
        let some = bundle(&[("data", Entry::Folder), ("data/link", link)]);
        assert_eq!(Bundle::parse(&some.to_text()), Ok(some.clone()));
        assert!(!some.to_text().contains("executable") && !some.to_text().contains("profile"));
        let later = some.to_text().replace("\"flowrun_bundle\": 1", "\"flowrun_bundle\": 2");
        assert_eq!(Bundle::parse(&later), Err(BadBundle::Newer(2)));
        assert!(Bundle::parse(&some.to_text().replace("\"kept\"", "\"more\"")).is_err());
        assert!(Bundle::parse("{}").is_err() && Bundle::parse("").is_err());
    }

    #[test]
    fn nothing_leads_out() {
        let file = || Entry::File { sha256: "a".repeat(64), size: 1, executable: true };
        for path in ["../x", "/x", "a//b", "", "a/../b", ".", "x\0"] {
            let some = bundle(&[("a", Entry::Folder), (path, file())]);
            assert!(refused(&some).contains("is not a path"), "{path}");
        }
        let link = |target: &str| Entry::Link(target.into());
        for target in ["/etc", "..", "../x", "a/../../x", "", "a/..", "."] {
            assert!(refused(&bundle(&[("l", link(target))])).contains("leads out"), "{target}");
        }
        assert!(refused(&bundle(&[("d", Entry::Folder), ("d/l", link("../../x"))])).contains("leads out"));
        for below in [link("p.yaml"), file()] {
            assert!(refused(&bundle(&[("l", below), ("l/x", file())])).contains("no folder"));
        }
        assert!(refused(&bundle(&[("missing/x", file())])).contains("no folder"));
        assert!(
            refused(&bundle(&[("x", Entry::File { sha256: "A".repeat(64), size: 1, executable: false })]))
                .contains("sha256")
        );
        let mut some = bundle(&[]);
        some.pipeline = "q.yaml".into();
        assert!(refused(&some).contains("`q.yaml` is not in it"));
        for (kind, file) in [
            (Kind::Wheels, "../x.whl"),
            (Kind::Wheels, "members"),
            (Kind::Wheels, ""),
            (Kind::Urls, "stamp.json"),
            (Kind::Components, "content"),
        ] {
            let kept = Kept { kind, sha256: "b".repeat(64), size: 2, file: file.into() };
            assert!(refused(&Bundle { kept: BTreeSet::from([kept]), ..bundle(&[]) }).contains("no name"), "{file}");
        }
    }
}
