//! `detections.json`: what a model found in the pictures of a folder, read with every doubt.
//!
//! Shape: `{"format": 1, "classes": [NAME…], "images": [{"file": NAME, "width": W, "height": H, "detections":
//! [{"class": INDEX, "score": S, "box": [XMIN, YMIN, XMAX, YMAX]}…]}…]}`, boxes in pixels of the picture. What comes out
//! of [`read`] has finite numbers, classes that exist, boxes that are not inside out and no picture twice. The
//! true boxes are not known here.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use std::fmt;

/// The one version of the format there is.
const FORMAT: u64 = 1;

/// The largest side a box may have, and the farthest it may lie outside: COCO's area range `all` ends at this squared,
/// so that larger boxes would be left out of the figures without a word.
const FARTHEST: f64 = 1e5;

/// What a model found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detections {
    /// The model's class names, in its order.
    pub classes: Vec<String>,
    /// Every picture it looked at.
    pub images: Vec<Image>,
}

/// What it found in one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The picture's file name.
    pub file: String,
    /// Its size in pixels.
    pub size: (u64, u64),
    /// The boxes, in the file's order.
    pub found: Vec<Found>,
}

/// One found box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Index among [`Detections::classes`].
    pub class: usize,
    /// How sure the model is; any finite number.
    pub score: f64,
    /// Left, top, right, bottom.
    pub corners: [f64; 4],
}

/// Why a file of detections cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON, or not of the shape above.
    #[error("the detections are not readable: {0}")]
    Shape(String),
    /// Another version.
    #[error("the detections have format {0}, and this plugin reads format 1")]
    Format(u64),
    /// One picture's boxes are given in two places.
    #[error("the detections name the picture `{0}` twice")]
    Twice(String),
    /// A class name is given twice.
    #[error("the detections name the class `{0}` twice")]
    ClassTwice(String),
    /// One box is no box.
    #[error("detection {number} of `{file}` {what}")]
    Found {
        /// The picture.
        file: String,
        /// Which of its boxes, from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Deserialize)]
struct RawFile {
    format: u64,
    classes: Vec<String>,
    images: Vec<RawImage>,
}

#[derive(Deserialize)]
struct RawImage {
    file: String,
    width: u64,
    height: u64,
    detections: Vec<RawFound>,
}

/// `null` is what most JSON writers make of NaN and infinity: let it in here, to name it below.
#[derive(Deserialize)]
struct RawFound {
    class: i64,
    score: Option<f64>,
    #[serde(rename = "box")]
    sides: Sides,
}

/// A box as it is written, without memory of its own: there may be millions.
struct Sides {
    first: [f64; 4],
    count: usize,
    finite: bool,
}

impl<'de> Deserialize<'de> for Sides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Sides;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sides, A::Error> {
                let mut sides = Sides { first: [0.0; 4], count: 0, finite: true };
                while let Some(side) = list.next_element::<Option<f64>>()? {
                    let side = finite(side);
                    sides.finite &= side.is_some();
                    if let Some(place) = sides.first.get_mut(sides.count) {
                        *place = side.unwrap_or_default();
                    }
                    sides.count += 1;
                }
                Ok(sides)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// Reads the text of a `detections.json`.
///
/// # Errors
/// The first [`Fault`].
pub fn read(text: &[u8]) -> Result<Detections, Fault> {
    let raw: RawFile = serde_json::from_slice(text).map_err(|error| Fault::Shape(explain(&error, text)))?;
    if raw.format != FORMAT {
        return Err(Fault::Format(raw.format));
    }
    let mut names = HashSet::new();
    if let Some(twice) = raw.classes.iter().find(|name| !names.insert(name.as_str())) {
        return Err(Fault::ClassTwice(twice.clone()));
    }
    let classes = raw.classes.len();
    let mut seen = HashSet::new();
    let mut images = Vec::with_capacity(raw.images.len());
    for image in raw.images {
        if !seen.insert(image.file.clone()) {
            return Err(Fault::Twice(image.file));
        }
        images.push(read_image(image, classes)?);
    }
    Ok(Detections { classes: raw.classes, images })
}

fn read_image(image: RawImage, classes: usize) -> Result<Image, Fault> {
    let mut found = Vec::with_capacity(image.detections.len());
    for (index, raw) in image.detections.iter().enumerate() {
        let fault = |what| Fault::Found { file: image.file.clone(), number: index + 1, what };
        found.push(read_found(raw, classes).map_err(fault)?);
    }
    Ok(Image { file: image.file, size: (image.width, image.height), found })
}

fn read_found(raw: &RawFound, classes: usize) -> Result<Found, String> {
    let class = usize::try_from(raw.class)
        .ok()
        .filter(|&class| class < classes)
        .ok_or_else(|| format!("has the unknown class index {}: there are {classes} classes", raw.class))?;
    let score = finite(raw.score).ok_or("has a score that is not a finite number (NaN or infinite)")?;
    if !raw.sides.finite {
        return Err("has a box with a number that is not finite (NaN or infinite)".to_owned());
    }
    if raw.sides.count != 4 {
        return Err(format!("has a box of {} numbers, not 4", raw.sides.count));
    }
    let corners = raw.sides.first;
    let [left, top, right, bottom] = corners;
    if right < left || bottom < top {
        return Err(format!("has a box that is inside out: [{left}, {top}, {right}, {bottom}]"));
    }
    if corners.iter().any(|side| side.abs() > FARTHEST) || right - left > FARTHEST || bottom - top > FARTHEST {
        return Err(format!("has a box beyond {FARTHEST} pixels: [{left}, {top}, {right}, {bottom}]"));
    }
    Ok(Found { class, score, corners })
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

/// The reader's message, and a word on what Python writes for numbers that JSON does not have.
fn explain(error: &serde_json::Error, text: &[u8]) -> String {
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    let bare = error.is_syntax() && (holds(b"NaN") || holds(b"Infinity") || error.to_string().contains("out of range"));
    if bare { format!("{error} (a score or a box is NaN or infinite)") } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(found: &str) -> Result<Detections, Fault> {
        let text = format!(
            r#"{{"format":1,"classes":["a","b"],"images":[{{"file":"x.jpg","width":10,"height":10,"detections":[{found}]}}]}}"#
        );
        read(text.as_bytes())
    }

    #[test]
    fn a_good_file_is_read() {
        let read = one(r#"{"class":1,"score":0.5,"box":[-1,2.5,3,4]}"#).expect("good");
        assert_eq!(read.images[0].found[0], Found { class: 1, score: 0.5, corners: [-1.0, 2.5, 3.0, 4.0] });
    }

    #[test]
    fn each_bad_box_is_named() {
        for (found, expected) in [
            (r#"{"class":2,"score":0.5,"box":[0,0,1,1]}"#, "unknown class index 2"),
            (r#"{"class":-1,"score":0.5,"box":[0,0,1,1]}"#, "unknown class index -1"),
            (r#"{"class":0,"score":null,"box":[0,0,1,1]}"#, "score that is not a finite number"),
            (r#"{"class":0,"score":NaN,"box":[0,0,1,1]}"#, "NaN or infinite"),
            (r#"{"class":0,"score":1e999,"box":[0,0,1,1]}"#, "NaN or infinite"),
            (r#"{"class":0,"score":0.5,"box":[0,0,null,1]}"#, "box with a number that is not finite"),
            (r#"{"class":0,"score":0.5,"box":[0,0,1,-Infinity]}"#, "NaN or infinite"),
            (r#"{"class":0,"score":0.5,"box":[0,0,1]}"#, "box of 3 numbers"),
            (r#"{"class":0,"score":0.5,"box":[5,0,1,1]}"#, "inside out"),
            (r#"{"class":0,"score":0.5,"box":[0,0,1e9,1]}"#, "beyond 100000 pixels"),
        ] {
            let fault = one(found).expect_err(found).to_string();
            assert!(fault.contains(expected), "{found}: {fault}");
        }
    }

    #[test]
    fn the_picture_and_the_number_of_the_box_are_said() {
        let good = r#"{"class":0,"score":0.5,"box":[0,0,1,1]}"#;
        let fault = one(&format!(r#"{good},{{"class":9,"score":0.5,"box":[0,0,1,1]}}"#)).expect_err("bad");
        assert!(fault.to_string().starts_with("detection 2 of `x.jpg` "), "{fault}");
    }

    #[test]
    fn doubles_and_other_formats_are_refused() {
        let image = r#"{"file":"x","width":1,"height":1,"detections":[]}"#;
        let text =
            |format, classes, images: &str| format!(r#"{{"format":{format},"classes":{classes},"images":[{images}]}}"#);
        let fault = |text: String| read(text.as_bytes()).expect_err("bad");
        assert_eq!(fault(text(2, "[]", image)), Fault::Format(2));
        assert_eq!(fault(text(1, r#"["a","a"]"#, image)), Fault::ClassTwice("a".into()));
        assert_eq!(fault(text(1, "[]", &format!("{image},{image}"))), Fault::Twice("x".into()));
    }
}
