//! What is done to one copy of a picture: drawn from random numbers first, then applied to the pixels and to the boxes alike.
//!
//! The order is crop, scale, flip, colour, negative. It does not know of files.

use boxes::{Labelled, Picture, Random, Rect};

/// How much of a box must be inside the crop for it to stay.
pub const LEAST_LEFT: f64 = 0.4;
/// How often a crop is drawn that leaves some box, before the whole picture is taken.
const DRAWS: usize = 20;
/// How far a crop's shape may be from its picture's: a factor of up to 1.2 either way.
const STRETCH: f64 = 0.182;

/// What copies may be like.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Whether half of the copies are mirrored left to right.
    pub flip: bool,
    /// The least part of the picture's area that a crop keeps; 1 for no crop.
    pub least_kept: f64,
    /// How strongly colours change, 0 for not at all.
    pub colour: f64,
    /// How probable a colour negative is.
    pub invert: f64,
}

/// One copy's changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The part of the picture that is kept.
    pub crop: Rect,
    /// The copy's width.
    pub width: u32,
    /// The copy's height.
    pub height: u32,
    /// Whether it is mirrored.
    pub flip: bool,
    /// How its colours change.
    pub colour: Option<Colour>,
    /// Whether it is turned into a colour negative.
    pub invert: bool,
}

impl Recipe {
    /// No change but to `size`.
    #[must_use]
    pub fn plain(picture: (u32, u32), size: (u32, u32)) -> Self {
        let crop = Rect::whole(picture.0, picture.1);
        Self { crop, width: size.0, height: size.1, flip: false, colour: None, invert: false }
    }

    /// Draws a copy's changes. `picture` and `size` are the widths and heights before and after.
    #[must_use]
    pub fn draw(
        random: &mut Random,
        limits: Limits,
        picture: (u32, u32),
        size: (u32, u32),
        boxes: &[Labelled],
    ) -> Self {
        let mut recipe = Self::plain(picture, size);
        // Every number is drawn whether it is used or not, so that switching one change on leaves the others as they were.
        recipe.flip = random.chance(0.5) && limits.flip;
        recipe.invert = random.chance(limits.invert);
        let colour = Colour::draw(random, limits.colour);
        recipe.colour = (limits.colour > 0.0).then_some(colour);
        if limits.least_kept < 1.0 {
            let whole = recipe.crop;
            let leaves_some =
                |crop: &Rect| boxes.is_empty() || boxes.iter().any(|labelled| stays(&labelled.rect, crop));
            let mut crops = std::iter::repeat_with(|| draw_crop(random, limits.least_kept, picture)).take(DRAWS);
            recipe.crop = crops.find(leaves_some).unwrap_or(whole);
        }
        recipe
    }

    /// The copy's pixels; none where the crop is not in the picture.
    #[must_use]
    pub fn picture(&self, picture: &Picture) -> Option<Picture> {
        let mut copy = picture.resized(&self.crop, self.width, self.height)?;
        if self.flip {
            copy.flip();
        }
        if let Some(colour) = &self.colour {
            colour.apply(copy.bytes_mut());
        }
        if self.invert {
            copy.bytes_mut().iter_mut().for_each(|byte| *byte = 255 - *byte);
        }
        Some(copy)
    }

    /// The boxes in the copy: those of which enough is inside the crop, cut at its edge.
    #[must_use]
    pub fn boxes(&self, boxes: &[Labelled]) -> Vec<Labelled> {
        let stay = boxes.iter().filter(|labelled| stays(&labelled.rect, &self.crop));
        stay.map(|labelled| Labelled { class: labelled.class.clone(), rect: self.rect(&labelled.rect) }).collect()
    }

    fn rect(&self, rect: &Rect) -> Rect {
        let moved = rect.clipped(&self.crop).moved(&self.crop, self.width, self.height);
        let moved = at_least_a_pixel(moved, &Rect::whole(self.width, self.height));
        if self.flip { moved.flipped(self.width) } else { moved }
    }
}

/// Whether enough of a box is inside a crop.
#[expect(clippy::cast_precision_loss, reason = "areas of pictures are far below 2^52")]
fn stays(rect: &Rect, crop: &Rect) -> bool {
    let left = rect.clipped(crop).area();
    left > 0 && left as f64 >= LEAST_LEFT * rect.area() as f64
}

/// Scaling down may round a box away: it keeps a pixel.
fn at_least_a_pixel(rect: Rect, frame: &Rect) -> Rect {
    let grown = |min: i32, max: i32, end: i32| {
        let min = min.min(end - 1);
        (min, max.max(min + 1))
    };
    let (xmin, xmax) = grown(rect.xmin, rect.xmax, frame.xmax);
    let (ymin, ymax) = grown(rect.ymin, rect.ymax, frame.ymax);
    Rect::new(xmin, ymin, xmax, ymax)
}

/// A crop of `least` to all of the picture's area, nearly of its shape, anywhere in it.
#[expect(clippy::cast_possible_truncation, reason = "sides of pictures are small")]
fn draw_crop(random: &mut Random, least: f64, picture: (u32, u32)) -> Rect {
    let (area, shape) = (random.between(least, 1.0), random.between(-STRETCH, STRETCH).exp());
    // A side longer than the picture's is cut to it, and the other made up for it.
    let (across, down) = ((area * shape).sqrt(), (area / shape).sqrt());
    let (across, down) = match (across > 1.0, down > 1.0) {
        (true, _) => (1.0, area),
        (_, true) => (area, 1.0),
        _ => (across, down),
    };
    let side = |part: f64, whole: u32| ((part * f64::from(whole)).ceil() as i32).max(1);
    let (width, height) = (side(across, picture.0), side(down, picture.1));
    let whole = Rect::whole(picture.0, picture.1);
    let place = |part: f64, room: i32| (part * f64::from(room + 1)) as i32;
    let (x, y) = (place(random.part(), whole.xmax - width), place(random.part(), whole.ymax - height));
    Rect::new(x, y, x + width, y + height)
}

/// A change of all colours: a matrix on red, green and blue, and an amount added to each.
#[derive(Debug, Clone, PartialEq)]
pub struct Colour {
    matrix: [[f32; 3]; 3],
    add: f32,
}

/// What the eye takes for brightness, of red, green and blue (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

impl Colour {
    /// Brightness, contrast and saturation by up to `1 ± strength`, hue by up to `strength` times 30 degrees.
    #[expect(clippy::cast_possible_truncation, reason = "colours need no more than f32")]
    fn draw(random: &mut Random, strength: f64) -> Self {
        let mut about = |middle: f64, reach: f64| random.between(middle - reach, middle + reach) as f32;
        let (brightness, contrast) = (about(1.0, strength / 2.0), about(1.0, strength));
        let (saturation, hue) = (about(1.0, strength), about(0.0, strength * 30.0_f64.to_radians()));
        let gain = brightness * contrast;
        let (sin, cos) = hue.sin_cos();
        // Turning about the grey axis: Rodrigues' formula with the axis (1, 1, 1) / sqrt(3).
        let (third, root) = ((1.0 - cos) / 3.0, sin / 3.0_f32.sqrt());
        let turn = [
            [cos + third, third - root, third + root],
            [third + root, cos + third, third - root],
            [third - root, third + root, cos + third],
        ];
        let cell = |row: usize, column: usize| {
            let grey: f32 = (0..3).map(|inner| LUMA[inner] * turn[inner][column]).sum();
            gain * (saturation * turn[row][column] + (1.0 - saturation) * grey)
        };
        let matrix = std::array::from_fn(|row| std::array::from_fn(|column| cell(row, column)));
        Self { matrix, add: 127.5 * (1.0 - contrast) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float to integer cast saturates")]
    fn apply(&self, bytes: &mut [u8]) {
        for pixel in bytes.as_chunks_mut::<3>().0 {
            let [red, green, blue] = pixel.map(f32::from);
            *pixel = self.matrix.map(|row| (row[0] * red + row[1] * green + row[2] * blue + self.add + 0.5) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { flip: true, least_kept: 0.5, colour: 0.3, invert: 0.0 };
    const GREY: [u8; 3] = [90, 90, 90];
    const MARK: [u8; 3] = [250, 40, 40];

    fn labelled(rect: Rect) -> Labelled {
        Labelled { class: "mark".into(), rect }
    }

    fn marked(width: u32, height: u32, rect: &Rect) -> Picture {
        let mut picture = Picture::plain(width, height, GREY).expect("a size within limits");
        for (place, pixel) in picture.bytes_mut().as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (place as i32 % width as i32, place as i32 / width as i32);
            if (rect.xmin..rect.xmax).contains(&x) && (rect.ymin..rect.ymax).contains(&y) {
                *pixel = MARK;
            }
        }
        picture
    }

    /// The frame of all pixels that are nearer the mark than the ground, by redness.
    fn found(picture: &Picture) -> Rect {
        let mut rect = Rect::new(i32::MAX, i32::MAX, 0, 0);
        for (place, [red, green, _]) in picture.pixels().enumerate() {
            if i32::from(red) - i32::from(green) > 60 {
                let (x, y) = (place as i32 % picture.width() as i32, place as i32 / picture.width() as i32);
                rect = Rect::new(rect.xmin.min(x), rect.ymin.min(y), rect.xmax.max(x + 1), rect.ymax.max(y + 1));
            }
        }
        rect
    }

    #[test]
    fn a_painted_mark_is_where_its_box_says() {
        let mut flips = 0;
        for number in 0..120 {
            let mut random = Random::new(7, "mark", number);
            let x = (random.part() * 100.0) as i32;
            let mark = Rect::new(x, 20, x + 50, 20 + 70);
            let picture = marked(160, 120, &mark);
            let boxes = [labelled(mark)];
            let recipe = Recipe::draw(&mut random, LIMITS, (160, 120), (200, 150), &boxes);
            let copy = recipe.picture(&picture).expect("a crop in the picture");
            let moved = recipe.boxes(&boxes);
            let (found, said) = (found(&copy), moved[0].rect);
            let pairs =
                [(found.xmin, said.xmin), (found.ymin, said.ymin), (found.xmax, said.xmax), (found.ymax, said.ymax)];
            assert!(pairs.iter().all(|(a, b)| (a - b).abs() <= 2), "{number}: found {found:?}, said {said:?}");
            flips += usize::from(recipe.flip);
        }
        assert!((30..90).contains(&flips), "{flips} of 120 were flipped");
    }

    #[test]
    fn boxes_stay_inside_and_never_all_go() {
        for number in 0..3000 {
            let mut random = Random::new(3, "boxes", number);
            let size = (20 + (random.part() * 300.0) as u32, 20 + (random.part() * 300.0) as u32);
            let target = (8 + (random.part() * 100.0) as u32, 8 + (random.part() * 100.0) as u32);
            let mut side = |length: u32| {
                let low = (random.part() * f64::from(length - 1)) as i32;
                (low, low + 1 + (random.part() * f64::from(length as i32 - low - 1)) as i32)
            };
            let mut rect = || {
                let ((x1, x2), (y1, y2)) = (side(size.0), side(size.1));
                labelled(Rect::new(x1, y1, x2, y2))
            };
            let boxes = [rect(), rect(), rect()];
            let limits = Limits { least_kept: 0.1, ..LIMITS };
            let recipe = Recipe::draw(&mut random, limits, size, target, &boxes);
            let moved = recipe.boxes(&boxes);
            assert!(!moved.is_empty(), "{number}: all boxes went");
            let frame = Rect::whole(target.0, target.1);
            assert!(
                moved.iter().all(|moved| moved.rect.clipped(&frame) == moved.rect && moved.rect.area() > 0),
                "{moved:?}"
            );
            let kept = recipe.crop.area() as f64 / Rect::whole(size.0, size.1).area() as f64;
            assert!((0.099..=1.0).contains(&kept) && recipe.crop.clipped(&Rect::whole(size.0, size.1)) == recipe.crop);
        }
    }

    #[test]
    fn nothing_allowed_is_nothing_changed() {
        let limits = Limits { flip: false, least_kept: 1.0, colour: 0.0, invert: 0.0 };
        let mark = Rect::new(5, 6, 20, 30);
        let picture = marked(64, 48, &mark);
        let recipe = Recipe::draw(&mut Random::new(1, "a", 1), limits, (64, 48), (64, 48), &[labelled(mark)]);
        assert_eq!(recipe, Recipe::plain((64, 48), (64, 48)));
        assert_eq!(recipe.picture(&picture), Some(picture));
        assert_eq!(recipe.boxes(&[labelled(mark)]), [labelled(mark)]);
    }

    #[test]
    fn inverting_makes_the_negative() {
        let limits = Limits { flip: false, least_kept: 1.0, colour: 0.0, invert: 1.0 };
        let picture = marked(16, 16, &Rect::new(0, 0, 8, 8));
        let recipe = Recipe::draw(&mut Random::new(1, "a", 1), limits, (16, 16), (16, 16), &[]);
        let copy = recipe.picture(&picture).expect("a copy");
        assert_eq!(copy.pixels().next(), Some(MARK.map(|byte| 255 - byte)));
        assert_eq!(copy.pixels().last(), Some(GREY.map(|byte| 255 - byte)));
    }

    #[test]
    fn greys_stay_grey_under_saturation_and_hue() {
        for number in 0..50 {
            let colour = Colour::draw(&mut Random::new(0, "grey", number), 0.5);
            let mut pixel = [100, 100, 100];
            colour.apply(&mut pixel);
            assert!(pixel.iter().all(|byte| byte.abs_diff(pixel[0]) <= 1), "{pixel:?}");
        }
    }

    #[test]
    fn most_of_a_box_outside_takes_it_out() {
        let recipe = Recipe { crop: Rect::new(0, 0, 50, 100), ..Recipe::plain((100, 100), (50, 100)) };
        let boxes =
            [labelled(Rect::new(40, 0, 60, 10)), labelled(Rect::new(45, 0, 60, 10)), labelled(Rect::new(70, 0, 80, 9))];
        assert_eq!(recipe.boxes(&boxes), [labelled(Rect::new(40, 0, 50, 10))]);
    }
}
