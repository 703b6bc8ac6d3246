//! Finds the picture that a row's `filename` means: literally, or as an address that a download tool rewrote.
//!
//! A name is looked up in the list of pictures that are there; it is never opened as a path.

use crate::findings::Kind;
use boxes::catalog::is_plain_name;
use std::collections::HashMap;

/// What a row's file name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// This picture (its place in the list), by its own name.
    Picture(usize),
    /// This picture, by another spelling; the kind says which.
    Spelt(usize, Kind),
    /// No picture.
    Missing,
    /// A name that leads out of the folder.
    Unsafe,
}

/// The pictures of one split by name, and by name in a form that download tools do not change.
#[derive(Debug)]
pub struct Names {
    literal: HashMap<String, usize>,
    folded: HashMap<String, Option<usize>>,
}

impl Names {
    /// The names of `pictures`, in their order.
    pub fn new<'a>(pictures: impl Iterator<Item = &'a str>) -> Self {
        let (mut literal, mut folded) = (HashMap::new(), HashMap::new());
        for (place, name) in pictures.enumerate() {
            literal.entry(name.to_owned()).or_insert(place);
            // Two pictures of one folded name: it means neither.
            folded.entry(fold(name)).and_modify(|known| *known = None).or_insert(Some(place));
        }
        Self { literal, folded }
    }

    /// What `name`, as it stands in a row, means.
    #[must_use]
    pub fn look_up(&self, name: &str) -> Meaning {
        if let Some(place) = self.literal.get(name) {
            return Meaning::Picture(*place);
        }
        // `train/a.jpg` means `a.jpg`, `../a.jpg` means trouble. An address holds `?` before its slashes and colons.
        let path = name.split('?').next().unwrap_or(name);
        let last = path.rsplit('/').next().unwrap_or(path);
        if path.starts_with('/') || path.contains('\\') || path.split('/').any(|part| part == "..") {
            return Meaning::Unsafe;
        }
        if path != last
            && let Some(place) = self.literal.get(last).filter(|_| path == name)
        {
            return if is_plain_name(last) { Meaning::Picture(*place) } else { Meaning::Unsafe };
        }
        match self.folded.get(&fold(name)) {
            Some(Some(place)) => Meaning::Spelt(*place, spelling(name)),
            _ => Meaning::Missing,
        }
    }
}

/// In which way a name that is not the picture's own is written.
fn spelling(name: &str) -> Kind {
    if unescape(name) != name {
        Kind::FilenameUrlEscaped
    } else if name.contains(['?', '&', '=', '+', '#', '%', ':']) {
        Kind::FilenameUrlChars
    } else {
        Kind::FilenameSpelling
    }
}

/// A name in the form that download and export tools leave alone: unescaped, everything but letters and digits `_`, and the
/// ending in lower case. `a.jpg?t=1&n=b.JPG`, `a.jpg%3Ft%3D1%26n%3Db.jpg` and `a_jpg_t=1&n=b.jpg` are the same.
fn fold(name: &str) -> String {
    let name = unescape(name);
    let (stem, ending) = name.rsplit_once('.').unwrap_or((&name, ""));
    let plain = |c: char| if c.is_alphanumeric() { c } else { '_' };
    stem.chars().map(plain).chain(['.']).chain(ending.to_lowercase().chars()).collect()
}

/// Undoes URL escapes; as it was where they do not make UTF-8.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.filter(|digits| !digits.contains('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_literal_first_then_folded() {
        let names =
            Names::new(["a%20b.jpg", "a b.jpg", "x_jpg_t=1&n=y.jpg", "Über+1.jpg", "p_q.jpg", "p-q.jpg"].into_iter());
        assert_eq!(names.look_up("a%20b.jpg"), Meaning::Picture(0));
        assert_eq!(names.look_up("a b.jpg"), Meaning::Picture(1));
        assert_eq!(names.look_up("x.jpg?t=1&n=y.jpg"), Meaning::Spelt(2, Kind::FilenameUrlChars));
        assert_eq!(names.look_up("x.jpg%3Ft%3D1%26n%3Dy.jpg"), Meaning::Spelt(2, Kind::FilenameUrlEscaped));
        assert_eq!(names.look_up("Über 1.JPG"), Meaning::Spelt(3, Kind::FilenameSpelling));
        assert_eq!(names.look_up("train/p_q.jpg"), Meaning::Picture(4));
        assert_eq!(names.look_up("p q.jpg"), Meaning::Missing, "it could be either");
        assert_eq!(names.look_up("a+b.jpg"), Meaning::Missing, "it could be either");
    }

    #[test]
    fn names_that_lead_out_are_unsafe() {
        let names = Names::new(["passwd", "b.jpg"].into_iter());
        for name in ["/etc/passwd", "../b.jpg", "a/../b.jpg", "..\\b.jpg", ".."] {
            assert_eq!(names.look_up(name), Meaning::Unsafe, "{name}");
        }
        for name in ["", "%", "%2", "%zz.jpg", "%+1", "é%C3", "\0"] {
            assert_eq!(names.look_up(name), Meaning::Missing, "{name}");
        }
    }
}
