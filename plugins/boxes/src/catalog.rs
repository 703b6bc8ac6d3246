//! The loose files of a data set: those of a folder, and those inside tars that lie in it, as one list of names.
//!
//! Nothing is unpacked and no name from a file is ever opened as a path: a name is looked up in this list or not found, so
//! that absolute names and `..` have nowhere to lead. Links are not followed.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The deepest folder looked into. Data sets have two or three; a loop of mounts has no end.
const MAX_DEPTH: usize = 12;
/// The most files listed (about 200 bytes of memory each): a component has at most 4 GiB.
const MAX_FILES: usize = 2_000_000;

/// Where a file's bytes are.
#[derive(Debug, Clone)]
enum Bytes {
    Loose(PathBuf),
    InTar { tar: PathBuf, offset: u64 },
}

/// One file.
#[derive(Debug, Clone)]
pub struct File {
    /// Path parts from the data set's root, `/` between them. A tar's files stand where the tar stands.
    pub path: String,
    /// The tar's name less `.tar` for a file from a tar: `train` for one of `train.tar`.
    pub tar: Option<String>,
    /// Size in bytes.
    pub size: u64,
    bytes: Bytes,
}

impl File {
    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path less its last part; empty at the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Reads its first bytes, `most` of them or as many as there are.
    ///
    /// # Errors
    /// What the file system says.
    pub fn head(&self, most: u64) -> io::Result<Vec<u8>> {
        let size = self.size.min(most);
        Self { size, ..self.clone() }.read(size)
    }

    /// Reads it whole.
    ///
    /// # Errors
    /// What the file system says, or `InvalidData` where it is larger than `limit` bytes.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.size > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes are too many", self.size)));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        match &self.bytes {
            Bytes::Loose(path) => fs::File::open(path)?.take(self.size).read_to_end(&mut bytes)?,
            Bytes::InTar { tar, offset } => {
                let mut tar = fs::File::open(tar)?;
                tar.seek(SeekFrom::Start(*offset))?;
                tar.take(self.size).read_to_end(&mut bytes)?
            }
        };
        if bytes.len() as u64 == self.size {
            Ok(bytes)
        } else {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before its size"))
        }
    }
}

/// All files of a data set, sorted by path; and what was passed over, in words.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The files; a loose file stands before one of the same path from a tar.
    pub files: Vec<File>,
    /// Names that were not taken, and why.
    pub refused: Vec<Refused>,
}

/// A name that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The name as it stands in the folder or tar, cleaned for printing.
    pub name: String,
    /// Why not.
    pub reason: String,
}

impl Catalog {
    /// Lists `root`: a folder, or a tar.
    ///
    /// # Errors
    /// What the file system says of the root; what is wrong deeper down is in [`Catalog::refused`].
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut catalog = Self::default();
        if fs::metadata(root)?.is_dir() {
            catalog.add_folder(root, "", 0)?;
        } else {
            catalog.add_tar(root, "", &name_of(root))?;
        }
        catalog.files.sort_by(|a, b| (&a.path, &a.tar).cmp(&(&b.path, &b.tar)));
        Ok(catalog)
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                self.refuse(&entry.file_name().to_string_lossy(), "the name is not UTF-8");
                continue;
            };
            let (kind, path) = (entry.file_type()?, join(prefix, &name));
            if kind.is_dir() && depth < MAX_DEPTH {
                self.add_folder(&entry.path(), &path, depth + 1)?;
            } else if kind.is_file() && self.files.len() < MAX_FILES {
                self.add_file(&entry.path(), prefix, &name, entry.metadata()?.len());
            } else {
                self.refuse(&path, "a link, too deep a folder, or one file too many");
            }
        }
        Ok(())
    }

    fn add_file(&mut self, file: &Path, prefix: &str, name: &str, size: u64) {
        let is_tar = Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"));
        if is_tar && let Err(error) = self.add_tar(file, prefix, name) {
            self.refuse(&join(prefix, name), &format!("not a readable tar: {error}"));
        }
        if !is_tar {
            let bytes = Bytes::Loose(file.to_path_buf());
            self.files.push(File { path: join(prefix, name), tar: None, size, bytes });
        }
    }

    fn add_tar(&mut self, tar: &Path, prefix: &str, name: &str) -> io::Result<()> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let length = fs::metadata(tar)?.len();
        let mut archive = tar::Archive::new(fs::File::open(tar)?);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if entry.header().entry_type() != tar::EntryType::Regular || self.files.len() >= MAX_FILES {
                if !entry.header().entry_type().is_dir() {
                    self.refuse(&String::from_utf8_lossy(&entry.path_bytes()), "not a regular file, or one too many");
                }
                continue;
            }
            let raw = entry.path_bytes();
            match plain_path(&raw) {
                Ok(path) if entry.raw_file_position().saturating_add(entry.size()) <= length => {
                    self.files.push(File {
                        path: join(prefix, &path),
                        tar: Some(stem.to_owned()),
                        size: entry.size(),
                        bytes: Bytes::InTar { tar: tar.to_path_buf(), offset: entry.raw_file_position() },
                    });
                }
                Ok(path) => self.refuse(&path, "the tar ends before it does"),
                Err(reason) => self.refuse(&String::from_utf8_lossy(&raw), reason),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, name: &str, reason: &str) {
        // A hostile tar may hold millions of bad names: a thousand tell enough.
        if self.refused.len() < 1000 {
            self.refused.push(Refused { name: printable(name), reason: reason.to_owned() });
        }
    }
}

/// A name from a tar as path parts, `.` left out.
fn plain_path(raw: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(raw).map_err(|_| "the name is not UTF-8")?;
    if text.starts_with('/') {
        return Err("an absolute name");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.iter().find(|part| !is_plain_name(part)) {
        Some(&"..") => Err("a name that leaves the folder"),
        Some(_) => Err("a name with control characters or backslashes"),
        None if parts.is_empty() => Err("an empty name"),
        None => Ok(parts.join("/")),
    }
}

/// Whether `name` can be a file's own name: one part, and nothing that a system reads as more.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control)
}

/// `text` with control characters shown as escapes, cut to 300 characters.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect::<String>() } else { c.to_string() };
    text.chars().take(300).map(shown).collect()
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar of one block a name, the names written as they are (the `tar` crate's builder refuses hostile ones).
    fn tar_of(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(name.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    #[test]
    fn hostile_names_in_a_tar_are_refused_and_the_rest_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = ["train/a.jpg", "/etc/passwd", "../b.jpg", "train/../../c.jpg", "./d.jpg", "e\\..\\f.jpg"];
        fs::write(folder.path().join("train.tar"), tar_of(&names)).expect("written");
        fs::write(folder.path().join("x.csv"), "x").expect("written");
        let catalog = Catalog::read(folder.path()).expect("listed");
        let paths: Vec<&str> = catalog.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["d.jpg", "train/a.jpg", "x.csv"]);
        assert_eq!(catalog.refused.len(), 4);
        assert_eq!(catalog.files[1].read(100).expect("read"), b"train/a.jpg");
        assert!(catalog.files[1].read(3).is_err());
        assert_eq!(catalog.files[1].tar.as_deref(), Some("train"));
    }

    #[test]
    fn cut_tars_do_not_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let tar = tar_of(&["a.jpg", "b.jpg"]);
        for length in (0..tar.len()).step_by(61) {
            let path = folder.path().join("t.tar");
            fs::write(&path, &tar[..length]).expect("written");
            if let Ok(catalog) = Catalog::read(&path) {
                for file in catalog.files {
                    drop(file.read(1 << 20));
                }
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("p.csv")).expect("linked");
        let catalog = Catalog::read(folder.path()).expect("listed");
        assert!(catalog.files.is_empty());
        assert_eq!(catalog.refused.len(), 1);
    }
}
