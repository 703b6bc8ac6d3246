//! What a page can tell of boxes where nothing can be judged: the true boxes of a data set without found ones, found boxes
//! without true ones. Right and wrong are not known here.

use crate::html::{Text, grouped, put};
use boxes::detections::Detections;
use boxes::truths::Truths;
use std::collections::BTreeSet;

/// A class's boxes, and in how many pictures they are.
type Row = (usize, BTreeSet<usize>);

/// Writes how many true boxes of each class there are.
pub(crate) fn truths(out: &mut String, truths: &Truths) {
    let boxes = truths.pictures.iter().enumerate();
    let boxes = boxes.flat_map(|(at, picture)| picture.boxes.iter().map(move |(class, _)| (*class, at)));
    table(out, &truths.classes, boxes);
    out.push_str(
        r#"<p class="quiet">No detections were given: there is nothing to judge, and no picture is shown.</p>"#,
    );
}

/// Writes how many boxes of each class were found at a score of `least` or more.
pub(crate) fn found(out: &mut String, detections: &Detections, least: f64) {
    let boxes = detections.images.iter().enumerate().flat_map(|(at, image)| {
        image.found.iter().filter(|found| found.score >= least).map(move |found| (found.class, at))
    });
    table(out, &detections.classes, boxes);
    put!(out, r#"<p class="quiet">Found at a score of {least:.2} or more. No data set was given: which are right is "#);
    out.push_str("not known, and no picture is shown.</p>");
}

fn table(out: &mut String, classes: &[String], boxes: impl Iterator<Item = (usize, usize)>) {
    let mut rows: Vec<Row> = vec![Row::default(); classes.len()];
    for (class, picture) in boxes {
        if let Some(row) = rows.get_mut(class) {
            row.0 += 1;
            row.1.insert(picture);
        }
    }
    out.push_str(r#"<div class="scroll"><table><thead><tr><th>Class</th><th>Boxes</th><th>Pictures</th></tr></thead>"#);
    out.push_str("<tbody>");
    for (class, (name, (boxes, pictures))) in classes.iter().zip(&rows).enumerate() {
        put!(out, r#"<tr class="k{class}"><th><i></i><bdi>{}</bdi></th>"#, Text(name));
        put!(out, "<td>{}</td><td>{}</td></tr>", grouped(*boxes), grouped(pictures.len()));
    }
    out.push_str("</tbody></table></div>");
}
