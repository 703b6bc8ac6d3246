//! Other colours for a picture: brightness, contrast, saturation, negatives. In fixed point, so that every machine makes the same bytes.

use boxes::{Picture, Random};

/// Turns a picture into its colour negative.
pub fn invert(picture: &mut Picture) {
    picture.bytes_mut().iter_mut().for_each(|byte| *byte = 255 - *byte);
}

/// Binary places of the factors: eight times a byte, the most there is, still fits an `i32`.
const PLACES: u32 = 16;

/// The luma of ITU-R BT.601.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// Changes brightness, contrast and saturation, each by a factor drawn from `1 - strength` to `1 + strength`.
///
/// Saturation moves a byte away from its pixel's grey, contrast from the picture's, brightness from black. One after the other they are one sum
/// of what a byte, its pixel's grey and a constant count, which is what is computed: nothing is cut off in between.
pub fn jitter(picture: &mut Picture, strength: f64, random: &mut Random) {
    let mut factor = || random.between(1.0 - strength, 1.0 + strength);
    let (brightness, contrast, saturation) = (factor(), factor(), factor());
    if strength == 0.0 {
        return;
    }
    let both = brightness * contrast;
    let own = fixed(both * saturation);
    let grey = LUMA.map(|part| fixed(both * (1.0 - saturation) * part));
    let rest = fixed(brightness * (1.0 - contrast) * mean_grey(picture) + 0.5);
    let (blocks, end) = picture.bytes_mut().as_chunks_mut::<{ 3 * BLOCK }>();
    blocks.iter_mut().for_each(|block| change(block, own, grey, rest));
    end.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| change(pixel, own, grey, rest));
}

/// How many pixels are changed at once, for vector instructions.
const BLOCK: usize = 16;

#[inline(always)]
fn change<const N: usize>(bytes: &mut [u8; N], own: i32, grey: [i32; 3], rest: i32) {
    let mut shared = [rest; BLOCK];
    for (shared, pixel) in shared.iter_mut().zip(bytes.as_chunks::<3>().0) {
        *shared += i32::from(pixel[0]) * grey[0] + i32::from(pixel[1]) * grey[1] + i32::from(pixel[2]) * grey[2];
    }
    for (shared, pixel) in shared.iter().zip(bytes.as_chunks_mut::<3>().0) {
        for byte in pixel {
            *byte = to_byte(shared + i32::from(*byte) * own);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "factors are at most 8, and sums of them with bytes below 2^15")]
fn fixed(factor: f64) -> i32 {
    (factor * f64::from(1 << PLACES)).round() as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PLACES).clamp(0, 255) as u8
}

/// The mean of a picture's greys.
#[expect(clippy::cast_precision_loss, reason = "a picture has at most 2^26 pixels")]
fn mean_grey(picture: &Picture) -> f64 {
    let (blocks, end) = picture.bytes().as_chunks::<{ 3 * BLOCK }>();
    // Each place of a block by itself: 2^26 pixels in blocks of 16 sum to less than 2^30.
    let mut sums = [0_u32; 3 * BLOCK];
    for bytes in blocks.iter().map(|block| &block[..]).chain([end]) {
        for (sum, byte) in sums.iter_mut().zip(bytes) {
            *sum += u32::from(*byte);
        }
    }
    let sum: f64 = sums.iter().zip(LUMA.iter().cycle()).map(|(sum, part)| f64::from(*sum) * part).sum();
    sum / (picture.bytes().len() / 3).max(1) as f64
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
