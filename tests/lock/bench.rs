//! A project with an index of hand-made packages, and a cache of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

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
        std::fs::create_dir_all(cache.join("v1")).expect("mkdir");
        for kind in ["wheels", "wasm"] {
            let shared = support::cache().join("v1").join(kind);
            std::fs::create_dir_all(&shared).expect("mkdir");
            std::os::unix::fs::symlink(shared, cache.join("v1").join(kind)).expect("link");
        }
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
