//! From a picture to the model's input, and from the model's boxes back to the picture.
//!
//! Resizing is a convolution with a triangle (fast_image_resize `Bilinear`): antialiased when a picture shrinks, the same
//! filter as PIL's `Image.BILINEAR`. Sums are rounded to whole levels once a pass, as PIL does.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::picture::Pixels;
use super::settings::Resize;

/// The level that a letterboxed picture is padded with: the grey that most trained detectors know.
const GREY: u8 = 114;

/// A box: xmin, ymin, xmax, ymax.
pub(super) type Box4 = [f32; 4];

/// How a picture lies in the model's square: pixel x of the picture is at `x * scale + pad`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    width: u32,
    height: u32,
    scaled: (u32, u32),
    pad: (u32, u32),
}

impl Fit {
    /// Fits a picture of `width` × `height` into a square of `side`.
    pub(super) fn new(width: u32, height: u32, side: u32, resize: Resize) -> Self {
        let scaled = match resize {
            Resize::Stretch => (side, side),
            Resize::Letterbox => {
                let longest = u64::from(width.max(height).max(1));
                let scale = |length: u32| {
                    // Rounded to the nearest; at least a pixel, so that a very thin picture is still seen.
                    let pixels = (u64::from(length) * u64::from(side) + longest / 2) / longest;
                    u32::try_from(pixels).unwrap_or(side).clamp(1, side)
                };
                (scale(width), scale(height))
            }
        };
        Self { width, height, scaled, pad: ((side - scaled.0) / 2, (side - scaled.1) / 2) }
    }

    /// A box of the model's square as one of the picture, cut at its edges; nothing where none of it is inside.
    pub(super) fn back(&self, found: Box4) -> Option<Box4> {
        let along = |at: f32, pad: u32, scaled: u32, length: u32| {
            let (pad, scaled, length) = (f64::from(pad), f64::from(scaled), f64::from(length));
            (((f64::from(at) - pad) * length / scaled).clamp(0.0, length)) as f32
        };
        let x = |at| along(at, self.pad.0, self.scaled.0, self.width);
        let y = |at| along(at, self.pad.1, self.scaled.1, self.height);
        let [xmin, ymin, xmax, ymax] = [x(found[0]), y(found[1]), x(found[2]), y(found[3])];
        (xmin < xmax && ymin < ymax).then_some([xmin, ymin, xmax, ymax])
    }
}

/// Makes inputs for one model. One for each thread: it keeps its buffers.
pub(super) struct Preparer {
    side: u32,
    resize: Resize,
    /// What each level becomes, for red, green and blue.
    levels: [[f32; 256]; 3],
    resizer: Resizer,
    square: Vec<u8>,
}

impl Preparer {
    /// For a model that takes squares of `side`, with `(level - mean) / std`.
    pub(super) fn new(side: u32, resize: Resize, mean: [f32; 3], std: [f32; 3]) -> Self {
        let level = |channel: usize| std::array::from_fn(|level| (level as f32 - mean[channel]) / std[channel]);
        let levels = [level(0), level(1), level(2)];
        let square = vec![GREY; 3 * side as usize * side as usize];
        Self { side, resize, levels, resizer: Resizer::new(), square }
    }

    /// The picture as three planes (red, green, blue) of `side` × `side` numbers, and how it lies there.
    pub(super) fn prepare(&mut self, picture: &Pixels) -> Result<(Vec<f32>, Fit), String> {
        let fit = Fit::new(picture.width, picture.height, self.side, self.resize);
        let scaled = self.scale(picture, fit.scaled)?;
        self.place(scaled.pixels(), &fit);
        Ok((self.planes(), fit))
    }

    fn scale(&mut self, picture: &Pixels, (width, height): (u32, u32)) -> Result<TypedImage<'static, U8x3>, String> {
        // Typed, so that the compiler makes the code for this one kind of pixel and not for all thirteen.
        let source = TypedImageRef::<U8x3>::from_buffer(picture.width, picture.height, &picture.rgb)
            .map_err(|error| error.to_string())?;
        let mut scaled = TypedImage::new(width, height);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
        self.resizer.resize_typed(&source, &mut scaled, &options).map_err(|error| error.to_string())?;
        Ok(scaled)
    }

    fn place(&mut self, scaled: &[U8x3], fit: &Fit) {
        let (side, width) = (self.side as usize, fit.scaled.0 as usize);
        if fit.scaled != (self.side, self.side) {
            self.square.fill(GREY);
        }
        for (y, line) in scaled.chunks_exact(width).enumerate() {
            let start = 3 * ((fit.pad.1 as usize + y) * side + fit.pad.0 as usize);
            let row = self.square[start..start + 3 * width].chunks_exact_mut(3);
            row.zip(line).for_each(|(to, from)| to.copy_from_slice(&from.0));
        }
    }

    fn planes(&self) -> Vec<f32> {
        let plane = self.side as usize * self.side as usize;
        let mut planes = vec![0.0; 3 * plane];
        let (red, rest) = planes.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let [reds, greens, blues] = &self.levels;
        for ((pixel, red), (green, blue)) in
            self.square.chunks_exact(3).zip(red).zip(green.iter_mut().zip(blue.iter_mut()))
        {
            *red = reds[usize::from(pixel[0])];
            *green = greens[usize::from(pixel[1])];
            *blue = blues[usize::from(pixel[2])];
        }
        planes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_box_comes_back_where_it_was(
            width in 1_u32..4000, height in 1_u32..4000, side in 16_u32..1024, letterbox: bool,
            (x, y, w, h) in (0.0_f64..0.9, 0.0_f64..0.9, 0.05_f64..1.0, 0.05_f64..1.0),
        ) {
            let resize = if letterbox { Resize::Letterbox } else { Resize::Stretch };
            let fit = Fit::new(width, height, side, resize);
            let (width, height) = (f64::from(width), f64::from(height));
            let real = [x * width, y * height, (x + w).min(1.0) * width, (y + h).min(1.0) * height];
            let to = |at: f64, pad: u32, scaled: u32, length: f64| (at * f64::from(scaled) / length + f64::from(pad)) as f32;
            let seen = [
                to(real[0], fit.pad.0, fit.scaled.0, width), to(real[1], fit.pad.1, fit.scaled.1, height),
                to(real[2], fit.pad.0, fit.scaled.0, width), to(real[3], fit.pad.1, fit.scaled.1, height),
            ];
            prop_assert!(seen.iter().all(|at| (-0.01..=side as f32 + 0.01).contains(at)));
            let back = fit.back(seen);
            // A pixel of f32's rounding in the square is this much in the picture.
            let slack = 1e-3 * width.max(height);
            for (real, back) in real.iter().zip(back.unwrap_or([f32::NAN; 4])) {
                prop_assert!((real - f64::from(back)).abs() < slack, "{real} {back}");
            }
        }

        #[test]
        fn a_letterboxed_picture_keeps_its_shape(width in 1_u32..4000, height in 1_u32..4000, side in 16_u32..1024) {
            let fit = Fit::new(width, height, side, Resize::Letterbox);
            prop_assert_eq!(fit.scaled.0.max(fit.scaled.1), side);
            let exact = f64::from(width) / f64::from(width.max(height)) * f64::from(side);
            prop_assert!((f64::from(fit.scaled.0) - exact).abs() <= 1.0);
        }
    }

    #[test]
    fn boxes_are_cut_at_the_edges_and_dropped_outside() {
        let fit = Fit::new(100, 50, 10, Resize::Letterbox);
        assert_eq!(fit.pad, (0, 2));
        assert_eq!(fit.back([-5.0, 0.0, 20.0, 20.0]), Some([0.0, 0.0, 100.0, 50.0]));
        assert_eq!(fit.back([0.0, 0.0, 5.0, 1.5]), None);
        assert_eq!(fit.back([5.0, 5.0, 5.0, 6.0]), None);
        assert_eq!(fit.back([f32::NAN, 0.0, 5.0, 5.0]), None);
    }

    #[test]
    fn planes_are_normalised_and_padded() {
        let picture = Pixels { width: 2, height: 1, rgb: vec![10, 20, 30, 10, 20, 30] };
        let mut preparer = Preparer::new(4, Resize::Letterbox, [10.0, 0.0, 0.0], [1.0, 2.0, 10.0]);
        let (planes, fit) = preparer.prepare(&picture).expect("it fits");
        assert_eq!((fit.scaled, fit.pad), ((4, 2), (0, 1)));
        let rows = |plane: usize| -> Vec<f32> { (0..4).map(|y| planes[plane * 16 + y * 4]).collect() };
        assert_eq!(rows(0), [104.0, 0.0, 0.0, 104.0]);
        assert_eq!(rows(1), [57.0, 10.0, 10.0, 57.0]);
        assert_eq!(rows(2), [11.4, 3.0, 3.0, 11.4]);
    }
}
