//! Pictures in memory: JPEG and PNG in, JPEG out, cut and scaled. It does not know of files.

use crate::{Rect, encode, scale};
use jpeg_encoder::EncodingError;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The longest side read. Photographs are below 12,000; a component has at most 4 GiB for everything.
pub const MAX_SIDE: u32 = 16_384;
/// The most pixels read (64 Mi, 192 MiB decoded): two such pictures must fit in a component's memory.
pub const MAX_PIXELS: u64 = 64 << 20;

const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Why a picture cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither a JPEG nor a PNG by its first bytes.
    #[error("neither a JPEG nor a PNG picture")]
    Format,
    /// The end is missing.
    #[error("the file ends in the middle of the picture")]
    Truncated,
    /// A side of 0, or more than is read.
    #[error("{width} x {height} pixels, of which {MAX_SIDE} a side and {MAX_PIXELS} in all can be read")]
    Size {
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
    },
    /// The decoder's or the encoder's complaint.
    #[error("{0}")]
    Damaged(String),
}

/// Makes a file's bytes of pixels, their width and height, and a quality.
type Encode = fn(&[u8], u16, u16, u8) -> Result<Vec<u8>, EncodingError>;

/// A picture: 8 bits of red, green and blue a pixel, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of one colour; `None` where it has no pixels or too many.
    #[must_use]
    pub fn plain(width: u32, height: u32, colour: [u8; 3]) -> Option<Self> {
        check_size(u64::from(width), u64::from(height)).ok()?;
        let pixels = usize::try_from(u64::from(width) * u64::from(height)).ok()?;
        Some(Self { width, height, rgb: colour.repeat(pixels) })
    }

    /// Reads a JPEG or PNG file's bytes.
    ///
    /// # Errors
    /// [`Unreadable`]; never panics, and takes no more memory than [`MAX_PIXELS`] ask for.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            decode_jpeg(bytes)
        } else if bytes.starts_with(PNG_START) {
            decode_png(bytes)
        } else {
            Err(Unreadable::Format)
        }
    }

    /// Pixels across and down, from the headers alone: `bytes` may end after them.
    ///
    /// # Errors
    /// [`Unreadable`], also for sizes that [`Picture::decode`] would refuse.
    pub fn size_of(bytes: &[u8]) -> Result<(u32, u32), Unreadable> {
        let (width, height) = if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            let mut decoder = jpeg_decoder(bytes);
            decoder.decode_headers().map_err(|error| Unreadable::Damaged(error.to_string()))?;
            let (width, height) = decoder.dimensions().ok_or(Unreadable::Format)?;
            (width as u64, height as u64)
        } else if bytes.starts_with(PNG_START) {
            let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info();
            let (width, height) = reader.map_err(|error| Unreadable::Damaged(error.to_string()))?.info().size();
            (u64::from(width), u64::from(height))
        } else {
            return Err(Unreadable::Format);
        };
        check_size(width, height)?;
        let side = |side: u64| u32::try_from(side).map_err(|_| Unreadable::Size { width, height });
        Ok((side(width)?, side(height)?))
    }

    /// Writes a JPEG file's bytes, `quality` 1 to 100, lines and letters in colour sharp from 90 on.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`] where the encoder refuses.
    pub fn encode_jpeg(&self, quality: u8) -> Result<Vec<u8>, Unreadable> {
        self.encoded(encode::drawing, quality)
    }

    /// The same as cameras and Pillow do it: four pixels share a colour, each has its own brightness (4:2:0). Half the work, two thirds of the bytes.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`] where the encoder refuses.
    pub fn encode_photograph(&self, quality: u8) -> Result<Vec<u8>, Unreadable> {
        self.encoded(encode::photograph, quality)
    }

    fn encoded(&self, encode: Encode, quality: u8) -> Result<Vec<u8>, Unreadable> {
        let side = |side: u32| u16::try_from(side).map_err(|error| Unreadable::Damaged(error.to_string()));
        encode(&self.rgb, side(self.width)?, side(self.height)?, quality)
            .map_err(|error| Unreadable::Damaged(error.to_string()))
    }

    /// Pixels across.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels' bytes: red, green, blue, red, ...
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.rgb
    }

    /// All pixels' bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// The pixels, row by row.
    pub fn pixels(&self) -> impl Iterator<Item = [u8; 3]> {
        self.rgb.as_chunks::<3>().0.iter().copied()
    }

    /// Mirrors left to right.
    pub fn flip(&mut self) {
        for row in self.rgb.chunks_exact_mut(self.width as usize * 3) {
            row.as_chunks_mut::<3>().0.reverse();
        }
    }

    /// The part inside `crop`, scaled to `width` x `height`: averaged over areas where it shrinks, bilinear where it grows.
    /// `None` where the crop or the result has no pixels, or too many.
    #[must_use]
    pub fn resized(&self, crop: &Rect, width: u32, height: u32) -> Option<Self> {
        let crop = crop.clipped(&Rect::whole(self.width, self.height));
        if crop.area() == 0 || check_size(u64::from(width), u64::from(height)).is_err() {
            return None;
        }
        let rgb = scale::scaled(&self.rgb, self.width, &crop, width, height);
        Some(Self { width, height, rgb })
    }
}

fn check_size(width: u64, height: u64) -> Result<(), Unreadable> {
    let good = (1..=u64::from(MAX_SIDE)).contains(&width)
        && (1..=u64::from(MAX_SIDE)).contains(&height)
        && width * height <= MAX_PIXELS;
    if good { Ok(()) } else { Err(Unreadable::Size { width, height }) }
}

fn jpeg_decoder(bytes: &[u8]) -> zune_jpeg::JpegDecoder<ZCursor<&[u8]>> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options)
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, Unreadable> {
    if !jpeg_is_whole(bytes) {
        return Err(Unreadable::Truncated);
    }
    let damaged = |error: zune_jpeg::errors::DecodeErrors| Unreadable::Damaged(error.to_string());
    let mut decoder = jpeg_decoder(bytes);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or(Unreadable::Format)?;
    check_size(width as u64, height as u64)?;
    let rgb = decoder.decode().map_err(damaged)?;
    whole(width as u64, height as u64, rgb)
}

/// Walks a JPEG's markers to its end: a decoder fills what is missing with grey and says nothing.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let Some(&[prefix, marker]) = bytes.get(at..at + 2) else { return false };
        match (prefix, marker) {
            (0xFF, 0xD9) => return true,
            (0xFF, 0xFF) => at += 1,
            // In a scan's data: a stuffed zero, a restart, or a plain byte.
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD7) => at += 2,
            (0xFF, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ => at += 1,
        }
    }
}

fn decode_png(bytes: &[u8]) -> Result<Picture, Unreadable> {
    let damaged = |error: png::DecodingError| match error {
        png::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Unreadable::Truncated
        }
        error => Unreadable::Damaged(error.to_string()),
    };
    let limits = png::Limits { bytes: 256 << 20 };
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (width, height) = reader.info().size();
    check_size(u64::from(width), u64::from(height))?;
    let size = reader.output_buffer_size().ok_or(Unreadable::Damaged("too large".into()))?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data).map_err(damaged)?;
    data.truncate(frame.buffer_size());
    let rgb = match frame.color_type {
        png::ColorType::Grayscale => data.iter().flat_map(|grey| [*grey; 3]).collect(),
        png::ColorType::GrayscaleAlpha => data.as_chunks::<2>().0.iter().flat_map(|[grey, _]| [*grey; 3]).collect(),
        png::ColorType::Rgb => data,
        png::ColorType::Rgba => data.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect(),
        png::ColorType::Indexed => return Err(Unreadable::Damaged("a palette that was not expanded".into())),
    };
    whole(u64::from(width), u64::from(height), rgb)
}

/// A picture whose bytes are as many as its sides say.
fn whole(width: u64, height: u64, rgb: Vec<u8>) -> Result<Picture, Unreadable> {
    let side = |side: u64| u32::try_from(side).map_err(|_| Unreadable::Size { width, height });
    if rgb.len() as u64 == width * height * 3 {
        Ok(Picture { width: side(width)?, height: side(height)?, rgb })
    } else {
        Err(Unreadable::Damaged(format!("{} bytes for {width} x {height} pixels", rgb.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves() -> Picture {
        let mut picture = Picture::plain(64, 48, [200, 30, 40]).expect("a size within limits");
        for row in picture.bytes_mut().chunks_exact_mut(64 * 3) {
            row[..32 * 3].as_chunks_mut::<3>().0.fill([10, 160, 60]);
        }
        picture
    }

    #[test]
    fn a_jpeg_comes_back_nearly_the_same() {
        let picture = halves();
        let again = Picture::decode(&picture.encode_jpeg(95).expect("encodes")).expect("decodes");
        assert_eq!((again.width(), again.height()), (64, 48));
        let far = picture.bytes().iter().zip(again.bytes()).filter(|(a, b)| a.abs_diff(**b) > 24).count();
        assert!(far < picture.bytes().len() / 20, "{far} bytes differ");
        let photograph = picture.encode_photograph(95).expect("encodes");
        let again = Picture::decode(&photograph).expect("decodes");
        let far = picture.bytes().iter().zip(again.bytes()).filter(|(a, b)| a.abs_diff(**b) > 24).count();
        assert!(far < picture.bytes().len() / 10, "{far} bytes differ");
    }

    #[test]
    fn every_cut_of_a_file_is_refused_without_a_panic() {
        let jpeg = halves().encode_jpeg(80).expect("encodes");
        for length in 0..jpeg.len() {
            assert!(Picture::decode(&jpeg[..length]).is_err(), "{length} of {} bytes", jpeg.len());
        }
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 64, 48);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(halves().bytes()).expect("data");
        writer.finish().expect("an end");
        assert_eq!(Picture::decode(&bytes).expect("decodes"), halves());
        assert_eq!(Picture::size_of(&bytes[..60]), Ok((64, 48)));
        assert_eq!(Picture::size_of(&jpeg), Ok((64, 48)));
        assert!(Picture::size_of(&jpeg[..20]).is_err());
        assert!(Picture::decode(&bytes[..bytes.len() / 2]).is_err());
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let jpeg = halves().encode_jpeg(80).expect("encodes");
        for at in 0..jpeg.len() {
            let mut damaged = jpeg.clone();
            damaged[at] ^= 0xFF;
            drop(Picture::decode(&damaged));
        }
    }

    #[test]
    fn a_huge_size_in_the_header_is_refused() {
        let mut jpeg = halves().encode_jpeg(80).expect("encodes");
        let start = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
        jpeg[start + 5..start + 9].fill(0xFF);
        assert_eq!(Picture::decode(&jpeg), Err(Unreadable::Size { width: 65535, height: 65535 }));
    }

    #[test]
    fn resizing_keeps_plain_colours_and_places() {
        let picture = halves();
        let small = picture.resized(&Rect::whole(64, 48), 16, 12).expect("resizes");
        assert_eq!(small.pixels().next(), Some([10, 160, 60]));
        assert_eq!(small.pixels().last(), Some([200, 30, 40]));
        let right = picture.resized(&Rect::new(32, 0, 64, 48), 100, 100).expect("resizes");
        assert!(right.pixels().all(|pixel| pixel == [200, 30, 40]));
        assert_eq!(picture.resized(&Rect::whole(64, 48), 64, 48).expect("resizes"), picture);
        assert!(picture.resized(&Rect::new(70, 0, 90, 10), 8, 8).is_none());
    }

    #[test]
    fn flipping_twice_changes_nothing() {
        let mut picture = halves();
        picture.flip();
        assert_ne!(picture, halves());
        picture.flip();
        assert_eq!(picture, halves());
    }
}
