//! Running one command in a folder that somebody prepared: its lines, its end, and the certainty that nothing of it stays.
//!
//! ```text
//!   flowrun ──spawn──► server (flowrun itself, `__guard`) ──fork──► guard ──spawn──► the command ──► whatever it starts
//!      │  ◄───────────── socket on the guard's stdin ───────────────►  │  └─spawn──► the next one, when nothing of that is left
//!      └──────────────── stdout and stderr: pipes that guard and command share
//! ```
//!
//! The guard exists because only a parent can be told of its orphans. It is in a session of its own, so that a terminal's Ctrl-C
//! reaches flowrun alone; it is the *child subreaper*, so that a daemonised grandchild becomes its child and not init's; and it
//! holds one end of a socket, so that the kernel tells it when flowrun is gone, whatever killed flowrun. Then, when the command
//! has ended, or when it is told to stop, it kills all that is left below it and says how the command ended.
//! The server is there since starting flowrun for each guard would take as long as the command: see `server.rs`. A guard whose command
//! ended by itself, with nothing left of it, waits for the next one; one that was told to stop, had a network or a stdin to give, could not
//! get rid of something, whose command never started or had no sandbox, or that does not run as it was born (`conditions.rs`), ends.
//!
//! | what happens                       | what follows                                                                    |
//! |------------------------------------|---------------------------------------------------------------------------------|
//! | the command ends                   | stragglers get SIGKILL; the end is reported                                      |
//! | `stop` is cancelled                | SIGTERM to the whole tree, [`GRACE`], SIGKILL; `Interrupted`                     |
//! | `kill` is cancelled                | the socket closes: SIGKILL to the whole tree at once                             |
//! | flowrun is killed, even by SIGKILL | the same                                                                         |
//! | the guard is killed                | the command dies with it (parent-death signal), flowrun kills its session; what daemonised itself may stay |
//! | the server is killed               | guards go on; a command that was not yet given to one starts another server      |
//! | guard and flowrun are, at once     | the command dies; what daemonised itself may stay                                |
//!
//! On macOS there is no server, and each guard is started for itself; nor is there a subreaper: the command's process group is killed,
//! and what left the group may stay.
//! The sandbox is put on between the birth of a command's process and its becoming the command: see [`Sandbox`].
//! Knows nothing of steps, time limits or retries: those wrap it.

#[cfg(unix)]
mod attend;
#[cfg(unix)]
mod bell;
#[cfg(target_os = "linux")]
mod birth;
#[cfg(target_os = "linux")]
mod conditions;
#[cfg(unix)]
mod end;
#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod hand;
#[cfg(unix)]
mod lines;
mod mask;
#[cfg(target_os = "linux")]
mod rules;
#[cfg(unix)]
mod run;
mod sandbox;
#[cfg(target_os = "linux")]
mod server;
#[cfg(unix)]
mod start;
#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "a test may")]
mod tests;
#[cfg(unix)]
mod tree;
#[cfg(unix)]
mod watch;
#[cfg(unix)]
mod which;
#[cfg(unix)]
mod wire;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use flowrun_core::outcome::Say;

pub(crate) use mask::Mask;
pub use sandbox::{Sandbox, missing as sandbox_missing};

#[cfg(unix)]
pub use guard::guard_main;
#[cfg(unix)]
pub use run::{run, run_here};
#[cfg(unix)]
pub use which::which;

/// The hidden first argument that makes flowrun a guard.
pub const GUARD: &str = "__guard";

/// How long a command that was asked to stop may take to do so. Enough to write a checkpoint of some hundred megabytes; a person
/// who pressed Ctrl-C waits that long at most. Shorter loses checkpoints, longer makes people reach for SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

/// Hears what a command says. It gives back what it has no room for now, and what nobody hears any more it lets go.
pub type Ear<'a> = dyn Fn(Say) -> Option<Say> + 'a;

/// One command to run.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// The program and its arguments. A program without `/` is looked up in `env`'s `PATH`; a relative one starts at `dir`.
    pub argv: Vec<OsString>,
    /// Where it runs. Must exist.
    pub dir: PathBuf,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// What it reads on stdin; without it, stdin is empty.
    pub stdin: Option<Vec<u8>>,
    /// Texts that are shown as `***` wherever they would appear in a line. The lines of one with several lines count singly,
    /// from four bytes on.
    pub secrets: Vec<String>,
    /// What it may reach of the machine; all of it where there is none.
    pub sandbox: Option<Sandbox>,
    /// Whether it has no network but a loopback of its own.
    pub offline: bool,
    /// The program that becomes the guard when its first argument is [`GUARD`]; this program where it is `None`.
    pub guard: Option<PathBuf>,
}

/// Becomes the guard and never returns, where this program was started as one. To be called before anything else in `main`:
/// before arguments are parsed, before a thread is started.
pub fn guard_if_asked() {
    if std::env::args_os().nth(1).is_some_and(|first| first == GUARD) {
        #[cfg(unix)]
        std::process::exit(guard_main());
    }
}

/// Lets the processes end that guards came from, once no command runs: what commands took of the processors is then counted as that of
/// this process's children. Without it they end by themselves, with this process.
pub fn dismiss_guards() {
    #[cfg(target_os = "linux")]
    start::dismiss_all();
}

/// Running commands needs Unix.
#[cfg(not(unix))]
pub async fn run(
    _command: &Command,
    _say: &tokio::sync::mpsc::Sender<Say>,
    _stop: &tokio_util::sync::CancellationToken,
) -> Result<(), flowrun_core::outcome::Failure> {
    Err(unsupported())
}

/// The same.
#[cfg(not(unix))]
pub fn run_here(
    _command: &Command,
    _say: &Ear<'_>,
    _stop: &tokio_util::sync::CancellationToken,
    _kill: &tokio_util::sync::CancellationToken,
) -> Result<(), flowrun_core::outcome::Failure> {
    Err(unsupported())
}

#[cfg(not(unix))]
fn unsupported() -> flowrun_core::outcome::Failure {
    use flowrun_core::outcome::{Failure, FailureKind};
    Failure::new(FailureKind::Infrastructure, "running commands is not supported on this system")
        .hint("use Linux or macOS, or Linux under Windows")
}
