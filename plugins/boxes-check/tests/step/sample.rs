//! The whole step, natively, on the PlantDoc sample: every planted flaw is found and nothing else, negatives are named.

use crate::done::run;
use boxes::{Dataset, Split};
use flowrun_plugin::{Failure, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/data/plantdoc-sample")
}

/// A flaw in the terms of `dirty_expected.json`.
type Flaw = (Option<u64>, String, Vec<String>);

fn flaw(value: &Value) -> Flaw {
    let texts =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    (value["line"].as_u64(), value["kind"].as_str().expect("a kind").to_owned(), texts(&value["fields"]))
}

fn flaws(report: &Value) -> Vec<Flaw> {
    let mut flaws: Vec<Flaw> = report["findings"].as_array().expect("a list").iter().map(flaw).collect();
    flaws.sort();
    flaws
}

#[test]
fn every_planted_flaw_is_found_and_nothing_else() {
    let text = fs::read_to_string(sample().join("dirty_expected.json")).expect("the list of flaws");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    let of = |key: &str| expected[key].as_array().expect("a list").iter().map(flaw).collect::<Vec<_>>();
    let mut planted = [of("file_flaws"), of("row_flaws")].concat();
    planted.sort();
    assert_eq!(planted.len(), 16);
    let done = run(r#"{"train_csv": "dirty.csv"}"#, &sample()).expect("runs");
    let found = flaws(&done.report);
    // Rows that had to go take a picture along where they were its only ones: a finding about the picture, not about a row.
    let lost = |flaw: &&Flaw| flaw.1 != "picture_lost_its_boxes";
    assert_eq!(found.iter().filter(lost).cloned().collect::<Vec<_>>(), planted);
    assert_eq!(done.values["findings"], found.len());
}

#[test]
fn what_can_be_mended_is_as_it_was_before_the_flaws_were_planted() {
    let clean = run("{}", &sample()).expect("runs").dataset;
    let mended = run(r#"{"train_csv": "dirty.csv"}"#, &sample()).expect("runs").dataset;
    assert_eq!(mended.classes, clean.classes);
    assert_eq!(mended.test, clean.test);
    let boxes = |dataset: &Dataset| -> BTreeSet<(String, String, boxes::Rect)> {
        let of = |entry: &boxes::Entry| {
            entry
                .boxes
                .iter()
                .map(|labelled| (entry.filename.clone(), labelled.class.clone(), labelled.rect))
                .collect::<Vec<_>>()
        };
        dataset.train.iter().flat_map(of).collect()
    };
    let (clean, mended) = (boxes(&clean), boxes(&mended));
    // Five rows are past mending (no area, no file, no known class, no class, no number), and one edge of two was cut off.
    assert_eq!(clean.difference(&mended).count(), 7);
    assert_eq!(mended.difference(&clean).count(), 2);
}

#[test]
fn the_clean_tables_have_no_flaw() {
    let done = run("{}", &sample()).expect("runs");
    assert_eq!(flaws(&done.report), []);
    let expected = [("images", 208), ("boxes", 409), ("findings", 0), ("dropped", 0), ("fixed", 0), ("classes", 8)];
    for (name, value) in expected {
        assert_eq!(done.values[name], value, "{name}");
    }
    assert_eq!(done.report["summary"]["train"]["images"], 160);
    assert_eq!(done.report["summary"]["test"]["boxes"], 66);
    let folder = done.folder.path().join("dataset");
    for split in Split::ALL {
        for entry in done.dataset.split(split) {
            let read = |root: &Path| fs::read(root.join(split.name()).join(&entry.filename)).expect("a picture");
            assert_eq!(read(&folder), read(&sample()), "{}", entry.filename);
        }
    }
    let note = |root: &Path| fs::read(root.join("README.md")).expect("the note on rights");
    assert_eq!(note(&folder), note(&sample()));
    let written = fs::read_to_string(folder.join("train.csv")).expect("a table");
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&written), sorted(&fs::read_to_string(sample().join("train.csv")).expect("a table")));
}

#[test]
fn negatives_are_named_from_their_pixels() {
    let done = run("{}", &sample()).expect("runs");
    let truth = fs::read_to_string(sample().join("colour_inverted.csv")).expect("the list of negatives");
    let truth: BTreeSet<&str> =
        truth.lines().skip(1).filter_map(|line| line.rsplit_once(',')).map(|(name, _)| name).collect();
    let suspects = done.report["suspects"].as_array().expect("a list");
    let named: BTreeSet<String> = suspects
        .iter()
        .map(|suspect| {
            format!("{},{}", suspect["split"].as_str().expect("a split"), suspect["filename"].as_str().expect("a name"))
        })
        .collect();
    for (split, least) in [("train", 0.95), ("test", 0.95)] {
        let of = |name: &&str| name.starts_with(split);
        let (truth, named) = (
            truth.iter().copied().filter(of).collect::<BTreeSet<_>>(),
            named.iter().map(String::as_str).filter(of).collect::<BTreeSet<_>>(),
        );
        let right = truth.intersection(&named).count() as f64;
        let (precision, recall) = (right / named.len() as f64, right / truth.len() as f64);
        eprintln!("{split}: precision {precision:.3}, recall {recall:.3} of {} negatives", truth.len());
        assert!(precision >= least && recall >= least, "{split}: precision {precision}, recall {recall}");
    }
    let without = run(r#"{"keep_inverted": false}"#, &sample()).expect("runs");
    assert_eq!(without.dataset.train.len(), 160 - 21);
    assert_eq!(without.dataset.test.len(), 48);
}

#[test]
fn strict_fails_on_what_must_be_dropped_and_on_nothing_else() {
    assert!(run(r#"{"strict": true}"#, &sample()).is_ok());
    let failure = run(r#"{"strict": true, "train_csv": "dirty.csv"}"#, &sample()).err().expect("fails");
    assert!(matches!(&failure, Failure::BadInput(text) if text.contains("(line 5)")), "{failure}");
}

#[test]
fn wrong_configurations_name_their_key() {
    for (config, key) in [
        (r#"{"min_side": -1}"#, "min_side"),
        (r#"{"test_fraction": 1}"#, "test_fraction"),
        (r#"{"classes": []}"#, "classes"),
        (r#"{"classes": ["a", "A"]}"#, "classes"),
        (r#"{"min_sied": 1}"#, "min_sied"),
        (r#"{"train_csv": "../x.csv"}"#, "train_csv"),
    ] {
        let failure = run(config, &sample()).err().expect("fails");
        assert!(matches!(&failure, Failure::BadConfig { path, .. } if path == key), "{config}: {failure:?}");
    }
}
