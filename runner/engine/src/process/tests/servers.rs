//! The server that guards are forked from: what happens without it, and what it keeps of others. Each test has one of its own, by a name of
//! this program that nobody else uses.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

/// The script, guarded by what comes from a server of this folder's own.
fn own(dir: &Path, script: &str) -> Command {
    let guard = dir.join("guard-program");
    if !guard.exists() {
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &guard).unwrap();
    }
    Command { guard: Some(guard), ..sh(dir, script) }
}

/// The parent of a process.
fn parent(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

/// The server of [`UNTIL_GO`], once that runs.
async fn server(dir: &Path) -> String {
    parent(&written(&dir.join("guard")).await)
}

const UNTIL_GO: &str = "echo $PPID > guard; while ! [ -e go ]; do sleep 0.01; done; echo well";

fn kill(pid: &str) {
    rustix::process::kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), rustix::process::Signal::KILL).unwrap();
}

fn go(dir: &Path) {
    std::fs::write(dir.join("go"), "").unwrap();
}

#[tokio::test]
async fn no_command_fails_for_a_server_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (long, short) = (own(dir.path(), UNTIL_GO), own(dir.path(), "echo $PPID"));
    let ((end, lines), servers) = tokio::join!(outcome(&long), async {
        let first = server(dir.path()).await;
        kill(&first);
        let (end, lines) = outcome(&own(dir.path(), "cut -d' ' -f4 /proc/$PPID/stat")).await;
        assert_eq!(end, Ok(()), "while another command runs");
        go(dir.path());
        [first, lines[0].1.clone()]
    });
    assert_eq!((end, texts(&lines, Stream::Stdout)), (Ok(()), vec!["well"]), "it does not need the server");
    assert_ne!(servers[0], servers[1]);
    kill(&servers[1]);
    assert_eq!(outcome(&short).await.0, Ok(()), "between two commands");
}

/// At each round every command loses one server at most, and may be anywhere then.
#[tokio::test]
async fn commands_that_start_while_a_server_dies_find_another() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let (long, short) = (own(dir.path(), UNTIL_GO), own(dir.path(), "echo well"));
        let ((end, _), ()) = tokio::join!(outcome(&long), async {
            let server = server(dir.path()).await;
            let killed = async {
                tokio::time::sleep(Duration::from_micros(100 * round)).await;
                kill(&server);
            };
            let (a, b, c, ()) = tokio::join!(outcome(&short), outcome(&short), outcome(&short), killed);
            for (end, lines) in [a, b, c] {
                assert_eq!((end, texts(&lines, Stream::Stdout)), (Ok(()), vec!["well"]), "round {round}");
            }
            go(dir.path());
        });
        assert_eq!(end, Ok(()));
    }
}

#[tokio::test]
async fn a_command_has_all_its_signals() {
    let dir = tempfile::tempdir().unwrap();
    let (end, lines) = outcome(&own(dir.path(), "grep '^SigBlk' /proc/self/status")).await;
    assert_eq!(end, Ok(()));
    assert_eq!(texts(&lines, Stream::Stdout), [format!("SigBlk:\t{}", "0".repeat(16))], "none is held back");
}

/// What is orphaned becomes the guard's child, and may be much over a long command's life.
#[tokio::test]
async fn orphans_that_end_leave_nothing_while_the_command_runs() {
    let dir = tempfile::tempdir().unwrap();
    let script = "for n in 1 2 3 4 5; do (sh -c : & echo $! >> pids); done; sleep 0.3
        for pid in $(cat pids); do ! [ -e /proc/$pid ] || echo $pid is left; done";
    let (end, lines) = outcome(&own(dir.path(), script)).await;
    assert_eq!((end, lines), (Ok(()), vec![]));
}

#[tokio::test]
async fn guards_and_servers_keep_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let first = own(dir.path(), UNTIL_GO);
    let (_, ()) = tokio::join!(outcome(&first), async {
        let guard = written(&dir.path().join("guard")).await;
        let second = own(dir.path(), "echo $PPID > second; cat; while ! [ -e go ]; do sleep 0.01; done");
        let (_, ()) = tokio::join!(outcome(&second), async {
            let second = written(&dir.path().join("second")).await;
            let all = [open(&guard), open(&second), open(&parent(&guard))];
            assert_eq!(all.each_ref().map(BTreeSet::len), [3, 3, 1], "{all:?}");
            assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 7, "{all:?}");
            go(dir.path());
        });
    });
}

/// The sockets and pipes that a process has, but for those that whoever started the tests left open to all.
fn open(pid: &str) -> BTreeSet<PathBuf> {
    let entries = |pid: &str, kind: &str| std::fs::read_dir(format!("/proc/{pid}/{kind}")).unwrap().flatten();
    let kept = |path: PathBuf| std::fs::read_to_string(path).is_ok_and(|text| !text.contains("flags:\t02"));
    let left: Vec<_> =
        entries("self", "fdinfo").filter(|entry| kept(entry.path())).map(|entry| entry.file_name()).collect();
    let left: BTreeSet<_> =
        left.iter().filter_map(|fd| std::fs::read_link(Path::new("/proc/self/fd").join(fd)).ok()).collect();
    let links = entries(pid.trim(), "fd").filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let links = links.filter(|link| ["socket:", "pipe:"].iter().any(|kind| link.to_string_lossy().starts_with(kind)));
    links.filter(|link| !left.contains(link)).collect()
}

#[tokio::test]
async fn many_commands_at_once_each_have_their_own_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = tokio::task::JoinSet::new();
    for number in 0..60 {
        let command = own(dir.path(), &format!("sleep 987 & echo {number}; echo {number} >&2; exit {number}"));
        all.spawn(async move { (number, outcome(&command).await) });
    }
    while let Some(ended) = all.join_next().await {
        let (number, (end, lines)) = ended.unwrap();
        assert_eq!(end.err().map(|failure| failure.message), (number > 0).then(|| format!("exited with {number}")));
        let said = number.to_string();
        assert_eq!([texts(&lines, Stream::Stdout), texts(&lines, Stream::Stderr)], [[&said], [&said]]);
    }
}

#[tokio::test]
async fn a_flowrun_that_is_killed_takes_its_server_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut flowrun = something_stubborn(dir.path());
    let guard = parent(&written(&dir.path().join("command")).await);
    let server = parent(&guard);
    written(&dir.path().join("inner")).await;
    assert_eq!(parent(&server), flowrun.id().unwrap().to_string());
    flowrun.start_kill().unwrap();
    flowrun.wait().await.unwrap();
    gone(&server).await;
    gone(&guard).await;
}

#[tokio::test]
async fn a_server_that_is_dismissed_is_gone_and_the_next_command_has_another() {
    let dir = tempfile::tempdir().unwrap();
    let command = own(dir.path(), "cut -d' ' -f4 /proc/$PPID/stat");
    let (end, first) = outcome(&command).await;
    assert_eq!(end, Ok(()));
    crate::process::start::dismiss(command.guard.as_deref().unwrap());
    assert!(!alive(&first[0].1));
    let (end, second) = outcome(&command).await;
    assert_eq!(end, Ok(()));
    assert_ne!(first, second);
}

/// The same in a sandbox; nothing where there are none.
fn boxed(dir: &Path, script: &str) -> Option<Command> {
    let run = vec!["/usr".into(), "/bin".into()];
    let sandbox = crate::process::Sandbox { write: vec![dir.to_owned()], run, ..Default::default() };
    crate::process::sandbox_missing().is_none().then(|| Command { sandbox: Some(sandbox), ..own(dir, script) })
}

/// The guard of a command that does this first.
async fn guard_of(dir: &Path, script: &str) -> Option<String> {
    let (end, lines) = outcome(&boxed(dir, &format!("echo $PPID; {script}"))?).await;
    assert_eq!(end, Ok(()), "{lines:?}");
    Some(lines[0].1.clone())
}

/// Nothing of one is left for the next, so that one guard does for both; where it died meanwhile, another does.
#[tokio::test]
async fn a_guard_sees_one_command_after_the_other_through() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let Some(first) = guard_of(dir, "sleep 987 &").await else { return };
    assert_eq!(std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap(), "");
    let second = boxed(dir, "exit 3").unwrap();
    assert_eq!(outcome(&second).await.0.unwrap_err().message, "exited with 3");
    assert_eq!(guard_of(dir, "true").await.unwrap(), first);
    kill(&first);
    // Its server has not waited for it yet.
    while !std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap().contains(") Z ") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = guard_of(dir, "true").await.unwrap();
    assert_ne!(before, first);
    let stop = CancellationToken::new();
    let (say, _heard) = channel(1);
    let command = boxed(dir, "echo $PPID > guard; sleep 987").unwrap();
    let (end, ()) = tokio::join!(run(&command, &say, &stop), async {
        assert_eq!(written(&dir.join("guard")).await.trim(), before);
        stop.cancel();
    });
    assert_eq!(end.unwrap_err().kind, FailureKind::Interrupted);
    assert_ne!(guard_of(dir, "true").await.unwrap(), before, "it may have heard of the stop too late");
}

/// Landlock does not keep a command from setting limits and priorities of its guard. The next one does not get them.
#[tokio::test]
async fn a_guard_that_was_changed_sees_no_other_command_through() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let Some(mut before) = guard_of(dir, "true").await else { return };
    for change in ["prlimit --pid $PPID --fsize=1000", "renice -n 7 -p $PPID", "ionice -c 3 -p $PPID"] {
        assert_eq!(guard_of(dir, &format!("{change} > /dev/null")).await.unwrap(), before, "{change}");
        let next = guard_of(dir, "true").await.unwrap();
        assert_ne!(next, before, "{change}");
        before = next;
    }
    let nowhere = Command { dir: dir.join("nowhere"), ..boxed(dir, "").unwrap() };
    outcome(&nowhere).await.0.unwrap_err();
    assert_ne!(guard_of(dir, "true").await.unwrap(), before, "its command never started");
    let (free, freed) = (own(dir, "echo $PPID"), own(dir, "echo $PPID"));
    assert_ne!(outcome(&free).await.1, outcome(&freed).await.1, "without a sandbox each has its own");
}

/// What a guard gives up for a sandbox it cannot give to a command without one.
#[tokio::test]
async fn a_command_without_a_sandbox_has_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let Some(boxed) = boxed(dir.path(), "echo $PPID; grep CapBnd /proc/self/status") else { return };
    let bounds = async |sandbox: bool| {
        let command = if sandbox { boxed.clone() } else { Command { sandbox: None, ..boxed.clone() } };
        let (end, lines) = outcome(&command).await;
        assert_eq!(end, Ok(()), "{lines:?}");
        (lines[0].1.clone(), lines[1].1.clone())
    };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapBnd")).unwrap();
    let (first, held) = (bounds(false).await, bounds(true).await);
    let (again, held_again) = (bounds(false).await, bounds(true).await);
    assert_eq!((&*first.1, &*again.1), (own, own));
    assert_eq!(held, held_again, "one guard sees both through");
    assert!(first.0 != held.0 && again.0 != held.0);
    assert!(held.1 != own || !rustix::process::geteuid().is_root(), "root loses some");
}
