//! Pictures: which files of a folder are some, and their pixels.
//!
//! A file is a picture by its first bytes (JPEG or PNG), whatever it is called; one that is called a picture and is none
//! is an error. Pixels come as the file stores them: no EXIF rotation and no colour profile is applied, transparency is
//! dropped. That is what PIL's `convert("RGB")` gives, which models are trained on, and what the boxes of a data set are
//! measured in.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use png::ColorType;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// More pixels than this are not decoded: 270 MB a picture and thread. PIL warns of a bomb at the same size.
const PIXELS: usize = 90_000_000;

/// The longest side there may be: JPEG's own limit.
const SIDE: usize = 65_535;

/// A file larger than this is no picture of at most [`PIXELS`].
const FILE: u64 = 512 << 20;

const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// One picture file of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The file's name.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// The pictures of one folder, sorted by name, and how much in it is something else.
pub(super) struct Listing {
    pub(super) pictures: Vec<Entry>,
    pub(super) folders: usize,
    pub(super) others: usize,
}

/// Decoded: three bytes a pixel, red, green, blue, row by row.
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rgb: Vec<u8>,
}

/// Lists `folder`, not the folders in it.
pub(super) fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing { pictures: Vec::new(), folders: 0, others: 0 };
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            listing.folders += 1;
        } else if named(&path) || begins(&path)? {
            let name = name.to_str().ok_or_else(|| {
                io::Error::other(format!("the file name {name:?} is not UTF-8 and could not be written down"))
            })?;
            listing.pictures.push(Entry { name: name.to_owned(), path: path.clone() });
        } else {
            listing.others += 1;
        }
    }
    listing.pictures.sort();
    Ok(listing)
}

fn named(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    matches!(ending.as_deref(), Some("jpg" | "jpeg" | "png"))
}

fn begins(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(path)?.take(PNG.len() as u64).read_to_end(&mut first)?;
    Ok(first.starts_with(JPEG) || first.starts_with(PNG))
}

/// Reads and decodes one picture; the error is for a person.
pub(super) fn read(path: &Path) -> Result<Pixels, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE {
        return Err(format!("its {size} bytes are too many for a picture"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let pixels = match bytes.as_slice() {
        bytes if bytes.starts_with(JPEG) => jpeg(bytes),
        bytes if bytes.starts_with(PNG) => png(bytes),
        [] => Err("it is empty".to_owned()),
        _ => Err("it is neither JPEG nor PNG".to_owned()),
    }?;
    let expected = 3 * pixels.width as usize * pixels.height as usize;
    if expected == 0 || pixels.rgb.len() != expected {
        return Err(format!("it has {} bytes of pixels, expected {expected}", pixels.rgb.len()));
    }
    Ok(pixels)
}

fn bounded(width: usize, height: usize) -> Result<(), String> {
    if width > SIDE || height > SIDE || width.saturating_mul(height) > PIXELS {
        return Err(format!("{width}×{height} pixels are more than {PIXELS}"));
    }
    Ok(())
}

fn jpeg(bytes: &[u8]) -> Result<Pixels, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(SIDE)
        .set_max_height(SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| format!("{error}"))?;
    let info = decoder.info().ok_or("it has no size")?;
    bounded(info.width.into(), info.height.into())?;
    let rgb = decoder.decode().map_err(|error| format!("{error}"))?;
    Ok(Pixels { width: info.width.into(), height: info.height.into(), rgb })
}

fn png(bytes: &[u8]) -> Result<Pixels, String> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 4 * PIXELS });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = reader.info().size();
    bounded(width as usize, height as usize)?;
    let mut raw = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut raw).map_err(|error| error.to_string())?;
    raw.truncate(frame.buffer_size());
    let rgb = match frame.color_type {
        ColorType::Rgb => raw,
        ColorType::Rgba => raw.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        ColorType::Grayscale => raw.iter().flat_map(|&grey| [grey; 3]).collect(),
        ColorType::GrayscaleAlpha => raw.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(),
        ColorType::Indexed => return Err("its palette was not resolved".to_owned()),
    };
    Ok(Pixels { width, height, rgb })
}
