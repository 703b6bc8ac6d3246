//! The servers that guards are forked from, one for each program that guards commands: in practice one.
//!
//! They belong to the process and not to a run: a server holds nothing of one. It is started by the first command, and ends when its
//! control socket closes, with the process or by [`dismiss_all`]. A server that died is found out by the next command, which hears nothing of
//! its guard, and starts another.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::Ends;

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
}

/// The server that was asked for a guard.
pub(in super::super) struct Origin(Arc<Server>);

impl Origin {
    pub(super) fn start(program: Option<&Path>, ends: Ends) -> io::Result<Self> {
        let server = Server::of(program)?;
        match server.ask(&ends) {
            Ok(()) => {}
            // It died: the ends close here, and whoever waits at the others hears that there is no guard.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => return Err(error),
        }
        Ok(Self(server))
    }

    /// The guard ended. Its server waits for it some time later, so until then its number is not given out again.
    pub(in super::super) fn ended(self) {}

    /// The guard never came to be: its server is dead, or of no use. Guards that run do not need it.
    pub(in super::super) fn failed(self) {
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
        let process = super::spawn(program.as_deref(), theirs.into(), |process| {
            process.stdout(Stdio::null()).stderr(Stdio::null());
        })?;
        let server = Arc::new(Self { control, process: process.into() });
        servers.insert(program, server.clone());
        Ok(server)
    }

    /// Sends the guard's ends, with a byte, since something must be sent with them.
    fn ask(&self, ends: &Ends) -> io::Result<()> {
        let fds = [ends.socket.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        rights.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(&self.control, &[IoSlice::new(b"g")], &mut rights, SendFlags::NOSIGNAL)
        });
        Ok(sent.map(drop)?)
    }

    /// Lets it end, and waits for that, so that what the commands took of the processors is counted as this process's children's.
    fn dismiss(&self) {
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
