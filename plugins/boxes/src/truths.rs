//! The true boxes of one split of a dataset folder.
//!
//! The folder holds `classes.json` (a JSON array of names; the index is the class), `images.csv`
//! (`split,filename,width,height,source`: every picture, those without boxes too) and `SPLIT.csv`
//! (`filename,width,height,class,xmin,ymin,xmax,ymax`). File names are taken literally. Pictures are not opened here.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::Path;

/// The true boxes of one split.
#[derive(Debug, Clone, PartialEq)]
pub struct Truths {
    /// All class names of the dataset.
    pub classes: Vec<String>,
    /// The split's pictures, by name.
    pub pictures: Vec<Picture>,
}

/// One picture and its true boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its file name in the split's folder.
    pub file: String,
    /// Its size in pixels.
    pub size: (u64, u64),
    /// Its true boxes, in the order of the CSV: class index, and left, top, right, bottom.
    pub boxes: Vec<(usize, [f64; 4])>,
}

/// Why a dataset folder cannot be used. Lines count from 1, the header being 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file is not there, or not what it should be.
    #[error("`{file}` of the dataset is not readable: {what}")]
    File {
        /// The file in the folder.
        file: String,
        /// What the reader said.
        what: String,
    },
    /// A row contradicts the rest.
    #[error("line {line} of `{file}` {what}")]
    Row {
        /// The file in the folder.
        file: String,
        /// Its line.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// No picture belongs to the split.
    #[error("the dataset has no pictures in the split `{0}`: `images.csv` lists none")]
    NoPictures(String),
}

#[derive(Deserialize)]
struct ImageRow {
    split: String,
    filename: String,
    width: u64,
    height: u64,
}

#[derive(Deserialize)]
struct BoxRow {
    filename: String,
    class: String,
    xmin: i32,
    ymin: i32,
    xmax: i32,
    ymax: i32,
}

/// Reads the split `split` of the dataset in `folder`.
///
/// # Errors
/// The first [`Fault`].
pub fn read(folder: &Path, split: &str) -> Result<Truths, Fault> {
    let classes: Vec<String> = read_classes(folder)?;
    let mut pictures = read_pictures(folder, split)?;
    let index: HashMap<String, usize> =
        pictures.iter().enumerate().map(|(index, picture)| (picture.file.clone(), index)).collect();
    let class_of: HashMap<&str, usize> =
        classes.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let file = format!("{split}.csv");
    for (line, row) in rows::<BoxRow>(folder, &file)? {
        let fault = |what: String| Fault::Row { file: file.clone(), line, what };
        let BoxRow { filename, class, xmin, ymin, xmax, ymax } = row;
        let &picture = index
            .get(&filename)
            .ok_or_else(|| fault(format!("has a box of `{filename}`, which `images.csv` does not list")))?;
        let &class = class_of
            .get(class.as_str())
            .ok_or_else(|| fault(format!("has the class `{class}`, which `classes.json` does not list")))?;
        if xmax < xmin || ymax < ymin {
            return Err(fault(format!("has a box that is inside out: [{xmin}, {ymin}, {xmax}, {ymax}]")));
        }
        pictures[picture].boxes.push((class, [xmin, ymin, xmax, ymax].map(f64::from)));
    }
    Ok(Truths { classes, pictures })
}

fn read_classes(folder: &Path) -> Result<Vec<String>, Fault> {
    let fault = |what: String| Fault::File { file: "classes.json".to_owned(), what };
    let text = std::fs::read(folder.join("classes.json")).map_err(|error| fault(error.to_string()))?;
    let classes: Vec<String> = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
    match classes.iter().enumerate().find(|(index, name)| classes[..*index].contains(name)) {
        Some((_, name)) => Err(fault(format!("it names the class `{name}` twice"))),
        None => Ok(classes),
    }
}

/// The split's pictures by name, so that nothing hangs on the order of `images.csv`.
fn read_pictures(folder: &Path, split: &str) -> Result<Vec<Picture>, Fault> {
    let mut pictures = Vec::new();
    for (_, row) in rows::<ImageRow>(folder, "images.csv")?.into_iter().filter(|(_, row)| row.split == split) {
        pictures.push(Picture { file: row.filename, size: (row.width, row.height), boxes: Vec::new() });
    }
    pictures.sort_by(|a, b| a.file.cmp(&b.file));
    if let Some(pair) = pictures.windows(2).find(|pair| pair[0].file == pair[1].file) {
        let what = format!("it lists `{}` twice in the split `{split}`", pair[0].file);
        return Err(Fault::File { file: "images.csv".to_owned(), what });
    }
    if pictures.is_empty() { Err(Fault::NoPictures(split.to_owned())) } else { Ok(pictures) }
}

fn rows<R: DeserializeOwned>(folder: &Path, file: &str) -> Result<Vec<(u64, R)>, Fault> {
    let fault = |what: String| Fault::File { file: file.to_owned(), what };
    let mut reader = csv::Reader::from_path(folder.join(file)).map_err(|error| fault(error.to_string()))?;
    let headers = reader.headers().map_err(|error| fault(error.to_string()))?.clone();
    let mut rows = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(|error| fault(error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = record.deserialize(Some(&headers)).map_err(|error| fault(error.to_string()))?;
        rows.push((line, row));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: &str = "split,filename,width,height,source\n\
        test,\"b, 100%20=&.jpg\",10,10,b.jpg\ntest,a.jpg,10,10,a.jpg\ntrain,c.jpg,10,10,c.jpg\n";

    fn folder(classes: &str, images: &str, boxes: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = format!("filename,width,height,class,xmin,ymin,xmax,ymax\n{boxes}");
        for (file, text) in [("classes.json", classes), ("images.csv", images), ("test.csv", &rows)] {
            std::fs::write(folder.path().join(file), text).expect("written");
        }
        folder
    }

    fn fault(classes: &str, images: &str, boxes: &str) -> String {
        read(folder(classes, images, boxes).path(), "test").expect_err("should be refused").to_string()
    }

    #[test]
    fn pictures_come_by_name_with_their_boxes_and_names_are_literal() {
        let folder = folder(r#"["x","y"]"#, IMAGES, "\"b, 100%20=&.jpg\",10,10,y,1,2,3,4\n");
        let truths = read(folder.path(), "test").expect("good");
        assert_eq!(truths.pictures.iter().map(|p| p.file.as_str()).collect::<Vec<_>>(), ["a.jpg", "b, 100%20=&.jpg"]);
        assert!(truths.pictures[0].boxes.is_empty());
        assert_eq!(truths.pictures[1].boxes, [(1, [1.0, 2.0, 3.0, 4.0])]);
    }

    #[test]
    fn each_contradiction_is_named_with_its_line() {
        let row = |text: &str| fault(r#"["x"]"#, IMAGES, text);
        assert_eq!(
            row("c.jpg,10,10,x,1,2,3,4\n"),
            "line 2 of `test.csv` has a box of `c.jpg`, which `images.csv` does not list"
        );
        assert_eq!(
            row("a.jpg,10,10,z,1,2,3,4\n"),
            "line 2 of `test.csv` has the class `z`, which `classes.json` does not list"
        );
        assert_eq!(row("a.jpg,10,10,x,3,2,1,4\n"), "line 2 of `test.csv` has a box that is inside out: [3, 2, 1, 4]");
        assert!(row("a.jpg,10,10,x,NaN,2,1,4\n").contains("`test.csv`"), "a cell that is no number");
        assert!(fault("{}", IMAGES, "").contains("`classes.json`"));
        assert!(fault(r#"["x","x"]"#, IMAGES, "").contains("`x` twice"));
        assert!(fault("[]", "split,filename,width,height,source\n", "").contains("no pictures in the split `test`"));
        let twice = format!("{IMAGES}test,a.jpg,1,1,a.jpg\n");
        assert!(fault("[]", &twice, "").contains("lists `a.jpg` twice"));
    }
}
