//! The whole step on small made data sets: other layouts, and files that mean harm.

use crate::done::{Done, run};
use boxes::{Dataset, Picture};
use flowrun_plugin::{Failure, Value};
use std::fs;
use std::path::Path;

const HEADER: &str = "filename,width,height,class,xmin,ymin,xmax,ymax\n";

fn jpeg(shade: u8) -> Vec<u8> {
    let picture = Picture::plain(40, 30, [shade, 120, 60]).expect("a size within limits");
    picture.encode_jpeg(90).expect("encodes")
}

fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, bytes).expect("written");
}

fn kinds(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = report["findings"].as_array().expect("a list").iter();
    list.map(|finding| (text(&finding["kind"]), text(&finding["action"]))).collect()
}

/// A tar; names are written as they are, which the `tar` crate's own builder refuses for hostile ones.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn a_tar_with_a_copy_of_its_table_beside_it_gets_a_test_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut table, mut files) = (HEADER.to_owned(), Vec::new());
    for number in 0..40 {
        let class = if number < 20 { "a" } else { "b" };
        table += &format!("{number}.jpg,40,30,{class},1,2,20,21\n");
        files.push((format!("train/{number}.jpg"), jpeg(number)));
    }
    files.push(("train/bare.jpg".to_owned(), jpeg(99)));
    files.push(("train_labels.csv".to_owned(), table.clone().into_bytes()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    write(folder.path(), "train.tar", tar_of(&files));
    write(folder.path(), "train_labels.csv", &table);
    let Done { values, report, dataset, .. } = run(r#"{"test_fraction": 0.2}"#, folder.path()).expect("runs");
    assert_eq!((&values["images"], &values["boxes"], &values["classes"]), (&41.into(), &40.into(), &2.into()));
    let mut kinds = kinds(&report);
    kinds.sort();
    let kept = |kind: &str| (kind.to_owned(), "kept".to_owned());
    assert_eq!(kinds, [kept("picture_without_boxes"), kept("test_split_made")]);
    let of = |class: &str| dataset.test.iter().filter(|entry| entry.boxes[0].class == class).count();
    assert_eq!((of("a"), of("b"), dataset.test.len(), dataset.train.len()), (4, 4, 8, 33));
    // The tar alone gives the same, and so does the same seed again; another seed holds out others.
    let names = |dataset: &Dataset| dataset.test.iter().map(|entry| entry.filename.clone()).collect::<Vec<_>>();
    let alone = run(r#"{"test_fraction": 0.2}"#, &folder.path().join("train.tar")).expect("runs").dataset;
    assert_eq!(alone, dataset);
    let other = run(r#"{"test_fraction": 0.2, "seed": 1}"#, folder.path()).expect("runs").dataset;
    assert_ne!(names(&other), names(&dataset));
}

#[test]
fn harmful_names_stay_outside_and_the_rest_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input");
    let picture = jpeg(9);
    write(folder.path(), "secret.jpg", jpeg(77));
    let files: [(&str, &[u8]); 4] =
        [("train/a.jpg", &picture), ("../b.jpg", &picture), ("/tmp/c.jpg", &picture), ("train/../../d.jpg", &picture)];
    write(&input, "train.tar", tar_of(&files));
    let absolute = folder.path().join("secret.jpg").display().to_string();
    let rows = ["a.jpg", "../secret.jpg", &absolute, "..\\secret.jpg", "%2e%2e%2fsecret.jpg", "train/../../secret.jpg"];
    let rows: String = rows.iter().map(|name| format!("{name},40,30,a,1,2,20,21\n")).collect();
    write(&input, "train.csv", HEADER.to_owned() + &rows);
    let Done { report, dataset, .. } = run(r#"{"test_fraction": 0}"#, &input).expect("runs");
    assert_eq!(dataset.train.iter().map(|entry| entry.filename.as_str()).collect::<Vec<_>>(), ["a.jpg"]);
    let count = |kind: &str| report["counts"][kind].as_u64().unwrap_or(0);
    assert_eq!(
        (count("unsafe_name"), count("unsafe_filename"), count("missing_file")),
        (3, 4, 1),
        "{:?}",
        kinds(&report)
    );
}

#[test]
fn unreadable_pictures_are_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = jpeg(9);
    let mut huge = whole.clone();
    let start = huge.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
    huge[start + 5..start + 9].fill(0xFF);
    let files: [(&str, &[u8]); 6] = [
        ("good.jpg", &whole),
        ("cut.jpg", &whole[..whole.len() - 40]),
        ("empty.jpg", b""),
        ("text.png", b"hello"),
        ("huge.jpg", &huge),
        ("cut.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
    ];
    let mut table = HEADER.to_owned();
    for (name, bytes) in files {
        write(folder.path(), &format!("train/{name}"), bytes);
        table += &format!("{name},40,30,a,1,2,20,21\n");
    }
    write(folder.path(), "train.csv", table);
    let Done { report, dataset, .. } = run(r#"{"test_fraction": 0}"#, folder.path()).expect("runs");
    assert_eq!(report["counts"]["unreadable_picture"], 5);
    assert_eq!(dataset.train.len(), 1);
    assert!(matches!(run(r#"{"strict": true}"#, folder.path()), Err(Failure::BadInput(_))));
}

#[test]
fn boxes_in_the_scale_of_a_stated_size_are_scaled() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "train/a.jpg", jpeg(1));
    write(folder.path(), "train/b.jpg", jpeg(2));
    let table = HEADER.to_owned() + "a.jpg,80,60,x,10,20,80,60\na.jpg,80,60,x,10,20,30,28\nb.jpg,90,90,x,1,2,3,9\n";
    write(folder.path(), "train.csv", table);
    let dataset = run(r#"{"test_fraction": 0}"#, folder.path()).expect("runs").dataset;
    let rects: Vec<_> = dataset.train.iter().flat_map(|entry| &entry.boxes).map(|labelled| labelled.rect).collect();
    assert_eq!(rects, [boxes::Rect::new(5, 10, 40, 30), boxes::Rect::new(5, 10, 15, 14), boxes::Rect::new(1, 2, 3, 9)]);
}

#[test]
fn one_folder_for_both_splits_and_a_picture_in_both() {
    let folder = tempfile::tempdir().expect("a folder");
    for (shade, name) in ["a.jpg", "b.jpg", "c.jpg", "d.jpg"].into_iter().enumerate() {
        write(folder.path(), &format!("images/{name}"), jpeg(60 * u8::try_from(shade).expect("small")));
    }
    write(folder.path(), "train.csv", HEADER.to_owned() + "a.jpg,40,30,x,1,2,20,21\nb.jpg,40,30,x,1,2,20,21\n");
    write(folder.path(), "test.csv", HEADER.to_owned() + "images/b.jpg,40,30,x,1,2,20,21\nc.jpg,40,30,x,1,2,20,21\n");
    let Done { report, dataset, .. } = run("{}", folder.path()).expect("runs");
    let names = |entries: &[boxes::Entry]| entries.iter().map(|entry| entry.filename.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&dataset.train), names(&dataset.test)),
        (vec!["a.jpg".into(), "d.jpg".into()], vec!["b.jpg".into(), "c.jpg".into()])
    );
    let mut kinds = kinds(&report);
    kinds.sort();
    let one = |kind: &str, action: &str| (kind.to_owned(), action.to_owned());
    assert_eq!(kinds, [one("picture_in_both_splits", "dropped"), one("picture_without_boxes", "kept")]);
}

#[test]
fn rubbish_tables_do_not_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "train/a.jpg", jpeg(1));
    let rows: [&[u8]; 7] = [
        b"a.jpg,40,30,x,1e999,-1e999,NaN,inf\n",
        b"a.jpg,99999999999999999999,-5,x,-9999999,-9999999,9999999,9999999\n",
        b"\xFF\xFE,\xFF,\xFF,\xFF,\xFF,\xFF,\xFF,\xFF\n",
        b"a.jpg,40,30\n",
        b",,,,,,,\n",
        b"a.jpg,40.0,30.4, x ,1.4,2,20.6,21\n",
        b"\"unclosed,40,30,x,1,2,3,4\n",
    ];
    write(folder.path(), "train.csv", [HEADER.as_bytes(), &rows.concat()].concat());
    let Done { values, dataset, .. } = run(r#"{"test_fraction": 0}"#, folder.path()).expect("runs");
    assert_eq!(values["images"], 1);
    let rects: Vec<_> = dataset.train[0].boxes.iter().map(|labelled| labelled.rect).collect();
    assert_eq!(rects, [boxes::Rect::new(0, 0, 40, 30), boxes::Rect::new(1, 2, 21, 21)]);
}
