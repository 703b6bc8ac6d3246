//! Finds the picture that an annotation names among the files of a data set.

use super::FlawKind;
use super::splits::{self, Word};
use crate::catalog::{Catalog, File, is_plain_name};
use std::collections::HashMap;

/// The pictures of a data set, by their own names.
pub(super) struct Pictures<'a>(HashMap<&'a str, Vec<&'a File>>);

/// Whether a file is a picture by its name's end.
pub(super) fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    matches!(ending.as_str(), "jpg" | "jpeg" | "png")
}

/// A name less its ending.
pub(super) fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

impl<'a> Pictures<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        let mut pictures: HashMap<&str, Vec<&File>> = HashMap::new();
        for file in catalog.files.iter().filter(|file| is_picture(file.name())) {
            pictures.entry(file.name()).or_default().push(file);
        }
        Self(pictures)
    }

    /// The picture `name` (its own name, or with folders before it), as the file in `folder` of the split `word` means it.
    /// Of several with such an end: that of the same split, then that which shares the most folders, then the first.
    pub(super) fn find(&self, name: &str, folder: &str, word: Option<Word>) -> Result<&'a File, (FlawKind, String)> {
        let parts: Vec<&str> = name.split('/').filter(|part| *part != ".").collect();
        if !parts.iter().all(|part| is_plain_name(part)) {
            let message =
                if name.is_empty() { "no file name" } else { "a name that leads out of the data set's folder" };
            let kind = if name.is_empty() { FlawKind::MissingPicture } else { FlawKind::UnsafeName };
            return Err((kind, message.to_owned()));
        }
        let (path, last) = (parts.join("/"), parts.last().copied().unwrap_or_default());
        let ends =
            |file: &&&File| file.path.strip_suffix(&path).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
        let near = |file: &&&File| {
            let shared = file.folder().split('/').zip(folder.split('/')).take_while(|(a, b)| a == b).count();
            (word.is_some() && splits::of_folders(file) == word, shared)
        };
        let candidates = self.0.get(last).into_iter().flatten().filter(ends);
        // `rev`: of equals the first, and the list is sorted.
        let found = candidates.rev().max_by_key(near).copied();
        found.ok_or_else(|| (FlawKind::MissingPicture, "no such picture".to_owned()))
    }
}
