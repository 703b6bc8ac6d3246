//! How a command ended, as an outcome that a person can act on.

use std::path::Path;

use flowrun_core::outcome::{Failure, FailureKind};
use rustix::io::Errno;
use rustix::process::Signal;

/// The signals a command may well die of, with their names.
const NAMES: [(Signal, &str); 16] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::ILL, "SIGILL"),
    (Signal::TRAP, "SIGTRAP"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::FPE, "SIGFPE"),
    (Signal::KILL, "SIGKILL"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::USR2, "SIGUSR2"),
    (Signal::PIPE, "SIGPIPE"),
    (Signal::ALARM, "SIGALRM"),
    (Signal::TERM, "SIGTERM"),
    (Signal::XCPU, "SIGXCPU"),
];
const MEMORY: &str = "give it more with `resources.memory`, run fewer steps at once, or make it need less";

fn name(signal: i32) -> String {
    NAMES
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// It ended with an exit code.
pub(super) fn exited(code: i32) -> Result<(), Failure> {
    let failure = |text: String| Failure::new(FailureKind::Step, text);
    Err(match code {
        0 => return Ok(()),
        137 => {
            let text = "exited with 137: something it ran was killed by SIGKILL, most likely out of memory";
            Failure::new(FailureKind::Infrastructure, text).hint(MEMORY)
        }
        127 => failure("exited with 127".into()).hint(
            "a shell says 127 where it does not find a command: its PATH and environment are what the step declares, nothing else",
        ),
        126 => failure("exited with 126".into()).hint("a shell says 126 of a file that it cannot execute"),
        129..=159 => failure(format!("exited with {code}: something it ran was killed by {}", name(code - 128))),
        _ => failure(format!("exited with {code}")),
    })
}

/// A signal killed it that flowrun did not send.
pub(super) fn signalled(signal: i32) -> Failure {
    if signal == Signal::KILL.as_raw() {
        return Failure::new(FailureKind::Infrastructure, "killed by SIGKILL, most likely out of memory").hint(MEMORY);
    }
    Failure::new(FailureKind::Step, format!("killed by {}", name(signal)))
}

/// It was stopped because flowrun was asked to.
pub(super) fn interrupted() -> Failure {
    Failure::new(FailureKind::Interrupted, "stopped before it ended")
}

/// `program` could not be found.
pub(super) fn missing(program: &str, path: &str) -> Failure {
    let failure =
        Failure::new(FailureKind::Infrastructure, format!("cannot start `{program}`: there is no such program"));
    if program.contains('/') {
        return failure.hint("a relative program starts at the step's own folder, and must be executable");
    }
    failure.hint(format!("it was looked for in the step's PATH, `{path}`: install it, or give its path"))
}

/// `program` was found but could not be started.
pub(super) fn unstartable(program: &Path, dir: &Path, errno: i32) -> Failure {
    let error = Errno::from_raw_os_error(errno);
    let text = format!("cannot start `{}`: {}", program.display(), std::io::Error::from(error));
    let failure = Failure::new(FailureKind::Infrastructure, text);
    match error {
        Errno::NOENT if !dir.is_dir() => failure.hint(format!("its folder `{}` is not there", dir.display())),
        Errno::NOENT => failure.hint("the file is there: what its first line (`#!`) or its ELF header names is not"),
        Errno::NOEXEC => {
            failure.hint("a script needs a first line such as `#!/bin/sh`; a program must be built for this machine")
        }
        Errno::TOOBIG => failure.hint("its arguments and environment are too long: pass long things in files"),
        Errno::AGAIN | Errno::NOMEM => {
            failure.hint("the machine is out of processes or memory: run fewer steps at once")
        }
        _ => failure,
    }
}

/// The kernel took the rules of its sandbox and would not apply them.
pub(super) fn unconfined() -> Failure {
    Failure::new(FailureKind::Infrastructure, "the kernel would not apply the rules of its sandbox, so it was not started")
        .hint("flowrun itself may run in more sandboxes than the kernel stacks (16); `sandbox: off` runs the step without one")
}

/// It asked to be without a network, and the kernel would not.
pub(super) fn online(errno: i32) -> Failure {
    let error = std::io::Error::from_raw_os_error(errno);
    Failure::new(FailureKind::Infrastructure, format!("it could not be kept from the network: {error}"))
        .hint("`network: false` needs root or user namespaces (some systems restrict them: see `sysctl kernel.unprivileged_userns_clone` and AppArmor)")
}

/// There is no process for a guard.
pub(super) fn unforked(error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("cannot start the process that guards the command: {error}"))
}

/// The guard ended without a word about the command.
pub(super) fn unguarded(started: bool) -> Failure {
    if started {
        return Failure::new(FailureKind::Infrastructure, "the process that guards the command was killed")
            .hint(MEMORY);
    }
    Failure::new(FailureKind::Infrastructure, "the process that guards the command did not start")
        .hint("flowrun starts itself for that: was its file replaced, or is the machine out of memory?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_say_whose_remedy_they_need() {
        assert_eq!(exited(0), Ok(()));
        let kind = |code| exited(code).map_err(|failure| (failure.kind, failure.message));
        assert_eq!(kind(3), Err((FailureKind::Step, "exited with 3".into())));
        assert_eq!(
            kind(139).map_err(|end| end.1),
            Err("exited with 139: something it ran was killed by SIGSEGV".into())
        );
        assert_eq!(kind(137).map_err(|end| end.0), Err(FailureKind::Infrastructure));
        assert_eq!(signalled(11).message, "killed by SIGSEGV");
        assert_eq!(signalled(11).kind, FailureKind::Step);
        assert_eq!(signalled(9).kind, FailureKind::Infrastructure);
        assert_eq!(signalled(34).message, "killed by signal 34");
        assert!(unstartable(Path::new("/bin/x"), Path::new("/"), Errno::NOEXEC.raw_os_error()).hint.is_some());
    }
}
