//! Room for half-written things: one folder for each open store, and the sweeping of what dead ones left.
//!
//! Whether the owner of a folder still lives is asked of a lock, which the kernel takes back at death, and not of a process number, which
//! means nothing in another container. A folder and its lock cannot come to be at one instant, so both making and sweeping hold
//! `tmp/.sweep`; what is dead is only renamed away under it, and removed after, so that nobody waits for that.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{Result, StoreError};

/// A folder of this open store's own. Gone when the store is closed.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Scratch {
    /// Makes one, and sweeps what dead stores and dead runs left.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let tmp = root.join("tmp");
        let path = tmp.join(".sweep");
        let sweep = File::options().create(true).append(true).open(&path).map_err(StoreError::io(&path))?;
        sweep.lock().map_err(StoreError::io(&path))?;
        let scratch = Self::make(&tmp)?;
        let dead = scratch.take_dead(root, &tmp);
        drop(sweep);
        for folder in dead {
            // What cannot be removed now will be next time.
            let _ = discard(&folder);
        }
        Ok(scratch)
    }

    fn make(tmp: &Path) -> Result<Self> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let nanos = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let folder = tmp.join(format!(".{}-{nanos}-{number}", std::process::id()));
        std::fs::create_dir(&folder).map_err(StoreError::io(&folder))?;
        let path = folder.join("lock");
        let lock = File::create_new(&path).map_err(StoreError::io(&path))?;
        lock.lock().map_err(StoreError::io(&path))?;
        Ok(Self { folder, next: AtomicU64::new(0), _lock: lock })
    }

    /// Its name below `tmp`.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A path in it that was not given before.
    pub(super) fn fresh(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn take_dead(&self, root: &Path, tmp: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(tmp) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| is_dead(root, path)).filter_map(|path| self.take(&path)).collect()
    }

    fn take(&self, path: &Path) -> Option<PathBuf> {
        let taken = self.fresh();
        if std::fs::rename(path, &taken).is_err() {
            // A read-only folder cannot be moved to another.
            make_writable(path);
            std::fs::rename(path, &taken).ok()?;
        }
        Some(taken)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // While the lock is still held: nobody else sweeps it meanwhile.
        let _ = discard(&self.folder);
    }
}

/// Whether somebody alive holds a lock. In doubt (no more open files, a file system without locks) yes: what is held is left alone.
pub(super) fn is_held(lock: &Path) -> bool {
    match File::open(lock) {
        Ok(lock) => lock.try_lock_shared().is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn is_dead(root: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return true };
    match name.strip_prefix('.') {
        Some("sweep") => false,
        Some(_) => !is_held(&path.join("lock")),
        None => !is_held(&root.join("runs").join(name).join("lock")),
    }
}

/// Removes a file or folder, also one whose folders were made read-only, and however deep they lie; that it is not there is fine.
/// Follows no link.
pub(super) fn discard(path: &Path) -> Result<()> {
    let removed = std::fs::symlink_metadata(path).and_then(|found| match found.is_dir() {
        true => raze(path),
        false => std::fs::remove_file(path),
    });
    removed.or_else(gone).map_err(StoreError::io(path))
}

/// Something that was laid out in a folder, by its name there.
#[derive(Debug)]
pub enum Laid<'a> {
    /// Anything but a folder.
    File(&'a str),
    /// A folder, and what was laid out in it.
    Folder(&'a str, Vec<Laid<'a>>),
}

/// Removes a folder in which this was laid out, and whatever else is in it. Where there is nothing else, which is most often so, nothing has to be
/// looked for. Follows no link: whatever is there in the place of a folder is none.
pub(super) fn discard_laid(folder: &Path, laid: &[Laid<'_>]) -> Result<()> {
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(open) = rustix::fs::open(folder, way, Mode::empty()) {
        clear(&open, laid, way);
    }
    match std::fs::remove_dir(folder) {
        Ok(()) => Ok(()),
        Err(_) => discard(folder),
    }
}

/// What cannot be removed so is left for others.
fn clear(folder: &OwnedFd, laid: &[Laid<'_>], way: OFlags) {
    for one in laid {
        let _ = match one {
            Laid::File(name) => rustix::fs::unlinkat(folder, *name, AtFlags::empty()),
            Laid::Folder(name, inside) => {
                if !inside.is_empty()
                    && let Ok(open) = inside_of(folder, name, way)
                {
                    clear(&open, inside, way);
                }
                rustix::fs::unlinkat(folder, *name, AtFlags::REMOVEDIR)
            }
        };
    }
}

/// A folder inside a folder, and nothing that was mounted in its place.
#[cfg(target_os = "linux")]
fn inside_of(folder: &OwnedFd, name: &str, way: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    rustix::fs::openat2(folder, name, way, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)
}

/// The same, where steps cannot mount.
#[cfg(not(target_os = "linux"))]
fn inside_of(folder: &OwnedFd, name: &str, way: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(folder, name, way, Mode::empty())
}

/// Folders inside a folder that are emptied where they lie, so that a path is longer than that of the folder by as many names of 255 bytes
/// at most, and one: a path may have 4,096. As deep as inputs lie in the room of a step.
const WHERE_IT_LIES: usize = 3;

/// Removes a folder and all that is in it. What lies deeper is moved up into it first: a step can nest folders deeper than a path can say and
/// deeper than calls can nest, and so it is no matter.
fn raze(folder: &Path) -> io::Result<()> {
    let mut names = 0;
    loop {
        // A pass may miss what it moves up itself.
        let any = empty(folder, folder, WHERE_IT_LIES, &mut names)?;
        match std::fs::remove_dir(folder) {
            Err(error) if any && error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => return removed,
        }
    }
}

/// Removes the entries of a folder; what is more than `levels` deep is moved up into `above`. Whether there were any.
fn empty(folder: &Path, above: &Path, levels: usize, names: &mut u64) -> io::Result<bool> {
    let mut any = false;
    for entry in permitted(folder, || std::fs::read_dir(folder))? {
        let entry = entry?;
        any = true;
        let path = entry.path();
        if !permitted(folder, || entry.file_type())?.is_dir() {
            permitted(folder, || std::fs::remove_file(&path)).or_else(gone)?;
            continue;
        }
        // Most are empty.
        match permitted(folder, || std::fs::remove_dir(&path)) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && levels == 0 => {
                permitted(folder, || permitted(&path, || move_up(&path, above, names)))?;
            }
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                empty(&path, above, levels - 1, names)?;
                std::fs::remove_dir(&path).or_else(gone)?;
            }
            removed => removed.or_else(gone)?,
        }
    }
    Ok(any)
}

/// Does something to an entry of a folder, where need be with a folder that was made writable.
fn permitted<T>(folder: &Path, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match act() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_writable(folder);
            act()
        }
        done => done,
    }
}

/// Moves a folder into `above` under a name that is free there.
fn move_up(folder: &Path, above: &Path, names: &mut u64) -> io::Result<()> {
    loop {
        *names += 1;
        match std::fs::rename(folder, above.join(format!(".{names}"))) {
            // Taken, by a file or by a folder that holds something.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotADirectory | ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                ) => {}
            moved => return moved,
        }
    }
}

/// Somebody else removed it, which is as well.
fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Lets what is in a folder be removed, and the folder be moved.
fn make_writable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_step_leaves_can_be_removed() {
        let bed = tempfile::tempdir().expect("a folder");
        let all = bed.path().join("all");
        std::fs::create_dir_all(all.join("a/b/c")).expect("made");
        // Names that moving up would like to use, taken by a file and by a folder.
        std::fs::write(all.join(".1"), "").expect("written");
        std::fs::create_dir_all(all.join(".2/x")).expect("made");
        std::fs::write(all.join("a/b/c/file"), "").expect("written");
        std::fs::write(bed.path().join("kept"), "kept").expect("written");
        std::os::unix::fs::symlink(bed.path(), all.join("a/out")).expect("linked");
        // Deeper than a path can say.
        let mut at = File::open(&all).expect("opened");
        for _ in 0..6_000 {
            rustix::fs::mkdirat(&at, "d", 0o700.into()).expect("made");
            at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::DIRECTORY, 0.into()).expect("opened").into();
        }
        for folder in ["a/b/c", "a/b", "a"] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(all.join(folder), std::fs::Permissions::from_mode(0o500)).expect("set");
        }
        discard(&all).expect("removed");
        assert!(!all.exists());
        assert_eq!(std::fs::read_to_string(bed.path().join("kept")).expect("it is there"), "kept");
        discard(&all).expect("it is gone already");
    }

    /// What was laid out is gone, and so is what was added; what a folder was replaced with leads nowhere.
    #[test]
    fn what_was_laid_out_goes_by_its_names() {
        let bed = tempfile::tempdir().expect("a folder");
        let (all, others) = (bed.path().join("all"), bed.path().join("others"));
        let laid = || {
            let inside = |name| Laid::Folder(name, vec![Laid::File("file")]);
            [Laid::Folder("in", vec![inside("a"), inside("b")]), Laid::Folder("empty", vec![]), Laid::File("link")]
        };
        for change in 0..4 {
            for folder in [all.join("in/a"), all.join("in/b"), all.join("empty"), others.clone()] {
                std::fs::create_dir_all(&folder).expect("made");
                std::fs::write(folder.join("file"), "").expect("written");
            }
            std::fs::remove_file(all.join("empty/file")).expect("removed");
            std::os::unix::fs::symlink("nowhere", all.join("link")).expect("linked");
            match change {
                1 => std::fs::write(all.join("empty/more"), "").expect("written"),
                2 => {
                    std::fs::rename(all.join("in/a"), all.join("in/c")).expect("moved");
                    std::os::unix::fs::symlink(&others, all.join("in/a")).expect("linked");
                }
                3 => {
                    std::fs::rename(&all, bed.path().join("moved")).expect("moved");
                    std::os::unix::fs::symlink(&others, &all).expect("linked");
                }
                _ => {}
            }
            discard_laid(&all, &laid()).expect("removed");
            assert!(std::fs::symlink_metadata(&all).is_err(), "{change}");
            assert!(others.join("file").exists(), "{change}");
        }
        discard_laid(&all, &laid()).expect("it is gone already");
    }
}
