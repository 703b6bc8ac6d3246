//! What a command may see and change, and the Landlock rules that hold it to that.
//!
//! Everything that is not named here is refused by the kernel, so that what a step reads undeclared is an error now instead of a stale
//! result later. The guard makes the rules; the command takes them on between fork and exec, and all that it starts inherits them.
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
//! A step of root loses the capabilities that would let it around all this: `KEPT` below says which it keeps.
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

fn families() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| is_of_family(path)).collect()
}

fn is_of_family(path: &Path) -> bool {
    path.to_str().is_some_and(|path| FAMILIES.iter().any(|family| path.starts_with(family)))
}

/// Devices that hold nothing.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// POSIX shared memory and semaphores are files here; Python's `multiprocessing` needs them.
const SHARED: &str = "/dev/shm";

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

fn gpus() -> impl Iterator<Item = PathBuf> {
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
    *MISSING.get_or_init(|| if rules::are_there() { None } else { Some(WHY) })
}

const WHY: &str = if cfg!(target_os = "linux") {
    "this kernel has no Landlock, or it is not switched on"
} else {
    "only Linux has Landlock"
};

#[cfg(target_os = "linux")]
pub(super) use rules::{Rules, leave_network};

#[cfg(target_os = "linux")]
mod rules {
    use std::io;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
    };

    use rustix::thread::{
        CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    };

    use super::{DEVICES, LIBRARIES, MACHINE, SHARED, Sandbox, families, gpus};

    /// What root may still do in a sandbox: own files, change owners, and become other users. The others would let it look into other
    /// processes (the kernel asks Landlock last there), load modules, mount.
    const KEPT: CapabilitySet = CapabilitySet::CHOWN
        .union(CapabilitySet::DAC_OVERRIDE)
        .union(CapabilitySet::DAC_READ_SEARCH)
        .union(CapabilitySet::FOWNER)
        .union(CapabilitySet::FSETID)
        .union(CapabilitySet::IPC_LOCK)
        .union(CapabilitySet::KILL)
        .union(CapabilitySet::NET_BIND_SERVICE)
        .union(CapabilitySet::SETFCAP)
        .union(CapabilitySet::SETGID)
        .union(CapabilitySet::SETPCAP)
        .union(CapabilitySet::SETUID)
        .union(CapabilitySet::SYS_NICE)
        .union(CapabilitySet::SYS_RESOURCE);

    /// The newest rights that are asked for where the kernel knows them.
    const NEWEST: ABI = ABI::V9;

    /// Rules that are made and not yet taken on.
    pub(in super::super) struct Rules(Option<RulesetCreated>);

    pub(super) fn are_there() -> bool {
        let asked = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1));
        asked.and_then(Ruleset::create).is_ok()
    }

    impl Rules {
        /// Makes the rules of a sandbox. What does not exist needs none.
        pub(in super::super) fn new(sandbox: &Sandbox) -> io::Result<Self> {
            Self::make(sandbox).map(|rules| Self(Some(rules))).map_err(io::Error::other)
        }

        fn make(sandbox: &Sandbox) -> Result<RulesetCreated, RulesetError> {
            let rules = Ruleset::default()
                .set_compatibility(CompatLevel::HardRequirement)
                .handle_access(AccessFs::from_all(ABI::V1))?
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(NEWEST))?
                .scope(Scope::from_all(NEWEST))?
                .create()?;
            let look = AccessFs::ReadFile | AccessFs::ReadDir;
            let run = look | AccessFs::Execute;
            let device = look | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
            let shared = AccessFs::ReadFile
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::RemoveFile;
            let rules = allow(rules, &sandbox.read, look)?;
            let rules = allow(rules, LIBRARIES.iter().map(Path::new), run)?;
            let rules = allow(rules, &sandbox.run, run)?;
            let rules = allow(rules, MACHINE, look)?;
            let rules = allow(rules, families(), look)?;
            let rules = allow(rules, DEVICES, device)?;
            let rules = allow(rules, [SHARED], shared)?;
            let rules = if sandbox.gpu { allow(rules, gpus(), device)? } else { rules };
            allow(rules, &sandbox.write, AccessFs::from_all(NEWEST))
        }

        /// Takes the rules on, for this process and all that it starts. Allocates nothing where it goes well, so that it may stand
        /// between fork and exec.
        pub(in super::super) fn take_on(&mut self) -> io::Result<()> {
            drop_capabilities();
            let rules = self.0.take().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
            match rules.restrict_self() {
                Ok(_) => Ok(()),
                // The one kind of error that starting a process does not give.
                Err(_) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            }
        }
    }

    /// Takes from root, for all that is started from here on, what is not [`KEPT`]. Others have nothing to lose, and are refused.
    fn drop_capabilities() {
        for capability in CapabilitySet::all().difference(KEPT).iter() {
            let _ = remove_capability_from_bounding_set(capability);
        }
        // What is inheritable would come back with the next program, whatever the bounds.
        if let Ok(own) = capabilities(None) {
            let _ = set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..own });
        }
    }

    fn allow<P: AsRef<Path>>(
        mut rules: RulesetCreated,
        paths: impl IntoIterator<Item = P>,
        rights: BitFlags<AccessFs>,
    ) -> Result<RulesetCreated, RulesetError> {
        for path in paths {
            let Ok(found) = PathFd::new(path.as_ref()) else { continue };
            // Of a file's, those rights are left out that only folders have: that is best effort, too.
            rules = rules.add_rule(PathBeneath::new(found, rights))?;
        }
        Ok(rules)
    }

    /// Moves this process, and what it will start, into a network of its own, with a loopback that is up.
    ///
    /// Who is not root needs a user namespace for that, in which it stays who it was.
    pub(in super::super) fn leave_network() -> io::Result<()> {
        use rustix::thread::{UnshareFlags, unshare_unsafe};
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // SAFETY: no file descriptor table or memory is unshared, so no other thread can be surprised; none runs yet.
        let alone = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
        if alone.is_err() {
            // SAFETY: as above.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWUSER) }?;
            // Groups must be given up before the map may be written (user_namespaces(7)).
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
        }
        loopback_up()
    }

    /// `ip link set lo up`, by the one request that does it (netdevice(7)).
    fn loopback_up() -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        // SAFETY: an `ifreq` is plain data, for which zeroes are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        // SAFETY: the descriptor is open, and the request lives until the call is over.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod rules {
    pub(super) fn are_there() -> bool {
        false
    }
}
