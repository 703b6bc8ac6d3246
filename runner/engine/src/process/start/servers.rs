//! The servers that guards are forked from, one for each program that guards commands: in practice one.
//!
//! They belong to the process and not to a run: a server holds nothing of one. It is started by the first command, and ends when its
//! control socket closes, with the process or by [`dismiss_all`]. A server that died is found out by the next command, which hears nothing of
//! its guard, and starts another.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;

use super::super::hand;

/// How long a server may take to end when flowrun does: milliseconds, unless a guard of its still kills what will not die. Longer would
/// hold up a person who pressed Ctrl-C twice; shorter, and processors that steps took would not be counted as flowrun's own.
const FAREWELL: Duration = Duration::from_millis(500);

static SERVERS: Mutex<BTreeMap<Option<PathBuf>, Arc<Server>>> = Mutex::new(BTreeMap::new());

fn servers() -> MutexGuard<'static, BTreeMap<Option<PathBuf>, Arc<Server>>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Server {
    control: UnixStream,
    process: Mutex<Child>,
    /// Guards of its that wait for a command: no more than there ever were commands at once.
    resting: Mutex<Vec<Resting>>,
}

/// A guard that waits for a command.
struct Resting {
    is_bound: bool,
    socket: UnixStream,
    leader: Pid,
}

/// The server that guards come from.
pub(super) struct Origin(Arc<Server>);

impl Origin {
    /// The program's, started if there is none.
    pub(super) fn of(program: Option<&Path>) -> io::Result<Self> {
        Server::of(program).map(Self)
    }

    /// A guard that waits for a command with or without bounds, and its process. The last that was given one: what it needs is still in the
    /// processor's cache.
    pub(super) fn rested(&self, is_bound: bool) -> Option<(UnixStream, Pid)> {
        let mut resting = self.0.resting();
        let last = resting.iter().rposition(|guard| guard.is_bound == is_bound)?;
        let Resting { socket, leader, .. } = resting.remove(last);
        Some((socket, leader))
    }

    /// Asks for a guard with this as its socket.
    pub(super) fn start(self, socket: OwnedFd) -> io::Result<Self> {
        match hand::give(&self.0.control, b"g", &[socket.as_fd()]) {
            Ok(()) => {}
            // It died: the socket closes here, and whoever waits at the other end hears that there is no guard.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => return Err(error),
        }
        Ok(self)
    }

    /// The guard waits for another command.
    pub(super) fn rest(self, is_bound: bool, socket: UnixStream, leader: Pid) {
        self.0.resting().push(Resting { is_bound, socket, leader });
    }

    /// The guard ended. Its server waits for it some time later, so until then its number is not given out again.
    pub(super) fn ended(self) {}

    /// The guard never came to be: its server is dead, or of no use. Guards that run do not need it.
    pub(super) fn failed(self) {
        servers().retain(|_, server| !Arc::ptr_eq(server, &self.0));
        let mut process = self.0.process.lock().unwrap_or_else(PoisonError::into_inner);
        // Both do nothing where somebody else did it already.
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Server {
    /// The program's server, started if there is none.
    fn of(program: Option<&Path>) -> io::Result<Arc<Self>> {
        let mut servers = servers();
        let program = program.map(Path::to_owned);
        if let Some(server) = servers.get(&program) {
            return Ok(server.clone());
        }
        let (control, theirs) = UnixStream::pair()?;
        let process = super::spawn(program.as_deref(), theirs.into())?;
        let server = Arc::new(Self { control, process: process.into(), resting: Mutex::default() });
        servers.insert(program, server.clone());
        Ok(server)
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets it end, and waits for that, so that what the commands took of the processors is counted as this process's children's.
    fn dismiss(&self) {
        self.resting().clear();
        let _ = self.control.shutdown(Shutdown::Write);
        let _ = self.control.set_read_timeout(Some(FAREWELL));
        // It says nothing: this is its end, or that it takes too long.
        if matches!((&self.control).read(&mut [0]), Ok(0)) {
            let _ = self.process.lock().unwrap_or_else(PoisonError::into_inner).wait();
        }
    }
}

/// Lets all servers end. A command that comes after it starts another.
pub(in super::super) fn dismiss_all() {
    let all = std::mem::take(&mut *servers());
    all.into_values().for_each(|server| server.dismiss());
}

/// Lets one end.
#[cfg(test)]
pub(in super::super) fn dismiss(program: &Path) {
    let server = servers().remove(&Some(program.to_owned()));
    server.into_iter().for_each(|server| server.dismiss());
}
