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

/// Kills what is left of the session that `leader` led, which is gone. What made itself a session stays.
pub(super) fn kill_session(leader: Pid) {
    let leader = leader.as_raw_nonzero().get();
    // Each round may find what was forked during the one before.
    for _ in 0..10 {
        let left: Vec<Pid> =
            stats().filter(|stat| stat.session == leader).filter_map(|stat| Pid::from_raw(stat.pid)).collect();
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|pid| {
            let _ = kill_process(pid, Signal::KILL);
        });
    }
}

/// What `/proc` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    session: i32,
}

/// All living processes; none without a `/proc`.
fn stats() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit));
    pids.filter_map(|entry| stat(&fs::read(entry.path().join("stat")).ok()?))
}

/// The living processes below `root`, parents before children; `None` without a `/proc`.
fn below(root: Pid) -> Option<Vec<Pid>> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for stat in stats() {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    if children.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(below.iter().copied().filter_map(Pid::from_raw));
        next.extend(below);
    }
    Some(found)
}

/// A line of `/proc/PID/stat`: `PID (NAME) STATE PARENT GROUP SESSION …`, where NAME may hold anything, `)` too. `None` for one
/// that is dead, and waits for its parent to hear it.
fn stat(line: &[u8]) -> Option<Stat> {
    let (open, close) = (line.iter().position(|&byte| byte == b'(')?, line.iter().rposition(|&byte| byte == b')')?);
    let number = |field: &str| field.trim().parse::<i32>().ok();
    let pid = number(std::str::from_utf8(&line[..open]).ok()?)?;
    let mut fields = std::str::from_utf8(line.get(close + 1..)?).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let (parent, _group, session) = (number(fields.next()?)?, fields.next()?, number(fields.next()?)?);
    Some(Stat { pid, parent, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_behind_any_name() {
        assert_eq!(stat(b"12 (a) b) R (c) S 34 56 78 0"), Some(Stat { pid: 12, parent: 34, session: 78 }));
        assert_eq!(stat(b"12 (sh) Z 34 56 78 0"), None);
        assert_eq!(stat(b"12 (sh"), None);
        assert_eq!(stat(b")("), None);
    }
}
