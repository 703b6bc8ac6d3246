//! The stored formats: what lies on disk, as bytes in and values out. The engine moves the bytes; nothing here knows where they lie.
//!
//! | what | module | says its version | torn, cut or damaged |
//! |---|---|---|---|
//! | the result of a step | [`entry`] | `format` in its object | its last line is not the digest of the rest: not believed, a loud miss |
//! | digests of workspace files | [`memo`] | in its first line | the same: an empty memory |
//! | a folder's listing | [`Tree`](crate::artifact::Tree) | in its first line | it is stored under its digest; only exactly what is written is read |
//! | what a run with nothing to do would say again | [`repeat`] | in its first line | the same: every step is looked at |
//! | a run's events | [`record`] | `format` in the first event | that line is skipped |
//! | a bundle's table of contents | [`bundle`] | `flowrun_bundle` | an error: nothing of it is used |
//! | a pipeline's lock | [`lock`] | `flowrun-lock` | an error that names the file and the line: people commit it, and merge it by hand |
//!
//! **Two versions.** Whole stores of another layout lie in another folder and do not meet. Inside one:
//!
//! | | old flowrun, new data | new flowrun, old data |
//! |---|---|---|
//! | a key is added (entry, event) | skips it | takes its default: it must have one |
//! | a kind of event is added | skips the event | finds none |
//! | a value is added to a closed list (`sandbox`, a mode) | does not believe the entry; skips the event | knows it |
//! | the meaning changes | does not believe the `format`; refuses the lock | does not believe it either, or reads both |
//!
//! So nobody misreads anybody, and at worst a step runs once more than it had to.
//!
//! **One form each.** What can be read is what could have been written, byte for byte where a digest hangs on it: a listing with its lines in
//! another order, or a digest in capital letters, would be a second name for one thing.

pub mod bundle;
pub mod entry;
pub mod lock;
pub mod memo;
pub mod record;
pub mod repeat;
#[cfg(test)]
mod tests;

/// The lines before the last, with their line feeds, and the last without: of a text that ends with one.
fn last_line(bytes: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let at = text.rfind('\n')? + 1;
    Some(text.split_at(at))
}

/// Whether a line is the digest of these bytes, as it is written: in small letters, without anything around it.
fn is_digest_of(line: &str, bytes: &[u8]) -> bool {
    line == blake3::hash(bytes).to_hex().as_str()
}
