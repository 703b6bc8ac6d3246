//! `detections.json`: what a model found, as far as it is drawn. `flowrun/coco-eval` reads it with every doubt; here a box
//! that is none is an error too, but pictures and classes need not be all there.

use boxes::Rect;
use serde::Deserialize;
use std::collections::HashMap;

/// Edges further out than this are no numbers of pixels.
const FAR: f64 = 1e7;

/// A found box.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The class's name.
    pub class: String,
    /// How sure the model is.
    pub score: f64,
    /// Where, in whole pixels.
    pub rect: Rect,
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
    detections: Vec<RawFound>,
}

#[derive(Deserialize)]
struct RawFound {
    class: usize,
    score: f64,
    #[serde(rename = "box")]
    corners: [f64; 4],
}

/// The boxes of each picture with a score of `min_score` or more, the least sure first, so that the surest lie on top.
///
/// # Errors
/// What is wrong, in words.
pub fn read(text: &[u8], min_score: f64) -> Result<HashMap<String, Vec<Found>>, String> {
    let raw: RawFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if raw.format != 1 {
        return Err(format!("format {}, of which 1 can be read", raw.format));
    }
    let mut all = HashMap::new();
    for image in raw.images {
        let mut found = Vec::new();
        for (number, one) in (1..).zip(image.detections) {
            let wrong =
                |what: &str| format!("detection {number} of `{}` {what}", boxes::catalog::printable(&image.file));
            let class = raw.classes.get(one.class).ok_or_else(|| wrong("has a class that the file does not name"))?;
            if !one.corners.iter().all(|edge| edge.abs() <= FAR) {
                return Err(wrong("has an edge that is no number of pixels"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "within ±1e7")]
            let [xmin, ymin, xmax, ymax] = one.corners.map(|edge| edge.round() as i32);
            if one.score >= min_score {
                let rect = Rect::new(xmin, ymin, xmax, ymax);
                found.push(Found { class: class.clone(), score: one.score, rect });
            }
        }
        found.sort_by(|a, b| a.score.total_cmp(&b.score));
        all.insert(image.file, found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(detection: &str) -> Result<Vec<Found>, String> {
        let text =
            format!(r#"{{"format": 1, "classes": ["x"], "images": [{{"file": "a", "detections": [{detection}]}}]}}"#);
        Ok(read(text.as_bytes(), 0.5)?.remove("a").unwrap_or_default())
    }

    #[test]
    fn sure_boxes_are_read_and_wrong_ones_named() {
        let good = r#"{"class": 0, "score": 0.9, "box": [0.6, 1, 9.4, 8]}"#;
        let found = of(good).expect("read");
        assert_eq!(found, [Found { class: "x".to_owned(), score: 0.9, rect: Rect::new(1, 1, 9, 8) }]);
        assert_eq!(of(&good.replace("0.9", "0.4")), Ok(Vec::new()));
        assert_eq!(
            of(&good.replace("0,", "1,")),
            Err("detection 1 of `a` has a class that the file does not name".to_owned())
        );
        assert!(of(&good.replace("0.6", "1e12")).is_err_and(|message| message.contains("no number of pixels")));
        assert!(of(&good.replace("0.6", "null")).is_err());
    }
}
