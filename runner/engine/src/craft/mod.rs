//! Making plugins: from a folder with a `plugin.yaml` and a source to one component that carries its manifest, and its cases tried on it.
//!
//! ```text
//! DIR/plugin.yaml                                  ┐
//! DIR/plugin.py | plugin.js | plugin.c | Cargo.toml├─ build ─► DIR/NAME.wasm ─ try_cases ─► DIR/tests/CASE/
//! ```
//! The compilers are brought from the registries, pinned, into the user's cache: componentize-py and Zig by uv, componentize-qjs by npm.
//! Rust's own is the user's. They run as the user and outside of any sandbox, as a compiler does; what they make is run in one.
//!
//! | file | knows |
//! |---|---|
//! | `python`, `javascript`, `c`, `rust` | one language's way to a component |
//! | `kept` | components that were built of the same source before |
//! | `pack` | core modules and components, the manifest's section |
//! | `template` | what a new plugin begins with |
//! | `cases` | steps to try, and what must come of them |
//!
//! Knows nothing of pipelines, stores or terminals.

mod c;
mod cases;
mod javascript;
mod kept;
mod pack;
mod python;
mod rust;
mod template;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plugin::Described;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

pub use cases::{Tried, Verdict, try_cases};
pub use kept::newer;
pub use pack::pack;
pub use template::{NewFile, template};

use crate::fetch::Cache;
use crate::manifest;

/// The interface that plugins are built against.
const STEP_WIT: &str = include_str!("../../../../plugins/wit/v1/step.wit");

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `Cargo.toml`.
    Rust,
    /// `plugin.py`.
    Python,
    /// `plugin.js`.
    JavaScript,
    /// `plugin.c`.
    C,
}

impl Language {
    const ALL: [(Self, &str); 4] = [
        (Self::Rust, "Cargo.toml"),
        (Self::Python, "plugin.py"),
        (Self::JavaScript, "plugin.js"),
        (Self::C, "plugin.c"),
    ];

    /// What the plugin in a folder is written in: the one source that is there.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn of(dir: &Path) -> Result<Self, Failure> {
        let found: Vec<_> = Self::ALL.into_iter().filter(|(_, file)| dir.join(file).is_file()).collect();
        match found.as_slice() {
            [(language, _)] => Ok(*language),
            [] => Err(refused(format!("no source of a plugin in `{}`", dir.display()))
                .hint("one of `plugin.py`, `plugin.js`, `plugin.c` or `Cargo.toml` is looked for; `flowrun plugin new` writes one")),
            many => {
                let names: Vec<&str> = many.iter().map(|(_, file)| *file).collect();
                Err(refused(format!("`{}` has more than one source of a plugin: {}", dir.display(), names.join(", "))))
            }
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::C => "C",
        })
    }
}

fn refused(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Step, message)
}

fn trouble(what: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    move |error| Failure::new(FailureKind::Infrastructure, format!("`{}`: {error}", what.display()))
}

/// The manifest of the plugin in a folder, and its text.
///
/// # Errors
/// When it is not there or cannot be read.
pub fn described(dir: &Path) -> Result<(Arc<Described>, String), Failure> {
    let path = dir.join("plugin.yaml");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        refused(format!("cannot read `{}`: {error}", path.display()))
            .hint("every plugin has a manifest, `plugin.yaml`; `flowrun plugin new` writes one")
    })?;
    let described = manifest::parse(&text, &format!("`{}`", path.display())).map_err(refused)?;
    Ok((described, text))
}

/// Where a folder's component is put: `DIR/NAME.wasm`.
///
/// # Errors
/// When the manifest cannot be read.
pub fn component_path(dir: &Path) -> Result<PathBuf, Failure> {
    let (described, _) = described(dir)?;
    let name = described.manifest.name.rsplit('/').next().unwrap_or_default();
    Ok(dir.join(format!("{name}.wasm")))
}

/// Builds the plugin in a folder, from its source or from a component or core module that something else made. Returns where it is.
///
/// # Errors
/// When a tool cannot be had, the source cannot be compiled, or what comes of it is no plugin.
pub async fn build(cache: &Cache, dir: &Path, from: Option<&Path>, say: &Sender<Say>) -> Result<PathBuf, Failure> {
    let (_, text) = described(dir)?;
    let dir = std::fs::canonicalize(dir).map_err(trouble(dir))?;
    let bytes = match from {
        Some(file) => std::fs::read(file).map_err(trouble(file))?,
        None => match Language::of(&dir)? {
            // cargo knows what has changed, and rustc makes the same of the same.
            Language::Rust => rust::build(&dir, say).await?,
            Language::Python => kept::or(cache, &dir, &python::BUILT_BY, python::build(cache, &dir, say)).await?,
            Language::JavaScript => {
                kept::or(cache, &dir, &javascript::BUILT_BY, javascript::build(cache, &dir, say)).await?
            }
            Language::C => kept::or(cache, &dir, &c::BUILT_BY, c::build(cache, &dir, say)).await?,
        },
    };
    let packed = pack(&bytes, &text).map_err(refused)?;
    crate::wasm::inspect_bytes(&packed)?;
    let path = component_path(&dir)?;
    let aside = path.with_extension(format!("wasm.{}", std::process::id()));
    std::fs::write(&aside, packed).and_then(|()| std::fs::rename(&aside, &path)).map_err(trouble(&path))?;
    Ok(path)
}

/// Runs a tool, tells what it says, and fails with the end of it.
async fn run(command: &mut Command, what: &str, say: &Sender<Say>) -> Result<(), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .map_err(|error| Failure::new(FailureKind::Infrastructure, format!("cannot start `{program}`: {error}")))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = tokio::join!(listen(out, say), listen(err, say));
    let status = child
        .wait()
        .await
        .map_err(|error| Failure::new(FailureKind::Infrastructure, format!("cannot wait for `{program}`: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let tail: Vec<String> = err.into_iter().chain(out).collect();
    Err(refused(format!("{what} failed\n{}", tail.join("\n"))))
}

/// Lines of a failed tool that are shown: a traceback or some compiler errors.
const TAIL: usize = 40;

/// Tells each line, and keeps the last ones, but for a trace of the tool's own insides.
async fn listen(from: Option<impl AsyncRead + Unpin>, say: &Sender<Say>) -> Vec<String> {
    let mut tail = std::collections::VecDeque::new();
    let Some(from) = from else { return Vec::new() };
    let mut lines = BufReader::new(from).split(b'\n');
    let mut insides = false;
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        let _ = say.send(Say::log(line.clone())).await;
        insides |= line.trim().eq_ignore_ascii_case("stack backtrace:");
        if insides {
            continue;
        }
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    tail.into()
}

/// A program on the `PATH`.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Writes files below a folder, which are made where they are not there.
fn write_all(folder: &Path, files: &[(&str, &str)]) -> Result<(), Failure> {
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text)).map_err(trouble(&path))?;
    }
    Ok(())
}

/// Files right in a folder with this extension.
fn files_with(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir).map_err(trouble(dir))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths.filter(|path| path.extension() == Some(OsStr::new(extension))).collect();
    found.sort();
    Ok(found)
}
