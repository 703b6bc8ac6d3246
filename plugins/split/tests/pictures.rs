//! The plugin as a step, on data sets: copies stay with their source, near-duplicates are found, refused and joined.

use boxes::{Dataset, Entry, Labelled, Picture, Random, Rect, Split};
use flowrun_plugin::{Failure, Host, Place, Task, Value, run};
use serde_json::json;
use split::Splits;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A picture of 6 x 5 patches of drawn brightness: no two are alike.
fn painted(name: &str) -> Picture {
    let mut picture = Picture::plain(96, 80, [0, 0, 0]).expect("a size within limits");
    let mut random = Random::new(0, name, 0);
    let patches: Vec<u8> = (0..30).map(|_| (random.bits() % 256) as u8).collect();
    for (y, row) in picture.bytes_mut().chunks_exact_mut(96 * 3).enumerate() {
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            pixel.fill(patches[y / 16 * 6 + x / 16]);
        }
    }
    picture
}

fn add(root: &Path, dataset: &mut Dataset, split: Split, name: &str, source: &str, classes: &[&str], quality: u8) {
    fs::create_dir_all(root.join(split.name())).expect("a folder");
    let bytes = painted(source).encode_jpeg(quality).expect("encodes");
    fs::write(root.join(split.name()).join(name), bytes).expect("written");
    let boxed = |class: &&str| Labelled { class: (*class).into(), rect: Rect::new(1, 2, 30, 40) };
    let boxes = classes.iter().map(boxed).collect();
    let entry = Entry { filename: name.into(), width: 96, height: 80, source: source.into(), boxes };
    dataset.split_mut(split).push(entry);
}

/// 20 pictures of `leaf`, 10 of `leaf` and `rust`, and two recompressed copies of some.
fn sample(root: &Path) -> Dataset {
    let mut dataset = Dataset { classes: vec!["leaf".into(), "rust".into()], ..Dataset::default() };
    for number in 0..30 {
        let (split, name) = (if number < 25 { Split::Train } else { Split::Test }, format!("p{number}.jpg"));
        let classes: &[&str] = if number % 3 == 0 { &["rust", "leaf", "leaf"] } else { &["leaf"] };
        add(root, &mut dataset, split, &name, &name, classes, 95);
        for copy in 1..=2 * u32::from(number % 5 == 0) {
            add(root, &mut dataset, Split::Train, &format!("p{number}~{copy}.jpg"), &name, classes, 60);
        }
    }
    dataset.write(root).expect("written");
    fs::write(root.join("ATTRIBUTION.csv"), "file,by\n").expect("written");
    dataset
}

fn step(config: &Value, input: &Path, output: &Path) -> Result<Value, Failure> {
    let place = |name: &str, path: &Path| Place { name: name.into(), path: path.to_path_buf() };
    let outputs = vec![place("parts", &output.join("parts")), place("report", &output.join("report.json"))];
    fs::create_dir_all(output.join("parts")).expect("a folder");
    let task = Task::new(vec![place("dataset", input)], outputs, Host::Silent);
    run::<Splits>(&config.to_string(), &task).map(Value::Object)
}

fn report(output: &Path) -> Value {
    serde_json::from_slice(&fs::read(output.join("report.json")).expect("a file")).expect("JSON")
}

/// Every file below a folder, by its path.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for item in fs::read_dir(root).expect("a folder").map(|item| item.expect("an item")) {
        let name = item.file_name().into_string().expect("UTF-8");
        match item.path().is_dir() {
            true => all.extend(files(&item.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes))),
            false => drop(all.insert(name, fs::read(item.path()).expect("read"))),
        }
    }
    all
}

#[test]
fn train_and_test_are_one_data_set_and_copies_stay_with_their_source() {
    let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let before = sample(input.path());
    let config = json!({"parts": {"train": 0.7, "test": 0.3}, "seed": 2});
    let values = step(&config, input.path(), output.path()).expect("runs");
    assert_eq!(values["leaks"], 0, "copies are near-duplicates, and in one part");
    let made = Dataset::read(&output.path().join("parts")).expect("a data set");
    let sources = |entries: &[Entry]| entries.iter().map(|entry| entry.source.clone()).collect::<BTreeSet<_>>();
    assert!(sources(&made.train).is_disjoint(&sources(&made.test)));
    let by_name = |dataset: &Dataset| {
        let all = dataset.train.iter().chain(&dataset.test);
        all.map(|entry| (entry.filename.clone(), entry.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(by_name(&made), by_name(&before), "boxes and sizes come through");
    assert_eq!((values["counts"]["train"].as_u64(), values["counts"]["test"].as_u64()), (Some(29), Some(13)));
    let (was, is) = (files(input.path()), files(&output.path().join("parts")));
    for (path, bytes) in was.iter().filter(|(path, _)| path.ends_with(".jpg")) {
        let name = path.rsplit('/').next().expect("a name");
        let there: Vec<_> = is.iter().filter(|(path, _)| path.rsplit('/').next() == Some(name)).collect();
        assert!(there.len() == 1 && there[0].1 == bytes, "{path}");
    }
    assert_eq!(is["ATTRIBUTION.csv"], b"file,by\n");
    let both = &report(output.path())["strata"];
    assert_eq!(both[0]["stratum"], r#"["leaf","rust"]"#);
}

#[test]
fn other_parts_are_data_sets_of_their_own_and_the_same_bytes_every_time() {
    let input = tempfile::tempdir().expect("a folder");
    sample(input.path());
    let all = || {
        let output = tempfile::tempdir().expect("a folder");
        let config = json!({"parts": {"train": 0.6, "val": 0.2, "test": 0.2}});
        step(&config, input.path(), output.path()).expect("runs");
        let parts = ["train", "val", "test"].map(|part| Dataset::read(&output.path().join("parts").join(part)));
        let parts = parts.map(|part| part.expect("a data set"));
        assert!(parts.iter().all(|part| part.test.is_empty() && part.classes == ["leaf", "rust"]));
        assert_eq!(parts.iter().map(|part| part.train.len()).sum::<usize>(), 42);
        files(output.path())
    };
    let first = all();
    assert!(first.contains_key("parts/val/ATTRIBUTION.csv") && first.contains_key("parts/test/classes.json"));
    assert_eq!(first, all());
}

#[test]
fn near_duplicates_in_two_parts_are_refused_counted_or_joined() {
    let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    sample(input.path());
    let config = |more: Value| {
        let mut config = json!({"parts": {"train": 0.5, "test": 0.5}, "group": "none", "stratify": "none"});
        config.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        config
    };
    match step(&config(json!({})), input.path(), output.path()) {
        Err(Failure::BadInput(message)) => {
            assert!(message.contains("near-duplicate") && message.contains("~1.jpg` ("), "{message}");
            assert!(message.contains("`join_leaks: true` keeps them together"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(files(output.path()).is_empty(), "nothing is written before it is refused");
    let warned = step(&config(json!({"leaks": "warn"})), input.path(), output.path()).expect("runs");
    let told = report(output.path());
    assert!(warned["leaks"].as_u64() > Some(0) && told["leaks"]["across"] == warned["leaks"], "{told}");
    assert_eq!(told["leaks"]["pairs"].as_array().map(Vec::len), warned["leaks"].as_u64().map(|n| n as usize));
    let output = tempfile::tempdir().expect("a folder");
    let joined = step(&config(json!({"join_leaks": true})), input.path(), output.path()).expect("runs");
    assert_eq!((joined["leaks"].as_u64(), &report(output.path())["leaks"]["joined"]), (Some(0), &json!(12)));
    let made = Dataset::read(&output.path().join("parts")).expect("a data set");
    let sources = |entries: &[Entry]| entries.iter().map(|entry| entry.source.clone()).collect::<BTreeSet<_>>();
    assert!(sources(&made.train).is_disjoint(&sources(&made.test)), "copies were joined by their look alone");
    let output = tempfile::tempdir().expect("a folder");
    step(&config(json!({"leaks": "ignore"})), input.path(), output.path()).expect("runs");
    assert_eq!(report(output.path())["leaks"], Value::Null);
}

#[test]
fn bad_data_sets_are_refused_by_name() {
    let refused = |config: Value, spoil: &dyn Fn(&Path, &mut Dataset)| {
        let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut dataset = sample(input.path());
        spoil(input.path(), &mut dataset);
        dataset.write(input.path()).expect("written");
        step(&config, input.path(), output.path()).expect_err("should be refused").to_string()
    };
    let config = json!({"parts": {"train": 0.5, "test": 0.5}});
    let message = refused(config.clone(), &|root, dataset| {
        add(root, dataset, Split::Test, "p1.jpg", "p1.jpg", &[], 95);
    });
    assert!(message.contains("two pictures are called `p1.jpg`"), "{message}");
    let message = refused(config.clone(), &|root, _| fs::write(root.join("train/p1.jpg"), "GIF89a").expect("written"));
    assert!(message.starts_with("`train/p1.jpg`: neither"), "{message}");
    let message = refused(config.clone(), &|root, _| fs::remove_file(root.join("test/p27.jpg")).expect("removed"));
    assert!(message.starts_with("`test/p27.jpg`: "), "{message}");
    let message = refused(config, &|_, dataset| *dataset = Dataset::default());
    assert!(message.contains("the data set has no pictures"), "{message}");
    let config = json!({"parts": {"train": 0.5, "test": 0.5}, "stratify": "class"});
    let message = refused(config, &|_, _| {});
    assert_eq!(message, "`with.stratify`: `class` is not what a data set has: `classes` or `none` was expected");
}
