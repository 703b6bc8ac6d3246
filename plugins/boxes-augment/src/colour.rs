//! Other colours for a picture: brightness, contrast, saturation, negatives. Integers and plain `f32` sums only, so that
//! every machine makes the same bytes.

use boxes::{Picture, Random};

/// Turns a picture into its colour negative.
pub fn invert(picture: &mut Picture) {
    picture.bytes_mut().iter_mut().for_each(|byte| *byte = 255 - *byte);
}

/// Changes brightness, contrast and saturation, each by a factor drawn from `1 - strength` to `1 + strength`.
#[expect(clippy::cast_possible_truncation, reason = "a factor near 1 needs no more than an `f32`")]
pub fn jitter(picture: &mut Picture, strength: f64, random: &mut Random) {
    let mut factor = || random.between(1.0 - strength, 1.0 + strength) as f32;
    let (brightness, contrast, saturation) = (factor(), factor(), factor());
    if strength == 0.0 {
        return;
    }
    let mean = mean_grey(picture);
    for pixel in picture.bytes_mut().as_chunks_mut::<3>().0 {
        let grey = grey(*pixel);
        for byte in pixel {
            let vivid = grey + (f32::from(*byte) - grey) * saturation;
            *byte = to_byte((mean + (vivid - mean) * contrast) * brightness);
        }
    }
}

/// The luma of ITU-R BT.601.
fn grey([red, green, blue]: [u8; 3]) -> f32 {
    f32::from(red) * 0.299 + f32::from(green) * 0.587 + f32::from(blue) * 0.114
}

#[expect(clippy::cast_precision_loss, reason = "a mean to seven digits is enough")]
fn mean_grey(picture: &Picture) -> f32 {
    let thousandth = |[r, g, b]: [u8; 3]| u64::from(r) * 299 + u64::from(g) * 587 + u64::from(b) * 114;
    let (sum, count) = picture.pixels().fold((0, 0_u64), |(sum, count), pixel| (sum + thousandth(pixel), count + 1));
    (sum / count.max(1)) as f32 / 1000.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float to integer cast saturates")]
fn to_byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_of_a_negative_is_the_picture() {
        let mut picture = Picture::plain(4, 4, [0, 100, 255]).expect("a size within limits");
        invert(&mut picture);
        assert_eq!(picture.pixels().next(), Some([255, 155, 0]));
        invert(&mut picture);
        assert_eq!(picture.pixels().next(), Some([0, 100, 255]));
    }

    #[test]
    fn strength_bounds_the_change() {
        let plain = Picture::plain(4, 4, [100, 100, 100]).expect("a size within limits");
        let mut means = Vec::new();
        for number in 0..200 {
            let mut picture = plain.clone();
            jitter(&mut picture, 0.3, &mut Random::new(0, "a", number));
            means.push(mean_grey(&picture));
        }
        // One grey has neither contrast nor saturation: what is seen is the brightness.
        assert!(means.iter().all(|mean| (69.9..130.1).contains(mean)), "{means:?}");
        assert!(means.iter().any(|mean| *mean < 80.0) && means.iter().any(|mean| *mean > 120.0));
        let mut picture = plain.clone();
        jitter(&mut picture, 0.0, &mut Random::new(0, "a", 1));
        assert_eq!(picture, plain);
    }
}
