//! The notes on rights and origin that lie at a data set's root: they must go where the pictures go.

use crate::Catalog;
use crate::catalog::{is_plain_name, printable};
use std::fs;
use std::path::Path;

/// How their names begin, in any case.
const NOTES: [&str; 5] = ["readme", "license", "licence", "notice", "attribution"];
/// The largest note passed on, in bytes: it is a text for people.
const MAX_NOTE: u64 = 1 << 20;

/// Copies them into a folder.
///
/// # Errors
/// Which could not be read or written, and why, in words.
pub fn copy(catalog: &Catalog, output: &Path) -> Result<(), String> {
    let is_note = |file: &&crate::File| {
        let name = file.path.to_lowercase();
        is_plain_name(&file.path) && NOTES.iter().any(|note| name.starts_with(note)) && file.size <= MAX_NOTE
    };
    for file in catalog.files.iter().filter(is_note) {
        let said = |error: std::io::Error| format!("`{}`: {error}", printable(&file.path));
        fs::write(output.join(&file.path), file.read(MAX_NOTE).map_err(said)?).map_err(said)?;
    }
    Ok(())
}
