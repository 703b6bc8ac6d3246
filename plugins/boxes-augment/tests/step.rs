//! The whole step on painted pictures: a bright rectangle on a dark ground is its own proof of where its box must be.

use boxes::{Dataset, Entry, Labelled, Picture, Rect, Split};
use boxes_augment::{BoxesAugment, copy_name};
use flowrun_plugin::{Failure, Host, Place, Task, Values, run};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const RECTS: [Rect; 5] = [
    Rect { xmin: 10, ymin: 20, xmax: 70, ymax: 90 },
    Rect { xmin: 100, ymin: 4, xmax: 158, ymax: 60 },
    Rect { xmin: 0, ymin: 0, xmax: 30, ymax: 120 },
    Rect { xmin: 140, ymin: 100, xmax: 160, ymax: 120 },
    Rect { xmin: 20, ymin: 10, xmax: 150, ymax: 40 },
];

fn painted(rect: &Rect) -> Picture {
    let mut picture = Picture::plain(160, 120, [30, 50, 35]).expect("a size within limits");
    let (left, right) = (rect.xmin as usize * 3, rect.xmax as usize * 3);
    for row in picture.bytes_mut().chunks_exact_mut(160 * 3).take(rect.ymax as usize).skip(rect.ymin as usize) {
        row[left..right].as_chunks_mut::<3>().0.fill([210, 190, 200]);
    }
    picture
}

fn entry(root: &Path, split: Split, name: &str, rect: Option<Rect>) -> Entry {
    fs::create_dir_all(root.join(split.name())).expect("a folder");
    let picture = painted(&rect.unwrap_or(Rect::new(0, 0, 0, 0)));
    fs::write(root.join(split.name()).join(name), picture.encode_jpeg(95).expect("encodes")).expect("written");
    let boxes = rect.into_iter().map(|rect| Labelled { class: "leaf, ill".into(), rect }).collect();
    Entry { filename: name.into(), width: 160, height: 120, source: name.into(), boxes }
}

fn sample(root: &Path) -> Dataset {
    let mut train: Vec<Entry> = (0..)
        .zip(RECTS)
        .map(|(number, rect)| entry(root, Split::Train, &format!("a%2B{number} +=&.jpg"), Some(rect)))
        .collect();
    train.push(entry(root, Split::Train, "bare.JPG", None));
    let test = vec![entry(root, Split::Test, "t.jpg", Some(RECTS[0])), entry(root, Split::Test, "u.jpg", None)];
    let dataset = Dataset { classes: vec!["leaf, ill".into()], train, test };
    dataset.write(root).expect("written");
    fs::write(root.join("ATTRIBUTION.csv"), "file,by\nt.jpg,someone\n").expect("written");
    // Not what the writer of tables would write: these bytes must come through all the same.
    let table = fs::read_to_string(root.join("test.csv")).expect("read");
    fs::write(root.join("test.csv"), table.replace('\n', "\r\n")).expect("written");
    fs::write(root.join("classes.json"), "[ \"leaf, ill\" ]").expect("written");
    dataset
}

fn step(config: &str, input: &Path, output: &Path) -> Result<Values, Failure> {
    let place = |path: &Path| vec![Place { name: "dataset".into(), path: path.to_path_buf() }];
    run::<BoxesAugment>(config, &Task::new(place(input), place(output), Host::Silent))
}

fn files(root: &Path, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let items = fs::read_dir(root.join(folder)).expect("a folder").map(|item| item.expect("an item"));
    let files = items.filter(|item| item.path().is_file());
    files.map(|item| (item.file_name().into_string().expect("UTF-8"), fs::read(item.path()).expect("read"))).collect()
}

/// Where the brighter pixels are, and how much brighter than the rest.
fn found(picture: &Picture) -> (Rect, f64) {
    let greys: Vec<i32> = picture.pixels().map(|pixel| pixel.iter().map(|byte| i32::from(*byte)).sum()).collect();
    let middle = (greys.iter().min().expect("pixels") + greys.iter().max().expect("pixels")) / 2;
    let width = picture.width() as usize;
    let bright: Vec<(i32, i32)> = greys
        .iter()
        .enumerate()
        .filter(|(_, grey)| **grey > middle)
        .map(|(at, _)| ((at % width) as i32, (at / width) as i32))
        .collect();
    let (xs, ys) = (|| bright.iter().map(|(x, _)| *x), || bright.iter().map(|(_, y)| *y));
    let rect = Rect::new(
        xs().min().expect("bright"),
        ys().min().expect("bright"),
        xs().max().expect("bright") + 1,
        ys().max().expect("bright") + 1,
    );
    (rect, contrast(picture, &rect))
}

/// Mean of the bytes inside a box less that of the bytes outside.
fn contrast(picture: &Picture, rect: &Rect) -> f64 {
    let (mut sums, mut counts) = ([0.0; 2], [0.0_f64; 2]);
    for (at, pixel) in (0..).zip(picture.pixels()) {
        let (x, y) = (at % picture.width() as i32, at / picture.width() as i32);
        let side = usize::from((rect.xmin..rect.xmax).contains(&x) && (rect.ymin..rect.ymax).contains(&y));
        sums[side] += pixel.iter().map(|byte| f64::from(*byte)).sum::<f64>() / 3.0;
        counts[side] += 1.0;
    }
    sums[1] / counts[1].max(1.0) - sums[0] / counts[0].max(1.0)
}

#[test]
fn boxes_move_with_what_is_in_them() {
    for config in [r#"{"copies": 12}"#, r#"{"copies": 12, "crop": 0.3, "size": 96, "seed": 5}"#] {
        let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        sample(input.path());
        step(config, input.path(), output.path()).expect("runs");
        let made = Dataset::read(output.path()).expect("read");
        let copies: Vec<&Entry> = made.train.iter().filter(|entry| entry.source != entry.filename).collect();
        assert_eq!(copies.len(), 12 * 6);
        for entry in copies {
            let bytes = fs::read(output.path().join("train").join(&entry.filename)).expect("a picture");
            let picture = Picture::decode(&bytes).expect("decodes");
            assert_eq!((picture.width(), picture.height()), (entry.width, entry.height));
            assert!(entry.boxes.len() == usize::from(entry.source != "bare.JPG"), "{entry:?}");
            for one in &entry.boxes {
                let whole = Rect::whole(entry.width, entry.height);
                assert!(one.rect.clipped(&whole) == one.rect && one.rect.area() > 0, "{entry:?}");
                let (rect, brighter) = found(&picture);
                // A box that fills its copy has no outside to be brighter than.
                assert!(one.rect == whole || brighter > 50.0, "{entry:?}: brighter by {brighter}");
                assert!(one.rect == whole || contrast(&picture, &one.rect) > 50.0, "{entry:?}");
                let edges = |rect: &Rect| [rect.xmin, rect.ymin, rect.xmax, rect.ymax];
                let far = edges(&one.rect).iter().zip(edges(&rect)).map(|(a, b)| a.abs_diff(b)).max();
                assert!(one.rect == whole || far <= Some(3), "{entry:?}: found at {rect:?}");
            }
        }
    }
}

#[test]
fn originals_and_test_split_are_untouched() {
    let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let before = sample(input.path());
    let values = step("", input.path(), output.path()).expect("runs");
    let (was, is) = (files(input.path(), "train"), files(output.path(), "train"));
    assert_eq!((was.len(), is.len()), (6, 24));
    assert!(was.iter().all(|(name, bytes)| is.get(name) == Some(bytes)));
    assert!(is.contains_key("a%2B0 +=&~1.jpg") && is.contains_key("bare.JPG~3.jpg"));
    assert_eq!(files(input.path(), "test"), files(output.path(), "test"));
    let (was, is) = (files(input.path(), ""), files(output.path(), ""));
    for name in ["test.csv", "classes.json", "ATTRIBUTION.csv"] {
        assert_eq!(was[name], is[name], "{name}");
    }
    let after = Dataset::read(output.path()).expect("read");
    assert_eq!(after.test, before.test);
    assert!(before.train.iter().all(|entry| after.train.contains(entry)));
    assert_eq!((values["images"].as_u64(), values["boxes"].as_u64()), (Some(26), Some(5 * 4 + 1)));
}

#[test]
fn a_seed_gives_the_same_bytes_whatever_else_is_there() {
    let input = tempfile::tempdir().expect("a folder");
    let mut dataset = sample(input.path());
    let made = |config: &str| {
        let output = tempfile::tempdir().expect("a folder");
        step(config, input.path(), output.path()).expect("runs");
        let mut all = files(output.path(), "train");
        all.extend(files(output.path(), ""));
        all
    };
    let first = made(r#"{"seed": 1}"#);
    assert_eq!(first, made(r#"{"seed": 1}"#));
    let other = made(r#"{"seed": 2}"#);
    let changed = first.iter().filter(|(name, bytes)| name.contains('~') && other[*name] != **bytes).count();
    assert_eq!(changed, 18);
    dataset.train.reverse();
    dataset.train.truncate(3);
    dataset.write(input.path()).expect("written");
    let fewer = made(r#"{"seed": 1}"#);
    assert_eq!(fewer.keys().filter(|name| name.contains('~')).count(), 9);
    assert!(fewer.iter().all(|(name, bytes)| !name.contains('~') || first[name] == *bytes));
}

#[test]
fn copies_can_be_plain_or_negatives_or_none() {
    let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    sample(input.path());
    let negative = r#"{"copies": 1, "flip": false, "crop": 1, "colour": 0, "invert": 1}"#;
    step(negative, input.path(), output.path()).expect("runs");
    let bytes = fs::read(output.path().join("train/a%2B0 +=&~1.jpg")).expect("a picture");
    let difference = contrast(&Picture::decode(&bytes).expect("decodes"), &RECTS[0]);
    assert!(difference < -140.0, "{difference}");
    let output = tempfile::tempdir().expect("a folder");
    step(r#"{"copies": 0}"#, input.path(), output.path()).expect("runs");
    assert_eq!(files(input.path(), "train"), files(output.path(), "train"));
}

#[test]
fn wrong_configurations_name_their_key() {
    let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    sample(input.path());
    for (key, value) in [
        ("copies", "21"),
        ("copies", "-1"),
        ("flip", "1"),
        ("crop", "0"),
        ("crop", "1.1"),
        ("colour", "-0.1"),
        ("invert", "2"),
        ("seed", "\"x\""),
        ("size", "8"),
        ("rotate", "true"),
    ] {
        match step(&format!("{{\"{key}\": {value}}}"), input.path(), output.path()) {
            Err(Failure::BadConfig { path, .. }) => assert_eq!(path, key),
            other => panic!("{key}: {value} gave {other:?}"),
        }
    }
    assert!(files(output.path(), "").is_empty());
}

#[test]
fn bad_data_is_refused_by_name() {
    let refused = |spoil: &dyn Fn(&Path, &mut Dataset)| {
        let (input, output) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut dataset = sample(input.path());
        spoil(input.path(), &mut dataset);
        dataset.write(input.path()).expect("written");
        match step("", input.path(), output.path()) {
            Err(Failure::BadInput(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    let message = refused(&|root, dataset| dataset.train.push(entry(root, Split::Train, "bare.JPG~1.jpg", None)));
    assert!(message.contains("`bare.JPG~1.jpg`"), "{message}");
    let message = refused(&|root, _| fs::write(root.join("train/bare.JPG"), b"GIF89a").expect("written"));
    assert!(message.contains("`train/bare.JPG`: neither"), "{message}");
    let message = refused(&|root, _| fs::remove_file(root.join("train/bare.JPG")).expect("removed"));
    assert!(message.contains("`train/bare.JPG`"), "{message}");
    let message = refused(&|_, dataset| dataset.train[0].width = 161);
    assert!(message.contains("160 x 120 pixels, `images.csv` says 161 x 120"), "{message}");
}

#[test]
fn copies_of_long_names_have_names_that_fit() {
    let long = "ü".repeat(125) + "x.jpg";
    let other = "ü".repeat(125) + "y.jpg";
    assert!(copy_name(&long, 20).len() <= 255 && copy_name(&long, 20).ends_with("~20.jpg"));
    assert_ne!(copy_name(&long, 1), copy_name(&other, 1));
    assert_eq!(copy_name("a~b.jpg", 1), "a~b~1.jpg");
}
