//! A pipeline file in its project: finding it, reading it, checking it against the files around it.
//!
//! The project is the nearest folder above the file that holds `.flowrun` or `.git`, else the file's own folder. Paths
//! in the file are relative to the file, and stay inside the project. A bundle is opened as the pipeline that it holds: its paths stay inside
//! what was unpacked, and its results go to the project that the working directory is in.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flowrun_core::lang::finding::Finding;
use flowrun_core::lang::uses;
use flowrun_core::lang::{self, Program, World};
use flowrun_core::outcome::Failure;
use flowrun_core::plugin::Described;
use flowrun_core::stored::lock::PluginPin;

use crate::fetch::{Cache, Lock};
use crate::lockfile::{LockError, Lockfile};
use crate::locking::Upgrade;
use crate::looks::Looks;
use crate::registry::{self, Ready, SCHEME};
use crate::run::Asked;
use crate::{builtin, bundle, manifest, wasm};

/// A pipeline that keeps every rule, and where it is.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder that has the store and the results: the project's, or where a bundle is run.
    pub root: PathBuf,
    /// The folder that the paths of the file stay inside: the project's, or the bundle's.
    pub tree: PathBuf,
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// The file as a person reads it: relative to where the command runs, where that is shorter.
    pub shown: String,
    /// Its text.
    pub text: String,
    /// The pipeline's name.
    pub name: String,
    /// The checked pipeline.
    pub program: Arc<Program>,
    /// The plugins that its steps take from registries, by what `uses` says. They are in the user's cache.
    pub plugins: BTreeMap<String, PluginPin>,
    /// What keeps its bundle from being taken away, where it is one's.
    pub held: Option<Arc<Lock>>,
    /// Files beside it that were read as a part of it: requirements of Python's own tools.
    pub read: Vec<String>,
    /// What was looked at to read and check it.
    pub(crate) looks: Looks,
}

/// Why a pipeline cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("{what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is a bundle that cannot be used.
    #[error("{shown}: {}", failure.message)]
    Bundle {
        /// The file as a person reads it.
        shown: String,
        /// Why not.
        failure: Failure,
    },
    /// The lock that pins its plugins cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A plugin of a registry cannot be had, and without it the steps that use it cannot be checked.
    #[error("{shown}, step `{step}`: {}", failure.message)]
    Plugin {
        /// The file as a person reads it.
        shown: String,
        /// A step that uses it.
        step: String,
        /// Why not.
        failure: Failure,
    },
    /// A plugin of a registry is not in the lock, and nothing else may be used.
    #[error("{shown}, step `{step}`: {}", failure.message)]
    Unlocked {
        /// The file as a person reads it.
        shown: String,
        /// A step that uses it.
        step: String,
        /// Why not.
        failure: Failure,
    },
    /// It breaks rules.
    #[error("{} problems in {shown}", findings.len())]
    Findings {
        /// The file as a person reads it.
        shown: String,
        /// Its text.
        text: String,
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
}

/// Where a pipeline is, before it is read.
#[derive(Clone, Debug)]
pub enum Location {
    /// A bundle, as it was named.
    Bundle(PathBuf),
    /// A file.
    File {
        /// As it was named.
        given: PathBuf,
        /// Absolute, without links.
        file: PathBuf,
        /// The project's folder.
        root: PathBuf,
    },
}

impl Location {
    /// Of the file that was named; without one, of the only pipeline here or in `pipelines/`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(file: Option<&Path>) -> Result<Self, OpenError> {
        let given = match file {
            Some(file) => file.to_owned(),
            None => only_pipeline()?,
        };
        if bundle::is_bundle(&given) {
            return Ok(Self::Bundle(given));
        }
        let file = std::fs::canonicalize(&given).map_err(|source| OpenError::Io { path: given.clone(), source })?;
        Ok(Self::File { given, root: Project::root_of(&file), file })
    }

    fn shown(&self) -> String {
        let (Self::Bundle(given) | Self::File { given, .. }) = self;
        given.display().to_string()
    }
}

/// What to do where a lock does not hold what a pipeline asks for.
pub const REMEDY: &str = "run `flowrun lock`, look at what changes, and commit the lock";

/// How pins of plugins of registries are taken: those to be upgraded are not believed; with `true` there must be one.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginPins(Upgrade, bool);

impl PluginPins {
    /// All but those to be upgraded.
    pub(crate) fn except(upgrade: &Upgrade) -> Self {
        Self(upgrade.clone(), false)
    }
}

/// The largest pipeline file that is read: far more than people write, and little enough to parse at once.
const LARGEST_FILE: u64 = 8 << 20;

impl Project {
    /// Reads and checks a pipeline; without a file, the only one here or in `pipelines/`. Plugins of registries that are not in the user's
    /// cache are brought first.
    ///
    /// # Errors
    /// When there is none, or it cannot be read, or a plugin cannot be brought, or it breaks rules: then with all of them.
    pub fn open(file: Option<&Path>, profile: Option<&str>) -> Result<Self, OpenError> {
        Self::open_with(file, profile, &PluginPins::default())
    }

    /// The same, where nothing is brought that the lock does not hold.
    ///
    /// # Errors
    /// As [`Self::open`], and when a plugin of a registry is not in the lock.
    pub fn open_locked(file: Option<&Path>, profile: Option<&str>) -> Result<Self, OpenError> {
        Self::open_with(file, profile, &PluginPins(Upgrade::None, true))
    }

    /// Either, for a run: what is looked at is taken down.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::open_locked`].
    pub fn open_watched(
        at: &Location,
        profile: Option<&str>,
        locked: bool,
        asked: Option<&Asked>,
    ) -> Result<Self, OpenError> {
        let looks = asked.map(Asked::looks).cloned().unwrap_or_default();
        Self::open_at(at, profile, &PluginPins(Upgrade::None, locked), &looks)
    }

    /// The same, with some pins of its lock not believed.
    pub(crate) fn open_with(file: Option<&Path>, profile: Option<&str>, pins: &PluginPins) -> Result<Self, OpenError> {
        Self::open_at(&Location::find(file)?, profile, pins, &Looks::default())
    }

    fn open_at(at: &Location, profile: Option<&str>, pins: &PluginPins, looks: &Looks) -> Result<Self, OpenError> {
        let (file, root) = match at {
            Location::Bundle(given) => return Self::of_bundle(given, profile, pins),
            Location::File { file, root, .. } => (file.clone(), root.clone()),
        };
        let place = Place { file, tree: root.clone(), root, shown: at.shown(), held: None };
        Self::read(place, profile, pins, looks)
    }

    /// The pipeline of a bundle, whose results go where it is run.
    fn of_bundle(given: &Path, profile: Option<&str>, pins: &PluginPins) -> Result<Self, OpenError> {
        let shown = given.display().to_string();
        let io = |source| OpenError::Io { path: given.to_owned(), source };
        let here = std::env::current_dir().and_then(std::fs::canonicalize).map_err(io)?;
        if !given.exists() {
            return Err(io(std::io::ErrorKind::NotFound.into()));
        }
        let opened = Cache::of_user().and_then(|cache| bundle::open(given, &cache));
        let opened = opened.map_err(|failure| OpenError::Bundle { shown: shown.clone(), failure })?;
        let file = opened.root.join(&opened.bundle.pipeline);
        let held = Some(Arc::new(opened.held));
        let place = Place { file, tree: opened.root, root: Self::root_of(&here), shown, held };
        Self::read(place, profile.or(opened.bundle.profile.as_deref()), pins, &Looks::default())
    }

    fn read(place: Place, profile: Option<&str>, pins: &PluginPins, looks: &Looks) -> Result<Self, OpenError> {
        let Place { file, tree, root, shown, held } = place;
        let io = |source| OpenError::Io { path: shown.clone().into(), source };
        if std::fs::metadata(&file).map_err(io)?.len() > LARGEST_FILE {
            return Err(io(std::io::Error::other("it is larger than a pipeline file may be (8 MiB)")));
        }
        looks.glance(&file);
        let text = std::fs::read_to_string(&file).map_err(io)?;
        let folder = file.parent().unwrap_or(&tree).to_owned();
        let registry = of_registries(&file, &shown, &text, profile, pins)?;
        let around = Around {
            root: tree.clone(),
            folder,
            registry,
            read: Mutex::default(),
            folders: Mutex::default(),
            looks: looks.clone(),
        };
        match lang::load(&text, profile, &around) {
            Ok(program) => {
                let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
                let name = program.pipeline.name.clone().unwrap_or(stem);
                let plugins = around.registry.into_iter().map(|(uses, ready)| (uses, ready.pin)).collect();
                let read = around.read.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect();
                let (program, looks) = (Arc::new(program), looks.clone());
                Ok(Self { root, tree, file, shown, text, name, program, plugins, held, read, looks })
            }
            Err(findings) => Err(OpenError::Findings { shown, text, findings }),
        }
    }

    /// The project that a file or folder belongs to.
    pub fn root_of(path: &Path) -> PathBuf {
        let own = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let marked = |folder: &&Path| folder.join(".flowrun").is_dir() || folder.join(".git").exists();
        own.ancestors().find(marked).unwrap_or(own).to_owned()
    }

    /// Whether it is a bundle's.
    pub fn is_bundle(&self) -> bool {
        self.root != self.tree
    }

    /// A path of the pipeline file, absolute.
    pub fn path(&self, written: &str) -> PathBuf {
        self.file.parent().unwrap_or(&self.tree).join(written)
    }

    /// The pipeline file relative to the project.
    pub fn file_in_project(&self) -> String {
        self.file.strip_prefix(&self.tree).unwrap_or(&self.file).display().to_string()
    }
}

/// The plugins that the steps take from registries, made ready. A file that uses none needs neither its lock nor a cache.
fn of_registries(
    file: &Path,
    shown: &str,
    text: &str,
    profile: Option<&str>,
    pins: &PluginPins,
) -> Result<BTreeMap<String, Ready>, OpenError> {
    let wanted = uses::of_steps(text, profile);
    let Some((first, _)) = wanted.first() else { return Ok(BTreeMap::new()) };
    let missing = |step: String, failure| OpenError::Plugin { shown: shown.to_owned(), step, failure };
    let cache = Cache::of_user().map_err(|failure| missing(first.clone(), failure))?;
    let mut locked = Lockfile::of(file)?.pins.plugins;
    locked.retain(|uses, pin| !pins.0.asks_for(uses) && !pins.0.asks_for(&pin.name));
    if pins.1
        && let Some((step, uses)) = wanted.iter().find(|(_, uses)| !locked.contains_key(uses))
    {
        let failure = crate::fetch::refused(format!("the plugin `{uses}` is not in the lock"));
        return Err(OpenError::Unlocked { shown: shown.to_owned(), step: step.clone(), failure: failure.hint(REMEDY) });
    }
    let ready = registry::ready(&cache, &locked, &wanted);
    ready.map_err(|found| missing(found.step, found.failure))
}

fn only_pipeline() -> Result<PathBuf, OpenError> {
    let mut found = Vec::new();
    for folder in [".", "pipelines"] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(paths.filter(|path| looks_like_pipeline(path)));
    }
    let found: Vec<PathBuf> = found.iter().map(|path| path.strip_prefix(".").unwrap_or(path).to_owned()).collect();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(OpenError::NotFound {
            what: match only_bundle() {
                Some(bundle) => {
                    format!(
                        "no pipeline file here or in `pipelines/`: `flowrun run {}` runs the bundle that is",
                        bundle.display()
                    )
                }
                None => "no pipeline file here or in `pipelines/`: name one, or write one with `flowrun init`".into(),
            },
        }),
        many => {
            let mut names: Vec<String> = many.iter().map(|path| format!("`{}`", path.display())).collect();
            names.sort();
            Err(OpenError::NotFound {
                what: format!("there is more than one pipeline here: name one of {}", names.join(", ")),
            })
        }
    }
}

/// A bundle is never run because it happens to lie here, but it may be meant.
fn only_bundle() -> Option<PathBuf> {
    let entries = std::fs::read_dir(".").ok()?.flatten().map(|entry| entry.path());
    let mut bundles = entries.filter(|path| bundle::is_bundle(path));
    let only = bundles.next().filter(|_| bundles.next().is_none())?;
    Some(only.strip_prefix(".").map(Path::to_owned).unwrap_or(only))
}

fn looks_like_pipeline(path: &Path) -> bool {
    let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.starts_with("flowrun:")))
}

/// Where a pipeline file is.
struct Place {
    file: PathBuf,
    tree: PathBuf,
    root: PathBuf,
    shown: String,
    held: Option<Arc<Lock>>,
}

/// The files around a pipeline.
struct Around {
    root: PathBuf,
    folder: PathBuf,
    /// The plugins of registries that steps use, by what `uses` says.
    registry: BTreeMap<String, Ready>,
    /// What was read as a part of it.
    read: Mutex<BTreeSet<String>>,
    /// Folders of sources, and what they are without links.
    folders: Mutex<BTreeMap<PathBuf, PathBuf>>,
    looks: Looks,
}

impl Around {
    /// The path without links. Thousands of files lie in few folders, each of which is looked up once.
    fn real(&self, path: &Path) -> std::io::Result<PathBuf> {
        // With `/` or `/.` behind it, a link would already be what it leads to.
        let plain = !path.as_os_str().as_encoded_bytes().ends_with(b"/")
            && !path.as_os_str().as_encoded_bytes().ends_with(b"/.");
        let (Some(folder), Some(name)) = (path.parent().filter(|_| plain), path.file_name()) else {
            return self.really(path);
        };
        if std::fs::symlink_metadata(path)?.is_symlink() {
            return self.really(path);
        }
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let real = match folders.entry(folder.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(self.really(folder)?),
        };
        self.looks.there(path);
        Ok(real.join(name))
    }

    fn really(&self, path: &Path) -> std::io::Result<PathBuf> {
        let real = std::fs::canonicalize(path)?;
        self.looks.really(path, &real);
        Ok(real)
    }
}

impl World for Around {
    fn exists(&self, path: &str) -> Option<bool> {
        let path = Path::new(path);
        if path.is_absolute() || !stays_inside(&self.root, &self.folder, path) {
            return None;
        }
        let path = self.folder.join(path);
        match self.real(&path) {
            Ok(real) if real.starts_with(&self.root) => Some(true),
            Ok(_) => None,
            Err(_) => Some(false),
        }
    }

    fn read(&self, path: &str) -> Result<String, String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        let path = self.folder.join(path);
        self.looks.glance(&path);
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_file() => Err("it is no file".to_owned()),
            Ok(found) if found.len() > LARGEST_FILE => {
                Err("it is larger than a list of packages may be (8 MiB)".to_owned())
            }
            Ok(_) => std::fs::read_to_string(&path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn plugins(&self) -> Vec<String> {
        builtin::names()
    }

    fn describe(&self, uses: &str) -> Result<Option<Arc<Described>>, String> {
        if let Some(component) = builtin::find(uses) {
            return component.described();
        }
        if uses.starts_with(SCHEME) {
            // One that makes sense was made ready before.
            registry::Reference::parse(uses).map_err(|failure| failure.message)?;
            let unready = || Err("it must be written plainly, so that it can be fetched before the check".to_owned());
            return self.registry.get(uses).map_or_else(unready, |ready| ready.described.clone());
        }
        let path = self.folder.join(uses);
        self.looks.glance(&path);
        self.looks.glance(&manifest::beside(&path));
        let bytes = wasm::component_bytes(&path).map_err(|error| error.to_string())?;
        manifest::describe(&bytes, Some(&path))
    }
}

/// Whether a relative path, taken word for word, stays below `root`.
fn stays_inside(root: &Path, folder: &Path, path: &Path) -> bool {
    let Ok(below) = folder.strip_prefix(root) else { return false };
    let mut depth = below.components().count();
    for part in path.components() {
        match part {
            Component::ParentDir if depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_project() {
        let folder = tempfile::tempdir().expect("tempdir");
        let root = std::fs::canonicalize(folder.path()).expect("real");
        std::fs::create_dir_all(root.join(".flowrun")).expect("mkdir");
        std::fs::create_dir_all(root.join("pipelines/sub")).expect("mkdir");
        std::fs::write(root.join("data"), "x").expect("write");
        std::os::unix::fs::symlink("/etc/passwd", root.join("pipelines/link")).expect("link");
        std::os::unix::fs::symlink("/usr", root.join("pipelines/usr")).expect("symlink");
        let folder = root.join("pipelines");
        let around = Around {
            root: Project::root_of(&folder),
            folder,
            registry: BTreeMap::new(),
            read: Mutex::default(),
            folders: Mutex::default(),
            looks: Looks::default(),
        };
        assert_eq!(around.exists("sub"), Some(true));
        assert_eq!(around.exists("../data"), Some(true));
        assert_eq!(around.exists("nothing"), Some(false));
        for outside in ["../../x", "/etc/passwd", "link", "usr", "usr/", "usr/.", "usr/bin", "sub/../../../y"] {
            assert_eq!(around.exists(outside), None, "{outside}");
        }
    }
}
