//! The whole step, from a folder and a file to `evaluation.json`, on the PlantDoc sample with drawn detections.

use coco_eval::CocoEval;
use flowrun_plugin::{Failure, Task, Values};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// A dataset folder made of the sample's `test.csv`, and the detections that `sample.json` holds.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = folder.path().join("dataset");
        std::fs::create_dir(&dataset).expect("made");
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/data/plantdoc-sample/test.csv");
        std::fs::copy(&sample, dataset.join("test.csv")).expect("the sample is there");
        let mut reader = csv::Reader::from_path(&sample).expect("readable");
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
        let column = |at: usize| rows.iter().map(|row| row[at].to_owned()).collect::<BTreeSet<_>>();
        let (files, classes) = (column(0), column(3));
        let lines: String = files.iter().map(|file| format!("test,{file},320,320,{file}\n")).collect();
        std::fs::write(dataset.join("images.csv"), format!("split,filename,width,height,source\n{lines}"))
            .expect("written");
        std::fs::write(dataset.join("classes.json"), json!(classes).to_string()).expect("written");
        let stage = Self { folder };
        stage.write(&detections(&files, &classes));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, detections: &Value) {
        std::fs::write(self.path("detections.json"), detections.to_string()).expect("written");
    }

    fn run(&self, config: &str) -> Result<Values, Failure> {
        let (dataset, detections, report) =
            (self.path("dataset"), self.path("detections.json"), self.path("evaluation.json"));
        let task = Task::native(&[("dataset", &dataset), ("detections", &detections)], &[("report", &report)]);
        flowrun_plugin::run::<CocoEval>(config, &task)
    }
}

fn table() -> Value {
    let cases: Value = serde_json::from_str(include_str!("sample.json")).expect("readable");
    cases[0].clone()
}

fn detections(files: &BTreeSet<String>, classes: &BTreeSet<String>) -> Value {
    let table = table();
    let drawn = table["detections"].as_array().expect("a list");
    let images: Vec<Value> = files
        .iter()
        .enumerate()
        .map(|(image, file)| {
            let of_it = drawn.iter().filter(|d| d[0] == image);
            let found: Vec<Value> = of_it.map(|d| json!({"class": d[1], "score": d[2], "box": d[3]})).collect();
            json!({"file": file, "width": 320, "height": 320, "detections": found})
        })
        .collect();
    json!({"format": 1, "classes": classes, "images": images})
}

fn near(ours: &Value, theirs: &Value) {
    let (ours, theirs) = (ours.as_f64().expect("a number"), theirs.as_f64().expect("a number"));
    assert!((ours - theirs).abs() < 1e-9, "{ours}, pycocotools says {theirs}");
}

#[test]
fn the_step_gives_pycocotools_figures() {
    let stage = Stage::new();
    let values = stage.run("{}").expect("it runs");
    let expected = &table()["expected"];
    let text = std::fs::read_to_string(stage.path("evaluation.json")).expect("written");
    let report: Value = serde_json::from_str(&text).expect("readable");
    for name in ["map", "map50", "map75"] {
        near(&values[name], &expected[name]);
        near(&report[name], &expected[name]);
    }
    assert_eq!((&values["images"], &values["boxes"]), (&json!(48), &json!(66)));
    assert_eq!((&report["format"], &report["images"], &report["boxes"]), (&json!(1), &json!(48), &json!(66)));
    for (row, theirs) in
        report["per_class"].as_array().expect("a list").iter().zip(expected["classes"].as_array().expect("a list"))
    {
        near(&row["ap"], &theirs[0]);
        near(&row["ap50"], &theirs[1]);
        near(&row["recall"], &theirs[3]);
    }
    assert_eq!(report["curves"][0]["precision"].as_array().map(Vec::len), Some(101));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let stage = Stage::new();
    let bytes = || {
        stage.run("{}").expect("it runs");
        std::fs::read(stage.path("evaluation.json")).expect("written")
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn each_failure_says_whose_it_is() {
    let stage = Stage::new();
    let path = |config: &str| match stage.run(config).expect_err("should be refused") {
        Failure::BadConfig { path, .. } => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(path(r#"{"split": "../test"}"#), "split");
    assert_eq!(path(r#"{"max_detections": 0}"#), "max_detections");
    assert_eq!(path(r#"{"max_detection": 10}"#), "max_detection");
    stage.write(&json!({"format": 1, "classes": ["a"], "images": []}));
    let failure = stage.run("{}").expect_err("other classes");
    assert!(
        matches!(&failure, Failure::BadInput(text) if text.contains("only the detections have `a`")),
        "{failure:?}"
    );
    let failure = stage.run(r#"{"split": "train"}"#).expect_err("no such split");
    assert!(matches!(&failure, Failure::BadInput(text) if text.contains("split `train`")), "{failure:?}");
}
