//! A project in a folder of its own, and the real binary run in it.
//!
//! A step is shown nothing but what it declared, so what it tells a test, and what it waits for, lies in shared memory: a step may write
//! and read there (semaphores of ordinary libraries do), and it is in no key. Such a folder is the bed's *outside*.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::unwrap_used,
    missing_docs,
    reason = "each test program uses its own part"
)]

pub mod background;
pub mod compare;
pub mod disk;
pub mod files;
pub mod random;
pub mod registry;
pub mod shim;
pub mod wheels;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

/// A hermetic project. Downloads and compiled plugins are shared between tests and runs of the tests; nothing else is.
pub struct Bed {
    folder: tempfile::TempDir,
    outside: tempfile::TempDir,
}

/// A file that was changed less than two seconds ago is read again whatever its times say.
pub const REST: std::time::Duration = std::time::Duration::from_millis(2100);

/// What a command said.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text) || self.stdout.contains(text),
            "`{text}` is not in\n{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

/// Where downloads of all tests are kept.
pub fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("flowrun-cache")
}

/// Where steps may leave marks and find signs: shared memory, or a plain folder on systems without.
fn outside() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("flowrun-test-");
    if shared.is_dir() { builder.tempdir_in(shared) } else { builder.tempdir() }.expect("tempdir")
}

impl Bed {
    /// A project whose pipeline is `p.yaml`.
    pub fn new(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(folder.path().join(".flowrun")).expect("mkdir");
        let bed = Self { folder, outside: outside() };
        bed.write("p.yaml", pipeline);
        bed
    }

    /// The same, where `MARK x` in a line, up to `;`, `"` or its end, becomes a fragment that leaves the mark `x`, and `{outside}` the
    /// folder of [`Self::outside`].
    pub fn marking(pipeline: &str) -> Self {
        let bed = Self::new("");
        bed.write("p.yaml", &bed.marked(pipeline));
        bed
    }

    /// The text of a pipeline as [`Self::marking`] writes it.
    pub fn marked(&self, pipeline: &str) -> String {
        let mut text = String::new();
        for line in pipeline.lines() {
            let line = line.replace("{outside}", &self.outside.path().display().to_string());
            match line.split_once("MARK ") {
                Some((before, rest)) => {
                    let end = rest.find([';', '"']).unwrap_or(rest.len());
                    text.push_str(&format!("{before}{}{}\n", self.mark(&rest[..end]), &rest[end..]));
                }
                None => text.push_str(&format!("{line}\n")),
            }
        }
        text
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A path that steps may read and write, declared nowhere and in no key.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.outside.path().join(name)
    }

    /// What a step wrote to such a path so far.
    pub fn told(&self, name: &str) -> String {
        std::fs::read_to_string(self.outside(name)).unwrap_or_default()
    }

    /// Gives the sign that steps wait for.
    pub fn sign(&self, name: &str) {
        std::fs::write(self.outside(name), "").expect("write");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowrun"));
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        command.env("NO_COLOR", "1").env("FLOWRUN_CACHE", cache()).env_remove("FLOWRUN_HOME").env_remove("COLUMNS");
        // Where tests run for every change, pipelines of tests are still new.
        command.env_remove("CI");
        command
    }

    pub fn flowrun(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("flowrun starts"))
    }

    /// Runs `p.yaml` and says which steps really ran, by the marks they themselves left outside the store.
    #[track_caller]
    pub fn ran(&self, args: &[&str]) -> Vec<String> {
        self.forget();
        let mut all = vec!["run", "p.yaml"];
        all.extend(args);
        self.flowrun(&all).ok();
        self.marks()
    }

    /// Whether the last run said again what an earlier one had found.
    pub fn is_repeat(&self) -> bool {
        let mut runs: Vec<PathBuf> =
            std::fs::read_dir(self.path(".flowrun/v1/runs")).expect("runs").flatten().map(|run| run.path()).collect();
        runs.sort();
        let last = runs.last().expect("a run");
        std::fs::read_to_string(last.join("meta.json")).expect("meta").contains("\"repeats\"")
    }

    /// Takes the marks away.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(self.outside("ran"));
    }

    /// The marks that steps left since they were last taken away, sorted.
    pub fn marks(&self) -> Vec<String> {
        let mut marks: Vec<String> = self.told("ran").lines().map(str::to_owned).collect();
        marks.sort();
        marks
    }

    /// A shell fragment by which a step leaves its mark.
    pub fn mark(&self, name: &str) -> String {
        format!("echo {name} >> {}", self.outside("ran").display())
    }
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits for something to become true.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 60, "{what} does not come");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Says that something is not tested here, and why, past the capture of a test that passes.
pub fn skip(what: &str, why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}
