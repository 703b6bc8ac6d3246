//! One wheel by its exact version, pinned by its sha256.

use std::fs;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::FilePin;

use super::cache::{read_json, sha256_of, write_json};
use super::{Cache, Platform, WheelPin, infrastructure, is_file_name, is_sha256, pip, refused};

const KIND: &str = "wheels";

/// The wheel of `name` in exactly that version for `platform`, and its pin. With `pinned`, it is that wheel or none.
pub async fn wheel(
    cache: &Cache,
    name: &str,
    version: &str,
    platform: Platform,
    pinned: Option<&WheelPin>,
) -> Result<(PathBuf, WheelPin), Failure> {
    let name = checked_name(name)?;
    let version = checked_version(version)?;
    if let Some(pin) = pinned {
        check_pin(pin, &name, version)?;
    }
    let memo = cache.path(&["pins", &format!("{name}-{version}-{platform}.json")]);
    let known = || {
        let pin = pinned
            .cloned()
            .or_else(|| read_json::<WheelPin>(&memo).filter(|pin| check_pin(pin, &name, version).is_ok()))?;
        Some((cache.find(KIND, &pin.sha256, &pin.file)?, pin))
    };
    if let Some(found) = known() {
        return Ok(found);
    }
    let _lock = cache.lock(&format!("wheel-{name}-{version}-{platform}")).await?;
    if let Some(found) = known() {
        return Ok(found);
    }
    let scratch = cache.scratch()?;
    pip::download(&name, version, platform, pinned, scratch.path()).await?;
    let (file, pin) = pin_of(scratch.path(), name, version)?;
    if let Some(wanted) = pinned.filter(|wanted| wanted.sha256 != pin.sha256) {
        return Err(pip::mismatch(wanted, &pin.sha256));
    }
    let path = cache.keep(&file, KIND, &pin.sha256, &pin.file)?;
    if pinned.is_none() {
        // Where this fails, the next wish asks the index again.
        let _ = write_json(&memo, &pin);
    }
    Ok((path, pin))
}

/// Brings the wheels of a Python environment that are not here yet, together: those very ones or none.
pub(crate) async fn wheels(cache: &Cache, pins: &[WheelPin], python: &str, platform: Platform) -> Result<(), Failure> {
    pins.iter().try_for_each(|pin| check_pin(pin, &pin.name, checked_version(&pin.version)?))?;
    let missing = || -> Vec<&WheelPin> { pins.iter().filter(|pin| kept(cache, pin).is_none()).collect() };
    if missing().is_empty() {
        return Ok(());
    }
    let _lock = cache.lock("wheels").await?;
    let missing = missing();
    let scratch = cache.scratch()?;
    if !missing.is_empty() {
        pip::download_all(&missing, python, platform, scratch.path()).await?;
    }
    for pin in missing {
        let file = scratch.path().join(&pin.file);
        let found = sha256_of(&file).map_err(|_| {
            infrastructure(format!("pip did not bring `{}`", pin.file))
                .hint("it chose another file of that version: is it still in the index?")
        })?;
        if found != pin.sha256 {
            return Err(pip::mismatch(pin, &found));
        }
        cache.keep(&file, KIND, &pin.sha256, &pin.file)?;
    }
    Ok(())
}

/// A pinned wheel that is here.
pub(crate) fn kept(cache: &Cache, pin: &WheelPin) -> Option<PathBuf> {
    cache.find(KIND, &pin.sha256, &pin.file)
}

/// Whether a file is called as a wheel of that package in that version is.
pub(crate) fn is_wheel_of(file: &str, name: &str, version: &str) -> bool {
    let mut parts = file.strip_suffix(".whl").unwrap_or_default().split('-');
    let package = parts.next().and_then(|package| checked_name(package).ok());
    package.is_some_and(|package| package == name) && parts.next() == Some(version)
}

/// The wheel of a package in a version that has that sha256, if it is here under a name that says so.
pub(crate) fn kept_by_hash(cache: &Cache, name: &str, version: &str, sha256: &str) -> Option<PathBuf> {
    let files = fs::read_dir(cache.path(&[KIND, sha256])).ok().filter(|_| is_sha256(sha256))?.flatten();
    let mut files = files.filter_map(|entry| entry.file_name().into_string().ok());
    let file = files.find(|file| is_wheel_of(file, name, version))?;
    cache.find(KIND, sha256, &file)
}

impl WheelPin {
    /// The line by which it is asked for: that file or none.
    pub(super) fn line(&self) -> String {
        format!("{}=={} --hash=sha256:{}", self.name, self.version, self.sha256)
    }

    /// The tags of the platforms that it is for; none where it is for any.
    pub(super) fn platforms(&self) -> impl Iterator<Item = &str> {
        let last = self.file.strip_suffix(".whl").and_then(|name| name.rsplit('-').next()).unwrap_or("any");
        last.split('.').filter(|tag| *tag != "any")
    }

    /// The pin of `name==version` whose file a lock names.
    pub(crate) fn of(name: &str, version: &str, file: &FilePin) -> Result<Self, Failure> {
        let name = checked_name(name)?;
        Ok(Self { name, version: version.to_owned(), file: file.file.clone(), sha256: file.sha256.clone() })
    }
}

/// The one wheel in `folder`.
fn pin_of(folder: &Path, name: String, version: &str) -> Result<(PathBuf, WheelPin), Failure> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut wheels = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "whl"));
    let (Some(path), None) = (wheels.next(), wheels.next()) else {
        return Err(infrastructure(format!("pip did not bring one wheel of `{name}=={version}`")));
    };
    let read = |error| infrastructure(format!("cannot read `{}`: {error}", path.display()));
    let sha256 = sha256_of(&path).map_err(read)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let pin = WheelPin { name, version: version.to_owned(), file, sha256 };
    check_pin(&pin, &pin.name, version)?;
    Ok((path, pin))
}

/// A package's name in its normal form (PEP 503), if it is one (PEP 508).
pub(crate) fn checked_name(name: &str) -> Result<String, Failure> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let good = name.len() <= 100 && name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last());
    if !good {
        return Err(refused(format!("`{}` is not a package's name", name.escape_debug())));
    }
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    Ok(parts.collect::<Vec<_>>().join("-").to_ascii_lowercase())
}

fn checked_version(version: &str) -> Result<&str, Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '!');
    let starts = version.starts_with(|c: char| c.is_ascii_digit());
    if starts && version.len() <= 100 && version.chars().all(good) {
        return Ok(version);
    }
    Err(refused(format!("`{}` is not an exact version", version.escape_debug())))
}

/// A pin comes out of a lockfile, which anyone may have written.
fn check_pin(pin: &WheelPin, name: &str, version: &str) -> Result<(), Failure> {
    let same = pin.name == name && pin.version == version;
    if same && is_sha256(&pin.sha256) && is_file_name(&pin.file) && pin.file.ends_with(".whl") {
        return Ok(());
    }
    Err(refused(format!("the pin of `{name}=={version}` is damaged: `{}`", pin.file.escape_debug()))
        .hint("lock it again"))
}
