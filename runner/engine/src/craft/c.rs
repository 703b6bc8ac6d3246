//! C: a WASI command, compiled by Zig's C compiler, which brings its own libc.

use std::path::Path;

use flowrun_core::outcome::{Failure, Say};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

use super::{files_with, python, run, trouble};
use crate::fetch::Cache;

/// The compiler's version.
const ZIG: &str = "ziglang==0.17.1";

/// What a component depends on beside its source.
pub(super) const BUILT_BY: [&str; 1] = [ZIG];

pub(super) async fn build(cache: &Cache, dir: &Path, say: &Sender<Say>) -> Result<Vec<u8>, Failure> {
    let tools = python::environment(cache, ZIG, say).await?;
    let kept = cache.folder("tools")?.join("zig");
    let stage = cache.scratch()?;
    let out = stage.path().join("out.wasm");
    let mut command = Command::new(&tools.python);
    command.current_dir(dir).env("ZIG_GLOBAL_CACHE_DIR", &kept).env("ZIG_LOCAL_CACHE_DIR", stage.path().join("zig"));
    command.args([
        "-m",
        "ziglang",
        "cc",
        "--target=wasm32-wasi",
        "-Oz",
        "-Wall",
        "-Wno-unused-function",
        "-Wl,--strip-all",
    ]);
    command.args(files_with(dir, "c")?).arg("-I").arg(dir).arg("-o").arg(&out);
    run(&mut command, "the C compiler", say).await?;
    std::fs::read(&out).map_err(trouble(&out))
}
