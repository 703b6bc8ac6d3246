//! All processes below this one, and a signal to each of them.
//!
//! Where there is a `/proc`, the tree is walked by parents; elsewhere the command's process group stands for it.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

/// Sends `signal` to everything below this process. `command` leads the group that is signalled where no tree can be read.
///
/// A process that ends (and whose number is given to another) between the look and the signal is a danger of some microseconds,
/// and of a number that came round in them.
pub(super) fn signal_all(command: Pid, signal: Signal) {
    match below(getpid()) {
        Some(pids) => pids.into_iter().for_each(|pid| {
            let _ = kill_process(pid, signal);
        }),
        None => {
            let _ = kill_process_group(command, signal);
        }
    }
}

/// The living processes below `root`, parents before children; `None` without a `/proc`.
fn below(root: Pid) -> Option<Vec<Pid>> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    let mut seen = false;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some(parent) = fs::read(entry.path().join("stat")).ok().and_then(|stat| parent(&stat)) else { continue };
        seen = true;
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(below.iter().copied().filter_map(Pid::from_raw));
        next.extend(below);
    }
    seen.then_some(found)
}

/// The parent in a line of `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where NAME may hold anything, `)` too.
fn parent(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after..)?).ok()?.split_ascii_whitespace();
    fields.next()?;
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_behind_any_name() {
        assert_eq!(parent(b"12 (a) b) R (c) S 34 12 12 0"), Some(34));
        assert_eq!(parent(b"12 (sh"), None);
    }
}
