//! What fuzzing found worth keeping, read again in every test run: the bodies of the fuzz targets over their corpora.

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "they are public where they are fuzzed")]
mod bodies;

use std::path::PathBuf;

/// Feeds every file of a target's corpus to its body. A panic names the file.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut read = 0;
    for entry in std::fs::read_dir(&folder).expect("a corpus").flatten() {
        let bytes = std::fs::read(entry.path()).expect("read");
        let held = std::panic::catch_unwind(|| body(&bytes));
        assert!(held.is_ok(), "{} breaks a promise", entry.path().display());
        read += 1;
    }
    assert!(read >= 10, "{} holds {read} files only", folder.display());
}

#[test]
fn pipelines() {
    replay("yaml", bodies::yaml::reads);
}

#[test]
fn expressions() {
    replay("expr", bodies::expr::reads);
}

#[test]
fn stored_formats() {
    replay("stored", bodies::stored::reads);
}
