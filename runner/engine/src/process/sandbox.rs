//! What a command may see and change, and the Landlock rules that hold it to that.
//!
//! Everything that is not named here is refused by the kernel, so that what a step reads undeclared is an error now instead of a stale
//! result later. The guard makes the rules (`rules.rs`); the command takes them on before it becomes what it is, and all that it starts inherits them.
//!
//! | what | read | execute | write |
//! |---|:-:|:-:|:-:|
//! | its own folder, temporary folder, home | ✓ | ✓ | ✓ |
//! | its inputs, the Python environment | ✓ | ✓ | |
//! | the programs that are its tools | ✓ | ✓ | |
//! | libraries: [`LIBRARIES`] and those beside its tools | ✓ | ✓ | |
//! | what libraries read of the machine: [`MACHINE`] | ✓ | | |
//! | harmless devices: [`DEVICES`] | ✓ | | ✓ |
//! | shared memory ([`SHARED`]), by name | ✓ | | ✓ |
//! | graphics processors, where it asks for one: [`GPUS`] | ✓ | | ✓ |
//!
//! What Landlock cannot hide: that a path exists, and its size, times and mode (`stat`); and that is not in a key. What libraries and the kernel tell
//! of the machine is not in a key either, but for the distribution and its release.
//!
//! A step of root loses the capabilities that would let it around all this: `KEPT` beside the rules says which it keeps.
//!
//! Other processes cannot be signalled or traced, nor sockets without a path be reached, where the kernel knows how (Landlock 6); sockets with
//! a path from Landlock 9 on. Without a network the command is in a network of its own that has a loopback and nothing else.
//!
//! Rights that an older kernel does not know are left out, but for those of Landlock 1 (Linux 5.13): without them there is no sandbox.
//! Knows nothing of steps: paths come in.

use std::path::{Path, PathBuf};

/// What a command may reach besides what every command may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Files and folders that it may read.
    pub read: Vec<PathBuf>,
    /// Files and folders that it may read and execute.
    pub run: Vec<PathBuf>,
    /// Folders in which it may do everything.
    pub write: Vec<PathBuf>,
    /// Whether it may use graphics processors.
    pub gpu: bool,
}

/// Where a system's libraries and what belongs to them lie. Executable, since the loader is in it, and helpers of compilers and git.
pub(super) const LIBRARIES: [&str; 11] = [
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// What libraries read of the machine: the loader's memory, names of users and hosts, certificates, fonts, headers, zones, the kernel's
/// word on processors and memory. Of other processes the kernel shows no environment and no memory to what is in a sandbox.
pub(super) const MACHINE: [&str; 36] = [
    "/etc/R",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/perl",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/terminfo",
    "/etc/timezone",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/usr/include",
    "/usr/local/include",
    "/usr/local/share",
    "/usr/share",
    "/var/lib/ca-certificates",
];

/// The same, where the name goes on with a version: what languages keep of themselves in `/etc`.
const FAMILIES: [&str; 3] = ["/etc/ImageMagick-", "/etc/java-", "/etc/python"];

pub(super) fn families() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| is_of_family(path)).collect()
}

fn is_of_family(path: &Path) -> bool {
    path.to_str().is_some_and(|path| FAMILIES.iter().any(|family| path.starts_with(family)))
}

/// Devices that hold nothing.
pub(super) const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// POSIX shared memory and semaphores are files here; Python's `multiprocessing` needs them.
pub(super) const SHARED: &str = "/dev/shm";

/// What the drivers of graphics processors read and open.
const GPUS: [&str; 10] = [
    "/dev/dri",
    "/dev/kfd",
    "/dev/nvidia-caps",
    "/dev/nvidia-modeset",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidiactl",
    "/sys/bus/pci",
    "/sys/devices",
    "/sys/module",
];

/// Graphics processors beyond this number are not looked for: no machine has more.
const MOST_GPUS: usize = 16;

pub(super) fn gpus() -> impl Iterator<Item = PathBuf> {
    let numbered = (0..MOST_GPUS).map(|number| PathBuf::from(format!("/dev/nvidia{number}")));
    GPUS.iter().map(PathBuf::from).chain(numbered)
}

impl Sandbox {
    /// Whether a path lies in what may be read.
    pub fn shows(&self, path: &Path) -> bool {
        let own = self.read.iter().chain(&self.run).chain(&self.write);
        let machine = LIBRARIES.iter().chain(&MACHINE).chain(&DEVICES).chain([&SHARED]).map(Path::new);
        let gpus: Vec<PathBuf> = if self.gpu { gpus().collect() } else { Vec::new() };
        own.map(PathBuf::as_path)
            .chain(machine)
            .chain(gpus.iter().map(PathBuf::as_path))
            .any(|shown| path.starts_with(shown))
            || is_of_family(path)
    }
}

/// Why this kernel cannot hold commands to what they declared; `None` where it can. Asked of the kernel once.
pub fn missing() -> Option<&'static str> {
    use std::sync::OnceLock;
    static MISSING: OnceLock<Option<&'static str>> = OnceLock::new();
    *MISSING.get_or_init(|| if are_there() { None } else { Some(WHY) })
}

#[cfg(target_os = "linux")]
use super::rules::are_there;

#[cfg(not(target_os = "linux"))]
fn are_there() -> bool {
    false
}

const WHY: &str = if cfg!(target_os = "linux") {
    "this kernel has no Landlock, or it is not switched on"
} else {
    "only Linux has Landlock"
};
