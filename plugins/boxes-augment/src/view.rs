//! What part of a picture a copy shows, and where the boxes are in it. It does not know pixels.

use crate::Config;
use boxes::{Labelled, Random, Rect};

/// How often another crop is tried where one shows no box of a picture that has some.
const TRIES: usize = 20;
/// The least part of a box's area, in per cent, that must be seen for the box to stay.
const LEAST_SEEN: u64 = 40;

/// A part of a picture, as a copy shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The part, in the picture's pixels.
    pub crop: Rect,
    /// Whether it is then mirrored left to right.
    pub flip: bool,
    /// The boxes in it, in the copy's pixels, mirrored where it is.
    pub boxes: Vec<Labelled>,
}

/// Draws a view of a picture of size `from`, scaled to `to`. It shows a box if the picture has one.
#[must_use]
pub fn choose(config: &Config, from: (u32, u32), to: (u32, u32), boxes: &[Labelled], random: &mut Random) -> View {
    let frame = Rect::whole(from.0, from.1);
    let boxes: Vec<Labelled> = boxes
        .iter()
        .map(|one| Labelled { rect: one.rect.clipped(&frame), ..one.clone() })
        .filter(|one| one.rect.area() > 0)
        .collect();
    let flip = random.chance(0.5) && config.flip;
    if config.crop < 1.0 {
        for _ in 0..TRIES {
            let crop = draw(config.crop, from, random);
            let seen = seen(&boxes, &crop, flip, to);
            if boxes.is_empty() || !seen.is_empty() {
                return View { crop, flip, boxes: seen };
            }
        }
    }
    View { crop: frame, flip, boxes: seen(&boxes, &frame, flip, to) }
}

/// A part of a picture whose sides are each at least `least` of the whole.
fn draw(least: f64, (width, height): (u32, u32), random: &mut Random) -> Rect {
    let (xmin, xmax) = stretch(least, width, random);
    let (ymin, ymax) = stretch(least, height, random);
    Rect::new(xmin, ymin, xmax, ymax)
}

#[expect(clippy::cast_possible_truncation, reason = "a float to integer cast saturates, and sides are below 2^24")]
fn stretch(least: f64, side: u32, random: &mut Random) -> (i32, i32) {
    let whole = f64::from(side);
    let length = (whole * random.between(least, 1.0)).ceil().clamp(1.0, whole);
    let start = (random.part() * (whole - length + 1.0)).floor();
    (start as i32, (start + length) as i32)
}

/// The boxes that a crop shows enough of, where they are in the copy.
fn seen(boxes: &[Labelled], crop: &Rect, flip: bool, (width, height): (u32, u32)) -> Vec<Labelled> {
    let enough = |one: &&Labelled| one.rect.clipped(crop).area() * 100 >= one.rect.area() * LEAST_SEEN;
    let place = |rect: Rect| {
        let moved = a_pixel_at_least(rect.clipped(crop).moved(crop, width, height), width, height);
        if flip { moved.flipped(width) } else { moved }
    };
    boxes.iter().filter(enough).map(|one| Labelled { rect: place(one.rect), ..one.clone() }).collect()
}

/// Widens a box that scaling rounded to nothing.
fn a_pixel_at_least(rect: Rect, width: u32, height: u32) -> Rect {
    let frame = Rect::whole(width, height);
    let (xmin, ymin) = (rect.xmin.clamp(0, frame.xmax - 1), rect.ymin.clamp(0, frame.ymax - 1));
    Rect::new(xmin, ymin, rect.xmax.clamp(xmin + 1, frame.xmax), rect.ymax.clamp(ymin + 1, frame.ymax))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(rect: Rect) -> Labelled {
        Labelled { class: "leaf".into(), rect }
    }

    #[test]
    fn flipping_twice_is_the_identity() {
        let boxes = vec![labelled(Rect::new(0, 3, 40, 9)), labelled(Rect::new(17, 0, 41, 30))];
        let frame = Rect::whole(41, 30);
        let once = seen(&boxes, &frame, true, (41, 30));
        assert_ne!(once, boxes);
        assert_eq!(seen(&once, &frame, true, (41, 30)), boxes);
        assert_eq!(seen(&boxes, &frame, false, (41, 30)), boxes);
    }

    #[test]
    fn a_view_is_inside_and_shows_a_box() {
        let config = Config { crop: 0.2, ..Config::default() };
        let boxes = [labelled(Rect::new(0, 0, 12, 12)), labelled(Rect::new(190, 90, 230, 140))];
        let mut fewer = 0;
        for number in 0..2000 {
            let view = choose(&config, (200, 100), (64, 48), &boxes, &mut Random::new(0, "a", number));
            assert!(view.crop.width() >= 40 && view.crop.height() >= 20, "{view:?}");
            assert_eq!(view.crop.clipped(&Rect::whole(200, 100)), view.crop);
            assert!(!view.boxes.is_empty(), "{view:?}");
            fewer += usize::from(view.boxes.len() < 2);
            for one in &view.boxes {
                assert_eq!(one.rect.clipped(&Rect::whole(64, 48)), one.rect);
                assert!(one.rect.area() > 0, "{view:?}");
            }
        }
        assert!(fewer > 200, "crops to a fifth lose a box at times, {fewer} of 2000 did");
    }

    #[test]
    fn a_box_goes_when_less_than_two_fifths_are_seen() {
        let boxes = [labelled(Rect::new(0, 0, 100, 10))];
        assert_eq!(seen(&boxes, &Rect::new(61, 0, 161, 100), false, (100, 100)), []);
        let kept = seen(&boxes, &Rect::new(60, 0, 160, 100), false, (100, 100));
        assert_eq!(kept, [labelled(Rect::new(0, 0, 40, 10))]);
    }

    #[test]
    fn a_picture_without_boxes_is_cropped_too() {
        let view = choose(&Config::default(), (200, 100), (200, 100), &[], &mut Random::new(0, "a", 1));
        assert_ne!(view.crop, Rect::whole(200, 100));
        let outside = [labelled(Rect::new(300, 0, 400, 9)), labelled(Rect::new(9, 9, 9, 20))];
        let config = Config { crop: 1.0, flip: false, ..Config::default() };
        let view = choose(&config, (200, 100), (200, 100), &outside, &mut Random::new(0, "a", 1));
        assert_eq!(view, View { crop: Rect::whole(200, 100), flip: false, boxes: Vec::new() });
    }
}
