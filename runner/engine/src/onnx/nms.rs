//! From a model's scores to a picture's detections: a threshold, and of boxes that overlap too much only the best.
//!
//! Greedy non-maximum suppression, class by class: going down the scores, a box stays unless one of its class that stayed
//! overlaps it by more than the limit. Ties go to the lower class, then the lower anchor, so that the result is one.

use serde::{Deserialize, Serialize};

use super::prepare::Box4;
use super::settings::Settings;

/// One thing found on a picture, in pixels of the picture as it is in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Index into the classes.
    pub class: usize,
    /// 0 to 1.
    pub score: f32,
    /// xmin, ymin, xmax, ymax.
    #[serde(rename = "box")]
    pub bounds: Box4,
}

/// Intersection over union of two boxes; 0 where both are empty.
pub(super) fn overlap(a: &Box4, b: &Box4) -> f64 {
    let side = |low: f32, high: f32| (f64::from(high) - f64::from(low)).max(0.0);
    let area = |it: &Box4| side(it[0], it[2]) * side(it[1], it[3]);
    let shared = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

/// The detections among `found` (in the order of their anchors) that stay, best first.
pub(super) fn suppress(mut found: Vec<Detection>, settings: &Settings) -> Vec<Detection> {
    // Stable: equal scores of one class stay in the order of their anchors.
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)));
    let limit = f64::from(settings.iou);
    let mut kept: Vec<Detection> = Vec::new();
    for next in found {
        if kept.len() == settings.max {
            break;
        }
        let rival = |other: &Detection| settings.class_agnostic || other.class == next.class;
        if !kept.iter().any(|other| rival(other) && overlap(&other.bounds, &next.bounds) > limit) {
            kept.push(next);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, read literally: repeatedly take the best box left, throw away what it suppresses.
    fn slowly(mut left: Vec<(usize, Detection)>, settings: &Settings) -> Vec<Detection> {
        let mut kept = Vec::new();
        while !left.is_empty() {
            let better = |a: &(usize, Detection), b: &(usize, Detection)| {
                (a.1.score, b.1.class, b.0).partial_cmp(&(b.1.score, a.1.class, a.0)).expect("no NaN")
            };
            let best = (0..left.len()).max_by(|&a, &b| better(&left[a], &left[b])).expect("not empty");
            let (_, best) = left.remove(best);
            left.retain(|(_, it)| {
                let same = settings.class_agnostic || it.class == best.class;
                !(same && overlap(&it.bounds, &best.bounds) > f64::from(settings.iou))
            });
            kept.push(best);
        }
        kept.truncate(settings.max);
        kept
    }

    fn detection() -> impl Strategy<Value = Detection> {
        // Few values of each, so that ties and equal boxes are common.
        (0_usize..3, 0_u8..8, 0_u8..6, 0_u8..6, 1_u8..6, 1_u8..6).prop_map(|(class, score, x, y, w, h)| {
            let bounds = [x, y, x + w, y + h].map(f32::from);
            Detection { class, score: f32::from(score) / 8.0, bounds }
        })
    }

    proptest! {
        #[test]
        fn the_fast_way_and_the_definition_agree(
            found in prop::collection::vec(detection(), 0..60), iou in 0.0_f32..1.0, max in 1_usize..20, class_agnostic: bool,
        ) {
            let settings = Settings { iou, max, class_agnostic, ..Settings::default() };
            let numbered = found.iter().cloned().enumerate().collect();
            prop_assert_eq!(suppress(found, &settings), slowly(numbered, &settings));
        }
    }

    #[test]
    fn overlap_is_known_for_known_boxes() {
        assert_eq!(overlap(&[0.0, 0.0, 2.0, 2.0], &[1.0, 0.0, 3.0, 2.0]), 1.0 / 3.0);
        assert_eq!(overlap(&[0.0, 0.0, 2.0, 2.0], &[0.0, 0.0, 2.0, 2.0]), 1.0);
        assert_eq!(overlap(&[0.0, 0.0, 1.0, 1.0], &[1.0, 1.0, 2.0, 2.0]), 0.0);
        assert_eq!(overlap(&[1.0, 1.0, 1.0, 1.0], &[1.0, 1.0, 1.0, 1.0]), 0.0);
    }
}
