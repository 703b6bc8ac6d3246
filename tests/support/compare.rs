//! What a run left, in a form that can be compared: results as bytes, outputs as digests, and whether the store holds what it says.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flowrun_core::digest::Digest;

use super::Bed;

/// Something in a folder.
#[derive(Clone, PartialEq, Eq)]
pub enum Thing {
    Folder,
    Link(String),
    File { executable: bool, bytes: Vec<u8> },
}

impl fmt::Debug for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("a folder"),
            Self::Link(text) => write!(f, "a link to {text}"),
            Self::File { executable, bytes } => {
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
                write!(f, "{} bytes {start:?}{}", bytes.len(), if *executable { ", executable" } else { "" })
            }
        }
    }
}

/// Everything below a folder, by path; nothing where there is none.
pub fn tree(folder: &Path) -> BTreeMap<String, Thing> {
    let mut found = BTreeMap::new();
    gather(folder, "", &mut found);
    found
}

fn gather(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Thing>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().expect("type");
        let thing = if kind.is_symlink() {
            Thing::Link(std::fs::read_link(&path).expect("link").to_string_lossy().into_owned())
        } else if kind.is_dir() {
            gather(&path, &format!("{name}/"), found);
            Thing::Folder
        } else {
            let executable = path.metadata().expect("metadata").permissions().mode() & 0o100 != 0;
            Thing::File { executable, bytes: std::fs::read(&path).expect("read") }
        };
        found.insert(name, thing);
    }
}

/// Where two maps differ, a line each, for a message that a person can read.
pub fn differences<K: Ord + fmt::Debug, V: PartialEq + fmt::Debug>(
    is: &BTreeMap<K, V>,
    should: &BTreeMap<K, V>,
) -> Vec<String> {
    let missing = should.iter().filter(|(key, _)| !is.contains_key(key));
    let mut lines: Vec<String> = missing.map(|(key, value)| format!("{key:?} is gone, was {value:?}")).collect();
    for (key, value) in is {
        match should.get(key) {
            Some(other) if other == value => {}
            other => lines.push(format!("{key:?} is {value:?}, should be {other:?}")),
        }
    }
    lines
}

/// Contents in a store whose bytes are not what their name says, although their size and time say that nobody touched them: the one
/// thing that a store must never hold. What was touched is looked at again when it is used, and is none.
pub fn lies(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (path, bytes) in blobs(store) {
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let folder = path.parent().and_then(Path::file_name).expect("folder").to_string_lossy().into_owned();
        let digest = format!("{folder}{}", name.trim_end_matches(".x"));
        let meta = path.metadata().expect("metadata");
        if meta.mtime() == 1 && meta.mtime_nsec() == 0 && Digest::of(&bytes).to_string() != digest {
            found.push(path);
        }
    }
    found
}

/// The contents that a store holds, by their path.
pub fn blobs(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = std::fs::read_dir(store.join("v1/blobs")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("folder").flatten());
    files.map(|file| file.path()).map(|path| (path.clone(), std::fs::read(path).expect("read"))).collect()
}

/// What the last run left: its outputs and values, and the results that it published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub made: BTreeMap<String, String>,
    pub results: BTreeMap<String, Thing>,
}

impl Left {
    /// What a person reads when it is not what it should be.
    pub fn against(&self, should: &Self) -> Vec<String> {
        [differences(&self.made, &should.made), differences(&self.results, &should.results)].concat()
    }
}

impl Bed {
    /// The store beside the project.
    pub fn store(&self) -> PathBuf {
        self.path(".flowrun")
    }

    /// Outputs as mode, digest and size, and values, of the last run recorded in a store.
    #[track_caller]
    pub fn made(&self, store: &Path) -> BTreeMap<String, String> {
        let mut command = self.command(&["artifacts", "@latest", "--json"]);
        let told = super::said(command.env("FLOWRUN_HOME", store).output().expect("flowrun starts")).ok().json();
        let mut made = BTreeMap::new();
        for (step, told) in told["steps"].as_object().expect("steps") {
            for (name, output) in told["outputs"].as_object().expect("outputs") {
                made.insert(
                    format!("{step}.{name}"),
                    format!("{} {} {}", output["mode"], output["digest"], output["size"]),
                );
            }
            made.insert(format!("{step}.values"), told["values"].to_string());
        }
        made
    }

    /// What the last run left.
    #[track_caller]
    pub fn left(&self) -> Left {
        Left { made: self.made(&self.store()), results: tree(&self.path("results")) }
    }

    /// What a run with an empty store leaves: the truth that every other run is held against. Leaves no marks and no results.
    #[track_caller]
    pub fn truth(&self, args: &[&str]) -> Left {
        let (home, marks) = (tempfile::tempdir().expect("tempdir"), self.told("ran"));
        let aside = self.path("results-of-this-store");
        let published = std::fs::rename(self.path("results"), &aside).is_ok();
        let mut command = self.command(&[&["run", "p.yaml"], args].concat());
        super::said(command.env("FLOWRUN_HOME", home.path()).output().expect("flowrun starts")).ok();
        let left = Left { made: self.made(home.path()), results: tree(&self.path("results")) };
        let _ = std::fs::remove_dir_all(self.path("results"));
        if published {
            std::fs::rename(aside, self.path("results")).expect("rename");
        }
        std::fs::write(self.outside("ran"), marks).expect("write");
        left
    }
}
