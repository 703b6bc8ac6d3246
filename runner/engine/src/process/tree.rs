//! All processes below this one, and their end.
//!
//! Where there is a `/proc`, the tree is walked by parents; elsewhere the command's process group stands for it.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

/// Asks everything below this process to end. The group that `command` leads is told at once by the kernel, so that none of it is
/// missed that is being born; what left the group is told singly. What is born after that belongs to somebody's way to end.
pub(super) fn terminate_all(command: Pid) {
    let group = command.as_raw_nonzero().get();
    let others = below(getpid()).unwrap_or_default().into_iter().filter(|stat| stat.group != group);
    let others: Vec<Pid> = others.filter_map(|stat| Pid::from_raw(stat.pid)).collect();
    // One that is stopped could not hear it.
    for signal in [Signal::TERM, Signal::CONT] {
        let _ = kill_process_group(command, signal);
        others.iter().for_each(|pid| {
            let _ = kill_process(*pid, signal);
        });
    }
}

/// Kills everything that is below this process now; what is born meanwhile, the next call kills. `command` leads the group that is
/// killed where no tree can be read.
///
/// A process that ends (and whose number is given to another) between the look and the signal is a danger of some microseconds,
/// and of a number that came round in them.
pub(super) fn kill_all(command: Pid) {
    match below(getpid()) {
        Some(stats) => stats.into_iter().filter_map(|stat| Pid::from_raw(stat.pid)).for_each(kill),
        None => {
            let _ = kill_process_group(command, Signal::KILL);
        }
    }
}

fn kill(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

/// Kills what is left of the session that `leader` led, which is gone. What made itself a session stays.
pub(super) fn kill_session(leader: Pid) {
    let leader = leader.as_raw_nonzero().get();
    // Two empty looks in a row: during one, a parent may have died between its child's birth and its turn.
    let mut empty = 0;
    for _ in 0..50 {
        let left = stats().filter(|stat| stat.session == leader).filter_map(|stat| Pid::from_raw(stat.pid));
        let left: Vec<Pid> = left.collect();
        empty = if left.is_empty() { empty + 1 } else { 0 };
        left.into_iter().for_each(kill);
        if empty == 2 {
            return;
        }
    }
}

/// What `/proc` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
}

/// All living processes; none without a `/proc`.
fn stats() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit));
    pids.filter_map(|entry| stat(&fs::read(entry.path().join("stat")).ok()?))
}

/// The living processes below `root`; `None` without a `/proc`.
fn below(root: Pid) -> Option<Vec<Stat>> {
    let mut children = BTreeMap::<i32, Vec<Stat>>::new();
    for stat in stats() {
        children.entry(stat.parent).or_default().push(stat);
    }
    if children.is_empty() {
        return None;
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        next.extend(below.iter().map(|stat| stat.pid));
        found.extend(below);
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
    let (parent, group, session) = (number(fields.next()?)?, number(fields.next()?)?, number(fields.next()?)?);
    Some(Stat { pid, parent, group, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_behind_any_name() {
        assert_eq!(stat(b"12 (a) b) R (c) S 34 56 78 0"), Some(Stat { pid: 12, parent: 34, group: 56, session: 78 }));
        assert_eq!(stat(b"12 (sh) Z 34 56 78 0"), None);
        assert_eq!(stat(b"12 (sh"), None);
        assert_eq!(stat(b")("), None);
    }
}
