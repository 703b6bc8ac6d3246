//! Line charts as inline SVG: precision over recall, and loss over epochs. Lines, ticks and nothing that needs a library.

use crate::html::{Text, figure, put};
use crate::stories::{Curve, Epoch, Evaluation, Training};

/// The drawing: its whole size, and the plot's left, top, right and bottom in it.
const SIZE: (f64, f64) = (640.0, 400.0);
const PLOT: [f64; 4] = [52.0, 14.0, 626.0, 350.0];
/// An epoch's point gets a mark of its own up to this many; beyond, the marks would be a band.
const MARKS: usize = 40;
/// How many settings of a training are listed.
const SETTINGS: usize = 40;

/// Where values lie in the plot.
struct Scale {
    x: (f64, f64),
    y: (f64, f64),
}

impl Scale {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let part = |value: f64, (from, to): (f64, f64)| if to > from { (value - from) / (to - from) } else { 0.5 };
        let across = PLOT[0] + part(x, self.x) * (PLOT[2] - PLOT[0]);
        let up = PLOT[3] - part(y, self.y) * (PLOT[3] - PLOT[1]);
        (across, up)
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = self.at(x, y);
            put!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        path
    }

    /// Opens the drawing with its grid, ticks and names.
    fn open(&self, out: &mut String, label: &str, names: (&str, &str), ticks: (&[f64], &[f64])) {
        put!(out, r#"<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">"#, SIZE.0, SIZE.1, Text(label));
        for &tick in ticks.1 {
            let (x, y) = self.at(self.x.0, tick);
            put!(out, r#"<path class="grid" d="M{x:.1} {y:.1}H{}"/>"#, PLOT[2]);
            put!(
                out,
                r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                x - 8.0,
                y + 4.0,
                short(tick)
            );
        }
        for &tick in ticks.0 {
            let (x, y) = self.at(tick, self.y.0);
            put!(
                out,
                r#"<text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                y + 18.0,
                short(tick)
            );
        }
        put!(out, r#"<path class="axis" d="M{} {}V{}H{}"/>"#, PLOT[0], PLOT[1], PLOT[3], PLOT[2]);
        let middle = ((PLOT[0] + PLOT[2]) / 2.0, (PLOT[1] + PLOT[3]) / 2.0);
        put!(
            out,
            r#"<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>"#,
            middle.0,
            SIZE.1 - 10.0,
            names.0
        );
        put!(
            out,
            r#"<text class="name" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>"#,
            middle.1,
            names.1
        );
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Precision over recall: a line for each class, their mean, and a legend. `class_of` gives a class's colour number.
pub(crate) fn precision_recall(out: &mut String, evaluation: &Evaluation, class_of: &dyn Fn(&str) -> Option<usize>) {
    let scale = Scale { x: (0.0, 1.0), y: (0.0, 1.0) };
    let ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
    out.push_str(r#"<div class="plot" id="pr">"#);
    scale.open(out, "Precision over recall for each class, overlap 0.5", ("Recall", "Precision"), (&ticks, &ticks));
    for (number, curve) in evaluation.curves.iter().enumerate() {
        let path = scale.path(points(&curve.precision));
        let colour = colour(class_of(&curve.class));
        put!(
            out,
            r#"<path class="line {colour}" data-n="{number}" d="{path}"><title>{}</title></path>"#,
            Text(&curve.class)
        );
    }
    if evaluation.curves.len() > 1 {
        let path = scale.path(points(&mean(&evaluation.curves)));
        put!(out, r#"<path class="line mean" d="{path}"><title>Mean of the classes</title></path>"#);
    }
    out.push_str(r#"</svg><ul class="legend"><li class="quiet"><span>class</span><b>AP50</b></li>"#);
    for (number, curve) in evaluation.curves.iter().enumerate() {
        let row = evaluation.per_class.iter().find(|row| row.class == curve.class);
        put!(
            out,
            r#"<li class="{}" data-n="{number}" tabindex="0"><i></i><bdi>{}</bdi><b>{}</b></li>"#,
            colour(class_of(&curve.class)),
            Text(&curve.class),
            figure(row.and_then(|row| row.ap50))
        );
    }
    if evaluation.curves.len() > 1 {
        put!(out, r#"<li class="mean"><i></i><span>Mean of the classes</span><b>{:.3}</b></li>"#, evaluation.map50);
    }
    out.push_str("</ul></div>");
}

/// The style class of a class's colour; grey where the class is not the dataset's.
pub(crate) fn colour(class: Option<usize>) -> String {
    class.map_or_else(|| "kx".to_owned(), |class| format!("k{class}"))
}

/// A curve's points, down to the axis and not along it.
fn points(precision: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let end = precision.iter().rposition(|&value| value > 0.0).map_or(1, |last| last + 2);
    precision.iter().take(end).enumerate().map(|(at, &value)| (at as f64 / 100.0, value))
}

fn mean(curves: &[Curve]) -> Vec<f64> {
    let at = |index: usize| curves.iter().filter_map(|curve| curve.precision.get(index)).sum::<f64>();
    (0..101).map(|index| at(index) / curves.len() as f64).collect()
}

/// A loss and how it is drawn: its name, its style, and where it is in an epoch.
type Loss = (&'static str, &'static str, fn(&Epoch) -> Option<f64>);

const LOSSES: [Loss; 4] = [
    ("Loss", "total", |epoch| epoch.loss),
    ("of it: class", "k0", |epoch| epoch.class_loss),
    ("of it: box", "k1", |epoch| epoch.box_loss),
    ("of it: centre", "k3", |epoch| epoch.centre_loss),
];

/// Loss over epochs, with its parts and the training's settings.
pub(crate) fn training(out: &mut String, training: &Training) {
    let of = |loss: &Loss| -> Vec<(f64, f64)> {
        let point = |epoch: &Epoch| loss.2(epoch).filter(|v| v.is_finite()).map(|value| (epoch.epoch as f64, value));
        training.epochs.iter().filter_map(point).collect()
    };
    let lines: Vec<(&Loss, Vec<(f64, f64)>)> =
        LOSSES.iter().map(|loss| (loss, of(loss))).filter(|(_, points)| !points.is_empty()).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let least = all().map(|point| point.1).fold(0.0, f64::min);
    let most = all().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let first = all().map(|point| point.0).fold(f64::MAX, f64::min);
    let last = all().map(|point| point.0).fold(1.0, f64::max);
    if lines.is_empty() {
        out.push_str(r#"<p class="quiet">The training recorded no loss.</p>"#);
        return;
    }
    let (up, across) = (ticks(least, most, 5), ticks(first, last, 10));
    let top = up.last().copied().unwrap_or(most).max(most);
    let bottom = up.first().copied().unwrap_or(least).min(least);
    let across: Vec<f64> = across.into_iter().filter(|t| t.fract() == 0.0 && (first..=last).contains(t)).collect();
    let scale = Scale { x: (first, last), y: (bottom, top) };
    out.push_str(r#"<div class="plot">"#);
    scale.open(out, "Loss over epochs", ("Epoch", "Loss"), (&across, &up));
    for (loss, points) in lines.iter().rev() {
        put!(out, r#"<path class="line {}" d="{}"/>"#, loss.1, scale.path(points.iter().copied()));
    }
    if let Some((_, points)) = lines.first().filter(|(_, points)| points.len() <= MARKS) {
        for &(epoch, value) in points {
            let (x, y) = scale.at(epoch, value);
            put!(out, r#"<circle class="mark" cx="{x:.1}" cy="{y:.1}" r="3"><title>"#);
            put!(out, "epoch {epoch}: {}</title></circle>", short(value));
        }
    }
    out.push_str(r#"</svg><ul class="legend">"#);
    for (loss, points) in &lines {
        let end = points.last().map_or(0.0, |point| point.1);
        put!(out, r#"<li class="{}"><i></i><span>{}</span><b>{end:.3}</b></li>"#, loss.1, loss.0);
    }
    out.push_str("</ul></div>");
    settings(out, training);
}

fn settings(out: &mut String, training: &Training) {
    let seconds: f64 = training.epochs.iter().filter_map(|epoch| epoch.seconds).filter(|s| s.is_finite()).sum();
    out.push_str(r#"<dl class="facts">"#);
    put!(out, "<div><dt>epochs</dt><dd>{}</dd></div>", training.epochs.len());
    if seconds > 0.0 {
        put!(out, "<div><dt>time in epochs</dt><dd>{seconds:.0} s</dd></div>");
    }
    for (name, value) in training.settings.iter().filter(|(name, _)| *name != "epochs").take(SETTINGS) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let value: String = value.chars().take(80).collect();
        put!(out, "<div><dt>{}</dt><dd>{}</dd></div>", Text(&name.replace('_', " ")), Text(&value));
    }
    out.push_str("</dl>");
}

/// About `wanted` round numbers that span `from` to `to`.
fn ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let span = to - from;
    if !span.is_finite() || span <= 0.0 {
        return vec![from];
    }
    let rough = span / wanted as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough).unwrap_or(rough);
    let start = (from / step).floor();
    let count = (to / step).ceil() - start;
    (0..=count.min(100.0) as usize).map(|n| (start + n as f64) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_span_the_values() {
        assert_eq!(ticks(0.0, 2.3, 5), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(ticks(0.0, 100.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
        assert!(ticks(0.0, f64::INFINITY, 5).len() == 1 && ticks(0.0, 1e300, 5).len() < 20);
    }

    #[test]
    fn losses_that_are_no_numbers_leave_a_gap_not_a_broken_path() {
        let epoch =
            |epoch, loss| Epoch { epoch, loss, class_loss: None, box_loss: None, centre_loss: None, seconds: None };
        let mut out = String::new();
        let epochs = vec![epoch(1, Some(2.0)), epoch(2, None), epoch(3, Some(1.0))];
        training(&mut out, &Training { epochs, settings: Default::default() });
        assert!(!out.contains("NaN") && !out.contains("inf"), "{out}");
        assert_eq!(out.matches("<circle").count(), 2);
        let mut none = String::new();
        training(&mut none, &Training { epochs: vec![epoch(1, None)], settings: Default::default() });
        assert!(none.contains("recorded no loss"));
    }
}
