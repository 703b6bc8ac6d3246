//! What lies on disk. Promised of any bytes: a value or a refusal, never a panic; what is believed is what would be written, where a digest hangs
//! on it.

use flowrun_core::artifact::Tree;
use flowrun_core::digest::Digest;
use flowrun_core::stored::entry::StoredEntry;
use flowrun_core::stored::lock::Pins;
use flowrun_core::stored::{memo, record};

/// Reads the bytes as every format, and as the body of those that carry a digest, which no fuzzer finds by itself.
pub fn reads(bytes: &[u8]) {
    let summed = [bytes, b"\n", Digest::of(bytes).to_string().as_bytes(), b"\n"].concat();
    let with_feed = [bytes, b"\n"].concat();
    let summed_whole = [&with_feed, Digest::of(&with_feed).to_string().as_bytes(), b"\n"].concat();
    for bytes in [bytes, &summed, &summed_whole] {
        entry(bytes);
        if let Some(files) = memo::parse(bytes) {
            assert_eq!(memo::parse(memo::to_text(&files).as_bytes()), Some(files), "a memory changes on its way");
        }
    }
    if let Ok(tree) = Tree::from_bytes(bytes) {
        assert_eq!(tree.to_bytes(), bytes, "a folder has two forms");
        let _ = tree.artifact();
    }
    for event in record::lines(bytes).filter_map(record::event) {
        let line = serde_json::to_string(&event).expect("an event is JSON");
        assert_eq!(record::event(&line), Some(event), "an event changes on its way");
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(pins) = Pins::parse(text)
    {
        // What only the first format says is not written.
        let pins = Pins { old: Vec::new(), ..pins };
        assert_eq!(Pins::parse(&pins.to_text()), Ok(pins), "a lock changes on its way");
    }
}

fn entry(bytes: &[u8]) {
    // The key that it would have to be asked for by.
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let told = serde_json::from_slice::<serde_json::Value>(first).ok();
    let key = told.as_ref().and_then(|body| body["key"].as_str()?.parse().ok()).unwrap_or_else(|| Digest::of(b""));
    if let Ok(entry) = StoredEntry::parse(bytes, &key) {
        assert_eq!(StoredEntry::parse(entry.to_text().as_bytes(), &key), Ok(entry), "an entry changes on its way");
    }
}
