//! What locks and environments cost, beside uv alone: `cargo bench --bench lock [-- --json FILE]`.
//!
//! Of PlantDoc's pipeline: making its lock from nothing, finding that there is nothing to do, building its environment from nothing and from uv's
//! cache, and finding it again. uv does what comes nearest: `uv lock`, `uv sync` and `uv pip sync` of the same packages. In turns, medians; needs
//! the package index. `FLOWRUN_BENCH_ROUNDS` says how often. How to read the figures: `docs/performance.md`.

#[path = "../measure/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses its own part")]
mod measure;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use flowrun_core::stored::lock::{EnvironmentPin, Pins};
use flowrun_engine::fetch::{self, Cache, Platform};
use flowrun_engine::python::{self, PythonLock};
use measure::{Row, median, run};
use serde_json::json;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FLOWRUN: &str = env!("CARGO_BIN_EXE_flowrun");

struct Bench {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    /// The user's, for uv itself.
    uv: PathBuf,
    environment: EnvironmentPin,
    platform: Platform,
    rounds: usize,
}

fn main() {
    // uv runs under a guard, and that is this program.
    flowrun_engine::process::guard_if_asked();
    let mut args = std::env::args().skip(1).skip_while(|word| word != "--json");
    let json_file = args.nth(1).map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("lock.json"), PathBuf::from);
    let bench = Bench::new();
    let parts: [fn(&Bench) -> Vec<Row>; 5] =
        [Bench::lock_of_nothing, Bench::nothing_to_lock, Bench::built_of_nothing, Bench::built_of_cache, Bench::found];
    let mut rows = Vec::new();
    for part in parts {
        let measured = part(&bench);
        measured.iter().for_each(|row| println!("{row}"));
        rows.extend(measured);
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let packages = bench.packages().packages.len();
    let report = json!({"load_after": load.trim(), "packages": packages, "rows": rows});
    std::fs::write(&json_file, format!("{report:#}\n")).expect("written");
    println!("\nload average after it: {}\nwritten to {}", load.trim(), json_file.display());
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let cache = Cache::of_user().expect("a cache");
        let uv = runtime.block_on(fetch::uv(&cache)).expect("uv");
        let text = std::fs::read_to_string(Path::new(ROOT).join("pipelines/plantdoc.lock")).expect("a lock");
        let pins = Pins::parse(&text).expect("a lock");
        let environment = pins.environments.into_values().next().expect("an environment");
        let rounds = std::env::var("FLOWRUN_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
        let platform = Platform::current().expect("a known platform");
        Self { folder: tempfile::tempdir().expect("a folder"), runtime, uv, environment, platform, rounds }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn packages(&self) -> PythonLock {
        let packages = &self.environment.resolved[&self.platform.to_string()];
        PythonLock::of(&self.environment.wish.python, self.platform, packages.clone())
    }

    /// A folder that is not there yet.
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn flowrun(&self, args: &[&str], cache: &Path, dir: &Path) -> f64 {
        let mut command = Command::new(FLOWRUN);
        command.args(args).env("FLOWRUN_CACHE", cache).current_dir(dir);
        run(command.stdout(Stdio::null()).stderr(Stdio::null())).wall
    }

    fn uv(&self, args: &[&str], cache: &Path, dir: &Path) -> f64 {
        let mut command = Command::new(&self.uv);
        command.args(args).env("UV_CACHE_DIR", cache).env("UV_PYTHON_DOWNLOADS", "never").env_remove("VIRTUAL_ENV");
        run(command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null())).wall
    }

    /// PlantDoc's pipeline without a lock, in a project of its own. Its data and code are the repository's.
    fn project(&self) -> PathBuf {
        let (dir, repository) = (self.fresh("project"), Path::new(ROOT));
        std::fs::create_dir_all(dir.join("pipelines")).expect("mkdir");
        std::fs::create_dir(dir.join(".flowrun")).expect("mkdir");
        for entry in std::fs::read_dir(repository.join("pipelines")).expect("there").flatten() {
            let to = dir.join("pipelines").join(entry.file_name());
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => copy_all(&entry.path(), &to),
                false => drop(std::fs::copy(entry.path(), to).expect("copied")),
            }
        }
        std::fs::remove_file(dir.join("pipelines/plantdoc.lock")).expect("removed");
        dir
    }

    /// The same packages as a project of uv's.
    fn uv_project(&self) -> PathBuf {
        let dir = self.fresh("uv-project");
        std::fs::create_dir(&dir).expect("mkdir");
        let wish = &self.environment.wish;
        let text = format!(
            "[project]\nname = \"same\"\nversion = \"1\"\nrequires-python = \"=={}.*\"\ndependencies = {:?}\n",
            wish.python, wish.requirements
        );
        std::fs::write(dir.join("pyproject.toml"), text).expect("written");
        dir
    }

    /// Of each, in turns, the median.
    fn turns(&self, mut first: impl FnMut() -> f64, mut second: impl FnMut() -> f64) -> (f64, f64) {
        let (firsts, seconds): (Vec<f64>, Vec<f64>) = (0..self.rounds).map(|_| (first(), second())).unzip();
        (median(firsts), median(seconds))
    }

    fn lock_of_nothing(&self) -> Vec<Row> {
        let (own, uv) = self.turns(
            || self.flowrun(&["lock"], &self.fresh("cache"), &self.project()),
            || self.uv(&["lock"], &self.fresh("uv-cache"), &self.uv_project()),
        );
        vec![
            Row::new("lock of PlantDoc, nothing known: flowrun lock", own, "s").at_most(60.0),
            Row::new("... its Python alone: uv lock", uv, "s"),
        ]
    }

    fn nothing_to_lock(&self) -> Vec<Row> {
        let (project, uv_project) = (self.project(), self.uv_project());
        let (cache, uv_cache) = (self.path("cache"), self.path("uv-cache"));
        self.flowrun(&["lock"], &cache, &project);
        self.uv(&["lock"], &uv_cache, &uv_project);
        let (own, uv) = self.many(
            || self.flowrun(&["lock"], &cache, &project),
            || self.uv(&["lock", "--offline"], &uv_cache, &uv_project),
        );
        vec![
            Row::new("lock of PlantDoc, nothing to do: flowrun lock", own * 1e3, "ms").at_most(20.0),
            Row::new("... its Python alone: uv lock --offline", uv * 1e3, "ms"),
        ]
    }

    /// What takes milliseconds is measured more often.
    fn many(&self, mut first: impl FnMut() -> f64, mut second: impl FnMut() -> f64) -> (f64, f64) {
        let (firsts, seconds): (Vec<f64>, Vec<f64>) = (0..self.rounds * 10).map(|_| (first(), second())).unzip();
        (median(firsts), median(seconds))
    }

    /// Builds the environment, or finds it, as a step does.
    fn environment(&self, root: &Path) -> f64 {
        let cache = Cache::at(root).expect("a cache");
        let lock = self.packages();
        let (say, mut said) = tokio::sync::mpsc::channel(256);
        let began = Instant::now();
        self.runtime.block_on(async {
            let hear = async { while said.recv().await.is_some() {} };
            let build = async {
                let built = python::environment(&cache, &lock, &say).await;
                drop(say);
                built
            };
            tokio::join!(build, hear).0.unwrap_or_else(|failure| panic!("{}", failure.message));
        });
        began.elapsed().as_secs_f64()
    }

    /// What a step does, as `uv pip sync` in an environment of its own.
    fn pip_sync(&self, cache: &Path, dir: &Path) -> f64 {
        let list = self.path("list.txt");
        std::fs::write(&list, self.packages().lines().join("\n")).expect("written");
        let list = list.display().to_string();
        let made = match dir.join(".venv").is_dir() {
            true => 0.0,
            false => self.uv(&["venv", "--quiet", "--python", &self.environment.wish.python], cache, dir),
        };
        made + self.uv(&["pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", &list], cache, dir)
    }

    fn empty(&self, name: &str) -> PathBuf {
        let dir = self.fresh(name);
        std::fs::create_dir(&dir).expect("mkdir");
        dir
    }

    fn built_of_nothing(&self) -> Vec<Row> {
        let (own, uv) = self.turns(
            || {
                let cache = self.fresh("cache");
                self.keep_uv(&cache);
                self.environment(&cache)
            },
            || self.pip_sync(&self.fresh("uv-cache"), &self.empty("venv")),
        );
        vec![
            Row::new("environment, nothing known: flowrun, each file checked", own, "s"),
            Row::new("... uv venv, uv pip sync --compile-bytecode", uv, "s"),
        ]
    }

    /// uv itself is brought before.
    fn keep_uv(&self, root: &Path) {
        let cache = Cache::at(root).expect("a cache");
        self.runtime.block_on(fetch::uv(&cache)).expect("uv");
    }

    fn built_of_cache(&self) -> Vec<Row> {
        let (cache, uv_cache) = (self.path("cache"), self.path("uv-cache"));
        let (own, uv) = self.turns(
            || {
                std::fs::remove_dir_all(cache.join("v1/environments")).expect("removed");
                self.environment(&cache)
            },
            || self.pip_sync(&uv_cache, &self.empty("venv")),
        );
        vec![
            Row::new("environment, wheels in uv's cache: flowrun, each file checked", own, "s"),
            Row::new("... uv venv, uv pip sync --compile-bytecode", uv, "s"),
        ]
    }

    fn found(&self) -> Vec<Row> {
        let (cache, uv_cache, venv) = (self.path("cache"), self.path("uv-cache"), self.path("venv"));
        let project = self.uv_project();
        self.uv(&["sync"], &uv_cache, &project);
        let (own, pip_sync) = self.many(|| self.environment(&cache), || self.pip_sync(&uv_cache, &venv));
        let (sync, _) = self.many(|| self.uv(&["sync", "--frozen", "--offline"], &uv_cache, &project), || 0.0);
        vec![
            Row::new("environment that is there, found by a step: flowrun", own * 1e3, "ms").at_most(5.0),
            Row::new("... uv pip sync", pip_sync * 1e3, "ms"),
            Row::new("... uv sync --frozen --offline", sync * 1e3, "ms"),
        ]
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("mkdir");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => copy_all(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}
