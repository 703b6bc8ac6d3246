//! A bundle's archive: files as they are, in the order of their names, without times, so that the same content is the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::Failure;
use flowrun_core::stored::bundle::{Bundle, Entry, Kept};
use tempfile::NamedTempFile;
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
    let aside = Aside::beside(output).map_err(trouble)?;
    let mut zip = ZipWriter::new(io::BufWriter::new(aside.file()));
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
    // A temporary file is its owner's alone; a bundle is for others.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    aside.file().set_permissions(mode).and_then(|()| aside.file().sync_all()).map_err(trouble)?;
    let size = aside.file().metadata().map_err(trouble)?.len();
    aside.persist(output).map_err(trouble)?;
    Ok(size)
}

/// Whether a bundle could be written there.
pub(super) fn is_writable(output: &Path) -> Result<(), Failure> {
    let folder = folder_of(output);
    if !folder.is_dir() {
        let text = format!("cannot write {}: there is no folder {}", output.display(), folder.display());
        return Err(infrastructure(text).hint("make it first"));
    }
    let tried = match output.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Aside::beside(output).map(drop),
    };
    tried.map_err(|error| infrastructure(format!("cannot write {}: {error}", output.display())))
}

/// An archive that is not whole yet. Where the system has files without a name it is one, of which nothing is left whenever and however packing
/// is stopped.
enum Aside {
    Nameless(File),
    Hidden(NamedTempFile),
}

impl Aside {
    fn beside(output: &Path) -> io::Result<Self> {
        let folder = folder_of(output);
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
                return Ok(Self::Nameless(file.into()));
            }
        }
        hidden().tempfile_in(folder).map(Self::Hidden)
    }

    fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Hidden(file) => file.as_file(),
        }
    }

    /// Gives it its name, whatever had that before.
    fn persist(self, output: &Path) -> io::Result<()> {
        match self {
            Self::Hidden(file) => file.persist(output).map(drop).map_err(|error| error.error),
            Self::Nameless(file) => match named(&file, output) {
                // A name that is taken is only given by renaming.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let second = hidden().make_in(folder_of(output), |path| named(&file, path))?;
                    second.into_temp_path().persist(output).map_err(|error| error.error)
                }
                done => done,
            },
        }
    }
}

fn folder_of(output: &Path) -> &Path {
    output.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn hidden() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".flow");
    builder
}

/// Gives a file without a name one that nothing has: see `open(2)`, `O_TMPFILE`.
fn named(file: &File, path: &Path) -> io::Result<()> {
    let held = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(rustix::fs::CWD, held, rustix::fs::CWD, path, rustix::fs::AtFlags::SYMLINK_FOLLOW)?)
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
