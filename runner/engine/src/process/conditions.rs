//! Under which conditions a guard runs, that a command may change from outside of it, also from its sandbox: Landlock has no say in what one process of
//! a user sets for another. The next command would inherit them, and no key would tell. So a guard that does not run as it was born
//! sees no other command through.

use std::mem::MaybeUninit;

/// Limits there are: `RLIM_NLIMITS` of Linux.
const LIMITS: u32 = 16;
/// Bytes of the answers of sched_getattr(2) and sched_getaffinity(2) that are compared; a kernel that has more to say is asked for so much.
const SCHEDULING: usize = 56;
const PROCESSORS: usize = 1024;
/// ioprio_get(2): of a process.
const PROCESS: libc::c_int = 1;
/// keyctl(2): the number of a keyring, and which one is meant: the session's.
const KEYRING_ID: libc::c_int = 0;
const SESSION_KEYRING: libc::c_int = -3;

/// Limits, priorities, processors and keys of this process.
#[derive(PartialEq, Eq)]
pub(super) struct Conditions {
    limits: Vec<Option<(u64, u64)>>,
    scheduling: [u8; SCHEDULING],
    processors: [u8; PROCESSORS],
    input_and_output: i64,
    keyring: i64,
}

impl Conditions {
    /// As they are now.
    pub(super) fn now() -> Self {
        let (mut scheduling, mut processors) = ([0; SCHEDULING], [0; PROCESSORS]);
        // SAFETY: each call writes at most as many bytes as it is told there are, to memory that is ours; what it cannot answer is an error, which is
        // as good a value as any other to be compared.
        let (input_and_output, keyring) = unsafe {
            libc::syscall(libc::SYS_sched_getattr, 0, scheduling.as_mut_ptr(), SCHEDULING as libc::c_uint, 0);
            libc::syscall(libc::SYS_sched_getaffinity, 0, PROCESSORS, processors.as_mut_ptr());
            let priority = libc::syscall(libc::SYS_ioprio_get, PROCESS, 0);
            (priority, libc::syscall(libc::SYS_keyctl, KEYRING_ID, SESSION_KEYRING, 0))
        };
        Self { limits: (0..LIMITS).map(limit).collect(), scheduling, processors, input_and_output, keyring }
    }
}

fn limit(which: u32) -> Option<(u64, u64)> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the place is ours, and written where the call does not fail.
    unsafe {
        (libc::getrlimit(which as _, limit.as_mut_ptr()) == 0).then(|| {
            let limit = limit.assume_init();
            (limit.rlim_cur, limit.rlim_max)
        })
    }
}
