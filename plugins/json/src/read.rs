//! JSON from files: strict, and not deeper than can be walked.

use flowrun_plugin::Failure;
use jaq_json::{Val, read};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// Lists and objects inside one another. Real data have tens; more would overflow the stack of whoever walks them.
const DEEPEST: usize = 500;

/// One value from its text. `what` names it in errors.
///
/// # Errors
/// When it is not JSON (RFC 8259), or too deep.
pub fn text(bytes: &[u8], what: &str) -> Result<Val, Failure> {
    let bad = |message: String| Failure::bad_input(format!("{what}: {message}"));
    if depth(bytes) > DEEPEST {
        return Err(bad(format!("more than {DEEPEST} lists and objects inside one another")));
    }
    // The filter's own reader takes more than JSON, such as comments: what others read must be what we read.
    serde_json::from_slice::<&RawValue>(bytes).map_err(|error| bad(format!("not JSON: {error}")))?;
    read::parse_single(bytes).map_err(|error| bad(format!("not JSON: {error}")))
}

/// One value from a file.
///
/// # Errors
/// When it cannot be read, or is not one JSON value.
pub fn file(path: &Path, what: &str) -> Result<Val, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::bad_input(format!("{what}: {error}")))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    text(bytes, what)
}

/// Each line of a file that is not blank, as a value.
///
/// # Errors
/// When a line is not JSON; and what `each` says.
pub fn each(path: &Path, mut each: impl FnMut(Val) -> Result<(), Failure>) -> Result<(), Failure> {
    let bad = |error: std::io::Error| Failure::bad_input(format!("the data: {error}"));
    let lines = std::io::BufReader::new(std::fs::File::open(path).map_err(bad)?);
    for (number, line) in lines.split(b'\n').enumerate() {
        let line = line.map_err(bad)?;
        if !line.trim_ascii().is_empty() {
            each(text(line.trim_ascii(), &format!("the data, line {}", number + 1))?)?;
        }
    }
    Ok(())
}

/// The JSON files below a folder, by path; files of other names are left out.
///
/// # Errors
/// When one cannot be read, or is not JSON.
pub fn folder(root: &Path) -> Result<Val, Failure> {
    let mut found = BTreeMap::new();
    gather(root, "", &mut found)?;
    let entries = found.into_iter().map(|(name, value)| (Val::utf8_str(name), value));
    Ok(Val::obj(entries.collect()))
}

fn gather(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Val>) -> Result<(), Failure> {
    let bad = |error: std::io::Error| Failure::bad_input(format!("`{prefix}`: {error}"));
    for entry in std::fs::read_dir(folder).map_err(bad)? {
        let path = entry.map_err(bad)?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            gather(&path, &format!("{name}/"), found)?;
        } else if name.ends_with(".json") {
            found.insert(name.clone(), file(&path, &format!("`{name}`"))?);
        }
    }
    Ok(())
}

/// How deep lists and objects go, without walking in: brackets outside of texts.
fn depth(bytes: &[u8]) -> usize {
    let (mut deepest, mut now, mut text, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        match (text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => text = !text,
            (false, b'[' | b'{') => {
                now += 1;
                deepest = deepest.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
