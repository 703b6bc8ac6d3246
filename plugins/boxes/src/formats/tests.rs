//! What is written is read back in each layout; what is hostile or wrong is refused by file and line.

use super::*;
use crate::{Dataset, Entry, Labelled, Picture, Rect};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const OTHERS: [Format; 4] = [Format::Flowrun, Format::Coco, Format::Voc, Format::Yolo];

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    Picture::plain(width, height, [90, 120, 30]).expect("a size within limits").encode_jpeg(50).expect("encodes")
}

fn put(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("a parent")).expect("made");
    fs::write(file, bytes).expect("written");
}

/// Writes a data set with plain pictures in the layout.
fn write_all(dataset: &Dataset, format: Format, root: &Path) {
    let layout = write(dataset, format, root).expect("written");
    for (split, paths) in Split::ALL.into_iter().zip(layout) {
        for (entry, path) in dataset.split(split).iter().zip(paths) {
            put(root, &path, jpeg(entry.width, entry.height));
        }
    }
}

fn read_all(root: &Path, format: Format) -> Result<Dataset, FormatError> {
    load(root, &Catalog::read(root).expect("listed"), format).map(|loaded| loaded.dataset)
}

/// A box as it is drawn by lot: its class, and its edges in thousandths of the picture's sides.
type Drawn = (usize, u32, u32, u32, u32);

fn entries(least: usize) -> impl Strategy<Value = Vec<Entry>> {
    let side = 1..700_u32;
    let one = (0..3_usize, 0..=1000_u32, 0..=1000_u32, 0..=1000_u32, 0..=1000_u32);
    let entry = (side.clone(), side, prop::collection::vec(one, 0..5));
    prop::collection::vec(entry, least..4).prop_map(|all| {
        let named = |(number, (width, height, boxes)): (usize, (u32, u32, Vec<Drawn>))| {
            let at = |thousandths: u32, side: u32| (thousandths * side / 1000) as i32;
            let boxes = boxes.into_iter().map(|(class, a, b, c, d)| Labelled {
                class: CLASSES[class].to_owned(),
                rect: Rect::new(at(a, width), at(b, height), at(c, width), at(d, height)),
            });
            let filename = format!("p {number}.x%2B&.jpg");
            Entry { source: filename.clone(), filename, width, height, boxes: boxes.collect() }
        };
        all.into_iter().enumerate().map(named).collect()
    })
}

const CLASSES: [&str; 3] = ["Äpfel, \"rot\"", "a: <b> & #c", "true"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_layout_gives_the_same_boxes_back(train in entries(1), test in entries(0)) {
        let mut classes = CLASSES.map(str::to_owned).to_vec();
        classes.sort();
        let dataset = Dataset { classes, train, test };
        for format in OTHERS {
            let folder = tempfile::tempdir().expect("a folder");
            write_all(&dataset, format, folder.path());
            let again = read_all(folder.path(), format).expect("read");
            let boxes = |dataset: &Dataset| Split::ALL.map(|split| {
                dataset.split(split).iter().map(|entry| (entry.width, entry.height, entry.boxes.clone())).collect::<Vec<_>>()
            });
            prop_assert_eq!(boxes(&again), boxes(&dataset), "{}", format.name());
            // VOC names classes in boxes only.
            if format != Format::Voc {
                prop_assert_eq!(&again.classes, &dataset.classes);
                prop_assert_eq!(&again, &dataset, "{}", format.name());
            }
        }
    }
}

fn small() -> Dataset {
    let entry = |filename: &str, rect| Entry {
        filename: filename.to_owned(),
        width: 40,
        height: 30,
        source: filename.to_owned(),
        boxes: vec![Labelled { class: "leaf".to_owned(), rect }],
    };
    Dataset {
        classes: vec!["leaf".to_owned()],
        train: vec![entry("a.jpg", Rect::new(0, 0, 10, 20)), entry("a.png", Rect::new(1, 2, 40, 30))],
        test: vec![entry("a.jpg", Rect::new(5, 6, 7, 8))],
    }
}

#[test]
fn each_layout_is_recognised_and_pictures_of_one_name_stay_apart() {
    for format in OTHERS {
        let folder = tempfile::tempdir().expect("a folder");
        write_all(&small(), format, folder.path());
        assert_eq!(detect(&Catalog::read(folder.path()).expect("listed")), Some(format));
        let again = read_all(folder.path(), format).expect("read");
        assert_eq!((again.train.len(), again.test.len()), (2, 1), "{}", format.name());
        assert_eq!(again.test[0].boxes, small().test[0].boxes);
    }
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "notes.json", "{\"images\": 3}");
    put(folder.path(), "a/readme.txt", "x");
    assert_eq!(detect(&Catalog::read(folder.path()).expect("listed")), None);
}

#[test]
fn the_numbers_are_those_that_each_layout_defines() {
    let text = |format: Format, path: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        write_all(&small(), format, folder.path());
        fs::read_to_string(folder.path().join(path)).expect("read")
    };
    // The first twenty rows of the first ten columns of 40 x 30 pixels.
    assert_eq!(text(Format::Yolo, "labels/train/a.txt"), "0 0.125000 0.333333 0.250000 0.666667\n");
    assert!(text(Format::Yolo, "data.yaml").ends_with("names:\n  0: \"leaf\"\n"));
    let xml: String = text(Format::Voc, "Annotations/a.xml").split_whitespace().collect();
    assert!(xml.contains("<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"), "{xml}");
    assert_eq!(text(Format::Voc, "ImageSets/Main/train.txt"), "a\na~2\n");
    let json: serde_json::Value =
        serde_json::from_str(&text(Format::Coco, "annotations/instances_train.json")).expect("JSON");
    assert_eq!(json["annotations"][1]["bbox"], serde_json::json!([1, 2, 39, 28]));
    assert_eq!((&json["categories"][0]["id"], &json["images"][1]["id"]), (&1.into(), &2.into()));
}

/// A reading of these files, and of a picture `images/a.jpg` of 40 x 30 pixels.
fn reading(format: Format, files: &[(&str, &str)]) -> Result<Dataset, String> {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "images/a.jpg", jpeg(40, 30));
    files.iter().for_each(|(path, text)| put(folder.path(), path, text));
    read_all(folder.path(), format).map_err(|error| error.to_string())
}

fn refused(format: Format, files: &[(&str, &str)]) -> String {
    reading(format, files).expect_err("should be refused")
}

fn voc(inner: &str) -> String {
    refused(Format::Voc, &[("a.xml", inner)])
}

#[test]
fn hostile_xml_is_refused_by_line() {
    let bomb = "<?xml version=\"1.0\"?>\n<!DOCTYPE a [<!ENTITY x \"ha\">]>\n<annotation>&x;</annotation>";
    assert_eq!(voc(bomb), "`a.xml` (line 2): a document type, which no annotation needs");
    assert_eq!(voc("<annotation>\n&x;</annotation>"), "`a.xml` (line 2): an entity that is not XML's own");
    assert!(voc(&("<annotation>".to_owned() + &"<a>".repeat(100_000))).contains("elements more than 32 deep"));
    assert!(voc("<annotation>\n<filename>a.jpg</filename>").contains("(line 2): the file ends in the middle"));
    assert!(voc("<annotation>\n<a></b></annotation>").contains("`a.xml` (line 2): "));
    for name in ["../a.jpg", "/images/a.jpg", "images\\a.jpg", "x/../a.jpg"] {
        let message = voc(&format!("<annotation>\n<filename>{name}</filename></annotation>"));
        assert!(message.starts_with("`a.xml` (line 2): ") && message.contains("leads out"), "{message}");
    }
}

#[test]
fn voc_as_people_write_it_is_read() {
    let object = "<object><name>leaf &amp; stem</name><part><name>tip</name><bndbox><xmin>9</xmin></bndbox></part>\
        <bndbox><xmax>10.4</xmax><ymin> 1 </ymin><xmin>1</xmin><ymax>20</ymax></bndbox></object>";
    let xml = format!("<annotation>\n<filename>other</filename>{object}</annotation>");
    let dataset = reading(Format::Voc, &[("labels/a.xml", &xml)]).expect("read");
    let expected = Labelled { class: "leaf & stem".to_owned(), rect: Rect::new(0, 0, 10, 20) };
    assert_eq!(dataset.train[0].boxes, [expected]);
    let nan = xml.replace("10.4", "NaN");
    let message = refused(Format::Voc, &[("labels/a.xml", &nan)]);
    assert_eq!(message, "`labels/a.xml` (line 2): an edge that is not a number of pixels");
    let size = xml.replace("<filename>", "<size><width>41</width><height>30</height></size><filename>");
    let message = refused(Format::Voc, &[("labels/a.xml", &size)]);
    assert!(message.contains("`a.jpg` has 40 x 30 pixels, this says 41 x 30"), "{message}");
}

fn coco(images: &str, annotations: &str) -> String {
    let categories = "\"categories\": [{\"id\": 3, \"name\": \"leaf\"}]";
    let text = format!("{{\"images\": [{images}],\n\"annotations\": [{annotations}],\n{categories}}}");
    match reading(Format::Coco, &[("a.json", &text)]) {
        Ok(dataset) => format!("{:?}", dataset.train.iter().map(|entry| &entry.boxes).collect::<Vec<_>>()),
        Err(message) => message,
    }
}

#[test]
fn coco_that_is_wrong_is_refused_by_line() {
    let image = r#"{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}"#;
    let one = r#"{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1.4, 2, 3, 4]}"#;
    assert!(coco(image, one).contains("xmin: 1, ymin: 2, xmax: 4, ymax: 6"), "{}", coco(image, one));
    assert!(coco(image, &one.replace("1.4", "NaN")).starts_with("`a.json` (line 2): "));
    assert!(coco(image, &one.replace("1.4", "1e300")).contains("(line 2): an edge that is not a number"));
    assert_eq!(coco(image, &one.replace("_id\": 1", "_id\": 9")), "`a.json` (line 2): no picture has the id 9");
    assert_eq!(
        coco(image, &one.replace("_id\": 3", "_id\": 9")),
        "`a.json` (line 2): `a.jpg`: no category has the id 9"
    );
    assert!(coco(image, "{}").contains("`a.json` (line 2): missing field `image_id`"));
    assert!(
        coco(&image.replace("a.jpg", "../a.jpg"), "").contains("`a.json` (line 1): `../a.jpg`: a name that leads out")
    );
    assert!(coco(&image.replace("a.jpg", "b.jpg"), "").contains("no such picture"));
    assert!(coco(&format!("{image}, {image}"), "").contains("a second picture of the id 1"));
}

#[test]
fn yolo_that_is_wrong_is_refused_by_line() {
    let yaml = ("data.yaml", "train: ../../etc\nnames: [leaf, 7]\n");
    let labels = |text| [yaml, ("labels/a.txt", text)];
    let dataset = reading(Format::Yolo, &labels("\n1 0.5 0.5 1 1\n")).expect("read");
    assert_eq!(dataset.train[0].boxes, [Labelled { class: "7".to_owned(), rect: Rect::new(0, 0, 40, 30) }]);
    assert!(
        refused(Format::Yolo, &labels("0 0.5 0.5 1 1\n2 0 0 0 0"))
            .contains("`labels/a.txt` (line 2): `a.jpg`: no class")
    );
    assert!(refused(Format::Yolo, &labels("0 0.5 0.5 1 1 0.9")).contains("6 numbers"));
    for bad in ["0 nan 0 0 0", "0 x 0 0 0", "0 inf 0 0 0", "0 1e9 0 0 0"] {
        let message = refused(Format::Yolo, &labels(bad));
        assert_eq!(message, "`labels/a.txt` (line 1): an edge that is not a number of pixels");
    }
    let bomb = "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n\
        d: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nnames: *e\n";
    assert!(refused(Format::Yolo, &[("data.yaml", bomb), ("labels/a.txt", "0 0 0 0 0")]).contains("`data.yaml`"));
    let listed = reading(Format::Yolo, &[("classes.txt", "leaf\r\nstem\r\n"), ("images/a.txt", "1 0.5 0.5 1 1")]);
    assert_eq!(listed.expect("read").train[0].boxes[0].class, "stem");
}

#[test]
fn valid_is_test_where_there_is_no_test_and_else_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "data.yaml", "names: {0: leaf}");
    for split in ["train", "valid"] {
        put(folder.path(), &format!("{split}/images/{split}.jpg"), jpeg(40, 30));
    }
    put(folder.path(), "valid/labels/valid.txt", "0 0.5 0.5 1 1");
    let names = |root: &Path| {
        let catalog = Catalog::read(root).expect("listed");
        let loaded = load(root, &catalog, Format::Yolo).expect("read");
        let of = |split| loaded.dataset.split(split).iter().map(|entry| entry.filename.clone()).collect::<Vec<_>>();
        (Split::ALL.map(of), loaded.unused)
    };
    assert_eq!(names(folder.path()), ([vec!["train.jpg".into()], vec!["valid.jpg".into()]], vec![]));
    put(folder.path(), "test/images/test.jpg", jpeg(40, 30));
    let unused = vec!["valid/images/valid.jpg".to_owned()];
    assert_eq!(names(folder.path()), ([vec!["train.jpg".into()], vec!["test.jpg".into()]], unused));
}

#[test]
fn damaged_files_never_panic() {
    for format in [Format::Coco, Format::Voc, Format::Yolo] {
        let folder = tempfile::tempdir().expect("a folder");
        write_all(&small(), format, folder.path());
        let texts = |file: &&crate::File| !file.path.ends_with(".jpg") && !file.path.ends_with(".png");
        let files: BTreeMap<String, Vec<u8>> = Catalog::read(folder.path())
            .expect("listed")
            .files
            .iter()
            .filter(texts)
            .map(|file| (file.path.clone(), file.read(1 << 20).expect("read")))
            .collect();
        for (path, bytes) in files {
            for at in (0..bytes.len()).step_by(7) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x1F;
                put(folder.path(), &path, &damaged);
                drop(read_all(folder.path(), format));
                put(folder.path(), &path, &bytes[..at]);
                drop(read_all(folder.path(), format));
            }
            put(folder.path(), &path, &bytes);
        }
        read_all(folder.path(), format).expect("whole again");
    }
}
