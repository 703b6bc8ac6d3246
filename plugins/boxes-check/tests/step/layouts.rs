//! The same small data set in each layout: the same flaws are found and the same boxes stay.

use crate::done::{Done, run};
use boxes::formats::{Format, write};
use boxes::{Dataset, Entry, Labelled, Picture, Rect, Split};
use flowrun_plugin::{Failure, Value};
use std::fs;
use std::path::Path;

fn put(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("a parent")).expect("made");
    fs::write(file, bytes).expect("written");
}

fn entry(filename: &str, rects: &[Rect]) -> Entry {
    let boxes = rects.iter().map(|rect| Labelled { class: "leaf".into(), rect: *rect }).collect();
    Entry { filename: filename.into(), width: 40, height: 30, source: filename.into(), boxes }
}

/// One box reaches out of its picture, one is there twice, one has no area.
fn flawed() -> Dataset {
    let good = Rect::new(1, 2, 20, 21);
    let train = vec![
        entry("a b.jpg", &[good, Rect::new(30, 5, 45, 20)]),
        entry("c.jpg", &[good, good, Rect::new(5, 5, 5, 9)]),
        entry("bare.jpg", &[]),
    ];
    Dataset { classes: vec!["leaf".into()], train, test: vec![entry("t.jpg", &[good])] }
}

fn sample(format: Format) -> tempfile::TempDir {
    let (folder, dataset) = (tempfile::tempdir().expect("a folder"), flawed());
    let layout = write(&dataset, format, folder.path()).expect("written");
    for (shade, path) in (1..).zip(layout.concat()) {
        let picture = Picture::plain(40, 30, [shade * 40, 120, 30]).expect("a size within limits");
        put(folder.path(), &path, picture.encode_jpeg(90).expect("encodes"));
    }
    folder
}

/// `kind file:line filename`, sorted.
fn findings(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let one = |finding: &Value| {
        let line = finding["line"].as_u64().map_or(String::new(), |line| format!(":{line}"));
        format!("{} {}{line} {}", text(&finding["kind"]), text(&finding["file"]), text(&finding["filename"]))
    };
    let mut all: Vec<String> = report["findings"].as_array().expect("a list").iter().map(one).collect();
    all.sort();
    all
}

#[test]
fn flaws_are_found_with_file_and_line() {
    let expected = |outside: &str, twice: &str, flat: &str| {
        [
            format!("box_outside_image {outside} a b.jpg"),
            format!("duplicate_box {twice} c.jpg"),
            "picture_without_boxes - bare.jpg".to_owned(),
            format!("zero_area_box {flat} c.jpg"),
        ]
    };
    let yolo = expected("labels/train/a b.txt:2", "labels/train/c.txt:2", "labels/train/c.txt:3");
    let (a, c) = ("Annotations/a b.xml", "Annotations/c.xml");
    let voc = expected(&format!("{a}:22"), &format!("{c}:22"), &format!("{c}:34"));
    for (format, expected) in [(Format::Yolo, yolo), (Format::Voc, voc)] {
        let Done { report, .. } = run("{}", sample(format).path()).expect("runs");
        assert_eq!(findings(&report), expected, "{}", format.name());
    }
    let folder = sample(Format::Coco);
    let Done { report, .. } = run("{}", folder.path()).expect("runs");
    let json = fs::read_to_string(folder.path().join("annotations/instances_train.json")).expect("read");
    let twice = report["findings"].as_array().expect("a list").iter().find(|one| one["kind"] == "duplicate_box");
    let line = twice.expect("found")["line"].as_u64().expect("a line") as usize;
    // The fourth annotation starts there.
    assert_eq!(json.lines().take(line - 1).filter(|line| line.contains("\"bbox\"")).count(), 3);
    assert_eq!(findings(&report).len(), 4);
}

#[test]
fn what_stays_is_the_same_from_each_layout() {
    for format in [Format::Coco, Format::Voc, Format::Yolo] {
        let Done { values, dataset, .. } = run("{}", sample(format).path()).expect("runs");
        assert_eq!((&values["images"], &values["boxes"], &values["fixed"]), (&4.into(), &4.into(), &1.into()));
        let rects = |entry: &Entry| entry.boxes.iter().map(|one| one.rect).collect::<Vec<_>>();
        assert_eq!(rects(&dataset.train[0]), [Rect::new(1, 2, 20, 21), Rect::new(30, 5, 40, 20)]);
        assert_eq!(dataset.split(Split::Test).len(), 1);
        assert_eq!(dataset.classes, ["leaf"]);
    }
}

#[test]
fn entries_that_cannot_be_taken_are_findings_and_their_pictures_do_not_show_nothing() {
    let folder = sample(Format::Yolo);
    put(folder.path(), "labels/train/bare.txt", "7 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n0 x 0.5 0.1 0.1\n");
    let Done { report, dataset, .. } = run("{}", folder.path()).expect("runs");
    let found = findings(&report);
    for expected in [
        "malformed_entry labels/train/bare.txt:2 bare.jpg",
        "not_a_number labels/train/bare.txt:3 bare.jpg",
        "picture_lost_its_boxes - bare.jpg",
        "unknown_class labels/train/bare.txt:1 bare.jpg",
    ] {
        assert!(found.iter().any(|one| one == expected), "{expected} is not in {found:?}");
    }
    assert_eq!(dataset.train.len(), 2);
    put(folder.path(), "data.yaml", "names: [");
    assert!(
        matches!(run("{}", folder.path()), Err(Failure::BadInput(message)) if message.starts_with("`data.yaml`: "))
    );
}
