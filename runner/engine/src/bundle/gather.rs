//! What goes into a bundle: what is found by its sha256 is brought into the user's cache first; of the project, what the pipeline names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flowrun_core::artifact::is_component;
use flowrun_core::expr::{self, Quote};
use flowrun_core::lang::params;
use flowrun_core::lang::wheel_pin;
use flowrun_core::lang::written::Step;
use flowrun_core::outcome::Failure;
use flowrun_core::plan;
use flowrun_core::stored::bundle::{Entry, Kept, Kind};
use flowrun_core::stored::lock::{PackagePin, Pins, PythonWish};
use indexmap::IndexMap;

use crate::fetch::{self, Cache, Platform, WheelPin, infrastructure, refused};
use crate::lockfile::{self, Lockfile};
use crate::project::Project;
use crate::python::{self, Source};
use crate::store::LEFT_OUT;
use crate::{locking, manifest, registry};

/// Folders inside one another: more is a circle, or no project.
const DEEPEST: usize = 250;

/// A file or folder of the project.
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) path: PathBuf,
}

/// Everything that is found by its sha256, brought here.
pub(super) async fn kept(
    project: &Project,
    pins: &Pins,
    cache: &Cache,
    platforms: &[Platform],
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<BTreeMap<Kept, PathBuf>, Failure> {
    let mut found = BTreeMap::new();
    let (say, mut said) = tokio::sync::mpsc::channel(256);
    let listener = tokio::spawn(async move { while said.recv().await.is_some() {} });
    for platform in platforms {
        for (python, packages) in environments(project, pins, *platform) {
            for package in packages.iter().filter(|package| package.is_source()) {
                python::bring(cache, Source { package, python: &python }, *platform, &say).await?;
            }
            let wheels = packages.iter().filter_map(wheel_of).collect::<Result<Vec<_>, _>>()?;
            let missing = wheels.iter().filter(|wheel| fetch::kept_wheel(cache, wheel).is_none()).count();
            if missing > 0 {
                tell(format!("fetching wheels for {platform}: {missing}"));
            }
            fetch::wheels(cache, &wheels, &python, *platform).await?;
            for wheel in &wheels {
                let path = fetch::kept_wheel(cache, wheel).ok_or_else(|| gone(&wheel.file))?;
                keep(&mut found, Kind::Wheels, &wheel.sha256, path)?;
            }
        }
        for wheel in single_wheels(project, pins, *platform)? {
            if fetch::kept_wheel(cache, &wheel).is_none() {
                tell(format!("fetching {}=={} for {platform}", wheel.name, wheel.version));
            }
            let (path, _) = fetch::wheel(cache, &wheel.name, &wheel.version, *platform, Some(&wheel)).await?;
            keep(&mut found, Kind::Wheels, &wheel.sha256, path)?;
        }
    }
    for source in project.program.pipeline.sources.values() {
        if let (Some(url), Some(sha256)) = (&source.url, &source.sha256) {
            let fetched = fetch::url(cache, url, Some(sha256), None, &say).await?;
            keep(&mut found, Kind::Urls, &fetched.sha256, fetched.path)?;
        }
    }
    drop(say);
    let _ = listener.await;
    for (uses, pin) in &project.plugins {
        let (path, _) = registry::kept(cache, &pin.sha256).ok_or_else(|| gone(uses))?;
        keep(&mut found, Kind::Components, &pin.sha256, path)?;
    }
    Ok(found)
}

fn gone(what: &str) -> Failure {
    infrastructure(format!("`{what}` is not in the cache any more")).hint("it was taken away meanwhile: pack again")
}

fn keep(found: &mut BTreeMap<Kept, PathBuf>, kind: Kind, sha256: &str, path: PathBuf) -> Result<(), Failure> {
    let size = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    found.insert(Kept { kind, sha256: sha256.to_owned(), size, file }, path);
    Ok(())
}

/// The packages of each Python environment of the steps, with its Python.
fn environments(project: &Project, pins: &Pins, platform: Platform) -> Vec<(String, Vec<PackagePin>)> {
    let mut all: BTreeMap<PythonWish, Vec<PackagePin>> = BTreeMap::new();
    for python in steps(project).filter_map(|step| step.run.as_ref().and(step.python.as_ref())) {
        let wish = PythonWish::from(python);
        let Some((_, pin)) = pins.environment(&wish) else { continue };
        let packages = pin.resolved.get(&platform.to_string()).cloned().unwrap_or_default();
        all.insert(wish, packages);
    }
    all.into_iter().map(|(wish, packages)| (wish.python, packages)).collect()
}

fn wheel_of(package: &PackagePin) -> Option<Result<WheelPin, Failure>> {
    Some(WheelPin::of(&package.name, &package.version, package.wheel()?))
}

/// Wheels that are wanted for what is in them: uv, ONNX Runtime, sources.
fn single_wheels(project: &Project, pins: &Pins, platform: Platform) -> Result<Vec<WheelPin>, Failure> {
    let mut wheels = Vec::new();
    for step in steps(project) {
        wheels.extend(locking::runtime_wheels(pins, step, platform)?);
    }
    for pin in project.program.pipeline.sources.values().filter_map(|source| source.pypi.clone()) {
        let file = pins.wheel(&pin, &platform.to_string());
        let (Some((name, version)), Some(file)) = (wheel_pin(&pin), file) else { continue };
        wheels.push(WheelPin::of(name, version, file)?);
    }
    if steps(project).any(|step| step.run.is_some() && step.python.is_some()) {
        wheels.extend(fetch::uv_pin(platform));
    }
    Ok(wheels)
}

fn steps(project: &Project) -> impl Iterator<Item = &Step> {
    project.program.pipeline.steps.values().map(|step| &**step)
}

/// Everything of the project that the pipeline names, by its path there.
///
/// What steps never see is left out, and so is the bundle itself, which may lie among the data.
pub(super) fn files(project: &Project, lock: &Lockfile, output: &Path) -> Result<BTreeMap<String, Found>, Failure> {
    let mut named = vec![project.file.clone()];
    named.extend(lock.exists().then(|| lockfile::path_of(&project.file)));
    named.extend(project.read.iter().map(|file| project.path(file)));
    for step in steps(project) {
        named.extend(step.code.iter().map(|code| project.path(code)));
        let local = step.uses.as_ref().filter(|uses| uses.starts_with('.')).map(|uses| project.path(uses));
        let beside = local.as_deref().map(manifest::beside).filter(|path| path.is_file());
        named.extend(local.into_iter().chain(beside));
    }
    named.extend(data(project)?);
    let mut found = BTreeMap::new();
    for path in named {
        let real = fs::canonicalize(&path).map_err(|error| unreadable(&path, &error))?;
        let inside = lexical(&path).strip_prefix(&project.tree).map(Path::to_owned);
        let (Ok(inside), true) = (inside, real.starts_with(&project.tree)) else {
            let text = format!("{} lies outside the project {}", path.display(), project.tree.display());
            return Err(refused(text).hint("a bundle holds what lies in the project: move it there"));
        };
        folders(&mut found, project, &inside)?;
        // A link that the pipeline names itself is meant as what it leads to.
        walk(&mut found, &text_of(&inside)?, &real, &fs::canonicalize(output).unwrap_or_default())?;
    }
    Ok(found)
}

/// Data that lies in the project, with the params' own values.
fn data(project: &Project) -> Result<Vec<PathBuf>, Failure> {
    let pipeline = &project.program.pipeline;
    let written = pipeline.sources.values().filter_map(|source| source.path.as_deref());
    let values = params::resolve(pipeline, project.program.profile.as_deref(), &IndexMap::new());
    let values = values.map_err(|problems| refused(problems.join("; ")))?;
    let context = plan::context(&values, &IndexMap::new());
    let render = |text: &str| {
        expr::render(text, &context, Quote::Plain)
            .map(|path| project.path(&path))
            .map_err(|bad| refused(format!("`{text}`: {bad}")))
    };
    written.map(render).collect()
}

/// `a/../b` is `b`.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn folders(found: &mut BTreeMap<String, Found>, project: &Project, inside: &Path) -> Result<(), Failure> {
    for folder in inside.ancestors().skip(1).filter(|folder| *folder != Path::new("")) {
        let path = project.tree.join(folder);
        found.entry(text_of(folder)?).or_insert(Found { entry: Entry::Folder, path });
    }
    Ok(())
}

fn text_of(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| refused(format!("{} is not UTF-8", path.display())))
}

/// `name` is empty for the project's own folder.
fn walk(found: &mut BTreeMap<String, Found>, name: &str, path: &Path, output: &Path) -> Result<(), Failure> {
    let io = |error: std::io::Error| unreadable(path, &error);
    if name.split('/').count() > DEEPEST {
        return Err(refused(format!("{} lies too many folders deep", path.display())));
    }
    let kind = fs::symlink_metadata(path).map_err(io)?.file_type();
    let entry = if kind.is_dir() {
        for child in fs::read_dir(path).map_err(io)? {
            let child = child.map_err(io)?;
            let own = child.file_name().into_string().ok().filter(|name| is_component(name));
            let own = own.ok_or_else(|| refused(format!("{}: its name is not UTF-8", child.path().display())))?;
            if !LEFT_OUT.contains(&own.as_str()) && child.path() != output {
                let name = if name.is_empty() { own } else { format!("{name}/{own}") };
                walk(found, &name, &child.path(), output)?;
            }
        }
        Entry::Folder
    } else if kind.is_symlink() {
        Entry::Link(text_of(&fs::read_link(path).map_err(io)?)?)
    } else if kind.is_file() {
        file(path).map_err(io)?
    } else {
        return Err(refused(format!("{} is neither a file nor a folder", path.display())));
    };
    if !name.is_empty() {
        found.insert(name.to_owned(), Found { entry, path: path.to_owned() });
    }
    Ok(())
}

fn file(path: &Path) -> std::io::Result<Entry> {
    let about = fs::metadata(path)?;
    let executable = std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o100 != 0;
    Ok(Entry::File { sha256: fetch::sha256_of(path)?, size: about.len(), executable })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    infrastructure(format!("cannot read {}: {error}", path.display()))
}
