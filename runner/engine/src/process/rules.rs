//! Landlock: the rules of a sandbox made, and taken on by a process that is about to become a command.
//!
//! Rules are made anew for each command, since what a path names may change meanwhile; of what they are made from, only the listing of `/etc` is
//! remembered, as long as its times say that it is the same. The calls are made here and not by the crate `landlock`, which looks at each path once
//! more and cannot be used between `clone` and `exec`; it knows which rights there are, and makes the empty set of rules.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use landlock::{ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use super::sandbox::{DEVICES, LIBRARIES, MACHINE, SHARED, Sandbox, families, gpus};

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

/// The rights that a file may have; the kernel refuses a rule that gives others to one.
fn of_files() -> BitFlags<AccessFs> {
    AccessFs::from_file(NEWEST)
}

/// The rights that are handled: the newest, as far as this kernel knows them.
fn handled() -> BitFlags<AccessFs> {
    static HANDLED: OnceLock<BitFlags<AccessFs>> = OnceLock::new();
    *HANDLED.get_or_init(|| AccessFs::from_all(NEWEST) & AccessFs::from_all(kernels()))
}

/// What the kernel says of itself: landlock_create_ruleset(2).
fn kernels() -> ABI {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no attributes and makes nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    match version {
        ..1 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        _ => NEWEST,
    }
}

pub(super) fn are_there() -> bool {
    let asked =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(ABI::V1));
    asked.and_then(Ruleset::create).is_ok()
}

/// Rules that are made and not yet taken on.
pub(super) struct Rules(OwnedFd);

impl Rules {
    /// Makes the rules of a sandbox. What does not exist needs none. From here on whatever this process starts has the bounds of one.
    pub(super) fn new(sandbox: &Sandbox, known: &mut Known) -> io::Result<Self> {
        if !std::mem::replace(&mut known.is_bound, true) {
            bound();
        }
        let rules = Self::none()?;
        let look = AccessFs::ReadFile | AccessFs::ReadDir;
        let run = look | AccessFs::Execute;
        let device = look | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        let shared =
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
        rules.allow(&sandbox.read, look)?;
        rules.allow(LIBRARIES, run)?;
        rules.allow(&sandbox.run, run)?;
        rules.allow(MACHINE, look)?;
        rules.allow(known.families(), look)?;
        rules.allow(DEVICES, device)?;
        rules.allow([SHARED], shared)?;
        if sandbox.gpu {
            rules.allow(gpus(), device)?;
        }
        rules.allow(&sandbox.write, AccessFs::from_all(NEWEST))?;
        Ok(rules)
    }

    /// What allows nothing.
    fn none() -> io::Result<Self> {
        let made = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))
            .and_then(|rules| {
                rules.set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(NEWEST))
            })
            .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
            .and_then(Ruleset::create);
        let rules: Option<OwnedFd> = made.map_err(io::Error::other)?.into();
        rules.map(Self).ok_or_else(|| io::Error::other("no Landlock"))
    }

    fn allow<P: AsRef<Path>>(&self, paths: impl IntoIterator<Item = P>, rights: BitFlags<AccessFs>) -> io::Result<()> {
        paths.into_iter().try_for_each(|path| self.allow_one(path.as_ref(), rights & handled()))
    }

    fn allow_one(&self, path: &Path, rights: BitFlags<AccessFs>) -> io::Result<()> {
        let Ok(found) = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return Ok(()) };
        match self.add(&found, rights) {
            // A file has not all the rights of a folder. To ask of each what it is would be one call more for each.
            Err(Errno::INVAL) => Ok(self.add(&found, rights & of_files())?),
            added => Ok(added?),
        }
    }

    /// landlock_add_rule(2), for all beneath a path.
    fn add(&self, beneath: &OwnedFd, rights: BitFlags<AccessFs>) -> rustix::io::Result<()> {
        #[repr(C, packed)]
        struct Beneath {
            allowed_access: u64,
            parent_fd: i32,
        }
        const PATH_BENEATH: libc::c_uint = 1;
        let rule = Beneath { allowed_access: rights.bits(), parent_fd: beneath.as_raw_fd() };
        // SAFETY: both descriptors are open and the rule, of the kernel's own shape, outlives the call.
        let done = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.0.as_raw_fd(), PATH_BENEATH, &raw const rule, 0_u32)
        };
        if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)) }
    }

    /// Takes the rules on, for this process and all that it starts. Allocates nothing, so that it may stand between `clone` and `exec`.
    pub(super) fn take_on(&self) -> rustix::io::Result<()> {
        inherit_nothing();
        rustix::thread::set_no_new_privs(true)?;
        // SAFETY: the descriptor is open, and nothing but this process changes.
        match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_fd().as_raw_fd(), 0_u32) } {
            0 => Ok(()),
            _ => Err(Errno::INVAL),
        }
    }
}

/// Takes from root, for all that is started from here on, the bounds beyond [`KEPT`]. Others have nothing to lose, and are refused.
fn bound() {
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

/// What is inheritable would come back with the next program, whatever the bounds.
fn inherit_nothing() {
    if let Ok(own) = capabilities(None) {
        let _ = set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..own });
    }
}

/// What a guard remembers from one command to the next.
#[derive(Default)]
pub(super) struct Known {
    families: Option<(Times, Vec<PathBuf>)>,
    /// Whether what it starts has bounds, which it cannot get rid of again: see [`KEPT`].
    is_bound: bool,
}

/// When a folder was last changed, and which it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Times([i64; 6]);

/// A folder that was changed less than this before it was listed may be changed again with the times that it has.
const REST: Duration = Duration::from_secs(2);

impl Known {
    /// Whether what it starts has bounds.
    pub(super) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// The guard is in a user namespace of its own now, where there are no bounds yet.
    pub(super) fn is_elsewhere(&mut self) {
        self.is_bound = false;
    }

    fn families(&mut self) -> Vec<PathBuf> {
        let now = Times::of("/etc");
        if let (Some((then, families)), Some(now)) = (&self.families, now)
            && *then == now
        {
            return families.clone();
        }
        let found = families();
        self.families = now.filter(Times::have_rested).map(|times| (times, found.clone()));
        found
    }
}

impl Times {
    fn of(folder: &str) -> Option<Self> {
        let found = rustix::fs::stat(folder).ok()?;
        let times =
            [found.st_mtime as i64, found.st_mtime_nsec as i64, found.st_ctime as i64, found.st_ctime_nsec as i64];
        Some(Self([found.st_dev as i64, found.st_ino as i64, times[0], times[1], times[2], times[3]]))
    }

    fn have_rested(&self) -> bool {
        let latest = self.0[2].max(self.0[4]);
        UNIX_EPOCH
            .elapsed()
            .is_ok_and(|now| i64::try_from(now.as_secs()).is_ok_and(|now| now - latest > REST.as_secs() as i64))
    }
}

/// Moves this process, and what it will start, into a network of its own, with a loopback that is up.
///
/// Who is not root needs a user namespace for that, in which it stays who it was.
pub(super) fn leave_network() -> io::Result<()> {
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
