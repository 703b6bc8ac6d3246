//! Pictures as JPEG: what is done beside the encoder itself. Knows nothing of files.

use jpeg_encoder::{ColorType, Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor, rgb_to_ycbcr};

/// Every pixel with a colour of its own from quality 90 on: lines and letters in colour stay sharp.
pub(crate) fn drawing(rgb: &[u8], width: u16, height: u16, quality: u8) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::with_capacity(rgb.len() / 8);
    Encoder::new(&mut bytes, quality).encode(rgb, width, height, ColorType::Rgb)?;
    Ok(bytes)
}

/// Four pixels share the mean of their colours (4:2:0).
pub(crate) fn photograph(rgb: &[u8], width: u16, height: u16, quality: u8) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::with_capacity(rgb.len() / 8);
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.encode_image(Photograph { rgb, width, height })?;
    Ok(bytes)
}

/// Of each square of four pixels the encoder takes the colour of the first, and looks at no other: so that one has the mean, which is
/// several times as fast as to let the encoder make it.
struct Photograph<'a> {
    rgb: &'a [u8],
    width: u16,
    height: u16,
}

impl Photograph<'_> {
    fn row(&self, y: u16) -> &[[u8; 3]] {
        let width = usize::from(self.width);
        &self.rgb.as_chunks::<3>().0[usize::from(y) * width..][..width]
    }
}

impl ImageBuffer for Photograph<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, [brightness, blue, red, _]: &mut [Vec<u8>; 4]) {
        let row = self.row(y);
        brightness.extend(row.iter().map(|[r, g, b]| rgb_to_ycbcr(*r, *g, *b).0));
        let (from, to) = (blue.len(), blue.len() + row.len());
        blue.resize(to, 0);
        red.resize(to, 0);
        if y % 2 == 1 {
            return;
        }
        let below = self.row((y + 1).min(self.height - 1));
        let places = blue[from..].chunks_mut(2).zip(red[from..].chunks_mut(2));
        for ((blue, red), (upper, lower)) in places.zip(row.chunks(2).zip(below.chunks(2))) {
            let mean =
                |channel: usize| mean([upper[0], upper[upper.len() - 1], lower[0], lower[lower.len() - 1]], channel);
            (_, blue[0], red[0]) = rgb_to_ycbcr(mean(0), mean(1), mean(2));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the mean of bytes")]
fn mean(pixels: [[u8; 3]; 4], channel: usize) -> u8 {
    let sum: u16 = pixels.iter().map(|pixel| u16::from(pixel[channel])).sum();
    ((sum + 2) / 4) as u8
}
