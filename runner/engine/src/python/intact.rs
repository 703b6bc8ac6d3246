//! Whether an environment's files are those that were packed. uv checks a wheel's hash when it brings it, keeps it unpacked, and links
//! environments to what it keeps: whatever changed there since would be in every environment built after.
//!
//! Each package lists its files with their sha256 (`RECORD`, PEP 376 and 427), and that list is compared. It lies beside the files: this is a
//! guard against accidents and clumsy hands, not against someone who may write here, who could replace flowrun as well. Looked at once, when
//! an environment is built: some seconds a gigabyte.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as RECORDS;
use flowrun_core::digest::Digest;
use sha2::{Digest as _, Sha256};

/// A file that is not what was packed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Odd {
    /// Its package, as `name 1.0`.
    pub(super) package: String,
    /// The package's name alone.
    pub(super) name: String,
    /// The file, as the package lists it.
    pub(super) file: String,
}

/// What is installed below `root`: the digest of all that its packages list, each file by its sha256. The same packages give the same on every
/// machine of a platform; bytecode and programs, which hold the paths of one machine, are not in it, nor what an installer notes of its own way.
pub(super) fn content(root: &Path) -> io::Result<Digest> {
    let mut lines = BTreeSet::new();
    for folder in packages(root)? {
        let text = fs::read_to_string(folder.join("RECORD")).unwrap_or_default();
        let packed = text.lines().filter_map(listed).filter(|(path, _)| !is_note(path));
        lines.extend(packed.map(|(path, sum)| format!("{sum} {path}\n")));
    }
    Ok(Digest::of(lines.into_iter().collect::<String>().as_bytes()))
}

/// Whether an installer wrote it, about where a package came from (PEP 376, PEP 610, uv's own).
fn is_note(path: &str) -> bool {
    let notes = ["INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"];
    path.rsplit_once('/').is_some_and(|(folder, file)| folder.ends_with(".dist-info") && notes.contains(&file))
}

/// The folders with what each package says of itself.
fn packages(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for python in fs::read_dir(root.join("lib"))?.flatten() {
        let Ok(entries) = fs::read_dir(python.path().join("site-packages")) else { continue };
        let folders = entries.flatten().map(|entry| entry.path());
        found.extend(folders.filter(|folder| folder.extension().is_some_and(|end| end == "dist-info")));
    }
    Ok(found)
}

/// The first file of each package below `root` that is not what was packed.
pub(super) fn odd(root: &Path) -> io::Result<Vec<Odd>> {
    let records = packages(root)?;
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(folder) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(odd) = odd_in(folder) {
                found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(odd);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort();
    Ok(found)
}

fn odd_in(about: &Path) -> Option<Odd> {
    // One that has none was installed by nobody we know, and one of a wheel that lists nothing cannot be judged.
    let text = fs::read_to_string(about.join("RECORD")).ok()?;
    let site = about.parent()?;
    let file =
        text.lines().filter_map(listed).find(|(path, sum)| sum_of(&site.join(path)).ok().as_ref() != Some(sum))?.0;
    let (name, version) = about.file_stem()?.to_str()?.split_once('-')?;
    Some(Odd { package: format!("{name} {version}"), name: name.to_owned(), file })
}

/// `path,sha256=SUM,size`: the path may be quoted. Files elsewhere (programs) are written anew when they are installed.
fn listed(line: &str) -> Option<(String, String)> {
    let (rest, _size) = line.rsplit_once(',')?;
    let (path, sum) = rest.rsplit_once(',')?;
    let path = path
        .strip_prefix('"')
        .and_then(|path| path.strip_suffix('"'))
        .map(|path| path.replace("\"\"", "\""))
        .unwrap_or_else(|| path.to_owned());
    let inside = !path.starts_with('/') && !Path::new(&path).components().any(|part| part.as_os_str() == "..");
    let record = path.ends_with(".dist-info/RECORD") || path.ends_with(".pyc");
    let sum = sum.strip_prefix("sha256=")?.trim_end_matches('=');
    (inside && !record).then(|| (path, sum.to_owned()))
}

fn sum_of(path: &PathBuf) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(RECORDS.encode(hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_found_by_name() {
        let root = tempfile::tempdir().expect("tempdir");
        let site = root.path().join("lib/python3.11/site-packages");
        let about = site.join("a_b-1.0.dist-info");
        fs::create_dir_all(&about).expect("mkdir");
        fs::write(site.join("x,y.py"), "hello").expect("write");
        let sum = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ";
        let record =
            format!("\"x,y.py\",sha256={sum},5\n../../../bin/tool,sha256=AAA,3\na_b-1.0.dist-info/RECORD,,\nz.pyc,,\n");
        fs::write(about.join("RECORD"), record).expect("write");
        assert_eq!(odd(root.path()).expect("read"), []);
        fs::write(site.join("x,y.py"), "hellO").expect("write");
        let found = Odd { package: "a_b 1.0".into(), name: "a_b".into(), file: "x,y.py".into() };
        assert_eq!(odd(root.path()).expect("read"), std::slice::from_ref(&found));
        fs::remove_file(site.join("x,y.py")).expect("remove");
        assert_eq!(odd(root.path()).expect("read"), [found]);
    }
}
