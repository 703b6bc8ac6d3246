//! A bundle's archive: files as they are, in the order of their names, without times, so that the same content is the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flowrun_core::outcome::Failure;
use flowrun_core::stored::bundle::{Bundle, Entry, Kept};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::gather::Found;
use crate::fetch::{self, infrastructure, refused};

/// The table of contents.
pub(super) const CONTENTS: &str = "bundle.json";
/// Below it lies the project.
pub(super) const PROJECT: &str = "project";

/// Writes the archive, whole or not at all, and gives its bytes.
pub(super) fn write(
    output: &Path,
    bundle: &Bundle,
    files: &BTreeMap<String, Found>,
    kept: &BTreeMap<Kept, PathBuf>,
) -> Result<u64, Failure> {
    let trouble = |error: io::Error| infrastructure(format!("cannot write {}: {error}", output.display()));
    let folder = output.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let aside = tempfile::Builder::new().prefix(".flow").tempfile_in(folder).map_err(trouble)?;
    let mut zip = ZipWriter::new(io::BufWriter::new(aside.as_file()));
    member(&mut zip, CONTENTS, &mut bundle.to_text().as_bytes(), None).map_err(trouble)?;
    for (path, found) in files {
        if let Entry::File { sha256, size, .. } = &found.entry {
            copy(&mut zip, &format!("{PROJECT}/{path}"), &found.path, sha256, *size, &trouble)?;
        }
    }
    for (kept, path) in kept {
        copy(&mut zip, &kept.member(), path, &kept.sha256, kept.size, &trouble)?;
    }
    let done = zip.finish().map_err(|error| trouble(error.into())).and_then(|mut out| out.flush().map_err(trouble));
    done?;
    aside.as_file().sync_all().map_err(trouble)?;
    let size = aside.as_file().metadata().map_err(trouble)?.len();
    make_readable(aside.path()).map_err(trouble)?;
    aside.persist(output).map_err(|error| trouble(error.error))?;
    Ok(size)
}

/// A temporary file is its owner's alone; a bundle is for others.
fn make_readable(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

fn copy(
    zip: &mut ZipWriter<impl Write + io::Seek>,
    name: &str,
    path: &Path,
    sha256: &str,
    size: u64,
    trouble: &impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut file =
        File::open(path).map_err(|error| infrastructure(format!("cannot read {}: {error}", path.display())))?;
    let found = member(zip, name, &mut file, Some(size)).map_err(trouble)?;
    match found == sha256 {
        true => Ok(()),
        false => Err(refused(format!("{} changed while it was packed", path.display())).hint("pack again")),
    }
}

/// Writes one member, and gives its sha256.
fn member(
    zip: &mut ZipWriter<impl Write + io::Seek>,
    name: &str,
    content: &mut impl Read,
    size: Option<u64>,
) -> io::Result<String> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
        .large_file(size.is_some_and(|size| size >= u64::from(u32::MAX)));
    zip.start_file(name, options)?;
    fetch::copy_hashed(content, zip)
}
