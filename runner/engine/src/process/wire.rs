//! What flowrun and the guard say to each other on the socket.
//!
//! ```text
//! flowrun → guard   the command's stdout and stderr with the first byte of: magic, then the job's byte strings, each with its length (u64,
//!                   little endian); perhaps [`STOP`]; after `ready` perhaps another job
//! guard → flowrun   lines: `guarding PID` once, when it is born; for each job `started PID` where the kernel needs help to end it, then
//!                   `exited CODE` or `signalled NUMBER`, then perhaps `left`; or `failed ERRNO`, or `unconfined 0` or `online ERRNO`
//!                   where it could not be kept to its sandbox or from the network; then `ready 0`, or its end
//! server → flowrun  `unforked ERRNO`, in the place of the guard that it could not make
//! ```
//!
//! Both ends are the same program, so the magic only tells a stranger's input apart; there are no versions.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::Sandbox;

const MAGIC: &[u8; 16] = b"flowrun guard 4\n";
/// The byte that asks for a kind stop.
pub(super) const STOP: u8 = b's';
/// A string longer than this is no job of ours: `execve` takes no argument above 128 KiB, and stdin is a file's worth at most.
const LONGEST: u64 = 1 << 32;

/// A command as the guard needs it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) program: PathBuf,
    pub(super) argv: Vec<OsString>,
    pub(super) dir: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) offline: bool,
}

impl Job {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, self.program.as_os_str().as_bytes());
        put(&mut out, self.dir.as_os_str().as_bytes());
        count(&mut out, self.argv.len());
        self.argv.iter().for_each(|arg| put(&mut out, arg.as_bytes()));
        count(&mut out, self.env.len());
        for (name, value) in &self.env {
            put(&mut out, name.as_bytes());
            put(&mut out, value.as_bytes());
        }
        count(&mut out, usize::from(self.stdin.is_some()));
        self.stdin.iter().for_each(|bytes| put(&mut out, bytes));
        count(&mut out, usize::from(self.sandbox.is_some()));
        if let Some(sandbox) = &self.sandbox {
            for paths in [&sandbox.read, &sandbox.run, &sandbox.write] {
                count(&mut out, paths.len());
                paths.iter().for_each(|path| put(&mut out, path.as_os_str().as_bytes()));
            }
            count(&mut out, usize::from(sandbox.gpu));
        }
        count(&mut out, usize::from(self.offline));
        out
    }

    pub(super) fn decode(from: &mut impl Read) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a job"));
        }
        let program = OsString::from_vec(string(from)?).into();
        let dir = OsString::from_vec(string(from)?).into();
        let argv = (0..number(from)?).map(|_| os(from)).collect::<io::Result<_>>()?;
        let env = (0..number(from)?).map(|_| Ok((os(from)?, os(from)?))).collect::<io::Result<_>>()?;
        let stdin = if number(from)? == 0 { None } else { Some(string(from)?) };
        let sandbox = if number(from)? == 0 { None } else { Some(sandbox(from)?) };
        let offline = number(from)? != 0;
        Ok(Self { program, argv, dir, env, stdin, sandbox, offline })
    }
}

fn count(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u64).to_le_bytes());
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn string(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = number(from)?;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a job's text is too long"));
    }
    let mut bytes = Vec::new();
    if from.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn sandbox(from: &mut impl Read) -> io::Result<Sandbox> {
    let mut paths = || (0..number(from)?).map(|_| os(from).map(PathBuf::from)).collect::<io::Result<Vec<PathBuf>>>();
    let (read, run, write) = (paths()?, paths()?, paths()?);
    Ok(Sandbox { read, run, write, gpu: number(from)? != 0 })
}

fn os(from: &mut impl Read) -> io::Result<OsString> {
    string(from).map(OsString::from_vec)
}

/// What the guard reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The guard is this process, and leads a session. The first that is said, so that nothing was started before it.
    Guarding(i32),
    /// There is no guard, for this `errno`.
    Unforked(i32),
    /// The command runs, as this process and group.
    Started(i32),
    /// It could not be started, for this `errno`.
    Failed(i32),
    /// It ended with this code.
    Exited(i32),
    /// This signal killed it.
    Signalled(i32),
    /// The kernel would not keep it to its sandbox, so it was not started.
    Unconfined,
    /// It could not be kept from the network, for this `errno`, so it was not started.
    Online(i32),
    /// Something of it would not die.
    Left,
    /// The job is over, with nothing left of it, and there may be another.
    Ready,
}

impl Report {
    pub(super) fn encode(self) -> String {
        match self {
            Self::Guarding(pid) => format!("guarding {pid}\n"),
            Self::Unforked(errno) => format!("unforked {errno}\n"),
            Self::Started(pid) => format!("started {pid}\n"),
            Self::Failed(errno) => format!("failed {errno}\n"),
            Self::Exited(code) => format!("exited {code}\n"),
            Self::Signalled(signal) => format!("signalled {signal}\n"),
            Self::Unconfined => "unconfined 0\n".into(),
            Self::Online(errno) => format!("online {errno}\n"),
            Self::Left => "left 0\n".into(),
            Self::Ready => "ready 0\n".into(),
        }
    }

    pub(super) fn decode(line: &str) -> Option<Self> {
        let (word, number) = line.trim_end().split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "guarding" => Some(Self::Guarding(number)),
            "unforked" => Some(Self::Unforked(number)),
            "started" => Some(Self::Started(number)),
            "failed" => Some(Self::Failed(number)),
            "exited" => Some(Self::Exited(number)),
            "signalled" => Some(Self::Signalled(number)),
            "unconfined" => Some(Self::Unconfined),
            "online" => Some(Self::Online(number)),
            "left" => Some(Self::Left),
            "ready" => Some(Self::Ready),
            _ => None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_wire_and_nonsense_does_not() {
        let job = Job {
            program: "/bin/ls".into(),
            argv: vec!["ls".into(), OsString::from_vec(vec![0xff, b'\n'])],
            dir: "/tmp".into(),
            env: vec![("A".into(), "".into()), ("B".into(), "x=y".into())],
            stdin: Some(b"in".to_vec()),
            sandbox: Some(Sandbox {
                read: vec!["/a b".into()],
                run: Vec::new(),
                write: vec!["/w".into(), "/x".into()],
                gpu: true,
            }),
            offline: true,
        };
        let mut bytes = job.encode();
        bytes.push(STOP);
        let mut rest = bytes.as_slice();
        assert_eq!(Job::decode(&mut rest).unwrap(), job);
        assert_eq!(rest, [STOP], "nothing of what follows is eaten");
        for end in 0..bytes.len() - 1 {
            assert!(Job::decode(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Job::decode(&mut [MAGIC.as_slice(), &[0xff; 64]].concat().as_slice()).is_err());
    }

    #[test]
    fn a_report_survives_its_line() {
        let plain = [Report::Started(7), Report::Failed(2), Report::Exited(3), Report::Signalled(9), Report::Left];
        let more = [Report::Unconfined, Report::Online(1), Report::Guarding(8), Report::Unforked(11), Report::Ready];
        for report in plain.into_iter().chain(more) {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode("running 0 tests\n"), None);
    }
}
