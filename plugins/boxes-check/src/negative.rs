//! Tells a colour negative from a photograph, from pixels alone.
//!
//! A negative keeps each pixel's colourfulness and turns its hue by half a circle, and its brightness upside down: leaves
//! become purple, soil a pale blue, a blue sky brown, shadows pale. So the picture is counted into cells of hue and
//! brightness, and each cell is compared with the cell that its pixels would be in if the picture were negated:
//!
//! ```text
//!   feature[hue, light] = share[hue, light] - share[hue + 180°, 1 - light]        (a pixel counts by its colourfulness)
//!   score = 1 / (1 + exp(-sum(WEIGHTS · feature)))
//! ```
//!
//! Negating a picture turns the sign of every feature, so score(negative) = 1 - score(picture) whatever the weights are. The
//! weights come from `examples/fit_negatives.rs` (logistic regression on the 160 training pictures of `plantdoc-sample`):
//! they know foliage, soil, sky and skin, and will not know the colours of other subjects.

use boxes::{Picture, Rect};

/// Hues told apart: 30° each.
const HUES: usize = 12;
/// Brightnesses told apart. Odd, so that the middle one is its own opposite.
const LIGHTS: usize = 3;
/// How many numbers describe a picture: half the cells, as the other half are the same numbers negated.
pub const FEATURES: usize = HUES * LIGHTS / 2;
/// Pictures are looked at this small: enough for shares of colour, and it takes away noise and JPEG speckles.
const SIDE: u32 = 64;
/// From this colourfulness (distance from grey in the plane of colour differences, 0 to about 0.6) a pixel counts whole.
const FULL_CHROMA: f32 = 0.15;

/// The score from which a picture is named a suspect. Above one half, so that a grey picture is none.
pub const THRESHOLD: f32 = 0.55;

/// Hue by hue, dark to light in each; printed by `examples/fit_negatives.rs`.
const WEIGHTS: [f32; FEATURES] = [
    -5.75, -14.42, -5.35, -6.11, -11.83, -1.37, -1.27, -8.30, -1.06, 0.69, -1.20, -0.10, 1.08, 3.62, 1.33, 3.32, 9.06,
    1.49,
];

/// How sure it is that the picture is a colour negative, 0 to 1. A picture without colour has 0.5 and is no suspect.
#[must_use]
pub fn score(picture: &Picture) -> f32 {
    let sum: f32 = features(picture).iter().zip(WEIGHTS).map(|(feature, weight)| feature * weight).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// The picture in [`FEATURES`] numbers of -1 to 1; see the module.
#[must_use]
pub fn features(picture: &Picture) -> [f32; FEATURES] {
    let mut shares = [[0.0_f32; LIGHTS]; HUES];
    let small = picture.resized(&Rect::whole(picture.width(), picture.height()), SIDE, SIDE);
    for pixel in small.iter().flat_map(Picture::pixels) {
        let (hue, light, weight) = cell(pixel);
        shares[hue][light] += weight / (SIDE * SIDE) as f32;
    }
    let mut features = [0.0; FEATURES];
    for (index, feature) in features.iter_mut().enumerate() {
        let (hue, light) = (index / LIGHTS, index % LIGHTS);
        *feature = shares[hue][light] - shares[hue + HUES / 2][LIGHTS - 1 - light];
    }
    features
}

/// A pixel's hue and brightness cells, and how much it counts.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are positive and small")]
fn cell(pixel: [u8; 3]) -> (usize, usize, f32) {
    let [red, green, blue] = pixel.map(|byte| f32::from(byte) / 255.0);
    let light = 0.299 * red + 0.587 * green + 0.114 * blue;
    let (blueness, redness) = ((blue - light) * 0.564, (red - light) * 0.713);
    let chroma = blueness.hypot(redness);
    let turn = redness.atan2(blueness) / std::f32::consts::TAU + 0.5;
    let hue = (turn * HUES as f32) as usize % HUES;
    let light = ((light * LIGHTS as f32) as usize).min(LIGHTS - 1);
    (hue, light, (chroma / FULL_CHROMA).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negated(picture: &Picture) -> Picture {
        let mut negative = picture.clone();
        negative.bytes_mut().iter_mut().for_each(|byte| *byte = 255 - *byte);
        negative
    }

    #[test]
    fn a_negative_scores_what_its_picture_lacks() {
        let leaf = Picture::plain(80, 60, [60, 140, 50]).expect("a size within limits");
        assert!(score(&leaf) < 0.1, "{}", score(&leaf));
        assert!(score(&negated(&leaf)) > 0.9);
        assert!((score(&leaf) + score(&negated(&leaf)) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn a_grey_picture_is_no_suspect() {
        let grey = Picture::plain(9, 9, [90, 90, 90]).expect("a size within limits");
        assert!((score(&grey) - 0.5).abs() < 1e-6);
        assert!(score(&grey) < THRESHOLD);
    }
}
