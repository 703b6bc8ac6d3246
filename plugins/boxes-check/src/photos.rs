//! The pictures of each split: which files they are, and what their pixels say.

use crate::findings::{Action, Kind, Report};
use crate::negative;
use crate::tables::{Table, split_words};
use boxes::catalog::is_plain_name;
use boxes::{Catalog, File, Picture};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// The largest picture file read. Photographs are below 50 MB; a component has at most 4 GiB of memory.
const MAX_FILE: u64 = 256 << 20;

/// A picture file of a split.
#[derive(Debug)]
pub struct Photo<'a> {
    /// Where its bytes are.
    pub file: &'a File,
    /// What is in it; none where it cannot be read.
    pub seen: Option<Seen>,
}

/// What a picture's bytes say.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// [`negative::score`].
    pub negative: f32,
    /// Tells the same bytes again.
    pub hash: u64,
}

impl Photo<'_> {
    /// The file's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.file.name()
    }

    /// Its bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn bytes(&self) -> std::io::Result<Vec<u8>> {
        self.file.read(MAX_FILE)
    }
}

/// The picture files that belong to a table: those in its split's folder (or tar); where there is no such folder, those
/// below the table's own folder that no other split's folder holds. Sorted by name, each name once.
pub fn list<'a>(catalog: &'a Catalog, table: &Table, report: &mut Report) -> Vec<&'a File> {
    let pictures = || catalog.files.iter().filter(|file| is_picture(file.name()));
    let mut files: Vec<&File> = pictures().filter(|file| split_words(file) == Some(table.words)).collect();
    if files.is_empty() {
        let home = table.path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        files = pictures().filter(|file| file.path.starts_with(&home) && split_words(file).is_none()).collect();
    }
    files.sort_by(|a, b| (a.name(), a.tar.is_some(), &a.path).cmp(&(b.name(), b.tar.is_some(), &b.path)));
    let mut taken: HashMap<&str, &File> = HashMap::new();
    files.retain(|file| {
        let first = taken.get(file.name()).copied();
        if !is_plain_name(file.name()) {
            report.add_file(Some(table.split), &file.path, Kind::UnsafeName, Action::Dropped, "not a plain file name");
        } else if let Some(first) = first {
            // The same path loose and in a tar is one picture, unpacked beside its tar.
            if first.path != file.path {
                let message = format!("the split has another picture of this name: `{}`", first.path);
                report.add_file(Some(table.split), &file.path, Kind::DuplicatePicture, Action::Dropped, message);
            }
        } else {
            taken.insert(file.name(), file);
            return true;
        }
        false
    });
    files
}

fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    matches!(ending.as_str(), "jpg" | "jpeg" | "png")
}

/// Reads the pictures; `done` is told after each.
pub fn look<'a>(files: Vec<&'a File>, table: &Table, report: &mut Report, mut done: impl FnMut()) -> Vec<Photo<'a>> {
    let mut look_at = |file: &'a File| {
        let mut photo = Photo { file, seen: None };
        match see(&photo) {
            Ok(seen) => photo.seen = Some(seen),
            Err(reason) => {
                report.add_file(Some(table.split), file.name(), Kind::UnreadablePicture, Action::Dropped, reason);
            }
        }
        done();
        photo
    };
    files.into_iter().map(&mut look_at).collect()
}

fn see(photo: &Photo) -> Result<Seen, String> {
    let bytes = photo.bytes().map_err(|error| error.to_string())?;
    let picture = Picture::decode(&bytes).map_err(|error| error.to_string())?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    let (width, height) = (picture.width(), picture.height());
    Ok(Seen { width, height, negative: negative::score(&picture), hash: hasher.finish() })
}
