//! COCO average precision for boxes: from true and found boxes to figures.
//!
//! The procedure is that of pycocotools' `COCOeval` with `iouType = "bbox"` (pycocotools 2.0.11, `cocoeval.py`,
//! `evaluateImg` and `accumulate`; the box overlap is `bbIou` of `common/maskApi.c`), area range `all` and no crowds:
//!
//! 1. For one picture and one class the detections are sorted by falling score (stable: equal scores keep their order)
//!    and cut to `max_detections`.
//! 2. At each of ten overlaps (0.50, 0.55, … 0.95), in that order, each detection takes the free true box it overlaps
//!    most, if that is at least the threshold; where two overlap alike the later one wins.
//! 3. All pictures' detections of the class are merged by falling score (stable again, pictures in order), giving a
//!    precision and a recall after each. Precision is made monotone from the right, then read at 101 recalls.
//! 4. AP is the mean of those 101 figures; a recall that is never reached counts 0. A class without true boxes has no AP
//!    and is left out of every mean; a class with true boxes and no detection has AP 0.
//!
//! The arithmetic follows numpy's in order and rounding (`linspace`, `spacing(1)`), since a recall of exactly 0.29 must
//! fall on the same side there and here. This module knows neither files nor names.

use std::cmp::Ordering;

/// How many overlaps are looked at: 0.50 to 0.95 in steps of 0.05.
pub const OVERLAPS: usize = 10;
/// How many recalls precision is read at: 0.00 to 1.00 in steps of 0.01.
pub const RECALLS: usize = 101;
/// Index of overlap 0.75 among the [`OVERLAPS`].
const AT_75: usize = 5;

/// A rectangle in pixels: left, top, right, bottom.
pub type Corners = [f64; 4];

/// A true box.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// Index of its picture.
    pub image: usize,
    /// Index of its class.
    pub class: usize,
    /// Where it is.
    pub corners: Corners,
}

/// A box somebody's model found. Its numbers are finite; whoever makes one has seen to that.
#[derive(Clone, Copy, Debug)]
pub struct Detection {
    /// Index of its picture.
    pub image: usize,
    /// Index of its class.
    pub class: usize,
    /// How sure the model is.
    pub score: f64,
    /// Where it is.
    pub corners: Corners,
}

/// The figures of one class that has true boxes.
#[derive(Clone, Debug)]
pub struct ClassScore {
    /// Mean AP over the ten overlaps.
    pub ap: f64,
    /// AP at overlap 0.5.
    pub ap50: f64,
    /// AP at overlap 0.75.
    pub ap75: f64,
    /// The share of true boxes that were found at overlap 0.5, by any of the counted detections.
    pub recall: f64,
    /// How many true boxes there are.
    pub boxes: usize,
    /// How many detections were counted.
    pub detections: usize,
    /// Precision at 101 recalls, overlap 0.5.
    pub precision: Vec<f64>,
}

/// The figures of a whole evaluation.
#[derive(Clone, Debug)]
pub struct Scores {
    /// mAP@[.5:.95].
    pub map: f64,
    /// mAP@0.5.
    pub map50: f64,
    /// mAP@0.75.
    pub map75: f64,
    /// One for each class, in order; none where a class has no true box.
    pub classes: Vec<Option<ClassScore>>,
}

/// What became of one detection at each overlap.
struct Outcome {
    score: f64,
    hit: [bool; OVERLAPS],
}

/// Scores `detections` against `truths`. Nothing where there is no true box at all (pycocotools says -1 then).
///
/// Classes and pictures are indices below `classes` and `images`; boxes of others are not looked at.
pub fn score(
    classes: usize,
    images: usize,
    truths: &[Truth],
    detections: &[Detection],
    max_detections: usize,
) -> Option<Scores> {
    let per_class: Vec<Option<ClassScore>> =
        (0..classes).map(|class| score_class(class, images, truths, detections, max_detections)).collect();
    let mean = |figure: fn(&ClassScore) -> f64| {
        let all: Vec<f64> = per_class.iter().flatten().map(figure).collect();
        (!all.is_empty()).then(|| average(&all))
    };
    let (map, map50, map75) = (mean(|c| c.ap)?, mean(|c| c.ap50)?, mean(|c| c.ap75)?);
    Some(Scores { map, map50, map75, classes: per_class })
}

fn score_class(
    class: usize,
    images: usize,
    truths: &[Truth],
    detections: &[Detection],
    max_detections: usize,
) -> Option<ClassScore> {
    let mut truths: Vec<&Truth> = truths.iter().filter(|t| t.class == class && t.image < images).collect();
    let boxes = truths.len();
    if boxes == 0 {
        return None;
    }
    let mut detections: Vec<&Detection> = detections.iter().filter(|d| d.class == class && d.image < images).collect();
    truths.sort_by_key(|truth| truth.image);
    // Stable: equal scores keep their order.
    detections.sort_by(|a, b| a.image.cmp(&b.image).then(by_falling(a.score, b.score)));
    let mut matching = Matching::default();
    let mut outcomes = Vec::with_capacity(detections.len());
    for found in detections.chunk_by(|a, b| a.image == b.image) {
        let image = found[0].image;
        let first = truths.partition_point(|truth| truth.image < image);
        let last = truths.partition_point(|truth| truth.image <= image);
        outcomes.extend(matching.picture(&truths[first..last], &found[..found.len().min(max_detections)]));
    }
    outcomes.sort_by(|a, b| by_falling(a.score, b.score));
    let curves: Vec<[f64; RECALLS]> = (0..OVERLAPS).map(|at| precision_at_recalls(&outcomes, at, boxes)).collect();
    let aps: Vec<f64> = curves.iter().map(|curve| average(curve)).collect();
    let found = outcomes.iter().filter(|o| o.hit[0]).count();
    Some(ClassScore {
        ap: average(&aps),
        ap50: aps[0],
        ap75: aps[AT_75],
        recall: found as f64 / boxes as f64,
        boxes,
        detections: outcomes.len(),
        precision: curves[0].to_vec(),
    })
}

/// Falling order of two finite scores; 0 and -0 are equal, as they are to numpy.
fn by_falling(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// Memory that matching uses again for each picture.
#[derive(Default)]
struct Matching {
    /// A row a detection, a column a true box.
    overlaps: Vec<f64>,
    taken: Vec<bool>,
}

impl Matching {
    /// Matches one picture's detections (by falling score) of one class to its true boxes, at each overlap.
    fn picture<'a>(&mut self, truths: &[&Truth], found: &'a [&Detection]) -> impl Iterator<Item = Outcome> + use<'a> {
        self.overlaps.clear();
        for one in found {
            self.overlaps.extend(truths.iter().map(|truth| overlap(&one.corners, &truth.corners)));
        }
        let mut hits = vec![[false; OVERLAPS]; found.len()];
        for at in 0..OVERLAPS {
            self.taken.clear();
            self.taken.resize(truths.len(), false);
            // No true box, no row.
            for (hit, row) in hits.iter_mut().zip(self.overlaps.chunks_exact(truths.len().max(1))) {
                hit[at] = take(row, &mut self.taken, threshold(at).min(1.0 - 1e-10));
            }
        }
        found.iter().zip(hits).map(|(one, hit)| Outcome { score: one.score, hit })
    }
}

/// Takes the free true box that overlaps most, if one does by `least`.
fn take(row: &[f64], taken: &mut [bool], mut least: f64) -> bool {
    let mut best = None;
    for (index, &value) in row.iter().enumerate() {
        if !taken[index] && value >= least {
            least = value;
            best = Some(index);
        }
    }
    best.inspect(|&index| taken[index] = true).is_some()
}

/// Precision at the 101 recalls, at overlap number `at`; `outcomes` by falling score.
///
/// Only hits are looked at: recall grows at no other, and precision falls from one to the next, so that the greatest from any place on
/// is that of a hit.
fn precision_at_recalls(outcomes: &[Outcome], at: usize, boxes: usize) -> [f64; RECALLS] {
    let places = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.hit[at]).map(|(place, _)| place);
    let (mut recall, mut precision) = (Vec::new(), Vec::new());
    for (hit, place) in (1_usize..).zip(places) {
        let (right, wrong) = (hit as f64, (place + 1 - hit) as f64);
        recall.push(right / boxes as f64);
        precision.push(right / (wrong + right + f64::EPSILON));
    }
    for index in (1..precision.len()).rev() {
        precision[index - 1] = precision[index - 1].max(precision[index]);
    }
    let mut curve = [0.0; RECALLS];
    for (index, value) in curve.iter_mut().enumerate() {
        let wanted = index as f64 * (1.0 / 100.0);
        let place = recall.partition_point(|&reached| reached < wanted);
        *value = precision.get(place).copied().unwrap_or(0.0);
    }
    curve
}

/// Overlap number `at`, as `numpy.linspace(.5, .95, 10)` gives it.
fn threshold(at: usize) -> f64 {
    if at + 1 == OVERLAPS { 0.95 } else { at as f64 * ((0.95 - 0.5) / 9.0) + 0.5 }
}

/// Intersection over union of two boxes; 0 where they do not touch. Widths are taken first and added back, as
/// pycocotools does with its `[x, y, width, height]`.
fn overlap(found: &Corners, truth: &Corners) -> f64 {
    let [fx, fy, fw, fh] = sides(found);
    let [tx, ty, tw, th] = sides(truth);
    let width = (fw + fx).min(tw + tx) - fx.max(tx);
    let height = (fh + fy).min(th + ty) - fy.max(ty);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let both = width * height;
    both / (fw * fh + tw * th - both)
}

fn sides(corners: &Corners) -> [f64; 4] {
    let [left, top, right, bottom] = *corners;
    [left, top, right - left, bottom - top]
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(image: usize, class: usize, corners: Corners) -> Truth {
        Truth { image, class, corners }
    }

    fn found(image: usize, class: usize, score: f64, corners: Corners) -> Detection {
        Detection { image, class, score, corners }
    }

    #[test]
    fn a_perfect_result_is_one_and_no_result_is_zero() {
        let boxes = [truth(0, 0, [0.0, 0.0, 10.0, 10.0]), truth(1, 1, [5.0, 5.0, 9.0, 9.0])];
        let hits = [found(0, 0, 0.9, boxes[0].corners), found(1, 1, 0.2, boxes[1].corners)];
        let all = score(3, 2, &boxes, &hits, 100).expect("there are true boxes");
        assert!((all.map - 1.0).abs() < 1e-12 && (all.map50 - 1.0).abs() < 1e-12);
        assert!(all.classes[2].is_none(), "a class without true boxes has no figure");
        let half = score(3, 2, &boxes, &hits[..1], 100).expect("there are true boxes");
        assert!((half.map - 0.5).abs() < 1e-12, "a class with true boxes and no detection counts 0");
    }

    #[test]
    fn nothing_to_find_is_no_evaluation() {
        assert!(score(2, 1, &[], &[found(0, 0, 0.9, [0.0, 0.0, 1.0, 1.0])], 100).is_none());
    }

    #[test]
    fn a_second_box_on_the_same_truth_is_wrong() {
        let boxes = [truth(0, 0, [0.0, 0.0, 10.0, 10.0]), truth(0, 0, [20.0, 0.0, 30.0, 10.0])];
        let same = boxes[0].corners;
        let twice = [found(0, 0, 0.9, same), found(0, 0, 0.8, same), found(0, 0, 0.7, boxes[1].corners)];
        let all = score(1, 1, &boxes, &twice, 100).expect("there are true boxes");
        // Recall 0..0.50 at precision 1 (51 points), 0.51..1.00 at precision 2/3 (50 points).
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((all.map50 - expected).abs() < 1e-12, "{}", all.map50);
    }

    #[test]
    fn only_the_best_scored_detections_of_a_picture_count() {
        let boxes = [truth(0, 0, [0.0, 0.0, 10.0, 10.0])];
        let far = [50.0, 50.0, 60.0, 60.0];
        let two = [found(0, 0, 0.1, boxes[0].corners), found(0, 0, 0.9, far)];
        assert!(score(1, 1, &boxes, &two, 1).expect("there is a true box").map50 < 1e-12);
        assert!(score(1, 1, &boxes, &two, 2).expect("there is a true box").map50 > 0.49);
    }
}
