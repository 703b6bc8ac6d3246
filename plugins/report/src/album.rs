//! Pictures of a dataset folder as `data:` addresses. File names come from data: only plain names inside the split's
//! folder are opened, only real pictures are embedded, and a page does not grow without bound.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;

/// The largest picture that is embedded: a photograph straight from a camera is larger, and a page of 48 such would not open.
const LARGEST: usize = 2 << 20;
/// How many bytes of pictures a page holds (a third more in base64): what a mail server or a phone still takes.
const PAGE: usize = 24 << 20;

/// Why a picture is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The name is a path, or no file has it.
    #[error("not in the dataset")]
    NotThere,
    /// Neither JPEG, PNG, WebP nor GIF.
    #[error("not a picture a browser shows")]
    NotAPicture,
    /// Over one of the limits.
    #[error("too large for this page")]
    TooLarge,
}

/// A dataset folder whose pictures are embedded; without one, no picture is there.
#[derive(Debug)]
pub struct Album {
    folder: Option<PathBuf>,
    left: usize,
}

impl Album {
    /// The pictures of the dataset in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), left: PAGE }
    }

    /// No pictures.
    pub fn empty() -> Self {
        Self { folder: None, left: PAGE }
    }

    /// The picture `file` of `split` as a `data:` address.
    ///
    /// # Errors
    /// [`Absent`] where the page must do without.
    pub fn embed(&mut self, split: &str, file: &str) -> Result<String, Absent> {
        if !plain(split) || !plain(file) {
            return Err(Absent::NotThere);
        }
        let path = self.folder.as_ref().ok_or(Absent::NotThere)?.join(split).join(file);
        let size = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file).ok_or(Absent::NotThere)?.len();
        let size = usize::try_from(size).map_err(|_| Absent::TooLarge)?;
        if size > LARGEST || size > self.left {
            return Err(Absent::TooLarge);
        }
        let bytes = std::fs::read(path).map_err(|_| Absent::NotThere)?;
        let kind = kind(&bytes).ok_or(Absent::NotAPicture)?;
        self.left = self.left.saturating_sub(bytes.len());
        Ok(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
    }
}

/// A name that stays in its folder.
fn plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// The media type by the first bytes. SVG is left out: it may hold scripts.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_inside_the_split_are_embedded() {
        let folder = tempfile::tempdir().expect("a folder");
        let test = folder.path().join("test");
        std::fs::create_dir(&test).expect("made");
        std::fs::write(folder.path().join("secret.jpg"), [0xff, 0xd8, 0xff, 0]).expect("written");
        std::fs::write(test.join("a%20=&.jpg"), [0xff, 0xd8, 0xff, 0]).expect("written");
        std::fs::write(test.join("b.jpg"), "<svg onload='x()'/>").expect("written");
        std::fs::write(test.join("c.jpg"), vec![0xff; LARGEST + 1]).expect("written");
        let mut album = Album::new(folder.path());
        assert_eq!(album.embed("test", "a%20=&.jpg").as_deref(), Ok("data:image/jpeg;base64,/9j/AA=="));
        assert_eq!(album.embed("test", "b.jpg"), Err(Absent::NotAPicture));
        assert_eq!(album.embed("test", "c.jpg"), Err(Absent::TooLarge));
        for (split, file) in [("test", "../secret.jpg"), ("..", "secret.jpg"), ("test", "none.jpg"), ("test", "")] {
            assert_eq!(album.embed(split, file), Err(Absent::NotThere), "{split} {file}");
        }
        album.left = 3;
        assert_eq!(album.embed("test", "a%20=&.jpg"), Err(Absent::TooLarge));
    }
}
