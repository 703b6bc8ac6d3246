//! From true boxes and detections, by name, to an evaluation: what must agree is compared first, and every disagreement
//! is said with names. How precision is reckoned is [`crate::score`]'s; files are [`boxes::truths`]'s and
//! [`boxes::detections`]'s.

use crate::score::{ClassScore, Detection, Scores, Truth, score};
use boxes::detections::Detections;
use boxes::truths::Truths;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// How many names an error lists before it says how many more there are.
const NAMES: usize = 10;

/// What to judge by.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How many detections of one class count in one picture.
    pub max_detections: usize,
    /// Whether a picture may have no true box.
    pub allow_empty: bool,
}

/// What `evaluation.json` holds.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The format's version, 1.
    pub format: u32,
    /// mAP@[.5:.95].
    pub map: f64,
    /// mAP@0.5.
    pub map50: f64,
    /// mAP@0.75.
    pub map75: f64,
    /// How many pictures were judged.
    pub images: usize,
    /// How many true boxes they have.
    pub boxes: usize,
    /// How many detections were counted, of classes with true boxes.
    pub detections: usize,
    /// One row for each class, in the dataset's order.
    pub per_class: Vec<ClassRow>,
    /// One curve for each class with true boxes.
    pub curves: Vec<Curve>,
}

/// The figures of one class; null where it has no true box.
#[derive(Debug, Clone, Serialize)]
pub struct ClassRow {
    /// Its name.
    pub class: String,
    /// AP@[.5:.95].
    pub ap: Option<f64>,
    /// AP@0.5.
    pub ap50: Option<f64>,
    /// AP@0.75.
    pub ap75: Option<f64>,
    /// The share of true boxes found at overlap 0.5.
    pub recall: Option<f64>,
    /// How many true boxes it has.
    pub boxes: usize,
}

/// Precision over recall of one class, at overlap 0.5.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// The class.
    pub class: String,
    /// Precision at recall 0, 0.01 … 1.
    pub precision: Vec<f64>,
}

/// Why the detections cannot be judged by these true boxes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The two class lists are not the same.
    #[error("the detections' classes are not the dataset's: {0}")]
    Classes(String),
    /// Pictures without a true box: each is silently a negative, and most often a mistake.
    #[error(
        "{} in the split without any box: {}; if they are meant to be empty, set `allow_empty: true`",
        pictures(.0.len()), list(.0)
    )]
    Unlabelled(Vec<String>),
    /// Pictures that only the detections have.
    #[error("the detections have {} that the split does not: {}", pictures(.0.len()), list(.0))]
    Unknown(Vec<String>),
    /// Pictures that only the dataset has.
    #[error("the detections lack {} of the split: {}", pictures(.0.len()), list(.0))]
    Missing(Vec<String>),
    /// The same picture with two sizes, so that the boxes cannot be compared.
    #[error("`{file}` is {}x{} pixels in the dataset and {}x{} in the detections", truth.0, truth.1, found.0, found.1)]
    Size {
        /// The picture.
        file: String,
        /// Its size in the dataset.
        truth: (u64, u64),
        /// Its size in the detections.
        found: (u64, u64),
    },
    /// Nothing to evaluate; pycocotools gives -1 here.
    #[error("the evaluation is empty: no picture of the split has a box (COCO tools would say -1)")]
    Nothing,
}

/// Judges `detections` by `truths`.
///
/// # Errors
/// The first [`Fault`], in the order in which they are listed.
pub fn judge(truths: &Truths, detections: &Detections, rules: Rules) -> Result<Evaluation, Fault> {
    compare_classes(&truths.classes, &detections.classes)?;
    if truths.pictures.iter().all(|picture| picture.boxes.is_empty()) {
        return Err(Fault::Nothing);
    }
    compare_pictures(truths, detections, rules.allow_empty)?;
    let place: HashMap<&str, usize> =
        truths.pictures.iter().enumerate().map(|(image, picture)| (picture.file.as_str(), image)).collect();
    let mut true_boxes = Vec::new();
    for (image, picture) in truths.pictures.iter().enumerate() {
        true_boxes.extend(picture.boxes.iter().map(|&(class, corners)| Truth { image, class, corners }));
    }
    let mut found = Vec::new();
    for picture in &detections.images {
        let image =
            place.get(picture.file.as_str()).copied().ok_or_else(|| Fault::Unknown(vec![picture.file.clone()]))?;
        let of = |f: &boxes::detections::Found| Detection { image, class: f.class, score: f.score, corners: f.corners };
        found.extend(picture.found.iter().map(of));
    }
    let scores = score(truths.classes.len(), truths.pictures.len(), &true_boxes, &found, rules.max_detections)
        .ok_or(Fault::Nothing)?;
    Ok(evaluation(truths, true_boxes.len(), scores))
}

fn evaluation(truths: &Truths, boxes: usize, scores: Scores) -> Evaluation {
    let named = || truths.classes.iter().zip(&scores.classes);
    let curve = |(class, score): (&String, &Option<ClassScore>)| {
        score.as_ref().map(|score| Curve { class: class.clone(), precision: score.precision.clone() })
    };
    Evaluation {
        format: 1,
        map: scores.map,
        map50: scores.map50,
        map75: scores.map75,
        images: truths.pictures.len(),
        boxes,
        detections: scores.classes.iter().flatten().map(|score| score.detections).sum(),
        per_class: named().map(|(class, score)| row(class, score.as_ref())).collect(),
        curves: named().filter_map(curve).collect(),
    }
}

fn row(class: &str, score: Option<&ClassScore>) -> ClassRow {
    ClassRow {
        class: class.to_owned(),
        ap: score.map(|s| s.ap),
        ap50: score.map(|s| s.ap50),
        ap75: score.map(|s| s.ap75),
        recall: score.map(|s| s.recall),
        boxes: score.map_or(0, |s| s.boxes),
    }
}

fn compare_classes(truths: &[String], found: &[String]) -> Result<(), Fault> {
    if truths == found {
        return Ok(());
    }
    let without = |a: &[String], b: &[String]| a.iter().filter(|name| !b.contains(name)).cloned().collect::<Vec<_>>();
    let (only_truths, only_found) = (without(truths, found), without(found, truths));
    let mut parts = Vec::new();
    if !only_truths.is_empty() {
        parts.push(format!("only the dataset has {}", list(&only_truths)));
    }
    if !only_found.is_empty() {
        parts.push(format!("only the detections have {}", list(&only_found)));
    }
    if parts.is_empty() {
        parts.push("they are the same names in another order".to_owned());
    }
    Err(Fault::Classes(parts.join(", ")))
}

fn compare_pictures(truths: &Truths, detections: &Detections, allow_empty: bool) -> Result<(), Fault> {
    let names = |fault: fn(Vec<String>) -> Fault, names: Vec<&String>| {
        if names.is_empty() { Ok(()) } else { Err(fault(names.into_iter().cloned().collect())) }
    };
    if !allow_empty {
        let empty = truths.pictures.iter().filter(|p| p.boxes.is_empty()).map(|p| &p.file).collect();
        names(Fault::Unlabelled, empty)?;
    }
    let sizes: HashMap<&String, (u64, u64)> = truths.pictures.iter().map(|p| (&p.file, p.size)).collect();
    let looked_at: HashSet<&String> = detections.images.iter().map(|image| &image.file).collect();
    names(Fault::Unknown, detections.images.iter().map(|i| &i.file).filter(|f| !sizes.contains_key(f)).collect())?;
    names(Fault::Missing, truths.pictures.iter().map(|p| &p.file).filter(|f| !looked_at.contains(f)).collect())?;
    let differing = detections.images.iter().find_map(|image| {
        let truth = *sizes.get(&image.file)?;
        (truth != image.size).then(|| Fault::Size { file: image.file.clone(), truth, found: image.size })
    });
    differing.map_or(Ok(()), Err)
}

fn pictures(count: usize) -> String {
    if count == 1 { "1 picture".to_owned() } else { format!("{count} pictures") }
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| format!("`{name}`")).collect();
    let rest = names.len().saturating_sub(NAMES);
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boxes::detections::{Found, Image};
    use boxes::truths::Picture;

    const STRICT: Rules = Rules { max_detections: 100, allow_empty: false };

    fn truths(pictures: &[(&str, bool)]) -> Truths {
        let picture = |&(file, boxed): &(&str, bool)| Picture {
            file: file.to_owned(),
            size: (10, 10),
            boxes: if boxed { vec![(0, [1.0, 1.0, 5.0, 5.0])] } else { Vec::new() },
        };
        Truths { classes: vec!["x".into(), "y".into()], pictures: pictures.iter().map(picture).collect() }
    }

    fn found(files: &[&str]) -> Detections {
        let found = vec![Found { class: 0, score: 0.5, corners: [1.0, 1.0, 5.0, 5.0] }];
        let image = |file: &&str| Image { file: (*file).to_owned(), size: (10, 10), found: found.clone() };
        Detections { classes: vec!["x".into(), "y".into()], images: files.iter().map(image).collect() }
    }

    #[test]
    fn a_class_without_boxes_has_null_figures_and_no_curve() {
        let made = judge(&truths(&[("a", true)]), &found(&["a"]), STRICT).expect("good");
        assert!((made.map - 1.0).abs() < 1e-12);
        assert_eq!((made.per_class[1].ap, made.per_class[1].boxes), (None, 0));
        assert_eq!(made.curves.len(), 1);
        assert_eq!(made.curves[0].precision.len(), 101);
    }

    #[test]
    fn every_disagreement_has_a_name() {
        let fault = |t: &Truths, d: &Detections| judge(t, d, STRICT).expect_err("should be refused").to_string();
        let full = truths(&[("a", true), ("b", true)]);
        assert_eq!(fault(&full, &found(&["a"])), "the detections lack 1 picture of the split: `b`");
        assert_eq!(
            fault(&full, &found(&["a", "b", "c"])),
            "the detections have 1 picture that the split does not: `c`"
        );
        let empty = fault(&truths(&[("a", true), ("b", false)]), &found(&["a", "b"]));
        assert!(empty.starts_with("1 picture in the split without any box: `b`"), "{empty}");
        assert!(fault(&truths(&[("a", false)]), &found(&["a"])).starts_with("the evaluation is empty"));
        let mut other = found(&["a", "b"]);
        other.images[1].size = (20, 10);
        assert_eq!(fault(&full, &other), "`b` is 10x10 pixels in the dataset and 20x10 in the detections");
    }

    #[test]
    fn class_lists_must_be_the_same() {
        let fault = |classes: &[&str]| {
            let mut other = found(&["a"]);
            other.classes = classes.iter().map(|&c| c.into()).collect();
            judge(&truths(&[("a", true)]), &other, STRICT).expect_err("should be refused").to_string()
        };
        assert!(fault(&["y", "x"]).ends_with("the same names in another order"));
        assert!(fault(&["x", "z"]).ends_with("only the dataset has `y`, only the detections have `z`"));
    }

    #[test]
    fn empty_pictures_count_where_they_are_allowed() {
        let rules = Rules { allow_empty: true, ..STRICT };
        let made = judge(&truths(&[("a", false), ("b", true)]), &found(&["a", "b"]), rules).expect("good");
        // The false alarm in `a` has the same score and comes first.
        assert!((made.map50 - 0.5).abs() < 1e-12, "{}", made.map50);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert!(list(&names).ends_with("`9` and 2 more"));
    }
}
