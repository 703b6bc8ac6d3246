//! Writes the annotations of a data set in a layout, and says where its pictures belong.
//!
//! ```text
//! coco   annotations/instances_train.json, instances_test.json     train/NAME  test/NAME
//! voc    Annotations/ID.xml, ImageSets/Main/train.txt, test.txt    JPEGImages/ID.jpg
//! yolo   labels/train/ID.txt, labels/test/ID.txt, data.yaml        images/train/ID.jpg  images/test/ID.jpg
//! ```
//!
//! `ID` is the picture's name less its ending; where two would be the same (`a.jpg` and `a.png`, or in VOC one name in train
//! and test), the later one gets `~2`, `~3` before its ending. `source` is in our own layout only.

use super::lookup::stem;
use super::{Format, FormatError};
use crate::catalog::{is_plain_name, printable};
use crate::dataset::{Dataset, Entry, Labelled, Split};
use crate::rect::Rect;
use quick_xml::Writer;
use quick_xml::events::BytesText;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// Where each picture of train and of test belongs, as a path in the data set; the folders are there.
pub type Layout = [Vec<String>; 2];

/// Writes all but the pictures into the existing folder `root`.
///
/// # Errors
/// [`FormatError`]: a name that is not plain or twice in a split, a class that is not in the list, a picture without pixels,
/// or what the file system says.
pub fn write(dataset: &Dataset, format: Format, root: &Path) -> Result<Layout, FormatError> {
    let numbers = check(dataset)?;
    match format {
        Format::Flowrun => {
            dataset.write(root).map_err(|error| FormatError::file(".", error))?;
            Ok(named(dataset, |split, entry| format!("{}/{}", split.name(), entry.filename)))
        }
        Format::Coco => coco(dataset, &numbers, root),
        Format::Voc => voc(dataset, root),
        Format::Yolo => yolo(dataset, &numbers, root),
    }
}

/// Refuses what no layout can hold; gives each class's number.
fn check(dataset: &Dataset) -> Result<HashMap<&str, usize>, FormatError> {
    let numbers: HashMap<&str, usize> = dataset.classes.iter().map(String::as_str).zip(0..).collect();
    if let Some(class) = dataset.classes.iter().find(|class| class.contains(char::is_control)) {
        return Err(FormatError::file(".", format!("the class `{}` has control characters", printable(class))));
    }
    for split in Split::ALL {
        let mut seen = BTreeSet::new();
        for entry in dataset.split(split) {
            let wrong =
                |message: String| Err(FormatError::file(&format!("{}/{}", split.name(), entry.filename), message));
            if !is_plain_name(&entry.filename) || entry.width == 0 || entry.height == 0 {
                return wrong("not a plain file name, or a picture without pixels".to_owned());
            }
            if !seen.insert(&entry.filename) {
                return wrong("a second picture of this name".to_owned());
            }
            if let Some(one) = entry.boxes.iter().find(|one| !numbers.contains_key(one.class.as_str())) {
                return wrong(format!("the class `{}` is not in the list of classes", printable(&one.class)));
            }
        }
    }
    Ok(numbers)
}

fn named(dataset: &Dataset, path: impl Fn(Split, &Entry) -> String) -> Layout {
    Split::ALL.map(|split| dataset.split(split).iter().map(|entry| path(split, entry)).collect())
}

fn put(root: &Path, path: &str, text: &str) -> Result<(), FormatError> {
    let file = root.join(path);
    let parent = file.parent().map_or(Ok(()), fs::create_dir_all);
    parent.and_then(|()| fs::write(&file, text)).map_err(|error| FormatError::file(path, error))
}

fn folder(root: &Path, path: &str) -> Result<(), FormatError> {
    fs::create_dir_all(root.join(path)).map_err(|error| FormatError::file(path, error))
}

fn coco(dataset: &Dataset, numbers: &HashMap<&str, usize>, root: &Path) -> Result<Layout, FormatError> {
    let categories: Vec<_> =
        (1..).zip(&dataset.classes).map(|(id, name)| json!({"id": id, "name": name, "supercategory": ""})).collect();
    let mut id = 0;
    for split in Split::ALL {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (image, entry) in (1..).zip(dataset.split(split)) {
            let Entry { filename, width, height, .. } = entry;
            images.push(json!({"id": image, "file_name": filename, "width": width, "height": height}));
            for Labelled { class, rect } in &entry.boxes {
                id += 1;
                let category = numbers.get(class.as_str()).map_or(0, |number| number + 1);
                let [x, y, width, height] = sides(rect);
                annotations.push(json!({
                    "id": id, "image_id": image, "category_id": category, "iscrowd": 0,
                    "bbox": [x, y, width, height], "area": width * height,
                }));
            }
        }
        let whole = json!({"images": images, "annotations": annotations, "categories": categories});
        put(root, &format!("annotations/instances_{}.json", split.name()), &format!("{whole:#}\n"))?;
        folder(root, split.name())?;
    }
    Ok(named(dataset, |split, entry| format!("{}/{}", split.name(), entry.filename)))
}

/// Left edge, upper edge, width, height; the sides are below 0 where the edges are swapped.
fn sides(rect: &Rect) -> [i64; 4] {
    let [xmin, ymin, xmax, ymax] = [rect.xmin, rect.ymin, rect.xmax, rect.ymax].map(i64::from);
    [xmin, ymin, xmax - xmin, ymax - ymin]
}

/// Names such that no two are the same but for their endings.
#[derive(Default)]
struct Stems(BTreeSet<String>);

impl Stems {
    fn name(&mut self, filename: &str) -> String {
        let own = stem(filename);
        let ending = &filename[own.len()..];
        let fresh =
            |number: &u64| !self.0.contains(&if *number == 1 { own.to_owned() } else { format!("{own}~{number}") });
        let number = (1..).find(fresh).unwrap_or(1);
        let id = if number == 1 { own.to_owned() } else { format!("{own}~{number}") };
        let name = format!("{id}{ending}");
        self.0.insert(id);
        name
    }
}

fn voc(dataset: &Dataset, root: &Path) -> Result<Layout, FormatError> {
    let mut stems = Stems::default();
    let mut layout: Layout = [Vec::new(), Vec::new()];
    folder(root, "Annotations")?;
    folder(root, "JPEGImages")?;
    for split in Split::ALL {
        let mut list = String::new();
        for entry in dataset.split(split) {
            let name = stems.name(&entry.filename);
            let id = stem(&name);
            if id.trim() != id || id.is_empty() {
                let message = "VOC's lists of pictures cannot hold a name that starts or ends with blanks";
                return Err(FormatError::file(&format!("{}/{}", split.name(), entry.filename), message));
            }
            list.push_str(id);
            list.push('\n');
            let path = format!("Annotations/{id}.xml");
            let xml = xml(entry, &name).map_err(|error| FormatError::file(&path, error))?;
            put(root, &path, &xml)?;
            layout[split as usize].push(format!("JPEGImages/{name}"));
        }
        put(root, &format!("ImageSets/Main/{}.txt", split.name()), &list)?;
    }
    Ok(layout)
}

fn xml(entry: &Entry, name: &str) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b'\t', 1);
    fn leaf(writer: &mut Writer<Vec<u8>>, name: &str, value: &str) -> io::Result<()> {
        writer.create_element(name).write_text_content(BytesText::new(value)).map(drop)
    }
    let annotation = writer.create_element("annotation");
    annotation.write_inner_content(|writer| {
        leaf(writer, "folder", "JPEGImages")?;
        leaf(writer, "filename", name)?;
        writer.create_element("size").write_inner_content(|writer| {
            leaf(writer, "width", &entry.width.to_string())?;
            leaf(writer, "height", &entry.height.to_string())?;
            leaf(writer, "depth", "3")
        })?;
        leaf(writer, "segmented", "0")?;
        for Labelled { class, rect } in &entry.boxes {
            writer.create_element("object").write_inner_content(|writer| {
                leaf(writer, "name", class)?;
                leaf(writer, "pose", "Unspecified")?;
                leaf(writer, "truncated", "0")?;
                leaf(writer, "difficult", "0")?;
                writer.create_element("bndbox").write_inner_content(|writer| {
                    leaf(writer, "xmin", &(i64::from(rect.xmin) + 1).to_string())?;
                    leaf(writer, "ymin", &(i64::from(rect.ymin) + 1).to_string())?;
                    leaf(writer, "xmax", &rect.xmax.to_string())?;
                    leaf(writer, "ymax", &rect.ymax.to_string())
                })?;
                Ok(())
            })?;
        }
        Ok(())
    })?;
    let text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    Ok(text + "\n")
}

fn yolo(dataset: &Dataset, numbers: &HashMap<&str, usize>, root: &Path) -> Result<Layout, FormatError> {
    let mut layout: Layout = [Vec::new(), Vec::new()];
    for split in Split::ALL {
        let (mut stems, name) = (Stems::default(), split.name());
        folder(root, &format!("labels/{name}"))?;
        folder(root, &format!("images/{name}"))?;
        for entry in dataset.split(split) {
            let picture = stems.name(&entry.filename);
            put(root, &format!("labels/{name}/{}.txt", stem(&picture)), &labels(entry, numbers))?;
            layout[split as usize].push(format!("images/{name}/{picture}"));
        }
    }
    // JSON's texts are YAML's too.
    let mut yaml = "path: .\ntrain: images/train\nval: images/test\ntest: images/test\nnames:\n".to_owned();
    if dataset.classes.is_empty() {
        yaml = yaml.replace("names:\n", "names: {}\n");
    }
    for (number, name) in dataset.classes.iter().enumerate() {
        let _ = writeln!(yaml, "  {number}: {}", json!(name));
    }
    put(root, "data.yaml", &yaml)?;
    Ok(layout)
}

/// Six digits: on a side of 16,384 pixels an edge is then off by two hundredths of one, and rounds back to where it was.
fn labels(entry: &Entry, numbers: &HashMap<&str, usize>) -> String {
    let mut text = String::new();
    let (across, down) = (f64::from(entry.width), f64::from(entry.height));
    for Labelled { class, rect } in &entry.boxes {
        let number = numbers.get(class.as_str()).copied().unwrap_or(0);
        let [xmin, ymin, xmax, ymax] = [rect.xmin, rect.ymin, rect.xmax, rect.ymax].map(f64::from);
        let (x, y) = ((xmin + xmax) / 2.0 / across, (ymin + ymax) / 2.0 / down);
        let (width, height) = ((xmax - xmin) / across, (ymax - ymin) / down);
        let _ = writeln!(text, "{number} {x:.6} {y:.6} {width:.6} {height:.6}");
    }
    text
}
