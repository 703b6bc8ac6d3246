//! The main job on real pictures, as a person runs it, and what changes make of it.
//!
//! One test, since a run trains a model: each part goes on from where the one before stopped.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use support::{Said, cache, said};

/// A copy of `pipelines/` in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(folder.path().join(".flowrun")).expect("mkdir");
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let status = Command::new("cp").arg("-r").arg(from).arg(folder.path()).status().expect("cp");
        assert!(status.success());
        Self { folder }
    }

    fn flowrun(&self, args: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowrun"));
        command.args(args).current_dir(self.folder.path()).env("NO_COLOR", "1").env("FLOWRUN_CACHE", cache());
        command.env_remove("CI");
        said(command.output().expect("flowrun starts"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Steps by what became of them in the last run.
    fn steps(&self, event: &str, args: &[&str]) -> Vec<String> {
        let said = self.flowrun(&[&["run", "pipelines/plantdoc.yaml", "--json"], args].concat());
        let events = said.stdout.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let mut found: Vec<String> = events
            .filter(|one| one["event"] == event)
            .filter_map(|one| one["step"].as_str().map(str::to_owned))
            .collect();
        found.sort();
        found
    }

    /// Steps that the plan says must run, or may have to.
    fn planned(&self) -> Vec<String> {
        let said = self.flowrun(&["run", "pipelines/plantdoc.yaml", "--dry-run", "--json"]).ok();
        let events = said.stdout.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let mut found: Vec<String> = events
            .filter(|one| one["event"] == "missed")
            .filter_map(|one| one["step"].as_str().map(str::to_owned))
            .collect();
        found.sort();
        found
    }

    fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).expect("read");
        let changed = change(text.clone());
        assert_ne!(changed, text, "the edit of {name} changes nothing");
        std::fs::write(path, changed).expect("write");
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

#[test]
fn from_pictures_to_a_detector_and_a_report() {
    let bench = Bench::new();
    bench.flowrun(&["run", "pipelines/plantdoc.yaml"]).ok().says("results/plantdoc/report.html");
    let made = bench.flowrun(&["artifacts", "@latest", "evaluate", "--json"]).ok().json();
    let figure = |name: &str| made["values"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {made}"));
    assert!(figure("map") >= 0.30 && figure("map50") >= 0.48, "the detector is not good enough: {made}");
    assert!(size(&bench.path("results/plantdoc/report.html")) > 500_000);
    assert!(size(&bench.path("results/plantdoc/model.onnx")) > 1_000_000);

    assert_eq!(bench.steps("started", &[]), Vec::<String>::new(), "a second run runs nothing");

    // The plan is what could change; the run is what did.
    let all = ["augment", "check", "evaluate", "gate", "predict", "report", "train"];
    bench.edit("pipelines/plantdoc/train.py", |text| format!("{text}\n# a line\n"));
    assert_eq!(bench.planned(), ["evaluate", "gate", "predict", "report", "train"]);
    bench.edit("pipelines/plantdoc/train.py", |text| text.trim_end_matches("# a line\n").trim_end().to_owned() + "\n");
    assert_eq!(bench.planned(), Vec::<String>::new(), "changed and changed back");

    let csv = std::fs::read_to_string(bench.path("pipelines/data/plantdoc-sample/train.csv")).expect("csv");
    bench.edit("pipelines/data/plantdoc-sample/train.csv", |text| text.replacen(",94,19,245,262", ",95,19,245,262", 1));
    assert_eq!(bench.planned(), all);
    bench.flowrun(&["plan", "pipelines/plantdoc.yaml"]).ok().says("train.csv changed");
    std::fs::write(bench.path("pipelines/data/plantdoc-sample/train.csv"), csv).expect("write");
    assert_eq!(bench.planned(), Vec::<String>::new());

    // The planted flaws are found by the pipeline's own check.
    bench.flowrun(&["run", "pipelines/plantdoc.yaml", "--only", "check", "--set", "train_csv=dirty.csv"]).ok();
    bench.flowrun(&["get", "@latest", "check.report", "-o", "dirty.json"]).ok();
    let findings: Json = serde_json::from_slice(&std::fs::read(bench.path("dirty.json")).expect("read")).expect("json");
    let expected: Json = serde_json::from_slice(
        &std::fs::read(bench.path("pipelines/data/plantdoc-sample/dirty_expected.json")).expect("read"),
    )
    .expect("json");
    for flaw in expected["row_flaws"].as_array().expect("flaws") {
        let found = findings["findings"]
            .as_array()
            .expect("findings")
            .iter()
            .any(|one| one["line"] == flaw["line"] && one["kind"] == flaw["kind"] && one["split"] == "train");
        assert!(found, "not found: {flaw}");
    }
}
