//! A part of a picture, scaled. In fixed point, so that every machine makes the same bytes, and WebAssembly, which has to look at every
//! result of a float, takes little longer than native code.
//!
//! ```text
//! rows of bytes ── down: each new row of those near it ──► 7 binary places ── across: each new pixel of those near it ──► bytes
//! ```
//! Knows nothing of files and formats.

use crate::Rect;

/// Binary places of a weight, whose greatest is 1 and must be an `i16`.
const WEIGHT: u32 = 14;
/// Binary places of what is between the two passes: with the 8 of a byte they fill an `i16`, and times a weight an `i32`.
const BETWEEN: u32 = 7;

/// The bytes of `width` x `height` pixels, made of those inside `crop` of `rgb`, whose rows have `stride` pixels of three bytes: averaged over
/// areas where it shrinks, bilinear where it grows. `crop` lies inside and has pixels.
pub(crate) fn scaled(rgb: &[u8], stride: u32, crop: &Rect, width: u32, height: u32) -> Vec<u8> {
    let (columns, rows) = (Taps::new(crop.width(), width), Taps::new(crop.height(), height));
    let (left, top) = (usize::try_from(crop.xmin).unwrap_or(0), usize::try_from(crop.ymin).unwrap_or(0));
    let (stride, wide) = (stride as usize * 3, crop.width() as usize * 3);
    let mut scaled = vec![0; width as usize * height as usize * 3];
    let (mut sums, mut line) = (vec![0_i32; wide], vec![0_i16; wide]);
    for (to, (first, weights)) in scaled.chunks_exact_mut(width as usize * 3).zip(rows.each()) {
        let row = |index: usize| &rgb[(top + first + index) * stride + left * 3..][..wide];
        match weights {
            [one, other] => down_two(row(0), row(1), i32::from(*one), i32::from(*other), &mut line),
            _ => down(weights.iter().zip((0..).map(row)), &mut sums, &mut line),
        }
        match columns.reach {
            2 => across::<2>(&line, &columns, to),
            3 => across::<3>(&line, &columns, to),
            _ => across_any(&line, &columns, to),
        }
    }
    scaled
}

/// One row of those near it.
fn down<'a>(near: impl Iterator<Item = (&'a i16, &'a [u8])>, sums: &mut [i32], line: &mut [i16]) {
    sums.fill(0);
    for (weight, row) in near {
        let weight = i32::from(*weight);
        for (sum, byte) in sums.iter_mut().zip(row) {
            *sum += i32::from(*byte) * weight;
        }
    }
    for (value, sum) in line.iter_mut().zip(sums.iter()) {
        *value = between(*sum);
    }
}

/// The same of two rows, which is what growing needs, in one go.
fn down_two(one: &[u8], other: &[u8], weight: i32, others: i32, line: &mut [i16]) {
    for (value, (one, other)) in line.iter_mut().zip(one.iter().zip(other)) {
        *value = between(i32::from(*one) * weight + i32::from(*other) * others);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a weighted mean of bytes with 7 places more is below 2^15")]
fn between(sum: i32) -> i16 {
    ((sum + (1 << (WEIGHT - BETWEEN - 1))) >> (WEIGHT - BETWEEN)) as i16
}

/// All pixels of a row, each of the `N` near it.
fn across<const N: usize>(line: &[i16], columns: &Taps, to: &mut [u8]) {
    let pixels = line.as_chunks::<3>().0;
    let each = columns.first.iter().zip(columns.weights.as_chunks::<N>().0);
    for (pixel, (first, weights)) in to.as_chunks_mut::<3>().0.iter_mut().zip(each) {
        let near: &[[i16; 3]] = &pixels[*first..][..N];
        let mut sum = HALF;
        for (near, weight) in near.iter().zip(weights) {
            add(&mut sum, near, *weight);
        }
        *pixel = sum.map(to_byte);
    }
}

/// The same for any number of near ones.
fn across_any(line: &[i16], columns: &Taps, to: &mut [u8]) {
    let pixels = line.as_chunks::<3>().0;
    for (pixel, (first, weights)) in to.as_chunks_mut::<3>().0.iter_mut().zip(columns.each()) {
        let mut sum = HALF;
        for (near, weight) in pixels[first..].iter().zip(weights) {
            add(&mut sum, near, *weight);
        }
        *pixel = sum.map(to_byte);
    }
}

/// Half of a byte's last place.
const HALF: [i32; 3] = [1 << (WEIGHT + BETWEEN - 1); 3];

fn add(sum: &mut [i32; 3], pixel: &[i16; 3], weight: i16) {
    for (sum, value) in sum.iter_mut().zip(pixel) {
        *sum += i32::from(*value) * i32::from(weight);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a weighted mean of bytes, rounded")]
fn to_byte(sum: i32) -> u8 {
    (sum >> (WEIGHT + BETWEEN)) as u8
}

/// Which source pixels each target pixel is made of: `reach` from `first` on, some of them with a weight of 0.
struct Taps {
    reach: usize,
    first: Vec<usize>,
    weights: Vec<i16>,
}

impl Taps {
    /// A triangle filter, one source pixel wide at least: Pillow's `BILINEAR`.
    fn new(from: u32, to: u32) -> Self {
        let each: Vec<(usize, Vec<f32>)> = (0..to).map(|target| triangle(from, to, target)).collect();
        let reach = each.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1);
        let mut taps = Self { reach, first: Vec::new(), weights: Vec::new() };
        for (first, weights) in each {
            // All are equally many; at the end of a line the ones before have no weight.
            let moved = first.min(from as usize - reach);
            let place = taps.weights.len() + first - moved;
            taps.first.push(moved);
            taps.weights.resize(taps.weights.len() + reach, 0);
            fix(&weights, &mut taps.weights[place..]);
        }
        taps
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[i16])> {
        self.first.iter().copied().zip(self.weights.chunks_exact(self.reach))
    }
}

/// The first source pixel of a target pixel, and how much each from there on counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "positions are at least 0 and below 2^24"
)]
fn triangle(from: u32, to: u32, target: u32) -> (usize, Vec<f32>) {
    let (from, scale) = (from as usize, from as f32 / to as f32);
    let reach = scale.max(1.0);
    let centre = (target as f32 + 0.5) * scale;
    let first = ((centre - reach + 0.5).max(0.0) as usize).min(from - 1);
    let last = ((centre + reach + 0.5) as usize).clamp(first + 1, from);
    let weight = |source: usize| (1.0 - ((source as f32 + 0.5 - centre) / reach).abs()).max(0.0);
    let weights: Vec<f32> = (first..last).map(weight).collect();
    // A centre on the very edge of a line may be near to none.
    if weights.iter().any(|weight| *weight > 0.0) { (first, weights) } else { (first, vec![1.0]) }
}

/// Weights in fixed point. Their sum is 1 to the last place: it is the sums that are rounded, so that errors do not add up.
#[expect(clippy::cast_possible_truncation, reason = "parts of 1, with 14 places more")]
fn fix(weights: &[f32], fixed: &mut [i16]) {
    let all: f64 = weights.iter().copied().map(f64::from).sum();
    let (mut sum, mut before) = (0.0, 0);
    for (fixed, weight) in fixed.iter_mut().zip(weights) {
        sum += f64::from(*weight);
        let until = (sum / all * f64::from(1 << WEIGHT)).round() as i16;
        *fixed = until - before;
        before = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_one_together_and_stay_inside() {
        for (from, to) in [(1, 1), (1, 9), (9, 1), (5, 7), (7, 5), (255, 256), (416, 320), (16_384, 3), (2, 3)] {
            let taps = Taps::new(from, to);
            assert_eq!(taps.first.len(), to as usize);
            for (first, weights) in taps.each() {
                assert!(first + weights.len() <= from as usize, "{from} to {to}: {first}");
                assert_eq!(weights.iter().map(|weight| i32::from(*weight)).sum::<i32>(), 1 << WEIGHT, "{from} to {to}");
                assert!(weights.iter().all(|weight| *weight >= 0), "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_mean_is_that_of_exact_numbers_to_half_a_level() {
        // 7 x 5 pixels to 3 x 2 and to 10 x 9, against the same filter in floats.
        let rgb: Vec<u8> = (0..7 * 5 * 3_u32).map(|index| (index * 97 % 251) as u8).collect();
        for (width, height) in [(3, 2), (10, 9)] {
            let crop = Rect::new(1, 1, 7, 5);
            let scaled = scaled(&rgb, 7, &crop, width, height);
            for (index, byte) in (0..).zip(&scaled) {
                let (channel, column, row) = (index % 3, index / 3 % width, index / 3 / width);
                let (left, across) = triangle(6, width, column);
                let (top, down) = triangle(4, height, row);
                let all = across.iter().sum::<f32>() * down.iter().sum::<f32>();
                let mut exact = 0.0;
                for (y, down) in (top + 1..).zip(&down) {
                    for (x, across) in (left + 1..).zip(&across) {
                        exact += f32::from(rgb[(y * 7 + x) * 3 + channel as usize]) * down * across / all;
                    }
                }
                assert!((f32::from(*byte) - exact).abs() < 0.55, "{width} x {height} at {index}: {byte}, {exact}");
            }
        }
    }
}
