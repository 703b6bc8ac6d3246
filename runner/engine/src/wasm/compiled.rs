//! Compiled components on disk: made once, mapped into memory ever after.
//!
//! ```text
//! FOLDER/            0700, ours
//!   KEY.cwasm        0600, ours; KEY names the component, the engine's settings and version, the processor
//!   KEY.PID.N.tmp    being written by process PID, then renamed
//! ```
//!
//! A compiled component is machine code that runs in this process without being checked again. So nothing is loaded
//! from a folder or a file that anyone else owns or may write; then everything is compiled anew, which is slow but safe.
//! Trouble here never fails a step. Knows nothing of plugins.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flowrun_core::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::machine;

/// A file's time is moved when it is older than this, so that a clean-up by age spares what is used; more often would be
/// a write a step for nothing.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder of compiled components.
pub(super) struct Compiled {
    folder: PathBuf,
}

impl Compiled {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.cwasm", machine::compiled_key(engine, digest)))
    }

    /// The compiled component, where it is there and sound.
    pub(super) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(engine, digest);
        let file = fs::symlink_metadata(&path).ok()?;
        if !file.is_file() || !only_ours(&file) || !self.trusted() {
            return None;
        }
        // SAFETY: the file must be what `serialize` wrote, unchanged. It has a name that only `store` gives, in a folder
        // and with an owner and a mode that let nobody but this user write it; it was synced before it got that name, so
        // a crash leaves no torn one; and files of that name are replaced, never changed, so the mapping stays as it is.
        let component = unsafe { Component::deserialize_file(engine, &path) };
        match component {
            Ok(component) => {
                touch(&path, &file);
                Some(component)
            }
            Err(_) => {
                // Of no use to this engine although it has its key: damaged. Gone, it will be made again.
                fs::remove_file(&path).ok();
                None
            }
        }
    }

    /// Keeps a compiled component.
    pub(super) fn store(&self, engine: &Engine, digest: &Digest, component: &Component) -> io::Result<()> {
        self.create()?;
        if !self.trusted() {
            return Err(io::Error::other(format!(
                "`{}` is not a folder that only you can write: compiled plugins are not kept",
                self.folder.display()
            )));
        }
        let code = component.serialize().map_err(io::Error::other)?;
        let path = self.path(engine, digest);
        let temporary = self.temporary(&path);
        let written = write(&temporary, &code).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            fs::remove_file(&temporary).ok();
        }
        written
    }

    fn temporary(&self, path: &Path) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        path.with_extension(format!("{}.{}.tmp", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn trusted(&self) -> bool {
        fs::symlink_metadata(&self.folder).is_ok_and(|folder| folder.is_dir() && only_ours(&folder))
    }

    #[cfg(unix)]
    fn create(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    #[cfg(not(unix))]
    fn create(&self) -> io::Result<()> {
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether it belongs to this user and nobody else may write it. Where that cannot be told, nothing is trusted.
#[cfg(unix)]
fn only_ours(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

#[cfg(not(unix))]
fn only_ours(_: &Metadata) -> bool {
    false
}

fn touch(path: &Path, metadata: &Metadata) {
    let now = SystemTime::now();
    let old = metadata.modified().is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age > FRESH));
    if old {
        File::options().write(true).open(path).and_then(|file| file.set_modified(now)).ok();
    }
}
