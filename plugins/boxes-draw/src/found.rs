//! What a model found, as far as it is drawn.

use boxes::Rect;
use boxes::detections::{self, Fault};
use std::collections::HashMap;

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

/// The boxes of each picture with a score of `min_score` or more, the least sure first, so that the surest lie on top.
///
/// # Errors
/// What is wrong with the file.
pub fn read(text: &[u8], min_score: f64) -> Result<HashMap<String, Vec<Found>>, Fault> {
    let all = detections::read(text)?;
    let drawn = |one: &detections::Found| {
        #[expect(clippy::cast_possible_truncation, reason = "edges lie within 1e5 pixels")]
        let [xmin, ymin, xmax, ymax] = one.corners.map(|edge| edge.round() as i32);
        let rect = Rect::new(xmin, ymin, xmax, ymax);
        Found { class: all.classes[one.class].clone(), score: one.score, rect }
    };
    let of_image = |image: &detections::Image| {
        let mut found: Vec<Found> = image.found.iter().filter(|one| one.score >= min_score).map(drawn).collect();
        found.sort_by(|a, b| a.score.total_cmp(&b.score));
        (image.file.clone(), found)
    };
    Ok(all.images.iter().map(of_image).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_boxes_are_drawn_and_the_surest_last() {
        let text = r#"{"format": 1, "classes": ["x"], "images": [{"file": "a", "width": 20, "height": 20, "detections": [
            {"class": 0, "score": 0.9, "box": [0.6, 1, 9.4, 8]},
            {"class": 0, "score": 0.4, "box": [0, 0, 1, 1]},
            {"class": 0, "score": 0.5, "box": [0, 0, 2, 2]}]}]}"#;
        let found = read(text.as_bytes(), 0.5).expect("read").remove("a").expect("the picture");
        let box_of = |score, rect| Found { class: "x".to_owned(), score, rect };
        assert_eq!(found, [box_of(0.5, Rect::new(0, 0, 2, 2)), box_of(0.9, Rect::new(1, 1, 9, 8))]);
    }
}
