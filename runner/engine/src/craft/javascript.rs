//! JavaScript: QuickJS and the plugin's modules, snapshot into a component by componentize-qjs.

use std::path::{Path, PathBuf};

use flowrun_core::outcome::{Failure, Say};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

use super::{STEP_WIT, files_with, on_path, refused, run, trouble, write_all};
use crate::fetch::Cache;

/// The compiler's version; every file of it is pinned by `tools-lock.json`.
const COMPONENTIZE: &str = "componentize-qjs-0.4.5";

const TOOLS: &str = include_str!("../../../../plugins/templates/js/tools.json");
const TOOLS_LOCK: &str = include_str!("../../../../plugins/templates/js/tools-lock.json");
const ENTRY: &str = include_str!("../../../../plugins/templates/js/entry.js");
const WORLD: &str = include_str!("../../../../plugins/templates/js/wit/world.wit");
const FILES: &str = include_str!("../../../../plugins/templates/js/wit/filesystem.wit");

/// What a component depends on beside its source.
pub(super) const BUILT_BY: [&str; 5] = [TOOLS_LOCK, ENTRY, WORLD, FILES, STEP_WIT];

pub(super) async fn build(cache: &Cache, dir: &Path, say: &Sender<Say>) -> Result<Vec<u8>, Failure> {
    let tool = tools(cache, say).await?;
    let stage = cache.scratch()?;
    let wit =
        [("wit/world.wit", WORLD), ("wit/deps/filesystem/filesystem.wit", FILES), ("wit/deps/step/step.wit", STEP_WIT)];
    write_all(stage.path(), &wit)?;
    let source = stage.path().join("source");
    write_all(&source, &[("entry.js", ENTRY), ("package.json", "{\"type\": \"module\"}")])?;
    for file in files_with(dir, "js")? {
        let to = source.join(file.file_name().unwrap_or_default());
        std::fs::copy(&file, &to).map_err(trouble(&file))?;
    }
    let out = stage.path().join("out.wasm");
    let mut command = Command::new(node()?);
    command.current_dir(&source).arg(tool).args(["--sync", "-n", "plugin", "-j", "entry.js"]);
    command.arg("-w").arg(stage.path().join("wit")).arg("-o").arg(&out);
    run(&mut command, "componentize-qjs", say).await?;
    std::fs::read(&out).map_err(trouble(&out))
}

fn node() -> Result<PathBuf, Failure> {
    on_path("node").ok_or_else(|| {
        refused("a plugin in JavaScript is compiled by a program for Node.js, which is not there")
            .hint("install Node.js 18 or later, with npm")
    })
}

/// The compiler, brought by npm the first time. A folder is whole when it has its name.
async fn tools(cache: &Cache, say: &Sender<Say>) -> Result<PathBuf, Failure> {
    node()?;
    let folder = cache.folder("tools")?.join(COMPONENTIZE);
    let program = folder.join("node_modules/componentize-qjs/cli.mjs");
    let _lock = cache.lock(COMPONENTIZE).await?;
    if program.is_file() {
        return Ok(program);
    }
    let npm = on_path("npm").ok_or_else(|| {
        refused("npm is not there, which brings the compiler of JavaScript plugins").hint("install npm")
    })?;
    let stage = cache.scratch()?;
    write_all(stage.path(), &[("package.json", TOOLS), ("package-lock.json", TOOLS_LOCK)])?;
    let mut command = Command::new(npm);
    command.current_dir(stage.path()).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(&mut command, "npm", say).await?;
    std::fs::rename(stage.path(), &folder).map_err(trouble(&folder))?;
    Ok(program)
}
