//! One file out of a wheel, which is a zip archive somebody else made.

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

/// Unpacks into `folder`, and gives the file's name there: the last part of the member's, so that no `..` or `/` of its leads
/// anywhere.
fn unzip(wheel: &Path, pattern: &str, folder: &Path, executable: bool) -> Result<String, Failure> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let damaged = |error: zip::result::ZipError| refused(format!("the wheel `{name}` is damaged: {error}"));
    let trouble = |error: io::Error| infrastructure(format!("cannot unpack `{name}`: {error}"));
    let mut archive = ZipArchive::new(io::BufReader::new(File::open(wheel).map_err(trouble)?)).map_err(damaged)?;
    if archive.len() > ENTRIES {
        return Err(refused(format!("the wheel `{name}` holds {} files, which is absurd", archive.len())));
    }
    let mut fitting = Vec::new();
    for at in 0..archive.len() {
        let entry = archive.by_index_raw(at).map_err(damaged)?;
        if entry.is_file() && !entry.is_symlink() && fits(pattern, &entry.name().map_err(damaged)?) {
            fitting.push(at);
        }
    }
    let [at] = fitting[..] else {
        return Err(refused(format!("the wheel `{name}` holds {} files like `{pattern}`, not one", fitting.len())));
    };
    let mut entry = archive.by_index(at).map_err(damaged)?;
    let member = entry.name().map_err(damaged)?.rsplit('/').next().unwrap_or_default().to_owned();
    if !is_file_name(&member) || entry.size() > LARGEST {
        return Err(refused(format!(
            "the wheel `{name}` holds a file that flowrun does not unpack: `{}`",
            member.escape_debug()
        )));
    }
    let size = entry.size();
    let mut file = create(&folder.join(&member), executable).map_err(trouble)?;
    // What it says of its size is a claim: one byte more shows that it lied.
    let copied = io::copy(&mut (&mut entry).take(size + 1), &mut file).map_err(trouble)?;
    if copied != size {
        return Err(refused(format!("the wheel `{name}` is damaged: `{member}` is not as long as it says")));
    }
    file.flush().and_then(|()| file.sync_all()).map_err(trouble)?;
    Ok(member)
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
