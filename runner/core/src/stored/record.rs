//! The events of a run, as lines. A line is one JSON object, added with one write; what a death or a full disk cut off is no line.
//!
//! Lines carry no digest: a record tells what happened, and no result is taken from it.

use serde::de::IgnoredAny;

use crate::event::Stamped;

/// The whole lines of a record. Those that were cut off or damaged are left out; what an event of theirs means is not looked at.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let whole = |line: &&str| serde_json::from_str::<IgnoredAny>(line).is_ok();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).filter(whole)
}

/// The event of a line; nothing where this flowrun does not know its kind.
pub fn event(line: &str) -> Option<Stamped> {
    serde_json::from_str(line).ok()
}
