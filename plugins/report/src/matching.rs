//! Which found boxes are right, which are wrong and why, and which true boxes were missed.
//!
//! As in COCO's evaluation at overlap 0.5: by falling score, each found box takes the free true box of its class that it
//! overlaps most. What a box takes does not depend on boxes of lower score, so one matching serves every least score: below
//! it a box is simply not there, and a true box is missed if the box that took it is not there. The page's slider
//! rests on that.

use boxes::detections::Found;

/// The overlap (intersection over union) from which a found box is right.
const RIGHT: f64 = 0.5;
/// The overlap from which a wrong box is called loose rather than a false alarm.
const NEAR: f64 = 0.1;

/// What a found box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It took a true box.
    Right,
    /// Its true box was taken by a box of higher score.
    Double,
    /// It lies on a true box of this other class.
    Confused(usize),
    /// It lies near a true box of its class, but not well enough.
    Loose,
    /// There is nothing there.
    FalseAlarm,
}

/// One picture's boxes, matched.
#[derive(Debug, Clone, PartialEq)]
pub struct Matched {
    /// The found boxes by falling score, each with its verdict.
    pub found: Vec<(Found, Verdict)>,
    /// For each true box, in order, the score of the box that took it.
    pub taken: Vec<Option<f64>>,
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Found boxes that are right.
    pub right: usize,
    /// Found boxes that are wrong.
    pub wrong: usize,
    /// True boxes that were not found.
    pub missed: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missed += other.missed;
    }
}

impl Matched {
    /// Counts at the least score `least`: of the boxes of `class`, or of all.
    pub fn tally(&self, truths: &[(usize, [f64; 4])], least: f64, class: Option<usize>) -> Tally {
        let of = |this: usize| class.is_none_or(|class| class == this);
        let there = self.found.iter().filter(|(found, _)| found.score >= least && of(found.class));
        let (right, all) =
            there.fold((0, 0), |(right, all), (_, verdict)| (right + usize::from(*verdict == Verdict::Right), all + 1));
        let missed = truths.iter().zip(&self.taken).filter(|((class, _), taken)| of(*class) && missed(**taken, least));
        Tally { right, wrong: all - right, missed: missed.count() }
    }
}

/// Whether a true box that was taken at the score `taken` is missed at the least score `least`.
pub fn missed(taken: Option<f64>, least: f64) -> bool {
    taken.is_none_or(|score| score < least)
}

/// Matches one picture's found boxes to its true boxes (class, corners).
pub fn match_boxes(truths: &[(usize, [f64; 4])], found: &[Found]) -> Matched {
    let mut by_score: Vec<Found> = found.to_vec();
    by_score.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal));
    let mut taken: Vec<Option<f64>> = vec![None; truths.len()];
    let mut verdicts = Vec::with_capacity(by_score.len());
    for found in by_score {
        let free = |index: usize| truths[index].0 == found.class && taken[index].is_none();
        let verdict = match best(truths, &found, RIGHT, free) {
            Some(index) => {
                taken[index] = Some(found.score);
                Verdict::Right
            }
            None => why_wrong(truths, &found),
        };
        verdicts.push((found, verdict));
    }
    Matched { found: verdicts, taken }
}

fn why_wrong(truths: &[(usize, [f64; 4])], found: &Found) -> Verdict {
    let same = |index: usize| truths[index].0 == found.class;
    if best(truths, found, RIGHT, same).is_some() {
        return Verdict::Double;
    }
    if let Some(index) = best(truths, found, RIGHT, |index| !same(index)) {
        return Verdict::Confused(truths[index].0);
    }
    if best(truths, found, NEAR, same).is_some() { Verdict::Loose } else { Verdict::FalseAlarm }
}

/// The true box that `found` overlaps most, among those that `may` be taken, if by at least `least`; of equals the last.
fn best(truths: &[(usize, [f64; 4])], found: &Found, least: f64, may: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best = None;
    let mut most = least;
    for (index, (_, corners)) in truths.iter().enumerate() {
        let value = overlap(&found.corners, corners);
        if value >= most && may(index) {
            most = value;
            best = Some(index);
        }
    }
    best
}

fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let area = |corners: &[f64; 4]| (corners[2] - corners[0]) * (corners[3] - corners[1]);
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    width * height / (area(a) + area(b) - width * height)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTHS: [(usize, [f64; 4]); 3] =
        [(0, [0.0, 0.0, 10.0, 10.0]), (0, [20.0, 0.0, 30.0, 10.0]), (1, [40.0, 0.0, 50.0, 10.0])];

    fn found(class: usize, score: f64, left: f64, right: f64) -> Found {
        Found { class, score, corners: [left, 0.0, right, 10.0] }
    }

    #[test]
    fn each_kind_of_box_gets_its_verdict_and_the_counts_follow_the_least_score() {
        let boxes = [
            found(0, 0.4, 1.0, 11.0),  // the second on the first true box
            found(0, 0.9, 0.0, 10.0),  // right
            found(0, 0.8, 40.0, 50.0), // on a box of class 1
            found(0, 0.7, 26.0, 36.0), // 4 of 16: loose
            found(1, 0.6, 70.0, 80.0), // nothing there
            found(1, 0.2, 40.0, 49.0), // right, below the least score
        ];
        let matched = match_boxes(&TRUTHS, &boxes);
        let verdicts: Vec<Verdict> = matched.found.iter().map(|(_, verdict)| *verdict).collect();
        let expected = [
            Verdict::Right,
            Verdict::Confused(1),
            Verdict::Loose,
            Verdict::FalseAlarm,
            Verdict::Double,
            Verdict::Right,
        ];
        assert_eq!(verdicts, expected);
        assert_eq!(matched.taken, [Some(0.9), None, Some(0.2)]);
        assert_eq!(matched.tally(&TRUTHS, 0.3, None), Tally { right: 1, wrong: 4, missed: 2 });
        assert_eq!(matched.tally(&TRUTHS, 0.0, None), Tally { right: 2, wrong: 4, missed: 1 });
        assert_eq!(matched.tally(&TRUTHS, 0.3, Some(1)), Tally { right: 0, wrong: 1, missed: 1 });
        assert_eq!(matched.tally(&TRUTHS, 1.1, None), Tally { right: 0, wrong: 0, missed: 3 });
    }

    #[test]
    fn lower_scores_never_change_what_higher_ones_took() {
        let boxes = [found(0, 0.9, 2.0, 12.0), found(0, 0.5, 0.0, 10.0)];
        let all = match_boxes(&TRUTHS, &boxes);
        let high = match_boxes(&TRUTHS, &boxes[..1]);
        assert_eq!(all.found[0], high.found[0]);
        assert_eq!(all.taken, high.taken);
    }
}
