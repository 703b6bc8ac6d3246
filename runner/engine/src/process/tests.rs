//! Commands that end, crash, linger, daemonise themselves, shout and whisper.
//!
//! The guard is this very test binary: the constructor below makes it one before the test harness reads its arguments, so
//! every test of this crate can run commands. (The `flowrun` binary calls `guard_if_asked` at the top of `main`.)

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flowrun_core::outcome::{Failure, FailureKind, Say, Stream};
use rustix::process::{Pid, test_kill_process};
use tokio::sync::mpsc::channel;
use tokio_util::sync::CancellationToken;

use super::{Command, GRACE, guard_if_asked, run};

#[cfg(target_os = "linux")]
mod servers;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

extern "C" fn before_the_harness() {
    if std::env::args_os().nth(1).is_some_and(|first| first == super::GUARD) {
        // As Rust does in front of `main`: a broken pipe is an error, not a death.
        // SAFETY: sets SIGPIPE (13) to SIG_IGN (1), on Linux and macOS alike, before any other thread runs.
        unsafe { signal(13, 1) };
        guard_if_asked();
    }
}

// SAFETY: the C runtime calls what stands in this section once, with nothing to return, before `main`; the guard uses neither
// the test harness nor anything that Rust sets up in front of `main`.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_THE_HARNESS: extern "C" fn() = before_the_harness;

fn sh(dir: &Path, script: &str) -> Command {
    Command {
        argv: ["/bin/sh", "-eu", "-c", script].map(OsString::from).to_vec(),
        dir: dir.into(),
        env: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
        ..Command::default()
    }
}

/// The end of `command`, and its lines.
async fn outcome(command: &Command) -> (Result<(), Failure>, Vec<(Stream, String)>) {
    let (say, mut heard) = channel(4);
    let stop = CancellationToken::new();
    let listen = async {
        let mut lines = Vec::new();
        while let Some(said) = heard.recv().await {
            if let Say::Line { stream, text } = said {
                lines.push((stream, text));
            }
        }
        lines
    };
    let end = async move { run(command, &say, &stop).await };
    tokio::join!(end, listen)
}

fn texts(lines: &[(Stream, String)], of: Stream) -> Vec<&str> {
    lines.iter().filter(|(stream, _)| *stream == of).map(|(_, text)| text.as_str()).collect()
}

fn alive(pid: &str) -> bool {
    Pid::from_raw(pid.trim().parse().unwrap()).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Waits until `file` holds something, and gives it.
async fn written(file: &Path) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ if Instant::now() > until => panic!("{} was never written", file.display()),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_command_has_its_folder_environment_and_stdin_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = sh(dir.path(), "env | grep -v '^PWD=\\|^_=\\|^SHLVL='; cat; echo on stderr >&2; : > made");
    command.env.insert("GREETING".into(), "hello = world".into());
    command.stdin = Some(b"from stdin\nunfinished".to_vec());
    let (end, lines) = outcome(&command).await;
    assert_eq!(end, Ok(()));
    let mut stdout = texts(&lines, Stream::Stdout);
    stdout.sort_unstable();
    assert_eq!(stdout, ["GREETING=hello = world", "PATH=/usr/local/bin:/usr/bin:/bin", "from stdin", "unfinished"]);
    assert_eq!(texts(&lines, Stream::Stderr), ["on stderr"]);
    assert!(dir.path().join("made").exists());
    // The listing's own is the fourth. The pipe that is left open below is not among them.
    let open = rustix::io::dup(std::io::stderr()).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let (end, lines) = outcome(&sh(dir.path(), "ls /dev/fd | wc -l")).await;
    assert_eq!((end, texts(&lines, Stream::Stdout)), (Ok(()), vec!["4"]));
    let (end, lines) = outcome(&sh(dir.path(), "cat")).await;
    assert_eq!((end, lines), (Ok(()), vec![]), "stdin is empty");
}

#[tokio::test]
async fn the_end_says_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let end = async |script: &str| outcome(&sh(dir.path(), script)).await.0.unwrap_err();
    assert_eq!(end("exit 3").await, Failure::new(FailureKind::Step, "exited with 3"));
    assert_eq!(end("kill -SEGV $$").await, Failure::new(FailureKind::Step, "killed by SIGSEGV"));
    let killed = end("kill -KILL $$").await;
    assert_eq!(killed.kind, FailureKind::Infrastructure);
    assert_eq!(killed.message, "killed by SIGKILL, most likely out of memory");
    assert!(killed.hint.unwrap().contains("resources.memory"));
    assert_eq!(end("sh -c 'kill -KILL $$'; :").await.kind, FailureKind::Infrastructure, "by the shell's 137");
}

#[tokio::test]
async fn what_cannot_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = sh(dir.path(), "");
    let mut start = async |argv: &[&str]| {
        command.argv = argv.iter().map(OsString::from).collect();
        let failure = outcome(&command).await.0.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Infrastructure);
        assert!(failure.hint.is_some());
        failure.message
    };
    assert_eq!(start(&["no-such-program"]).await, "cannot start `no-such-program`: there is no such program");
    assert_eq!(start(&["./here"]).await, "cannot start `./here`: there is no such program");
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/shell\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(start(&["./script"]).await.contains("script`: No such file"));
    let huge = "x".repeat(4 << 20);
    assert!(start(&["/bin/true", &huge]).await.contains("`/bin/true`"));
    let mut nowhere = sh(Path::new("/nowhere/at/all"), ":");
    nowhere.argv = vec!["/bin/true".into()];
    assert!(outcome(&nowhere).await.0.unwrap_err().hint.unwrap().contains("/nowhere/at/all"));
}

#[tokio::test]
async fn a_stranger_as_guard_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = sh(dir.path(), ":");
    command.guard = Some("/bin/true".into());
    let failure = outcome(&command).await.0.unwrap_err();
    assert_eq!(failure.message, "the process that guards the command did not start");
}

#[tokio::test]
async fn nothing_outlives_a_command_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
        (trap '' TERM HUP INT; exec sleep 987) & echo $! > plain
        setsid sh -c 'trap \"\" TERM HUP; setsid sleep 987 & echo $! > inner; echo $$ > daemon; exec sleep 987' &
        while ! [ -s daemon ]; do sleep 0.01; done
        echo ends";
    let before = Instant::now();
    let (end, lines) = outcome(&sh(dir.path(), script)).await;
    assert_eq!(end, Ok(()));
    assert_eq!(texts(&lines, Stream::Stdout), ["ends"]);
    assert!(before.elapsed() < Duration::from_secs(3), "the daemons hold the pipe, and must not hold the step");
    for file in ["plain", "inner", "daemon"] {
        assert!(!alive(&std::fs::read_to_string(dir.path().join(file)).unwrap()), "{file} lives");
    }
}

#[tokio::test]
async fn a_stop_is_kind_to_all_and_then_sure() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
        sh -c 'trap \"echo saved; exit 0\" TERM; echo $$ > kind; while :; do sleep 0.02; done' &
        setsid sh -c 'trap \"\" TERM; echo $$ > stubborn; while :; do sleep 0.02; done' &
        wait";
    let command = sh(dir.path(), script);
    let (say, mut heard) = channel(64);
    let stop = CancellationToken::new();
    let before = Instant::now();
    let (end, ()) = tokio::join!(run(&command, &say, &stop), async {
        written(&dir.path().join("kind")).await;
        written(&dir.path().join("stubborn")).await;
        stop.cancel();
    });
    assert_eq!(end.unwrap_err().kind, FailureKind::Interrupted);
    assert!(before.elapsed() >= GRACE);
    let saved = Say::Line { stream: Stream::Stdout, text: "saved".into() };
    assert!(std::iter::from_fn(|| heard.try_recv().ok()).any(|said| said == saved));
    for file in ["kind", "stubborn"] {
        assert!(!alive(&std::fs::read_to_string(dir.path().join(file)).unwrap()), "{file} lives");
    }
}

#[tokio::test]
async fn a_stop_is_quick_where_all_obey_and_even_where_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let command = sh(dir.path(), "echo $$ > pid; yes");
    let (say, heard) = channel(1);
    drop(heard);
    let stop = CancellationToken::new();
    let before = Instant::now();
    let (end, ()) = tokio::join!(run(&command, &say, &stop), async {
        written(&dir.path().join("pid")).await;
        stop.cancel();
    });
    assert_eq!(end.unwrap_err().kind, FailureKind::Interrupted);
    assert!(before.elapsed() < GRACE);
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing() {
    // Some of them are dropped while the guard has not yet said that it started something.
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let command = sh(dir.path(), "trap '' TERM; sleep 987 & echo $! > child; echo $$ > pid; wait; :");
        let (say, _heard) = channel(1);
        let stop = CancellationToken::new();
        let file = dir.path().join("pid");
        let pid = tokio::select! {
            _ = run(&command, &say, &stop) => panic!("it ended"),
            pid = written(&file) => pid,
        };
        gone(&pid).await;
        gone(&written(&dir.path().join("child")).await).await;
    }
}

#[tokio::test]
async fn a_command_need_not_read_its_stdin() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = sh(dir.path(), "exec <&-; sleep 0.2; echo well");
    command.stdin = Some(vec![0; 1 << 20]);
    let (end, lines) = outcome(&command).await;
    assert_eq!((end, texts(&lines, Stream::Stdout)), (Ok(()), vec!["well"]));
}

async fn gone(pid: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while alive(pid) {
        assert!(Instant::now() < until, "{pid} lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const STUBBORN: &str = "
    trap '' TERM HUP INT
    setsid sh -c 'setsid sleep 987 & echo $! > inner; echo $$ > daemon; exec sleep 987' &
    echo $$ > command
    sleep 987; :";

/// Not a test: what [`a_flowrun_that_is_killed_takes_all_with_it`] kills.
#[tokio::test]
#[ignore = "run by another test, as a process of its own"]
async fn run_something_stubborn() {
    let Some(dir) = std::env::var_os("FLOWRUN_TEST_DIR") else { return };
    outcome(&sh(Path::new(&dir), STUBBORN)).await.0.unwrap();
}

/// Starts it.
fn something_stubborn(dir: &Path) -> tokio::process::Child {
    let name = module_path!().split_once("::").unwrap().1;
    tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{name}::run_something_stubborn"), "--ignored"])
        .env("FLOWRUN_TEST_DIR", dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_flowrun_that_is_killed_takes_all_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut flowrun = something_stubborn(dir.path());
    let mut pids = Vec::new();
    for file in ["command", "daemon", "inner"] {
        pids.push(written(&dir.path().join(file)).await);
    }
    assert!(pids.iter().all(|pid| alive(pid)));
    flowrun.start_kill().unwrap();
    flowrun.wait().await.unwrap();
    for pid in pids {
        gone(&pid).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_guard_that_is_killed_takes_the_command_with_it() {
    let dir = tempfile::tempdir().unwrap();
    // The command's parent is the guard.
    let (end, _) = outcome(&sh(dir.path(), "sleep 987 & echo $! > child; kill -KILL $PPID; sleep 987; :")).await;
    let failure = end.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    assert_eq!(failure.message, "the process that guards the command was killed");
    gone(&written(&dir.path().join("child")).await).await;
}

#[tokio::test]
async fn lines_are_cut_masked_and_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
        printf 'token: s3c'; sleep 0.2; printf 'ret-value\\n'
        head -c 100000 /dev/zero | tr '\\0' x; echo
        printf '\\377\\n'
        i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i + 1)); done
        printf ' 1%%\\r 2%%\\r'; sleep 0.3; printf ' 3%%\\r\\n'; printf last
        printf 's3cret-value' >&2";
    let mut command = sh(dir.path(), script);
    command.secrets = vec!["s3cret-value".into()];
    let (end, lines) = outcome(&command).await;
    assert_eq!(end, Ok(()));
    let stdout = texts(&lines, Stream::Stdout);
    assert_eq!(stdout[0], "token: ***");
    assert!(stdout[1].ends_with(&format!("x … ({} bytes cut)", 100_000 - (16 << 10))));
    assert_eq!(stdout[2], "\u{fffd}");
    assert_eq!((stdout[3], stdout[2002]), ("line 0", "line 1999"));
    assert_eq!(stdout[2003..], [" 2%", " 3%", "last"]);
    assert_eq!(texts(&lines, Stream::Stderr), ["***"]);
    command.argv = vec!["s3cret-value".into()];
    let failure = outcome(&command).await.0.unwrap_err();
    assert_eq!(failure.message, "cannot start `***`: there is no such program");
}

#[tokio::test]
async fn a_slow_listener_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let command = sh(dir.path(), "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i + 1)); done");
    let (say, mut heard) = channel(1);
    let stop = CancellationToken::new();
    let (end, count) = tokio::join!(async move { run(&command, &say, &stop).await }, async {
        // Longer than the command would need, and than the pipes are drained.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let mut count = 0;
        while heard.recv().await.is_some() {
            count += 1;
        }
        count
    });
    assert_eq!((end, count), (Ok(()), 30000));
}
