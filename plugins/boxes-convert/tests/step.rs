//! The whole step, natively: the sample through every layout and back.

use boxes::{Dataset, Split};
use boxes_convert::BoxesConvert;
use flowrun_plugin::{Failure, Host, Place, Task, Values, run};
use std::fs;
use std::path::{Path, PathBuf};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")
}

fn step(config: &str, input: &Path) -> Result<(Values, tempfile::TempDir), Failure> {
    let output = tempfile::tempdir().expect("a folder");
    let place = |path: &Path| vec![Place { name: "dataset".into(), path: path.to_path_buf() }];
    let values = run::<BoxesConvert>(config, &Task::new(place(input), place(output.path()), Host::Silent))?;
    Ok((values, output))
}

fn boxes(dataset: &Dataset) -> Vec<Vec<(u32, u32, &[boxes::Labelled])>> {
    let of = |split| dataset.split(split).iter().map(|entry| (entry.width, entry.height, &*entry.boxes)).collect();
    Split::ALL.map(of).to_vec()
}

#[test]
fn boxes_are_the_same_after_every_pair_of_layouts() {
    let (values, own) = step(r#"{"to": "flowrun"}"#, &sample()).expect("runs");
    assert_eq!((&values["images"], &values["boxes"], &values["classes"]), (&3.into(), &4.into(), &2.into()));
    let expected = Dataset::read(own.path()).expect("read");
    assert_eq!(expected.classes, ["leaf", "spot"]);
    let table = fs::read_to_string(own.path().join("train.csv")).expect("read");
    assert!(table.contains("leaf 1.png,64,48,leaf,4,6,24,36\n"), "{table}");
    for first in ["coco", "voc", "yolo", "flowrun"] {
        let (_, there) = step(&format!("{{\"to\": \"{first}\"}}"), own.path()).expect("runs");
        for second in ["coco", "voc", "yolo"] {
            let (_, on) =
                step(&format!("{{\"from\": \"{first}\", \"to\": \"{second}\"}}"), there.path()).expect("runs");
            let (values, back) = step(r#"{"to": "flowrun"}"#, on.path()).expect("runs");
            let dataset = Dataset::read(back.path()).expect("read");
            assert_eq!(boxes(&dataset), boxes(&expected), "{first}, {second}");
            assert_eq!(values["boxes"], 4);
            assert!(back.path().join("README.md").is_file());
        }
    }
}

#[test]
fn pictures_go_along_byte_for_byte() {
    let (_, yolo) = step(r#"{"from": "coco", "to": "yolo"}"#, &sample()).expect("runs");
    let read = |path: PathBuf| fs::read(path).expect("read");
    for (from, to) in [("train/leaf 1.png", "images/train/leaf 1.png"), ("val/leaf 1.png", "images/test/leaf 1.png")] {
        assert_eq!(read(sample().join(from)), read(yolo.path().join(to)));
    }
    let (_, voc) = step(r#"{"to": "voc"}"#, &sample()).expect("runs");
    assert_eq!(read(sample().join("val/leaf 1.png")), read(voc.path().join("JPEGImages/leaf 1~2.png")));
    assert_eq!(read(voc.path().join("ImageSets/Main/test.txt")), b"leaf 1~2\n");
}

#[test]
fn what_is_wrong_is_named() {
    assert!(matches!(step("{}", &sample()), Err(Failure::BadConfig { .. })));
    assert!(matches!(step(r#"{"to": "kitti"}"#, &sample()), Err(Failure::BadConfig { path, .. }) if path == "to"));
    let said = |config: &str, input: &Path| match step(config, input) {
        Err(Failure::BadInput(message)) => message,
        other => panic!("{other:?}"),
    };
    let empty = tempfile::tempdir().expect("a folder");
    assert!(said(r#"{"to": "coco"}"#, empty.path()).contains("in no layout that is known"));
    assert!(said(r#"{"from": "yolo", "to": "coco"}"#, &sample()).contains("no class names"));
    fs::write(empty.path().join("a.json"), "{\"images\": [],\n\"annotations\": [}\n\"categories\"").expect("written");
    let message = said(r#"{"to": "voc"}"#, empty.path());
    assert!(message.contains("`a.json` (line 2): "), "{message}");
}
