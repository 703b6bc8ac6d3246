//! The page: its head, its sections in order, its foot. Style and script stand in `page.css` and `page.js`; nothing is loaded
//! from anywhere, and the page's own policy says so to the browser.

use crate::album::Album;
use crate::charts;
use crate::figures::Figures;
use crate::findings;
use crate::gallery::{Gallery, spread};
use crate::html::{Text, count, figure, grouped, put};
use crate::matching::{Matched, Tally};
use crate::palette;
use crate::partial;
use crate::sheet::Sheet;
use crate::stories::{ClassRow, Evaluation, Findings, Training};
use boxes::detections::Detections;
use boxes::truths::Truths;

/// The browser may show what stands in the page and fetch nothing.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'";

/// Everything a page tells, as far as it was given.
pub struct Report<'a> {
    /// The page's title.
    pub title: &'a str,
    /// The split that was judged.
    pub split: &'a str,
    /// The least score of a box that counts at first.
    pub least: f64,
    /// How many pictures are shown at most.
    pub pictures: usize,
    /// The true boxes.
    pub truths: Option<&'a Truths>,
    /// The found boxes.
    pub detections: Option<&'a Detections>,
    /// The boxes of each picture of [`Report::truths`], matched, where there are found ones.
    pub matched: Option<&'a [Matched]>,
    /// The detector's figures.
    pub evaluation: Option<&'a Evaluation>,
    /// Figures of any kind.
    pub metrics: Option<&'a Figures>,
    /// A table of any kind.
    pub table: Option<&'a Sheet>,
    /// How the training went.
    pub training: Option<&'a Training>,
    /// What was wrong with the data.
    pub findings: Option<&'a Findings>,
    /// Whom the data is from.
    pub attribution: Option<&'a str>,
}

impl Report<'_> {
    /// All counts together, or those of one class; nothing where nothing was judged.
    pub fn tally(&self, class: Option<usize>) -> Option<Tally> {
        let mut all = Tally::default();
        for (picture, matched) in self.truths?.pictures.iter().zip(self.matched?) {
            all += matched.tally(&picture.boxes, self.least, class);
        }
        Some(all)
    }

    /// Writes the page.
    pub fn render(&self, album: &mut Album) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.figures(&mut out);
        self.partial(&mut out);
        if let Some(metrics) = self.metrics {
            section(&mut out, "metrics", "Figures", &metrics.size());
            metrics.write(&mut out);
            out.push_str("</section>\n");
        }
        self.gallery(&mut out, album);
        match self.evaluation {
            Some(evaluation) => self.classes(&mut out, evaluation),
            // The page's script looks for the chart.
            None => out.push_str(r#"<div id="pr" hidden></div>"#),
        }
        if let Some(table) = self.table {
            section(&mut out, "table", "Table", &table.size());
            table.write(&mut out);
            out.push_str("</section>\n");
        }
        if let Some(training) = self.training {
            section(&mut out, "training", "Training", "The loss after each pass over the training pictures.");
            charts::training(&mut out, training);
            out.push_str("</section>");
        }
        if let Some(found) = self.findings {
            section(&mut out, "data", "The data", "What the check found before training, and what was done about it.");
            findings::write(&mut out, found, album);
            out.push_str("</section>");
        }
        self.foot(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        put!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        put!(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n");
        put!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        put!(out, "<title>{}</title>\n<style>\n{}", Text(self.title), include_str!("page.css"));
        put!(out, "{}</style>\n</head>\n<body>\n", palette::rules(self.class_names().len().max(4)));
        put!(out, r#"<header class="top"><div><h1>{}</h1>"#, Text(self.title));
        if self.is_of_boxes() {
            put!(out, r#"<p>Object detection on the <b>{}</b> pictures: "#, Text(self.split));
            put!(out, "{}</p>", count(self.class_names().len(), "class", "classes"));
        }
        out.push_str("</div><nav>");
        for (there, anchor, name) in [
            (self.truths.is_some() && self.matched.is_none(), "set", "Data set"),
            (self.detections.is_some() && self.matched.is_none(), "found", "Found boxes"),
            (self.metrics.is_some(), "metrics", "Figures"),
            (self.pictures > 0 && self.matched.is_some(), "pictures", "Pictures"),
            (self.evaluation.is_some(), "classes", "Classes"),
            (self.table.is_some(), "table", "Table"),
            (self.training.is_some(), "training", "Training"),
            (self.findings.is_some(), "data", "Data"),
        ] {
            if there {
                put!(out, "<a href=\"#{anchor}\">{name}</a>");
            }
        }
        out.push_str(
            r#"<button type="button" id="theme" title="Light or dark" aria-label="Light or dark">◐</button></nav>"#,
        );
        out.push_str("</header>\n<main>\n");
    }

    fn figures(&self, out: &mut String) {
        let (evaluation, tally) = (self.evaluation, self.tally(None));
        if evaluation.is_none() && tally.is_none() {
            return;
        }
        out.push_str(r#"<section class="figures">"#);
        if let Some(evaluation) = evaluation {
            for (name, value, note) in [
                ("mAP@[.5:.95]", figure(Some(evaluation.map)), "mean average precision, COCO"),
                ("mAP@0.5", figure(Some(evaluation.map50)), "at overlap 0.5"),
                ("Pictures", grouped(evaluation.images), "in the split"),
                ("Boxes", grouped(evaluation.boxes), "marked by people"),
            ] {
                put!(out, r#"<div class="figure"><h2>{name}</h2><p>{value}</p><small>{note}</small></div>"#);
            }
        }
        if let Some(tally) = tally {
            self.found(out, tally);
        }
        out.push_str("</section>\n");
        self.lacks(out);
    }

    /// What the model finds, in words and as a bar.
    fn found(&self, out: &mut String, tally: Tally) {
        let total = (tally.right + tally.missed).max(1) as f64;
        put!(out, r#"<div class="found"><p>At a score of {:.2} or more the model finds "#, self.least);
        put!(
            out,
            "<b class=\"right\">{} of {}</b>, ",
            grouped(tally.right),
            count(tally.right + tally.missed, "box", "boxes")
        );
        put!(out, "misses <b class=\"missed\">{}</b> and draws ", grouped(tally.missed));
        put!(out, "<b class=\"wrong\">{}</b>.</p>", count(tally.wrong, "wrong box", "wrong boxes"));
        put!(out, r#"<div class="meter" role="img" aria-label="{:.0} % found">"#, 100.0 * tally.right as f64 / total);
        for (kind, number) in [("right", tally.right), ("missed", tally.missed), ("wrong", tally.wrong)] {
            if number > 0 {
                put!(out, r#"<i class="{kind}" style="flex-grow:{number}" title="{number} {kind}"></i>"#);
            }
        }
        out.push_str("</div></div>");
    }

    /// Says which half of the judgement was not given.
    fn lacks(&self, out: &mut String) {
        let lacks = match (self.evaluation, self.matched) {
            (Some(_), None) => "Right, wrong and missed boxes need both the data set and the detections",
            (None, Some(_)) => "Average precision needs an evaluation",
            _ => return,
        };
        put!(out, r#"<p class="quiet">{lacks}, not given for this page.</p>"#);
    }

    /// The data set or the detections, where one was given without the other.
    fn partial(&self, out: &mut String) {
        if self.matched.is_some() {
            return;
        }
        if let Some(truths) = self.truths {
            let size = format!("{} in the split.", count(truths.pictures.len(), "picture", "pictures"));
            section(out, "set", "Data set", &size);
            partial::truths(out, truths);
            out.push_str("</section>\n");
        }
        if let Some(detections) = self.detections {
            let size = format!("In {}.", count(detections.images.len(), "picture", "pictures"));
            section(out, "found", "Found boxes", &size);
            partial::found(out, detections, self.least);
            out.push_str("</section>\n");
        }
    }

    fn gallery(&self, out: &mut String, album: &mut Album) {
        let (Some(truths), Some(matched), 1..) = (self.truths, self.matched, self.pictures) else { return };
        section(
            out,
            "pictures",
            "Pictures",
            "What people marked, and what the model found. Choose a picture to enlarge it.",
        );
        let gallery = Gallery {
            classes: &truths.classes,
            pictures: spread(truths.pictures.iter().zip(matched).collect(), self.pictures),
            split: self.split,
            least: self.least,
            of: truths.pictures.len(),
        };
        gallery.write(out, album);
        out.push_str("</section>\n");
    }

    /// Whether the page is of found boxes at all.
    fn is_of_boxes(&self) -> bool {
        self.truths.is_some() || self.detections.is_some() || self.evaluation.is_some()
    }

    /// The classes, of whatever names them.
    fn class_names(&self) -> Vec<&str> {
        match (self.truths, self.detections, self.evaluation) {
            (Some(truths), ..) => truths.classes.iter().map(String::as_str).collect(),
            (_, Some(detections), _) => detections.classes.iter().map(String::as_str).collect(),
            (.., Some(evaluation)) => evaluation.per_class.iter().map(|row| row.class.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    fn class_of(&self, name: &str) -> Option<usize> {
        self.class_names().iter().position(|class| *class == name)
    }

    fn classes(&self, out: &mut String, evaluation: &Evaluation) {
        section(out, "classes", "Classes", "Precision over recall at overlap 0.5, and the figures of each class.");
        charts::precision_recall(out, evaluation, &|name| self.class_of(name));
        out.push_str(r#"<div class="scroll"><table><thead><tr><th>Class</th><th>AP</th><th>AP50</th><th>Recall</th>"#);
        put!(out, "<th>Boxes</th><th>Right</th><th>Missed</th><th>Wrong</th></tr></thead><tbody>");
        let mut rows: Vec<&ClassRow> = evaluation.per_class.iter().collect();
        let rank = |row: &ClassRow| row.ap.unwrap_or(-1.0);
        rows.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then_with(|| a.class.cmp(&b.class)));
        for row in rows {
            let class = self.class_of(&row.class);
            let colour = charts::colour(class);
            put!(out, r#"<tr class="{colour}"><th><i></i><bdi>{}</bdi></th>"#, Text(&row.class));
            for value in [row.ap, row.ap50, row.recall] {
                put!(
                    out,
                    r#"<td class="bar"><span style="--v:{:.4}"></span>{}</td>"#,
                    value.unwrap_or(0.0),
                    figure(value)
                );
            }
            put!(out, "<td>{}</td>", grouped(row.boxes));
            match class.and_then(|class| self.tally(Some(class))) {
                Some(Tally { right, wrong, missed }) => put!(out, "<td>{right}</td><td>{missed}</td><td>{wrong}</td>"),
                None => out.push_str("<td>–</td><td>–</td><td>–</td>"),
            }
            out.push_str("</tr>");
        }
        out.push_str(
            r#"</tbody></table></div><p class="quiet">AP is the mean over overlaps 0.50 to 0.95, AP50 that at 0.5. "#,
        );
        put!(out, "Recall counts boxes of any score; right, missed and wrong those of {:.2} or more.</p>", self.least);
        out.push_str("</section>\n");
    }

    fn foot(&self, out: &mut String) {
        out.push_str("</main>\n<footer>");
        if let Some(attribution) = self.attribution {
            put!(out, r#"<p><b>Data.</b> {}</p>"#, Text(attribution));
        }
        put!(out, "<p>Made by flowrun with <code>flowrun/report {}</code>. ", env!("CARGO_PKG_VERSION"));
        if self.is_of_boxes() {
            out.push_str(
                "A found box is right where it overlaps a free true box of its class by half or more of their union. ",
            );
        }
        out.push_str("The page holds all it shows and loads nothing.</p></footer>\n");
        out.push_str(r#"<dialog id="large"><form method="dialog"><button aria-label="Close">✕</button></form>"#);
        out.push_str(r#"<div class="stage"></div></dialog>"#);
        put!(out, "\n<script>\n{}</script>\n</body>\n</html>\n", include_str!("page.js"));
    }
}

/// Opens a section; the caller closes it.
fn section(out: &mut String, anchor: &str, title: &str, text: &str) {
    put!(out, r#"<section id="{anchor}"><div class="title"><h2>{title}</h2><p>{text}</p></div>"#);
}
