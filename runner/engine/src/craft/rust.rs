//! Rust: cargo, with a compiler that has the target `wasm32-wasip2`.

use std::path::{Path, PathBuf};

use flowrun_core::outcome::{Failure, Say};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

use super::{files_with, on_path, refused, run, trouble};

const TARGET: &str = "wasm32-wasip2";

pub(super) async fn build(dir: &Path, say: &Sender<Say>) -> Result<Vec<u8>, Failure> {
    let cargo = on_path("cargo").ok_or_else(|| refused("cargo is not there").hint("install Rust"))?;
    let target = dir.join("target");
    let mut command = Command::new(cargo);
    command.current_dir(dir).args(["build", "--release", "--lib", "--target", TARGET, "--target-dir"]).arg(&target);
    let rustc = compiler().await?;
    if let Some(folder) = rustc.parent() {
        // The linker of components lies beside the compiler.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap_or(path));
    }
    command.env("RUSTC", rustc);
    run(&mut command, "cargo", say).await?;
    let made = target.join(TARGET).join("release");
    match files_with(&made, "wasm")?.as_slice() {
        [only] => std::fs::read(only).map_err(trouble(only)),
        [] => Err(refused("cargo made no component").hint("the crate needs `crate-type = [\"cdylib\"]` under `[lib]`")),
        many => Err(refused(format!("cargo made {} components, and a plugin is one", many.len()))
            .hint("remove `target/`, and build again")),
    }
}

/// A compiler that has the target: the user's own, or the one that `plugins/toolchain.sh` makes.
async fn compiler() -> Result<PathBuf, Failure> {
    let made = std::env::var_os("FLOWRUN_WASM_TOOLCHAIN")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/flowrun-wasm-toolchain")));
    let usual =
        [std::env::var_os("RUSTC").map(PathBuf::from), on_path("rustc"), made.map(|folder| folder.join("bin/rustc"))];
    for rustc in usual.into_iter().flatten() {
        let printed = Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]).output().await;
        let Ok(printed) = printed.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) else {
            continue;
        };
        let std = files_with(Path::new(&printed), "rlib").unwrap_or_default();
        if std.iter().any(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libstd-"))) {
            // rustup's own stand-in must be told nothing; the real path behind it holds the linker.
            return Ok(rustc);
        }
    }
    Err(refused(format!("no Rust compiler for `{TARGET}` is there")).hint(format!(
        "run `rustup target add {TARGET}`; on Debian without rustup, flowrun's `plugins/toolchain.sh` makes one"
    )))
}
