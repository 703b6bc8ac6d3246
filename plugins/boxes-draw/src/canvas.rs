//! Lines and letters in a picture. It does not know what they mean.

use boxes::{Picture, Rect};
use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};

/// A letter's side in its bitmap.
const LETTER: i32 = 8;
/// The most letters of a label: more would cover the picture.
const MAX_LETTERS: usize = 40;

/// Draws a frame `thickness` pixels wide along the inside of `rect`, edges put in order; what is outside the picture is not seen.
pub fn frame(picture: &mut Picture, rect: &Rect, thickness: i32, colour: [u8; 3]) {
    let rect = Rect::new(
        rect.xmin.min(rect.xmax),
        rect.ymin.min(rect.ymax),
        rect.xmin.max(rect.xmax),
        rect.ymin.max(rect.ymax),
    );
    let [left, right] = [rect.xmin.saturating_add(thickness), rect.xmax.saturating_sub(thickness)];
    let [top, bottom] = [rect.ymin.saturating_add(thickness), rect.ymax.saturating_sub(thickness)];
    fill(picture, &Rect { ymax: top.min(rect.ymax), ..rect }, colour);
    fill(picture, &Rect { ymin: bottom.max(rect.ymin), ..rect }, colour);
    fill(picture, &Rect { xmax: left.min(rect.xmax), ..rect }, colour);
    fill(picture, &Rect { xmin: right.max(rect.xmin), ..rect }, colour);
}

/// Paints all pixels of `rect` that the picture has.
pub fn fill(picture: &mut Picture, rect: &Rect, colour: [u8; 3]) {
    let rect = rect.clipped(&Rect::whole(picture.width(), picture.height()));
    let side = |value: i32| usize::try_from(value).unwrap_or(0);
    let stride = picture.width() as usize * 3;
    for row in side(rect.ymin)..side(rect.ymax) {
        let line = row * stride + side(rect.xmin) * 3..row * stride + side(rect.xmax).max(side(rect.xmin)) * 3;
        picture.bytes_mut()[line].as_chunks_mut::<3>().0.fill(colour);
    }
}

/// How many times as large as their bitmaps letters are: a fortieth of the picture's shorter side, as a rule.
#[must_use]
pub fn letter_scale(picture: &Picture) -> i32 {
    i32::try_from(picture.width().min(picture.height()) / 320).unwrap_or(i32::MAX).clamp(1, 8)
}

/// Writes `text` in black or white on a ground of `colour`, its lower left corner at `x`, `y`; moved so far that its start is
/// inside the picture. Letters that the font lacks are shown as `?`.
pub fn label(picture: &mut Picture, text: &str, x: i32, y: i32, colour: [u8; 3]) {
    let scale = letter_scale(picture);
    let letters: Vec<char> = text.chars().take(MAX_LETTERS).collect();
    let (width, height) = ((letters.len() as i32 * LETTER + 2) * scale, (LETTER + 2) * scale);
    let whole = Rect::whole(picture.width(), picture.height());
    let left = x.min(whole.xmax.saturating_sub(width)).max(0);
    let top = y.saturating_sub(height).min(whole.ymax.saturating_sub(height)).max(0);
    fill(picture, &Rect::new(left, top, left + width, top + height), colour);
    let ink = if is_bright(colour) { [0; 3] } else { [255; 3] };
    for (place, letter) in (0..).zip(letters) {
        let bitmap = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).or_else(|| BASIC_FONTS.get('?'));
        let (x, y) = (left + (place * LETTER + 1) * scale, top + scale);
        for (row, bits) in (0..).zip(bitmap.unwrap_or_default()) {
            for column in (0..LETTER).filter(|column| bits & (1 << column) != 0) {
                let (x, y) = (x + column * scale, y + row * scale);
                fill(picture, &Rect::new(x, y, x + scale, y + scale), ink);
            }
        }
    }
}

/// By the luma of ITU-R BT.601, in thousandths.
fn is_bright([red, green, blue]: [u8; 3]) -> bool {
    u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114 > 128_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [u8; 3] = [250, 0, 0];

    fn red(picture: &Picture) -> usize {
        picture.pixels().filter(|pixel| *pixel == RED).count()
    }

    #[test]
    fn a_frame_is_its_edge_and_nothing_else() {
        let mut picture = Picture::plain(20, 10, [0; 3]).expect("a size within limits");
        frame(&mut picture, &Rect::new(2, 1, 12, 9), 1, RED);
        assert_eq!(red(&picture), 10 * 8 - 8 * 6);
        frame(&mut picture, &Rect::new(12, 9, 2, 1), 2, RED);
        assert_eq!(red(&picture), 10 * 8 - 6 * 4);
        frame(&mut picture, &Rect::new(4, 4, 6, 6), 50, RED);
        assert_eq!(red(&picture), 10 * 8 - 6 * 4 + 4);
    }

    #[test]
    fn what_is_outside_is_not_drawn() {
        let mut picture = Picture::plain(20, 10, [0; 3]).expect("a size within limits");
        let far = i32::MAX;
        frame(&mut picture, &Rect::new(-far, -far, far, far), 3, RED);
        frame(&mut picture, &Rect::new(30, 30, 40, 40), 3, RED);
        assert_eq!(red(&picture), 0);
        for (x, y) in [(-far, -far), (far, far), (0, 0)] {
            label(&mut picture, "a long label that is wider than the picture", x, y, RED);
        }
        assert!(red(&picture) > 0);
    }

    #[test]
    fn letters_are_seen_in_the_right_order() {
        let mut picture = Picture::plain(100, 40, [0; 3]).expect("a size within limits");
        label(&mut picture, "L", 0, 40, RED);
        let white = |x: usize, y: usize| picture.bytes()[(y * 100 + x) * 3 + 1] == 255;
        // An L has its stem at the left and its foot at the lower right.
        let row = |y: usize| (0..10).map(|x| if white(x, y) { '#' } else { '.' }).collect::<String>();
        assert_eq!((row(31), row(37)), (".####.....".to_owned(), ".#######..".to_owned()));
    }
}
