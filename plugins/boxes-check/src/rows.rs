//! Judges a table's rows one by one against the pictures and the classes: what is wrong, and whether it can be mended.

use crate::classes::{Class, Classes};
use crate::findings::{Action, Finding, Kind, Report};
use crate::names::{Meaning, Names};
use crate::photos::{Photo, Seen};
use crate::tables::{COLUMNS, Row, Table};
use boxes::{Labelled, Rect};
use std::collections::{HashMap, HashSet};

/// Edges further out than this are no numbers of pixels. Ten million is beyond any picture that can be read.
const FAR: f64 = 1e7;

/// What a table's rows come to.
#[derive(Debug)]
pub struct Checked {
    /// The boxes of each photo, in the order of the rows.
    pub boxes: Vec<Vec<Labelled>>,
    /// Whether some row, good or bad, was about the photo.
    pub mentioned: Vec<bool>,
}

/// Judges all rows of `table` against its `photos`. Boxes with a side under `min_side` pixels are dropped.
pub fn check(table: &Table, photos: &[Photo], classes: &Classes, min_side: f64, report: &mut Report) -> Checked {
    let names = Names::new(photos.iter().map(Photo::name));
    let rows: Vec<_> = table.rows.iter().map(|row| (row, names.look_up(text(row, 0)))).collect();
    let scales = Scales::new(&rows, photos);
    let mut checked = Checked { boxes: vec![Vec::new(); photos.len()], mentioned: vec![false; photos.len()] };
    let mut kept = HashSet::new();
    for (row, meaning) in &rows {
        let mut verdict = Verdict::default();
        let place = verdict.picture(text(row, 0), meaning);
        let seen = place.and_then(|place| photos[place].seen);
        let rect = verdict.rect(row, seen, &scales, min_side);
        let class = verdict.class(text(row, 3), classes);
        if let Some(place) = place {
            checked.mentioned[place] = true;
            if let (Some(rect), Some(class), Some(_), false) = (rect, class, seen, verdict.dropped) {
                if kept.insert((place, class.clone(), rect)) {
                    checked.boxes[place].push(Labelled { class, rect });
                } else {
                    verdict.drop(Kind::DuplicateBox, &[], "the same box of the same class as in a row before");
                }
            }
        }
        verdict.report(table, row, report);
    }
    checked
}

fn text(row: &Row, column: usize) -> &str {
    row.cells[column].as_deref().unwrap_or("")
}

/// A cell's number, rounded to whole pixels.
#[expect(clippy::cast_possible_truncation, reason = "within ±1e7")]
fn number(row: &Row, column: usize) -> Option<i32> {
    let value: f64 = text(row, column).trim().parse().ok()?;
    (value.abs() <= FAR).then(|| value.round() as i32)
}

/// The picture's size as the row says it, where it says one.
fn stated(row: &Row) -> Option<(u32, u32)> {
    let side = |column| number(row, column).and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0);
    Some((side(1)?, side(2)?))
}

/// The box as written, edges put in order.
fn ordered(row: &Row) -> Option<Rect> {
    let [x1, y1, x2, y2] = [number(row, 4)?, number(row, 5)?, number(row, 6)?, number(row, 7)?];
    Some(Rect::new(x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)))
}

/// In which cases boxes are written in the scale of a size that the pictures no longer have.
///
/// A wrong size alone does not tell: the boxes may fit the picture all the same. So rows are taken together that state the same
/// size of pictures of the same other size: where some of their boxes do not fit the pictures, and all fit the stated size, they
/// are in its scale.
struct Scales(HashMap<Sizes, Fit>);

/// A stated size, and the picture's.
type Sizes = ((u32, u32), (u32, u32));

#[derive(Default)]
struct Fit {
    beyond_picture: bool,
    beyond_stated: bool,
}

impl Scales {
    fn new(rows: &[(&Row, Meaning)], photos: &[Photo]) -> Self {
        let mut fits: HashMap<Sizes, Fit> = HashMap::new();
        for (row, meaning) in rows {
            let (Meaning::Picture(place) | Meaning::Spelt(place, _)) = meaning else { continue };
            let (Some(seen), Some(stated), Some(rect)) = (photos[*place].seen, stated(row), ordered(row)) else {
                continue;
            };
            let beyond = |size: (u32, u32)| rect.clipped(&Rect::whole(size.0, size.1)) != rect;
            let fit = fits.entry((stated, (seen.width, seen.height))).or_default();
            fit.beyond_picture |= beyond((seen.width, seen.height));
            fit.beyond_stated |= beyond(stated);
        }
        Self(fits)
    }

    fn is_stated_scale(&self, sizes: Sizes) -> bool {
        sizes.0 != sizes.1 && self.0.get(&sizes).is_some_and(|fit| fit.beyond_picture && !fit.beyond_stated)
    }
}

/// What is found about one row.
#[derive(Default)]
struct Verdict {
    flaws: Vec<(Kind, Vec<&'static str>, String)>,
    dropped: bool,
}

impl Verdict {
    fn fix(&mut self, kind: Kind, columns: &[usize], message: impl Into<String>) {
        self.flaws.push((kind, columns.iter().map(|column| COLUMNS[*column]).collect(), message.into()));
    }

    fn drop(&mut self, kind: Kind, columns: &[usize], message: impl Into<String>) {
        self.fix(kind, columns, message);
        self.dropped = true;
    }

    /// Which photo the row is about.
    fn picture(&mut self, name: &str, meaning: &Meaning) -> Option<usize> {
        match meaning {
            Meaning::Picture(place) => return Some(*place),
            Meaning::Spelt(place, kind) => {
                self.fix(*kind, &[0], "not the picture's name as it is, but another spelling of it");
                return Some(*place);
            }
            Meaning::Missing if name.is_empty() => self.drop(Kind::MissingFile, &[0], "no file name"),
            Meaning::Missing => self.drop(Kind::MissingFile, &[0], "no such picture"),
            Meaning::Unsafe => self.drop(Kind::UnsafeFilename, &[0], "a name that leads out of the data set's folder"),
        }
        None
    }

    /// The row's box, inside its picture.
    fn rect(&mut self, row: &Row, seen: Option<Seen>, scales: &Scales, min_side: f64) -> Option<Rect> {
        self.size(row, seen);
        let bad: Vec<usize> = (4..8).filter(|column| number(row, *column).is_none()).collect();
        if !bad.is_empty() {
            self.drop(Kind::NotANumber, &bad, "not a number of pixels");
        }
        let mut rect = ordered(row)?;
        let swapped: Vec<usize> = [4, 6, 5, 7]
            .chunks(2)
            .filter(|pair| number(row, pair[0]) > number(row, pair[1]))
            .flatten()
            .copied()
            .collect();
        if !swapped.is_empty() {
            self.fix(Kind::SwappedMinMax, &swapped, "the smaller edge stands where the larger belongs");
        }
        let flat: Vec<usize> = [(rect.width(), 6), (rect.height(), 7)]
            .iter()
            .filter(|(side, _)| *side == 0)
            .map(|(_, column)| *column)
            .collect();
        if !flat.is_empty() {
            self.drop(Kind::ZeroAreaBox, &flat, "the box has no area");
            return None;
        }
        if let (Some(seen), Some(stated)) = (seen, stated(row)) {
            let size = (seen.width, seen.height);
            if scales.is_stated_scale((stated, size)) {
                rect = rect.moved(&Rect::whole(stated.0, stated.1), size.0, size.1);
            }
        }
        self.inside(rect, seen, min_side)
    }

    /// The box's part inside the picture, where enough is left.
    fn inside(&mut self, rect: Rect, seen: Option<Seen>, min_side: f64) -> Option<Rect> {
        let clipped = seen.map_or(rect, |seen| rect.clipped(&Rect::whole(seen.width, seen.height)));
        let small =
            f64::from(clipped.width()) < min_side || f64::from(clipped.height()) < min_side || clipped.area() == 0;
        if clipped != rect {
            let pairs = [
                (rect.xmin, clipped.xmin),
                (rect.ymin, clipped.ymin),
                (rect.xmax, clipped.xmax),
                (rect.ymax, clipped.ymax),
            ];
            let out: Vec<usize> = (4..8).filter(|column| pairs[column - 4].0 != pairs[column - 4].1).collect();
            if small {
                self.drop(
                    Kind::BoxOutsideImage,
                    &out,
                    "the box lies outside the picture, less than `min_side` of it inside",
                );
            } else {
                self.fix(Kind::BoxOutsideImage, &out, "the box reaches out of the picture");
            }
        } else if small {
            let message = format!("{} x {} pixels, less than `min_side`", rect.width(), rect.height());
            self.drop(Kind::SmallBox, &[4, 5, 6, 7], message);
        }
        (!small).then_some(clipped)
    }

    /// Compares the size that the row says with the picture's.
    fn size(&mut self, row: &Row, seen: Option<Seen>) {
        let columns: Vec<usize> = [1, 2].into_iter().filter(|column| row.cells[*column].is_some()).collect();
        let which = |test: &dyn Fn(Option<i32>, usize) -> bool| -> Vec<usize> {
            columns.iter().copied().filter(|column| test(number(row, *column), *column)).collect()
        };
        let (bad, zero) = (which(&|side, _| side.is_none()), which(&|side, _| side == Some(0)));
        if !bad.is_empty() {
            self.fix(Kind::NotANumber, &bad, "not a number of pixels; the picture's own size is used");
        }
        if !zero.is_empty() {
            self.fix(Kind::ZeroSize, &zero, "a size of 0; the picture's own size is used");
        }
        let Some(seen) = seen else { return };
        let real = |column| if column == 1 { seen.width } else { seen.height };
        let wrong =
            which(&|side, column| side.is_some_and(|side| side != 0 && i64::from(side) != i64::from(real(column))));
        if !wrong.is_empty() {
            self.fix(Kind::WrongSize, &wrong, format!("the picture has {} x {} pixels", seen.width, seen.height));
        }
    }

    /// The row's class, as it is called.
    fn class(&mut self, cell: &str, classes: &Classes) -> Option<String> {
        match classes.look_up(cell) {
            Class::Exact(name) => return Some(name.to_owned()),
            Class::Blanks(name) => {
                self.fix(Kind::ClassWhitespace, &[3], format!("blanks around or within; meant is `{name}`"));
                return Some(name.to_owned());
            }
            Class::Case(name) => {
                self.fix(Kind::ClassCase, &[3], format!("other letter case; meant is `{name}`"));
                return Some(name.to_owned());
            }
            Class::Empty => self.drop(Kind::EmptyClass, &[3], "no class"),
            Class::Unknown(reason) => self.drop(Kind::UnknownClass, &[3], reason),
        }
        None
    }

    fn report(self, table: &Table, row: &Row, report: &mut Report) {
        let action = if self.dropped { Action::Dropped } else { Action::Fixed };
        for (kind, fields, message) in self.flaws {
            let (split, line, filename) = (Some(table.split), row.line, text(row, 0).to_owned());
            report.add(Finding { split, file: row.file.clone(), line, filename, kind, fields, message, action });
        }
    }
}
