//! A package that has no wheel: its wheel is made once of its source, by uv, and is then a wheel as others are, pinned by its sha256.
//!
//! ```text
//! flowrun lock, on such a machine   build()   the newest tools that the source allows ── wheel and tools into the lock
//! any other time and place          bring()   in flowrun's cache? ── else made again with those tools ── else of an index ── else refused
//!                                                                     the same bytes, or not taken
//! ```
//! What is built runs the package's own code, which is why nobody builds what `no_binary` does not name. So that two machines make the same
//! bytes, it is built with a clock, a file mask and a locale that are always the same, without what compilers say of paths, in a
//! cache of its own, in which no other build's tools or results lie.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::stored::lock::{BuiltPin, FilePin, PackagePin, PythonWish, ToolPin};
use tokio::sync::mpsc::Sender;

use super::interpreter;
use super::resolve::{Question, resolve};
use super::uv::{Uv, failure};
use crate::fetch::{self, Cache, Platform, WheelPin, infrastructure, read_json, refused, sha256_of, write_json};

/// What is the same in every build: the earliest time that a wheel can note, and nothing of this machine that is known to get into one.
const ALWAYS: [(&str, &str); 7] = [
    ("SOURCE_DATE_EPOCH", "315532800"),
    ("PYTHONHASHSEED", "0"),
    ("LC_ALL", "C.UTF-8"),
    ("TZ", "UTC"),
    ("CFLAGS", "-g0"),
    ("CXXFLAGS", "-g0"),
    // What says which tools were used: see `TOOLS`.
    ("RUST_LOG", "uv_dispatch=debug"),
];

/// How uv tells what a source is built with; once, or again for what the source itself asks for then.
const TOOLS: [&str; 2] = ["Installing build requirement: ", "Installing build requirements: "];

/// A package to be built, and for which Python.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) package: &'a PackagePin,
    pub(crate) python: &'a str,
}

/// Builds a package for the first time, with the newest tools, and keeps its wheel. What this machine built before is known, unless `anew`.
///
/// # Errors
/// When there is no such Python, or the source cannot be built here.
pub(crate) async fn build(
    cache: &Cache,
    source: Source<'_>,
    anew: bool,
    say: &Sender<Say>,
) -> Result<BuiltPin, Failure> {
    let here = Platform::current()?;
    let name = format!("{}-{}-{here}.json", source.package.file.sha256, source.python);
    let memo = cache.folder("built")?.join(name);
    let kept =
        |built: &BuiltPin| pin(source.package, &built.wheel).is_ok_and(|pin| fetch::kept_wheel(cache, &pin).is_some());
    let known = || read_json::<BuiltPin>(&memo).filter(|built| !anew && kept(built));
    if let Some(built) = known() {
        return Ok(built);
    }
    let _lock = cache.lock("build").await?;
    // Another flowrun may have built it meanwhile.
    if let Some(built) = known() {
        return Ok(built);
    }
    let (wheel, tools) = make(cache, source, &[]).await?;
    let tools = pinned(cache, source.python, here, &tools, say).await?;
    let built = BuiltPin { wheel, tools };
    // Where that cannot be written, it is built again.
    let _ = write_json(&memo, &built);
    Ok(built)
}

/// Sees to it that the very wheel that was locked is in the cache.
///
/// # Errors
/// When it cannot be had: it was built on a machine whose build gives other bytes, and no index has it.
pub(crate) async fn bring(
    cache: &Cache,
    source: Source<'_>,
    platform: Platform,
    say: &Sender<Say>,
) -> Result<(), Failure> {
    let Source { package, python } = source;
    let PackagePin { name, version, .. } = package;
    let Some(built) = &package.built else {
        let text = format!("`{name}=={version}` has only its source, and is not built for {platform} yet");
        return Err(refused(text).hint("`flowrun lock` on such a machine builds it, and pins its wheel"));
    };
    let wanted = pin(package, &built.wheel)?;
    if fetch::kept_wheel(cache, &wanted).is_some() {
        return Ok(());
    }
    let _lock = cache.lock("build").await?;
    if fetch::kept_wheel(cache, &wanted).is_some() {
        return Ok(());
    }
    let (mut why, mut fault) = (format!("it was built for {platform}"), None);
    if platform == Platform::current()? {
        let _ = say.send(Say::log(format!("building {name}=={version} again, as it was locked"))).await;
        why = match make(cache, source, &built.tools).await {
            Ok((again, _)) if again.sha256 == built.wheel.sha256 => return Ok(()),
            Ok(_) => "built again, it has other bytes".to_owned(),
            // Tools that are not the locked ones are no matter of bytes that differ.
            Err(failure) if failure.message.to_lowercase().contains("hash mismatch") => return Err(failure),
            Err(failure) => {
                fault = Some(failure.kind);
                failure.message
            }
        };
    }
    // Somebody may have put it into an index: what comes from there has its sha256, or is not taken.
    fetch::wheels(cache, std::slice::from_ref(&wanted), python, platform).await.map_err(|_| {
        if fault == Some(FailureKind::Infrastructure) {
            return infrastructure(format!("the wheel `{}` of `{name}=={version}` is not here: {why}", wanted.file));
        }
        let text = format!("the wheel `{}` of `{name}=={version}` is in no cache and no index, and {why}", wanted.file);
        refused(text).hint(format!(
            "bring it from where it was locked: in a bundle, or in a folder that UV_FIND_LINKS names; or `flowrun lock --upgrade {name}` pins what is built here"
        ))
    })
}

fn pin(package: &PackagePin, wheel: &FilePin) -> Result<WheelPin, Failure> {
    WheelPin::of(&package.name, &package.version, wheel)
}

/// Makes the wheel with these tools, or where there are none with the newest, and keeps it. Gives the tools that were used.
async fn make(cache: &Cache, source: Source<'_>, tools: &[ToolPin]) -> Result<(FilePin, Vec<String>), Failure> {
    let Source { package, python } = source;
    let python = interpreter(cache, python).await?;
    let scratch = cache.scratch()?;
    let uv = Uv::online(cache).await?.building(&scratch.path().join("cache"), &ALWAYS);
    let list = uv.file("requirements.txt", &format!("{}\n", package.index_line()))?;
    let mut args: Vec<OsString> = ["pip", "install", "--no-config", "--no-deps", "--require-hashes"]
        .into_iter()
        .chain(["--only-binary=:all:", "--no-binary", package.name.as_str(), "--python"])
        .map(OsString::from)
        .collect();
    args.extend([python.path.into(), "--target".into(), scratch.path().join("installed").into()]);
    if !tools.is_empty() {
        let pinned: String = tools.iter().map(line).collect();
        args.extend(["--build-constraints".into(), uv.file("tools.txt", &pinned)?.into()]);
    }
    args.extend(["-r".into(), list.into()]);
    args.extend(uv.index_args());
    let said = uv.run(&args, "", None).await?;
    let words = said.stderr;
    if !said.well {
        return Err(failure(&format!("build {}=={}", package.name, package.version), &words));
    }
    let file = found(&scratch.path().join("cache"), package)?;
    let told = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let size = fs::metadata(&file).map_err(|error| cache.trouble(&error))?.len();
    let sha256 = sha256_of(&file).map_err(|error| cache.trouble(&error))?;
    cache.keep(&file, "wheels", &sha256, &told)?;
    Ok((FilePin { file: told, sha256, size: Some(size) }, tools_in(&words)))
}

fn line(tool: &ToolPin) -> String {
    format!("{}=={} --hash=sha256:{}\n", tool.name, tool.version, tool.file.sha256)
}

/// The tools by `name==version`, sorted.
fn tools_in(words: &str) -> Vec<String> {
    let told = |line: &str| TOOLS.iter().find_map(|start| Some(line.split_once(start)?.1.to_owned()));
    let mut all: Vec<String> = words
        .lines()
        .filter_map(told)
        .flat_map(|line| line.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The files of the tools.
async fn pinned(
    cache: &Cache,
    python: &str,
    here: Platform,
    tools: &[String],
    say: &Sender<Say>,
) -> Result<Vec<ToolPin>, Failure> {
    let wish = PythonWish::new(python, tools, &[]);
    let question = Question { wish: &wish, platform: here, kept: &std::collections::BTreeMap::new(), deep: false };
    let packages = resolve(cache, question, say).await.map_err(|unresolved| unresolved.failure)?;
    Ok(packages.into_iter().map(|PackagePin { name, version, file, .. }| ToolPin { name, version, file }).collect())
}

/// The wheel that uv left in its cache. Where it lies there is uv's own matter, so all of it is looked through.
fn found(cache: &Path, package: &PackagePin) -> Result<PathBuf, Failure> {
    let mut wheels = Vec::new();
    wheels_below(cache, &mut wheels);
    let file = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    wheels.retain(|path| fetch::is_wheel_of(&file(path), &package.name, &package.version));
    match wheels.as_slice() {
        [wheel] => Ok(wheel.clone()),
        _ => Err(infrastructure(format!("uv built `{}`, and its wheel is not found", package.name))),
    }
}

fn wheels_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is = |test: fn(&fs::FileType) -> bool| entry.file_type().is_ok_and(|kind| test(&kind));
        let path = entry.path();
        // A source may have wheels of its own in it.
        if is(fs::FileType::is_dir) && entry.file_name() != "src" {
            wheels_below(&path, found);
        } else if is(fs::FileType::is_file) && path.extension().is_some_and(|end| end == "whl") {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_are_what_uv_installed_for_the_build() {
        let words = "DEBUG Installing build requirements: wheel==0.48.0, setuptools==84.2.1\n\
                     DEBUG Downloading and building requirements for build: numpy==1\n\
                     DEBUG Installing build requirement: cython==3.3.1\n   Built x==1\n";
        assert_eq!(tools_in(words), ["cython==3.3.1", "setuptools==84.2.1", "wheel==0.48.0"]);
        assert!(tools_in("").is_empty());
    }
}
