//! Opening a bundle: everything in it goes into the user's cache, each file against its sha256, once.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flowrun_core::digest::Digest;
use flowrun_core::outcome::Failure;
use flowrun_core::stored::bundle::{BadBundle, Bundle, Entry};
use zip::{CompressionMethod, ZipArchive};

use super::unused;
use super::write::{CONTENTS, PROJECT};
use crate::fetch::{self, Cache, Lock, Platform, infrastructure, refused};

pub(super) const KIND: &str = "bundles";
/// The most that a table of contents has: a million files.
const LARGEST_CONTENTS: u64 = 256 << 20;

type Archive = ZipArchive<BufReader<File>>;

/// A bundle in the user's cache.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The folder of its project.
    pub(crate) root: PathBuf,
    /// What it holds.
    pub(crate) bundle: Bundle,
    /// While it is held, nobody takes the bundle away.
    pub(crate) held: Lock,
}

/// Opens a bundle.
///
/// # Errors
/// When it is none, or not whole, or not for this machine.
pub(crate) fn open(file: &Path, cache: &Cache) -> Result<Opened, Failure> {
    let opened = File::open(file).map_err(|error| infrastructure(format!("cannot read the bundle: {error}")))?;
    let mut archive = ZipArchive::new(BufReader::new(opened)).map_err(|error| damaged(&error.to_string()))?;
    let text = contents(&mut archive)?;
    let bundle = Bundle::parse(&text).map_err(|bad| match bad {
        BadBundle::Damaged(why) => damaged(&why),
        newer => refused(format!("cannot use the bundle: {newer}")).hint("a newer flowrun reads it"),
    })?;
    is_for_here(&bundle)?;
    let root = cache.path(&[KIND, &Digest::of(text.as_bytes()).to_string()]);
    is_no_larger(&bundle, file)?;
    let held = unused::held(cache, &root)?;
    keep(&mut archive, &bundle, cache)?;
    // The folder takes its name when all is there.
    if !root.is_dir() {
        lay(&mut archive, &bundle, cache, &root)?;
    }
    Ok(Opened { root: fs::canonicalize(&root).map_err(|error| cache.trouble(&error))?, bundle, held })
}

fn damaged(why: &str) -> Failure {
    refused(format!("the bundle is damaged, or is none: {why}")).hint("copy it again, or pack it again")
}

fn is_for_here(bundle: &Bundle) -> Result<(), Failure> {
    let here = Platform::current()?.to_string();
    if bundle.platforms.contains(&here) {
        return Ok(());
    }
    let platforms: Vec<&str> = bundle.platforms.iter().map(String::as_str).collect();
    Err(refused(format!("the bundle is for {}, and this machine is {here}", platforms.join(", ")))
        .hint(format!("pack it with `flowrun bundle --platform {here}`")))
}

/// Files are stored as they are, each once: together they take no more room than the archive.
fn is_no_larger(bundle: &Bundle, file: &Path) -> Result<(), Failure> {
    let files = bundle.project.values().map(|entry| match entry {
        Entry::File { size, .. } => *size,
        Entry::Folder | Entry::Link(_) => 0,
    });
    let listed = files.chain(bundle.kept.iter().map(|kept| kept.size)).fold(0_u64, u64::saturating_add);
    let length = fs::metadata(file).map_err(|error| infrastructure(format!("cannot read the bundle: {error}")))?.len();
    if listed <= length { Ok(()) } else { Err(damaged("it lists more than it can hold")) }
}

fn contents(archive: &mut Archive) -> Result<String, Failure> {
    let member = archive.by_name(CONTENTS).map_err(|_| damaged(&format!("there is no `{CONTENTS}` in it")))?;
    if member.compression() != CompressionMethod::Stored {
        return Err(damaged(&format!("its `{CONTENTS}` is packed")));
    }
    let mut text = String::new();
    let read = member.take(LARGEST_CONTENTS + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 <= LARGEST_CONTENTS => Ok(text),
        Ok(_) => Err(damaged("its table of contents is too large")),
        Err(error) => Err(damaged(&error.to_string())),
    }
}

/// What is found by its sha256 goes where everything is that was fetched.
fn keep(archive: &mut Archive, bundle: &Bundle, cache: &Cache) -> Result<(), Failure> {
    for kept in &bundle.kept {
        if cache.find(kept.kind.folder(), &kept.sha256, &kept.file).is_some() {
            continue;
        }
        let scratch = cache.scratch()?;
        let file = scratch.path().join("member");
        let out = File::create(&file).map_err(|error| cache.trouble(&error))?;
        copy(archive, &kept.member(), out, &kept.sha256, kept.size, cache)?;
        cache.keep(&file, kept.kind.folder(), &kept.sha256, &kept.file)?;
    }
    Ok(())
}

/// Lays the project out aside, and gives it its place.
fn lay(archive: &mut Archive, bundle: &Bundle, cache: &Cache, root: &Path) -> Result<(), Failure> {
    let trouble = |error: io::Error| cache.trouble(&error);
    let scratch = cache.scratch()?;
    let aside = scratch.path().join(PROJECT);
    fs::create_dir(&aside).map_err(trouble)?;
    // In the order of their names, so that a folder comes before what is in it. Nothing is there yet: whatever is in the way of a name was put
    // there by this bundle, and is an error.
    for (path, entry) in &bundle.project {
        let place = aside.join(path);
        match entry {
            Entry::Folder => fs::create_dir(&place).map_err(trouble)?,
            Entry::Link(target) => std::os::unix::fs::symlink(target, &place).map_err(trouble)?,
            Entry::File { sha256, size, executable } => {
                let out = File::create_new(&place).map_err(trouble)?;
                copy(archive, &format!("{PROJECT}/{path}"), out, sha256, *size, cache)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(trouble)?;
            }
        }
    }
    cache.folder(KIND)?;
    // A name for files that a power cut would empty would be a lie.
    sync(&aside, bundle).map_err(trouble)?;
    match fs::rename(&aside, root) {
        // Another flowrun was faster.
        Err(_) if root.is_dir() => Ok(()),
        renamed => renamed.map_err(trouble),
    }
}

/// All at once: a thousand pictures one by one take seconds.
#[cfg(target_os = "linux")]
fn sync(aside: &Path, _: &Bundle) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(aside)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync(aside: &Path, bundle: &Bundle) -> io::Result<()> {
    let files = bundle.project.iter().filter(|(_, entry)| matches!(entry, Entry::File { .. }));
    files.map(|(path, _)| aside.join(path)).try_for_each(|path| File::open(path)?.sync_all())
}

/// Copies a member that is what the table of contents says, or fails.
fn copy(
    archive: &mut Archive,
    name: &str,
    mut out: File,
    sha256: &str,
    size: u64,
    cache: &Cache,
) -> Result<(), Failure> {
    let member = archive.by_name(name).map_err(|_| damaged(&format!("there is no `{name}` in it")))?;
    if member.compression() != CompressionMethod::Stored || member.size() != size {
        return Err(damaged(&format!("`{name}` is not the file that it lists")));
    }
    let found = fetch::copy_hashed(&mut member.take(size + 1), &mut out).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => damaged(&format!("`{name}`: {error}")),
        _ => cache.trouble(&error),
    })?;
    match found == sha256 {
        true => Ok(()),
        false => Err(damaged(&format!("`{name}` is not the file that it lists: its sha256 is {found}, not {sha256}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;

    use flowrun_core::stored::bundle::FORMAT;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// An archive with this table of contents, packed in that way, and one file.
    fn archive(path: &Path, bundle: &Bundle, method: CompressionMethod) {
        let mut zip = ZipWriter::new(File::create(path).expect("create"));
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(CONTENTS, options).expect("start");
        zip.write_all(bundle.to_text().as_bytes()).expect("write");
        zip.start_file(format!("{PROJECT}/p.yaml"), options).expect("start");
        zip.write_all(b"x").expect("write");
        zip.finish().expect("finish");
    }

    #[test]
    fn a_small_archive_does_not_fill_the_disk() {
        let folder = tempfile::tempdir().expect("tempdir");
        let cache = Cache::at(folder.path().join("cache")).expect("cache");
        let (file, x) =
            (folder.path().join("x.flow"), "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
        let of = |size: u64| Entry::File { sha256: x.to_owned(), size, executable: false };
        let bundle = |entries: &[(&str, u64)]| Bundle {
            flowrun_bundle: FORMAT,
            flowrun: String::new(),
            pipeline: "p.yaml".into(),
            profile: None,
            platforms: BTreeSet::from([Platform::current().expect("known").to_string()]),
            project: entries.iter().map(|(path, size)| ((*path).to_owned(), of(*size))).collect::<BTreeMap<_, _>>(),
            kept: BTreeSet::new(),
        };
        let refused = |bundle: &Bundle, method| {
            archive(&file, bundle, method);
            let failure = open(&file, &cache).expect_err("refused");
            assert!(!cache.path(&[KIND]).exists(), "{failure:?}");
            failure.message
        };
        let stored = CompressionMethod::Stored;
        let many: Vec<String> = (0..40).map(|index| format!("{index}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 1 << 20)).chain([("p.yaml", 1)]).collect();
        assert!(refused(&bundle(&many), stored).contains("it lists more than it can hold"));
        assert!(refused(&bundle(&[("p.yaml", 2)]), stored).contains("`project/p.yaml` is not the file that it lists"));
        assert!(refused(&bundle(&[("p.yaml", 1)]), CompressionMethod::Deflated).contains("`bundle.json` is packed"));
        archive(&file, &bundle(&[("p.yaml", 1)]), stored);
        assert!(open(&file, &cache).is_ok_and(|opened| opened.root.join("p.yaml").is_file()));
    }
}
