//! The test pictures with true and found boxes drawn over them. The boxes' data stand in attributes (`data-s` score, `data-c`
//! class, `data-v` verdict), the server's work and the script's are the same rule: see [`crate::matching`].

use crate::album::Album;
use crate::html::{Text, count, put};
use crate::matching::{Matched, Verdict, missed};
use boxes::truths::Picture;

/// Boxes below this score are left out unless the report's own least score is lower: nobody drags the slider there, and a
/// detector has hundreds of them.
const FLOOR: f64 = 0.05;
/// How many found boxes of one picture are drawn at most, the best first.
const MOST: usize = 100;
/// The width of a letter of a label, in parts of its size: an average of the fonts browsers have.
const LETTER: f64 = 0.56;

/// What the gallery shows and how.
pub(crate) struct Gallery<'a> {
    /// The class names.
    pub(crate) classes: &'a [String],
    /// The split's pictures, and their boxes matched.
    pub(crate) pictures: Vec<(&'a Picture, &'a Matched)>,
    /// The split's folder.
    pub(crate) split: &'a str,
    /// The least score at first.
    pub(crate) least: f64,
    /// How many pictures the split has.
    pub(crate) of: usize,
}

/// Picks `most` of `all`, evenly spread.
pub(crate) fn spread<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let count = all.len();
    if count <= most {
        return all;
    }
    let wanted: std::collections::BTreeSet<usize> = (0..most).map(|n| n * count / most).collect();
    all.into_iter().enumerate().filter(|(index, _)| wanted.contains(index)).map(|(_, item)| item).collect()
}

impl Gallery<'_> {
    /// Writes the filters and the pictures.
    pub(crate) fn write(&self, out: &mut String, album: &mut Album) {
        self.controls(out);
        out.push_str(r#"<div class="gallery" id="gallery">"#);
        for (order, (picture, matched)) in self.pictures.iter().enumerate() {
            self.card(out, album, order, picture, matched);
        }
        out.push_str("</div>");
        out.push_str(r#"<p class="quiet" id="none" hidden>No picture fits these filters.</p>"#);
    }

    fn controls(&self, out: &mut String) {
        out.push_str(r#"<form class="controls" id="controls"><fieldset class="chips"><legend>Show</legend>"#);
        for (value, name) in [("", "All"), ("right", "Right"), ("wrong", "Wrong"), ("missed", "Missed")] {
            let checked = if value.is_empty() { " checked" } else { "" };
            put!(out, r#"<label class="chip {value}"><input type="radio" name="want" value="{value}"{checked}>"#);
            put!(out, r#"<span>{name} <b data-total="{value}"></b></span></label>"#);
        }
        out.push_str(r#"</fieldset><label>Class <select name="klass"><option value="">all classes</option>"#);
        for (number, class) in self.classes.iter().enumerate() {
            put!(out, r#"<option value="{number}">{}</option>"#, Text(class));
        }
        out.push_str(r#"</select></label><label>Order <select name="order"><option value="name">by name</option>"#);
        out.push_str(
            r#"<option value="worst">worst first</option><option value="best">best first</option></select></label>"#,
        );
        put!(out, r#"<label class="slide">Least score <input type="range" name="least" min="0" max="1" step="any" "#);
        put!(out, r#"value="{0}" data-value="{0}"> <output>{0:.2}</output></label></form>"#, self.least);
        out.push_str(r#"<p class="key"><span class="truth"></span> true box <span class="hit"></span> found box, in its class's colour "#);
        out.push_str(r#"<span class="bad">✕</span> wrong <span class="lost"></span> missed"#);
        if self.pictures.len() < self.of {
            put!(out, " · {} of {}, evenly spread", self.pictures.len(), count(self.of, "picture", "pictures"));
        }
        out.push_str("</p>");
    }

    fn card(&self, out: &mut String, album: &mut Album, order: usize, picture: &Picture, matched: &Matched) {
        let (width, height) = (picture.size.0.max(1), picture.size.1.max(1));
        put!(out, r#"<figure class="card" data-order="{order}">"#);
        put!(out, r#"<button type="button" class="frame" style="aspect-ratio:{width}/{height}" title="Enlarge">"#);
        match album.embed(self.split, &picture.file) {
            Ok(address) => {
                put!(out, r#"<img loading="lazy" decoding="async" alt="{}" src="{address}">"#, Text(&picture.file));
            }
            Err(absent) => put!(out, r#"<span class="absent">{absent}</span>"#),
        }
        put!(out, r#"<svg viewBox="0 0 {width} {height}">"#);
        self.boxes(out, picture, matched);
        out.push_str("</svg></button>");
        let tally = matched.tally(&picture.boxes, self.least, None);
        put!(out, r#"<figcaption><bdi title="{0}">{0}</bdi><span class="badges">"#, Text(&picture.file));
        for (kind, number) in [("right", tally.right), ("wrong", tally.wrong), ("missed", tally.missed)] {
            let hidden = if number == 0 { " hidden" } else { "" };
            put!(out, r#"<span class="badge {kind}" data-n="{kind}"{hidden}><b>{number}</b> {kind}</span>"#);
        }
        out.push_str("</span></figcaption></figure>\n");
    }

    fn boxes(&self, out: &mut String, picture: &Picture, matched: &Matched) {
        let mut labels = Labels::new(picture);
        let mut late = String::new();
        for (&(class, corners), &taken) in picture.boxes.iter().zip(&matched.taken) {
            let lost = if missed(taken, self.least) { " lost" } else { "" };
            let score = taken.map_or_else(String::new, |score| format!(r#" data-s="{score}""#));
            put!(out, r#"<g class="t{lost}" data-c="{class}"{score}>"#);
            let shape = shape(&corners);
            let name = self.name(class);
            put!(
                out,
                r#"<rect class="under" {shape}/><rect {shape}><title>true box: {}</title></rect></g>"#,
                Text(name)
            );
            put!(late, r#"<g class="t label{lost}" data-c="{class}"{score}>"#);
            labels.write(&mut late, &corners, &format!("missed: {name}"), taken.is_some());
            late.push_str("</g>");
        }
        let floor = self.least.min(FLOOR);
        for (found, verdict) in matched.found.iter().filter(|(found, _)| found.score >= floor).take(MOST) {
            let kind = if *verdict == Verdict::Right { "right" } else { "wrong" };
            let off = if found.score < self.least { " off" } else { "" };
            let open = format!(
                r#"class="d k{0} {kind}{off}" data-c="{0}" data-v="{kind}" data-s="{1}""#,
                found.class, found.score
            );
            let name = self.name(found.class);
            put!(out, r#"<g {open}><rect {}><title>"#, shape(&found.corners));
            put!(out, "{} {:.3}: {}</title></rect></g>", Text(name), found.score, Text(&self.say(*verdict)));
            let mark = if kind == "wrong" { "✕ " } else { "" };
            put!(late, r#"<g {}>"#, open.replacen("class=\"d ", "class=\"d label ", 1));
            labels.write(&mut late, &found.corners, &format!("{mark}{name} {:.2}", found.score), !off.is_empty());
            late.push_str("</g>");
        }
        out.push_str(&late);
    }

    fn name(&self, class: usize) -> &str {
        self.classes.get(class).map_or("?", String::as_str)
    }

    fn say(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Right => "right".to_owned(),
            Verdict::Double => "wrong, a second box on the same thing".to_owned(),
            Verdict::Confused(class) => format!("wrong, it is {}", self.name(class)),
            Verdict::Loose => "wrong, the box fits too loosely".to_owned(),
            Verdict::FalseAlarm => "wrong, nothing is marked there".to_owned(),
        }
    }
}

fn shape(corners: &[f64; 4]) -> String {
    let [left, top, right, bottom] = corners;
    format!(r#"x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}""#, right - left, bottom - top)
}

/// Places labels at their boxes, inside the picture and, where there is room, not over each other.
struct Labels {
    size: f64,
    width: f64,
    height: f64,
    placed: Vec<[f64; 4]>,
}

impl Labels {
    fn new(picture: &Picture) -> Self {
        let (width, height) = (picture.size.0.max(1) as f64, picture.size.1.max(1) as f64);
        Self { size: width.max(height) * 0.036, width, height, placed: Vec::new() }
    }

    /// Writes one label; one that does not show at first (`waits`) takes no room from those that do.
    fn write(&mut self, out: &mut String, corners: &[f64; 4], text: &str, waits: bool) {
        let wide = (text.chars().count() as f64 * LETTER + 0.8) * self.size;
        let high = self.size * 1.5;
        let [left, top, right, bottom] = *corners;
        let spots =
            [(left, top - high), (left, top), (right - wide, bottom - high), (left, bottom), (left, bottom - high)];
        let inside = |(x, y): (f64, f64)| {
            let (x, y) = (x.min(self.width - wide).max(0.0), y.min(self.height - high).max(0.0));
            [x, y, x + wide, y + high]
        };
        let free = |spot: &[f64; 4]| !self.placed.iter().any(|other| touch(spot, other));
        let down = (1..8).map(|n| (left, top + f64::from(n) * high));
        let mut all = spots.into_iter().chain(down).map(inside);
        let spot = all.find(free).unwrap_or_else(|| inside(spots[0]));
        if !waits {
            self.placed.push(spot);
        }
        let [x, y, ..] = spot;
        put!(out, r#"<rect x="{x:.1}" y="{y:.1}" width="{wide:.1}" height="{high:.1}" rx="{:.1}"/>"#, self.size * 0.25);
        put!(
            out,
            r#"<text x="{:.1}" y="{:.1}" font-size="{:.1}" "#,
            x + self.size * 0.4,
            y + self.size * 1.1,
            self.size
        );
        put!(
            out,
            r#"textLength="{:.1}" lengthAdjust="spacingAndGlyphs">{}</text>"#,
            wide - self.size * 0.8,
            Text(text)
        );
    }
}

fn touch(a: &[f64; 4], b: &[f64; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_shown_are_spread_over_all() {
        assert_eq!(spread((0..10).collect(), 4), [0, 2, 5, 7]);
        assert_eq!(spread((0..3).collect(), 4), [0, 1, 2]);
        assert!(spread((0..3).collect(), 0).is_empty());
    }

    #[test]
    fn labels_stay_in_the_picture_and_off_each_other() {
        let picture = Picture { file: String::new(), size: (320, 320), boxes: Vec::new() };
        let mut labels = Labels::new(&picture);
        for _ in 0..4 {
            labels.write(&mut String::new(), &[300.0, 0.0, 320.0, 300.0], "a long class name 0.93", false);
        }
        for (index, spot) in labels.placed.iter().enumerate() {
            assert!(spot[0] >= 0.0 && spot[1] >= 0.0 && spot[2] <= 320.0 && spot[3] <= 320.0, "{spot:?}");
            assert!(!labels.placed[..index].iter().any(|other| touch(spot, other)), "{spot:?}");
        }
    }
}
