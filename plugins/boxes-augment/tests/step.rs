//! The whole step, natively, on the PlantDoc sample and on small made data sets.

use boxes::{Dataset, Entry, Labelled, Picture, Rect, Split};
use boxes_augment::BoxesAugment;
use flowrun_plugin::{Failure, Host, Place, Task, Values};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/data/plantdoc-sample")
}

/// The first pictures of the sample as a data set folder.
fn part_of_the_sample(pictures: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dataset = Dataset::default();
    for split in Split::ALL {
        let text = fs::read_to_string(sample().join(split.name()).with_extension("csv")).expect("a table");
        let mut boxes: BTreeMap<String, Vec<Labelled>> = BTreeMap::new();
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let edge = |column: usize| cells[column].parse().expect("a number");
            let rect = Rect::new(edge(4), edge(5), edge(6), edge(7));
            boxes.entry(cells[0].to_owned()).or_default().push(Labelled { class: cells[3].to_owned(), rect });
        }
        let entry = |(filename, boxes): (String, _)| Entry {
            source: filename.clone(),
            filename,
            width: 320,
            height: 320,
            boxes,
        };
        dataset.split_mut(split).extend(boxes.into_iter().take(pictures).map(entry));
    }
    let classes: std::collections::BTreeSet<_> =
        dataset.train.iter().flat_map(|entry| &entry.boxes).map(|labelled| labelled.class.clone()).collect();
    dataset.classes = classes.into_iter().collect();
    dataset.write(folder.path()).expect("written");
    for split in Split::ALL {
        for entry in dataset.split(split) {
            let name = Path::new(split.name()).join(&entry.filename);
            fs::copy(sample().join(&name), folder.path().join(&name)).expect("copied");
        }
    }
    folder
}

fn run(config: &str, input: &Path) -> Result<(tempfile::TempDir, Values, Dataset), Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |path: &Path| vec![Place { name: "dataset".into(), path: path.to_path_buf() }];
    let values =
        flowrun_plugin::run::<BoxesAugment>(config, &Task::new(place(input), place(folder.path()), Host::Silent))?;
    let dataset = Dataset::read(folder.path()).expect("a data set");
    Ok((folder, values, dataset))
}

/// All files below a folder, by path.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(
                files(&path)
                    .into_iter()
                    .map(|(name, bytes)| (Path::new(path.file_name().expect("a name")).join(name), bytes)),
            );
        } else {
            found.insert(path.file_name().expect("a name").into(), fs::read(&path).expect("read"));
        }
    }
    found
}

#[test]
fn copies_stand_beside_originals_and_the_test_split_is_untouched() {
    let input = part_of_the_sample(12);
    let (output, values, dataset) = run(r#"{"copies": 2, "seed": 5}"#, input.path()).expect("runs");
    assert_eq!(values["images"], 36);
    let (before, after) = (files(input.path()), files(output.path()));
    assert_eq!(after.len(), before.len() + 24);
    for (name, bytes) in
        before.iter().filter(|(name, _)| *name != Path::new("train.csv") && *name != Path::new("images.csv"))
    {
        assert_eq!(after.get(name), Some(bytes), "{name:?}");
    }
    for entry in &dataset.train {
        let picture = Picture::decode(&after[&Path::new("train").join(&entry.filename)]).expect("a picture");
        assert_eq!((picture.width(), picture.height()), (entry.width, entry.height));
        let frame = Rect::whole(entry.width, entry.height);
        assert!(
            entry
                .boxes
                .iter()
                .all(|labelled| labelled.rect.clipped(&frame) == labelled.rect && labelled.rect.area() > 0)
        );
        assert!(!entry.boxes.is_empty());
        assert_eq!(entry.filename == entry.source, !entry.filename.contains('~'));
    }
}

#[test]
fn the_seed_settles_everything_and_pictures_do_not_depend_on_each_other() {
    let (many, few) = (part_of_the_sample(6), part_of_the_sample(3));
    let make = |config: &str, input: &Path| files(run(config, input).expect("runs").0.path());
    let first = make(r#"{"seed": 1, "invert": 0.5}"#, many.path());
    assert_eq!(make(r#"{"seed": 1, "invert": 0.5}"#, many.path()), first);
    let is_copy = |name: &Path| name.to_string_lossy().contains('~');
    let alone = make(r#"{"seed": 1, "invert": 0.5}"#, few.path());
    for (name, bytes) in alone.iter().filter(|(name, _)| is_copy(name)) {
        assert_eq!(first.get(name), Some(bytes), "{name:?}");
    }
    let other = make(r#"{"seed": 2, "invert": 0.5}"#, many.path());
    assert!(first.iter().filter(|(name, _)| is_copy(name)).all(|(name, bytes)| other[name] != *bytes));
}

#[test]
fn pictures_are_scaled_to_a_size() {
    let input = part_of_the_sample(2);
    let (_, _, dataset) = run(r#"{"size": 96, "copies": 1}"#, input.path()).expect("runs");
    assert!(dataset.train.iter().all(|entry| (entry.width, entry.height) == (96, 96)));
    let original = Dataset::read(input.path()).expect("a data set").train[0].boxes[0].rect;
    assert_eq!(dataset.train[0].boxes[0].rect, original.moved(&Rect::whole(320, 320), 96, 96));
    assert!(dataset.test.iter().all(|entry| entry.width == 320));
}

#[test]
fn names_that_are_taken_and_pictures_without_boxes() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = |filename: &str| Entry {
        filename: filename.into(),
        width: 20,
        height: 16,
        source: filename.into(),
        boxes: vec![],
    };
    let names = ["a.jpg", "a.jpeg", "a~1.jpg", &format!("{}.jpg", "é".repeat(125))];
    let dataset = Dataset { train: names.map(entry).to_vec(), ..Dataset::default() };
    dataset.write(folder.path()).expect("written");
    let jpeg = Picture::plain(20, 16, [9, 99, 30]).and_then(|picture| picture.encode_jpeg(90).ok()).expect("encodes");
    for name in names {
        fs::write(folder.path().join("train").join(name), &jpeg).expect("written");
    }
    let (output, values, dataset) = run(r#"{"copies": 2}"#, folder.path()).expect("runs");
    assert_eq!((&values["images"], &values["boxes"]), (&12.into(), &0.into()));
    assert_eq!(fs::read_dir(output.path().join("train")).expect("listed").count(), 12);
    assert_eq!(dataset.train.iter().filter(|entry| entry.source == "a.jpg").count(), 3);
}

#[test]
fn wrong_configurations_and_data_are_named() {
    let input = part_of_the_sample(1);
    for (config, key) in [
        (r#"{"copies": -1}"#, "copies"),
        (r#"{"copies": 101}"#, "copies"),
        (r#"{"crop": 0}"#, "crop"),
        (r#"{"crop": "much"}"#, "crop"),
        (r#"{"colour": 2}"#, "colour"),
        (r#"{"invert": -0.1}"#, "invert"),
        (r#"{"size": 3}"#, "size"),
        (r#"{"color": 1}"#, "color"),
    ] {
        let failure = run(config, input.path()).err().expect("fails");
        assert!(matches!(&failure, Failure::BadConfig { path, .. } if path == key), "{config}: {failure:?}");
    }
    let name = Dataset::read(input.path()).expect("a data set").train[0].filename.clone();
    fs::write(input.path().join("train").join(&name), b"rubbish").expect("written");
    let failure = run("{}", input.path()).err().expect("fails");
    assert!(matches!(&failure, Failure::BadInput(text) if text.contains(&name)), "{failure:?}");
    assert!(matches!(run("{}", Path::new("/nowhere")), Err(Failure::BadInput(_))));
}
