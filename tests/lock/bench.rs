//! A project with an index of hand-made packages, and a cache of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::wheels::{self, package};
use crate::support::{self, Bed, Said, said};

/// This machine, as flowrun calls it.
pub(crate) fn here() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// A Linux that this machine is not.
pub(crate) fn other() -> &'static str {
    if here() == "linux-aarch64" { "linux-x86_64" } else { "linux-aarch64" }
}

/// The contents of the environments in a cache.
pub(crate) fn content_of(cache: &Path) -> BTreeSet<String> {
    let environments = std::fs::read_dir(cache.join("environments")).expect("there").flatten();
    let markers = environments.map(|entry| {
        let marker = std::fs::read(entry.path().join("flowrun-environment.json")).expect("whole");
        serde_json::from_slice::<serde_json::Value>(&marker).expect("JSON")
    });
    markers.map(|marker| marker["content"].as_str().expect("a digest").to_owned()).collect()
}

/// The folder of uv's wheel in the cache that all tests share, where it is brought once.
fn uv() -> &'static Path {
    static UV: OnceLock<PathBuf> = OnceLock::new();
    UV.get_or_init(|| {
        let bed = Bed::new("flowrun: 1\nsources: { x: { pypi: six==1.16.0 } }\nsteps: { s: { run: 'true', inputs: { x: sources.x } } }\n");
        bed.flowrun(&["lock"]).ok();
        let wheels = std::fs::read_dir(support::cache().join("v1/wheels")).expect("there").flatten();
        let holds_uv = |folder: &PathBuf| {
            let names = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
            names.into_iter().any(|name| name.to_string_lossy().starts_with("uv-"))
        };
        wheels.map(|entry| entry.path()).find(holds_uv).expect("uv was brought")
    })
}

pub(crate) struct Bench {
    pub(crate) bed: Bed,
    cache: PathBuf,
}

impl Bench {
    /// A pipeline in which `REQUIREMENTS` of the machine's Python are asked for where it says `PYTHON [REQUIREMENTS]`.
    pub(crate) fn new(pipeline: &str) -> Self {
        let bed = Bed::new("");
        let cache = bed.path("cache");
        let bench = Self { bed, cache };
        bench.share(&bench.cache);
        bench.pipeline(pipeline);
        bench
    }

    /// Only what is the same for every project is shared: uv, and compiled plugins.
    fn share(&self, cache: &Path) {
        let (shared, own) = (support::cache().join("v1"), cache.join("v1"));
        std::fs::create_dir_all(own.join("wheels")).expect("mkdir");
        std::fs::create_dir_all(shared.join("wasm")).expect("mkdir");
        std::os::unix::fs::symlink(shared.join("wasm"), own.join("wasm")).expect("link");
        let uv = uv();
        let name = uv.file_name().expect("a name");
        std::os::unix::fs::symlink(uv, own.join("wheels").join(name)).expect("link");
    }

    pub(crate) fn pipeline(&self, text: &str) {
        let mut out = String::new();
        for line in text.lines() {
            match line.split_once("PYTHON ") {
                Some((before, rest)) => {
                    let version = wheels::version();
                    out.push_str(&format!("{before}python: {{ version: \"{version}\", requirements: {rest} }}\n"));
                }
                None => out.push_str(&format!("{line}\n")),
            }
        }
        self.bed.write("p.yaml", &out);
    }

    /// Another home: nothing was brought there yet, and uv knows no package.
    pub(crate) fn elsewhere(self, name: &str) -> Self {
        let cache = self.bed.path(name);
        self.share(&cache);
        Self { bed: self.bed, cache }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.cache.join("v1")
    }

    /// The contents of the environments in the cache, by their digests.
    pub(crate) fn contents(&self) -> BTreeSet<String> {
        content_of(&self.cache())
    }

    pub(crate) fn package(&self, file: &str, requires: &[&str]) -> PathBuf {
        package(&self.bed.path("links"), file, file, requires)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bed.command(args);
        command.env("FLOWRUN_CACHE", &self.cache).env("UV_FIND_LINKS", self.bed.path("links"));
        // Whoever asks it nevertheless waits for long.
        command.env("UV_NO_INDEX", "1").env("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple");
        command
    }

    pub(crate) fn flowrun(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("flowrun starts"))
    }

    pub(crate) fn lock(&self) -> String {
        self.bed.read("p.lock")
    }

    /// The lock with something in it replaced, which must be there.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let lock = self.lock();
        assert!(lock.contains(from), "no `{from}` in\n{lock}");
        self.bed.write("p.lock", &lock.replace(from, to));
    }

    /// What the lock says of a file: its line.
    #[track_caller]
    pub(crate) fn line(&self, file: &str) -> String {
        let lock = self.lock();
        let line = lock.lines().find(|line| line.contains(&format!("file = \"{file}\"")));
        line.unwrap_or_else(|| panic!("no `{file}` in\n{lock}")).to_owned()
    }

    /// Which steps a run ran, and which it took from the cache.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> (Vec<String>, Vec<String>) {
        let said = self.flowrun(&[&["run", "p.yaml", "--json"], args].concat()).ok();
        let events = said.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let events: Vec<_> = events.collect();
        let named = |kind: &str| {
            let some = events.iter().filter(|event| event["event"] == kind);
            some.map(|event| event["step"].as_str().expect("a step").to_owned()).collect()
        };
        (named("finished"), named("cached"))
    }
}
