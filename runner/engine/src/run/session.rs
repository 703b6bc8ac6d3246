//! What all steps of a run share: the project, the params, the store, the caches, the locks, the plugins.
//!
//! Nothing here changes while steps run, but for memories of what was already found out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use flowrun_core::artifact::Artifact;
use flowrun_core::digest::Digest;
use flowrun_core::expr::{self, Quote, Scope};
use flowrun_core::lang::wheel_pin;
use flowrun_core::lang::written::{Python, Source, Step};
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::plan::{self, Plan};
use flowrun_core::stored::lock::{Pins, PythonWish};
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::look::{Origin, Sourced, bad_template, store_failure};
use crate::builtin;
use crate::fetch::{self, Cache, Platform, WheelPin};
use crate::locking;
use crate::looks::Looks;
use crate::project::Project;
use crate::python::{self, Interpreter, PythonLock};
use crate::registry;
use crate::store::{Memo, Store};
use crate::tools::{self, Toolbox};
use crate::wasm::{Threads, WasmHost};

/// A plugin's component and its digest.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) file: PathBuf,
    pub(crate) digest: Digest,
}

/// Programs that steps declare, and words of their scripts that may be some.
pub(super) type ToolsAsked = (Vec<String>, BTreeSet<String>);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) struct Session {
    pub(crate) project: Project,
    pub(crate) params: Map<String, Json>,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) platform: Platform,
    pub(crate) pins: Pins,
    pub(crate) toolbox: Toolbox,
    pub(crate) system: String,
    pub(crate) told: super::why::Told,
    memo: Memo,
    /// What sources hold, by name: each has a lock of its own, so that large ones are hashed side by side.
    sources: Mutex<HashMap<String, Arc<Mutex<Option<Artifact>>>>>,
    /// What the path of a source may be made of.
    names: OnceLock<Scope>,
    plugins: Mutex<HashMap<String, Plugin>>,
    interpreters: HashMap<PythonWish, Interpreter>,
    pub(super) tool_words: Mutex<HashMap<Digest, BTreeSet<String>>>,
    /// Programs by what steps declare and the words of their scripts.
    pub(super) tools_known: Mutex<HashMap<ToolsAsked, Arc<BTreeMap<String, Artifact>>>>,
    pub(super) tool_farms: Mutex<HashMap<Digest, Arc<super::toolset::Farm>>>,
    /// Threads for plugins; the engine itself is made on one of them.
    pub(crate) guests: Threads,
    wasm: OnceLock<Result<WasmHost, String>>,
}

impl Session {
    pub(crate) fn new(
        project: Project,
        params: Map<String, Json>,
        store: Store,
        cache: Cache,
        platform: Platform,
        pins: Pins,
        interpreters: HashMap<PythonWish, Interpreter>,
    ) -> Self {
        let looks = project.looks.clone();
        let memo = Memo::watched(&store, looks.clone());
        tools::RELEASE.iter().for_each(|file| looks.glance(Path::new(file)));
        Self {
            project,
            params,
            store,
            cache,
            platform,
            pins,
            toolbox: Toolbox::of_user(looks),
            system: tools::system(),
            memo,
            told: Default::default(),
            sources: Mutex::default(),
            names: OnceLock::new(),
            plugins: Mutex::default(),
            interpreters,
            tool_words: Mutex::default(),
            tools_known: Mutex::default(),
            tool_farms: Mutex::default(),
            guests: Threads::default(),
            wasm: OnceLock::new(),
        }
    }

    /// The name under which a step's earlier results are remembered.
    pub(crate) fn tag(&self, label: &str) -> String {
        format!("{}/{label}", self.project.name)
    }

    /// The content of a file or folder of the machine.
    pub(crate) fn hash(&self, path: &Path) -> Result<Artifact, Failure> {
        self.store
            .hash_source(path, &self.memo)
            .map_err(|error| Failure::new(FailureKind::Step, format!("cannot read {}: {error}", path.display())))
    }

    /// Writes down what was found out about the workspace; losing it only costs time.
    pub(crate) fn save_memo(&self) {
        if let Err(error) = self.memo.save(&self.store) {
            // The cache never fails a run.
            let _ = error;
        }
    }

    /// The content of a source.
    pub(crate) fn source(&self, name: &str) -> Result<Sourced, Failure> {
        let unknown = || Failure::new(FailureKind::Step, format!("no source `{name}`"));
        let source = self.project.program.pipeline.sources.get(name).ok_or_else(unknown)?;
        if let Some(pin) = &source.pypi {
            let wheel = self.pins.wheel(pin, &self.platform.to_string());
            let wheel =
                wheel.ok_or_else(|| Failure::new(FailureKind::Infrastructure, format!("`{pin}` is not locked yet")))?;
            return Ok(Sourced::Pinned { pin: format!("sha256:{}", wheel.sha256), file: wheel.file.clone() });
        }
        if let (Some(url), Some(sha256)) = (&source.url, &source.sha256) {
            return Ok(Sourced::Pinned { pin: format!("sha256:{}", sha256.to_lowercase()), file: file_of_url(url) });
        }
        let path = self.source_path(source)?;
        let known = lock(&self.sources).entry(name.to_owned()).or_default().clone();
        let mut known = lock(&known);
        let artifact = match *known {
            Some(artifact) => artifact,
            None => *known.insert(self.hash(&path).map_err(|failure| match path.exists() {
                true => failure,
                false => Failure::new(FailureKind::Step, format!("source `{name}`: {} does not exist", path.display())),
            })?),
        };
        Ok(Sourced::Path { path, artifact })
    }

    fn source_path(&self, source: &Source) -> Result<PathBuf, Failure> {
        let written = source.path.as_deref().unwrap_or_default();
        let names = self.names.get_or_init(|| plan::context(&self.params, &IndexMap::new()));
        let rendered = expr::render(written, names, Quote::Plain).map_err(bad_template)?;
        Ok(self.project.path(&rendered))
    }

    /// A plugin by the name that `uses` gives it.
    pub(crate) fn plugin(&self, name: &str) -> Result<Plugin, Failure> {
        let mut plugins = self.plugins.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(plugin) = plugins.get(name) {
            return Ok(plugin.clone());
        }
        let plugin = match builtin::find(name) {
            Some(component) => Plugin { file: self.unpack(component)?, digest: component.digest() },
            None if name.starts_with(registry::SCHEME) => self.of_registry(name)?,
            None => {
                let path = self.project.path(name);
                self.project.looks.glance(&path);
                let bytes = std::fs::read(&path).map_err(|error| {
                    Failure::new(FailureKind::Step, format!("cannot read the plugin {}: {error}", path.display()))
                })?;
                Plugin { digest: Digest::of(&bytes), file: path }
            }
        };
        plugins.insert(name.to_owned(), plugin.clone());
        Ok(plugin)
    }

    /// A registry's plugin, which was brought when the pipeline was opened.
    fn of_registry(&self, name: &str) -> Result<Plugin, Failure> {
        let pin = self.project.plugins.get(name);
        let found = pin.and_then(|pin| registry::kept(&self.cache, &pin.sha256));
        let (file, bytes) = found.ok_or_else(|| {
            Failure::new(FailureKind::Infrastructure, format!("the plugin `{name}` is not in the cache any more"))
                .hint("it was taken away while the pipeline ran: the next run brings it again")
        })?;
        Ok(Plugin { file, digest: Digest::of(&bytes) })
    }

    /// A component of the binary as a file, which the engine maps. It checks the digest when it compiles it.
    fn unpack(&self, component: &builtin::Component) -> Result<PathBuf, Failure> {
        let folder = self.cache.folder("plugins")?;
        let path = folder.join(format!("{}.wasm", component.digest()));
        let there = std::fs::metadata(&path).is_ok_and(|found| found.len() == component.bytes.len() as u64);
        if !there {
            let aside = folder.join(format!(".{}.{}", component.digest(), std::process::id()));
            std::fs::write(&aside, component.bytes)
                .and_then(|()| std::fs::rename(&aside, &path))
                .map_err(|error| Failure::new(FailureKind::Infrastructure, format!("{}: {error}", path.display())))?;
        }
        Ok(path)
    }

    /// The WASM engine, made when the first plugin runs.
    pub(crate) fn wasm(&self) -> Result<&WasmHost, Failure> {
        let made = self.wasm.get_or_init(|| {
            let folder = self.cache.folder("wasm").map_err(|failure| failure.message)?;
            WasmHost::new(&folder).map_err(|error| error.to_string())
        });
        made.as_ref().map_err(|error| {
            Failure::new(FailureKind::Infrastructure, format!("cannot start the WASM engine: {error}"))
        })
    }

    /// The lock of an environment; there since the run was made ready. It is for the very interpreter that was looked for then.
    pub(crate) fn python_lock(&self, python: &Python) -> Result<PythonLock, Failure> {
        let wish = PythonWish::from(python);
        let unlocked = || Failure::new(FailureKind::Infrastructure, "the Python environment is not locked yet");
        let (_, pin) = self.pins.environment(&wish).ok_or_else(unlocked)?;
        let packages = pin.resolved.get(&self.platform.to_string()).ok_or_else(unlocked)?;
        let version = &self.interpreter(python)?.version;
        Ok(PythonLock::of(version, self.platform, packages.clone()))
    }

    /// The interpreter that a locked environment runs on; found out when the run was made ready.
    pub(crate) fn interpreter(&self, python: &Python) -> Result<&Interpreter, Failure> {
        self.interpreters.get(&PythonWish::from(python)).ok_or_else(|| {
            Failure::new(FailureKind::Infrastructure, format!("no Python {} was looked for", python.version))
        })
    }

    /// The wheels that an `onnx` step needs: ONNX Runtime first, then the libraries that it loads.
    pub(crate) fn runtime_pins(&self, step: &Step) -> Result<Vec<WheelPin>, Failure> {
        locking::runtime_wheels(&self.pins, step, self.platform)
    }

    /// What of them is in a step's key: the runtime, and each library by its name.
    pub(crate) fn runtime_leaves(&self, step: &Step) -> Result<(String, BTreeMap<String, String>), Failure> {
        let wheels = self.runtime_pins(step)?;
        let pin = |wheel: &WheelPin| format!("{} sha256:{}", wheel.version, wheel.sha256);
        let libraries = wheels.iter().skip(1).map(|wheel| (wheel.name.clone(), pin(wheel))).collect();
        let sha256 = wheels.first().map(|wheel| wheel.sha256.as_str()).unwrap_or_default();
        Ok((format!("{} sha256:{sha256}", locking::runtime_of(step).unwrap_or_default()), libraries))
    }

    /// A pinned download of a source, on disk.
    pub(crate) async fn download(
        &self,
        pin: &str,
        say: &tokio::sync::mpsc::Sender<flowrun_core::outcome::Say>,
    ) -> Result<PathBuf, Failure> {
        for source in self.project.program.pipeline.sources.values() {
            let sha256 = pin.trim_start_matches("sha256:");
            if let Some(url) = source
                .url
                .as_ref()
                .filter(|_| source.sha256.as_deref().map(str::to_lowercase).as_deref() == Some(sha256))
            {
                return fetch::url(&self.cache, url, Some(sha256), None, say).await.map(|fetched| fetched.path);
            }
            let wheel =
                source.pypi.as_ref().and_then(|pin| Some((pin, self.pins.wheel(pin, &self.platform.to_string())?)));
            if let Some((pin, wheel)) = wheel.filter(|(_, wheel)| wheel.sha256 == sha256)
                && let Some((name, version)) = wheel_pin(pin)
            {
                let pin = fetch::WheelPin::of(name, version, wheel)?;
                return fetch::wheel(&self.cache, name, version, self.platform, Some(&pin)).await.map(|(path, _)| path);
            }
        }
        Err(Failure::new(FailureKind::Infrastructure, format!("nothing is pinned by {pin}")))
    }

    /// Brings bytes of the workspace into the store, where a step needs them.
    pub(crate) fn ensure(&self, origins: &[Origin]) -> Result<(), Failure> {
        for (path, artifact) in origins {
            self.store.ensure_source(path, artifact).map_err(store_failure)?;
        }
        Ok(())
    }
}

/// The Pythons of this machine that steps run on, by what they ask for: the very ones of the lock, where those are here. Tells of others.
pub(crate) async fn interpreters(
    plan: &Plan,
    cache: &Cache,
    pins: &Pins,
    platform: Platform,
    looks: &Looks,
) -> Result<(HashMap<PythonWish, Interpreter>, Vec<String>), Failure> {
    let (mut found, mut others) = (HashMap::new(), Vec::new());
    let runs = plan.steps.iter().filter(|planned| planned.step.run.is_some());
    for wish in runs.filter_map(|planned| planned.step.python.as_ref()).map(PythonWish::from) {
        if found.contains_key(&wish) {
            continue;
        }
        let locked = pins.environment(&wish).and_then(|(_, pin)| pin.interpreters.get(&platform.to_string()));
        let mut interpreter = python::interpreter(cache, &wish.python).await?;
        looks.glance(&python::known(cache, &wish.python));
        if let Some(locked) = locked.filter(|locked| **locked != interpreter.kind()) {
            let exact = locked.rsplit(' ').next().unwrap_or_default();
            looks.glance(&python::known(cache, exact));
            match python::exact(cache, exact).await.filter(|same| same.kind() == *locked) {
                Some(same) => interpreter = same,
                None => others.push(format!(
                    "Python {} is {} here, and {locked} is locked: install that one, or lock this one with `flowrun lock --upgrade python`",
                    wish.python,
                    interpreter.kind()
                )),
            }
        }
        looks.glance(&interpreter.path);
        found.insert(wish, interpreter);
    }
    others.sort();
    others.dedup();
    Ok((found, others))
}

/// The last part of an address as a plain file name.
fn file_of_url(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let last = path.rsplit('/').next().unwrap_or_default();
    if flowrun_core::artifact::is_component(last) && !last.contains(':') {
        last.to_owned()
    } else {
        "download".to_owned()
    }
}
