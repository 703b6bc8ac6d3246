//! An environment as `pylock.toml`, the lock of Python's own tools (PEP 751, version 1.0).
//!
//! It wants a `url` or a `path` for every file, and neither pip nor uv takes a name and a hash alone, whatever `index` says.

use super::{Environment, is_wheel};
use crate::stored::lock::{PackagePin, toml_string};

/// Where a file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this address. It is written as it is, and must hold no secret.
    Url(String),
    /// In this folder, seen from the `pylock.toml`.
    Folder(String),
}

/// The file. `places` are those of the packages, in their order.
pub fn pylock(environment: &Environment<'_>, places: &[Place]) -> String {
    let mut text = format!("# {}.\n", environment.title());
    text.push_str("# Made by `flowrun export pylock`: do not edit it.\nlock-version = \"1.0\"\n");
    if let Some(marker) = marker(environment.platform) {
        text.push_str(&format!("environments = [{}]\n", toml_string(&marker)));
    }
    text.push_str(&format!("requires-python = {}\n", toml_string(&requires_python(environment.python))));
    text.push_str("created-by = \"flowrun\"\n");
    if environment.packages.is_empty() {
        text.push_str("packages = []\n");
    }
    environment.packages.iter().zip(places).for_each(|(package, place)| text.push_str(&entry(package, place)));
    text
}

fn entry(package: &PackagePin, place: &Place) -> String {
    let file = &package.file;
    let (key, place) = match place {
        Place::Url(url) => ("url", url.clone()),
        Place::Folder(folder) if folder.is_empty() => ("path", file.file.clone()),
        Place::Folder(folder) => ("path", format!("{}/{}", folder.trim_end_matches('/'), file.file)),
    };
    let size = file.size.map_or_else(String::new, |size| format!("size = {size}, "));
    let (name, place, sha256) = (toml_string(&file.file), toml_string(&place), toml_string(&file.sha256));
    let table = format!("{{ name = {name}, {key} = {place}, {size}hashes = {{ sha256 = {sha256} }} }}");
    let files = if is_wheel(file) { format!("wheels = [{table}]") } else { format!("sdist = {table}") };
    let (name, version) = (toml_string(&package.name), toml_string(&package.version));
    format!("\n[[packages]]\nname = {name}\nversion = {version}\n{files}\n")
}

/// The platform in the words of environment markers.
fn marker(platform: &str) -> Option<String> {
    let (system, machine) = match platform {
        "linux-x86_64" => ("linux", "x86_64"),
        "linux-aarch64" => ("linux", "aarch64"),
        "macos-x86_64" => ("darwin", "x86_64"),
        "macos-aarch64" => ("darwin", "arm64"),
        _ => return None,
    };
    Some(format!("sys_platform == '{system}' and platform_machine == '{machine}'"))
}

/// `3.11` is any patch of it, `3.11.7` itself.
fn requires_python(python: &str) -> String {
    let any = if python.split('.').count() < 3 { ".*" } else { "" };
    format!("=={python}{any}")
}
