//! The figures against pycocotools': `make_expected.py` made the tables.

use coco_eval::score::{Detection, Truth, score};
use serde::Deserialize;

/// How far a figure may be from pycocotools'; the arithmetic is the same, so the last bits of a sum are all there is.
const NEAR: f64 = 1e-9;

#[derive(Deserialize)]
struct Case {
    name: String,
    images: usize,
    classes: usize,
    max_detections: usize,
    truths: Vec<(usize, usize, [f64; 4])>,
    detections: Vec<(usize, usize, f64, [f64; 4])>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    map: f64,
    map50: f64,
    map75: f64,
    classes: Vec<Option<[f64; 4]>>,
    curve: Vec<f64>,
}

fn near(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < NEAR, "{what}: {ours}, pycocotools says {theirs}");
}

fn compare(case: &Case) {
    let truths: Vec<Truth> =
        case.truths.iter().map(|&(image, class, corners)| Truth { image, class, corners }).collect();
    let found: Vec<Detection> = case
        .detections
        .iter()
        .map(|&(image, class, score, corners)| Detection { image, class, score, corners })
        .collect();
    let made = score(case.classes, case.images, &truths, &found, case.max_detections).expect("there are true boxes");
    let name = &case.name;
    near(&format!("{name}: map"), made.map, case.expected.map);
    near(&format!("{name}: map50"), made.map50, case.expected.map50);
    near(&format!("{name}: map75"), made.map75, case.expected.map75);
    assert_eq!(made.classes.len(), case.expected.classes.len());
    for (class, (ours, theirs)) in made.classes.iter().zip(&case.expected.classes).enumerate() {
        assert_eq!(ours.is_some(), theirs.is_some(), "{name}: class {class} has figures");
        let (Some(ours), Some([ap, ap50, ap75, recall])) = (ours, theirs) else { continue };
        near(&format!("{name}: class {class} ap"), ours.ap, *ap);
        near(&format!("{name}: class {class} ap50"), ours.ap50, *ap50);
        near(&format!("{name}: class {class} ap75"), ours.ap75, *ap75);
        near(&format!("{name}: class {class} recall"), ours.recall, *recall);
    }
    let first = made.classes[0].as_ref().expect("class 0 has true boxes");
    for (at, (ours, theirs)) in first.precision.iter().zip(&case.expected.curve).enumerate() {
        near(&format!("{name}: precision at recall {at} %"), *ours, *theirs);
    }
}

fn cases(text: &str) -> Vec<Case> {
    serde_json::from_str(text).expect("the table is readable")
}

#[test]
fn random_boxes_score_as_pycocotools_scores_them() {
    let cases = cases(include_str!("expected.json"));
    assert!(cases.len() >= 5);
    cases.iter().for_each(compare);
}

#[test]
fn the_sample_scores_as_pycocotools_scores_it() {
    let cases = cases(include_str!("sample.json"));
    assert_eq!((cases.len(), cases[0].truths.len(), cases[0].images), (1, 66, 48));
    cases.iter().for_each(compare);
}
