//! Files out of a wheel, which is a zip archive somebody else made: one, or all that lie side by side in what a library is loaded with.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flowrun_core::digest::Digest;
use flowrun_core::outcome::Failure;
use zip::ZipArchive;

use super::cache::{Stamp, read_json, write_json};
use super::{Cache, infrastructure, is_file_name, refused};

/// The most a member may unpack to. The largest known, a CUDA library, has 900 MB.
const LARGEST: u64 = 2 << 30;
/// The most that members unpacked together may have. The largest known, cuDNN's, have 940 MB.
const LARGEST_TOGETHER: u64 = 4 << 30;
/// The most entries a wheel may have: the largest wheels have some thousand. The directory of all is read into memory.
const ENTRIES: usize = 200_000;

/// Unpacks the one file of `wheel` (a path that [`super::wheel`] gave) whose name fits `pattern`, in which `*` stands for any
/// text without `/`; made executable where `executable`. Unpacked once, it is found again by a glance.
pub async fn unzip_member(cache: &Cache, wheel: &Path, pattern: &str, executable: bool) -> Result<PathBuf, Failure> {
    let key = &Digest::of(format!("{executable} {pattern}").as_bytes()).to_string()[..16];
    let folder = wheel.parent().unwrap_or(Path::new("/")).join("members").join(key);
    if let Some(path) = unpacked(&folder) {
        return Ok(path);
    }
    let content = wheel.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let _lock = cache.lock(&format!("member-{content}-{key}")).await?;
    if let Some(path) = unpacked(&folder) {
        return Ok(path);
    }
    let scratch = cache.scratch()?;
    let (from, pattern) = (wheel.to_owned(), pattern.to_owned());
    let target = scratch.path().to_owned();
    let unzip = move || unzip(&from, &pattern, &target, executable);
    let file = tokio::task::spawn_blocking(unzip).await.map_err(|error| infrastructure(format!("{error}")))??;
    place(&scratch.path().join(&file), &folder.join(&file), &folder).map_err(|error| cache.trouble(&error))
}

/// Unpacks all files of `wheel` that fit one of `patterns` side by side into one folder, and gives them sorted; each pattern must fit one at
/// least. Unpacked once, they are found again by a glance at each.
pub async fn unzip_members(cache: &Cache, wheel: &Path, patterns: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let key = &Digest::of(format!("all {}", patterns.join(" ")).as_bytes()).to_string()[..16];
    let folder = wheel.parent().unwrap_or(Path::new("/")).join("members").join(key);
    if let Some(paths) = all_unpacked(&folder) {
        return Ok(paths);
    }
    let content = wheel.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let _lock = cache.lock(&format!("member-{content}-{key}")).await?;
    if let Some(paths) = all_unpacked(&folder) {
        return Ok(paths);
    }
    let scratch = cache.scratch()?;
    let (from, patterns) = (wheel.to_owned(), patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>());
    let target = scratch.path().join("all");
    let unzip = move || unzip_all(&from, &patterns, &target);
    tokio::task::spawn_blocking(unzip).await.map_err(|error| infrastructure(format!("{error}")))??;
    place_all(&scratch.path().join("all"), &folder).map_err(|error| cache.trouble(&error))
}

/// What was unpacked together, where all of it looks as it did then.
fn all_unpacked(folder: &Path) -> Option<Vec<PathBuf>> {
    let stamps: Vec<Stamp> = read_json(&folder.join("stamp.json"))?;
    let path = |stamp: &Stamp| {
        let path = folder.join(Some(stamp.file()).filter(|file| is_file_name(file))?);
        (Stamp::of(&path)? == *stamp).then_some(path)
    };
    stamps.iter().map(path).collect()
}

/// Moves a folder to where it is kept, in place of what may be left of one that was damaged, and stamps what is in it.
fn place_all(from: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder.parent().unwrap_or(folder))?;
    fs::rename(from, folder)?;
    let paths: io::Result<Vec<PathBuf>> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.sort();
    write_json(&folder.join("stamp.json"), &paths.iter().filter_map(|path| Stamp::of(path)).collect::<Vec<_>>())?;
    Ok(paths)
}

fn unpacked(folder: &Path) -> Option<PathBuf> {
    let stamp: Stamp = read_json(&folder.join("stamp.json"))?;
    let path = folder.join(Some(stamp.file()).filter(|file| is_file_name(file))?);
    (Stamp::of(&path)? == stamp).then_some(path)
}

fn place(from: &Path, to: &Path, folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    fs::rename(from, to)?;
    if let Some(stamp) = Stamp::of(to) {
        write_json(&folder.join("stamp.json"), &stamp)?;
    }
    Ok(to.to_owned())
}

/// A wheel that is open, and its name for messages.
struct Wheel {
    name: String,
    archive: ZipArchive<io::BufReader<File>>,
}

/// Unpacks the one file that fits into `folder`, and gives its name there.
fn unzip(wheel: &Path, pattern: &str, folder: &Path, executable: bool) -> Result<String, Failure> {
    let mut wheel = Wheel::open(wheel)?;
    let fitting = wheel.fitting(pattern)?;
    let [at] = fitting[..] else {
        let name = &wheel.name;
        return Err(refused(format!("the wheel `{name}` holds {} files like `{pattern}`, not one", fitting.len())));
    };
    wheel.unpack(at, folder, executable).map(|(member, _)| member)
}

/// Unpacks all that fit into `folder`, which is made.
fn unzip_all(wheel: &Path, patterns: &[String], folder: &Path) -> Result<(), Failure> {
    let mut wheel = Wheel::open(wheel)?;
    let mut fitting = BTreeSet::new();
    for pattern in patterns {
        let some = wheel.fitting(pattern)?;
        if some.is_empty() {
            return Err(refused(format!("the wheel `{}` holds no file like `{pattern}`", wheel.name)));
        }
        fitting.extend(some);
    }
    fs::create_dir(folder).map_err(|error| wheel.trouble(&error))?;
    let mut left = LARGEST_TOGETHER;
    for at in fitting {
        let (member, size) = wheel.unpack(at, folder, false)?;
        left = left.checked_sub(size).ok_or_else(|| {
            refused(format!("the wheel `{}` holds more than flowrun unpacks: `{member}` is too much", wheel.name))
        })?;
    }
    Ok(())
}

impl Wheel {
    fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(|error| infrastructure(format!("cannot unpack `{name}`: {error}")))?;
        let archive = ZipArchive::new(io::BufReader::new(file)).map_err(|error| damaged(&name, &error))?;
        if archive.len() > ENTRIES {
            return Err(refused(format!("the wheel `{name}` holds {} files, which is absurd", archive.len())));
        }
        Ok(Self { name, archive })
    }

    fn trouble(&self, error: &io::Error) -> Failure {
        infrastructure(format!("cannot unpack `{}`: {error}", self.name))
    }

    /// The files that fit, by their places.
    fn fitting(&mut self, pattern: &str) -> Result<Vec<usize>, Failure> {
        let mut fitting = Vec::new();
        for at in 0..self.archive.len() {
            let entry = self.archive.by_index_raw(at).map_err(|error| damaged(&self.name, &error))?;
            let name = entry.name().map_err(|error| damaged(&self.name, &error))?;
            if entry.is_file() && !entry.is_symlink() && fits(pattern, &name) {
                fitting.push(at);
            }
        }
        Ok(fitting)
    }

    /// Unpacks one into `folder`, and gives its name there and its size: the last part of the member's name, so that no `..` or `/` of its
    /// leads anywhere.
    fn unpack(&mut self, at: usize, folder: &Path, executable: bool) -> Result<(String, u64), Failure> {
        let name = &self.name;
        let trouble = |error: io::Error| infrastructure(format!("cannot unpack `{name}`: {error}"));
        let mut entry = self.archive.by_index(at).map_err(|error| damaged(name, &error))?;
        let member = entry.name().map_err(|error| damaged(name, &error))?;
        let member = member.rsplit('/').next().unwrap_or_default().to_owned();
        if !is_file_name(&member) || entry.size() > LARGEST {
            let shown = member.escape_debug();
            return Err(refused(format!("the wheel `{name}` holds a file that flowrun does not unpack: `{shown}`")));
        }
        let size = entry.size();
        // A name that was there already is an error: nothing is written over.
        let mut file = create(&folder.join(&member), executable).map_err(trouble)?;
        // What it says of its size is a claim: one byte more shows that it lied.
        let copied = io::copy(&mut (&mut entry).take(size + 1), &mut file).map_err(trouble)?;
        if copied != size {
            return Err(refused(format!("the wheel `{name}` is damaged: `{member}` is not as long as it says")));
        }
        file.flush().and_then(|()| file.sync_all()).map_err(trouble)?;
        Ok((member, size))
    }
}

fn damaged(name: &str, error: &zip::result::ZipError) -> Failure {
    refused(format!("the wheel `{name}` is damaged: {error}"))
}

fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if executable { 0o755 } else { 0o644 });
    let _ = executable;
    options.open(path)
}

/// Whether `name` fits `pattern`, in which `*` stands for any text without `/`.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    let reach = rest.find('/').unwrap_or(rest.len());
    (0..=reach).filter(|&end| rest.is_char_boundary(end)).any(|end| fits(after, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stays_in_its_folder() {
        assert!(fits("a/lib.so.*", "a/lib.so.1.2"));
        assert!(fits("uv-*.data/scripts/uv", "uv-0.1.data/scripts/uv"));
        assert!(!fits("uv-*.data/scripts/uv", "uv-0.1.data/scripts/uvx"));
        assert!(!fits("a/*.so", "a/b/c.so"));
        assert!(!fits("a/lib.so.*", "b/a/lib.so.1"));
        assert!(fits("*", ""));
    }
}
