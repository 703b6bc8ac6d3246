//! `shim.c` as a library, for tests that count what the binary asks of the disk, or let it fail.

use std::path::PathBuf;
use std::process::Command;

/// The library, and the folder that it lies in as long as that is kept; nothing where there is no C compiler.
pub fn compile() -> Option<(PathBuf, tempfile::TempDir)> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("tempdir");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/shim.c");
    let library = folder.path().join("shim.so");
    let args = ["-shared", "-fPIC", "-O1", "-o"];
    let built = Command::new("cc").args(args).arg(&library).arg(source).arg("-ldl").output().ok()?;
    assert!(built.status.success(), "the shim does not compile:\n{}", String::from_utf8_lossy(&built.stderr));
    Some((library, folder))
}
