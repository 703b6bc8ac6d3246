//! What a run that had nothing to do would say again, and what must be as it was for that: one text.
//!
//! ```text
//! flowrun-repeat 1
//! {"at": MILLISECONDS SINCE 1970, "run": RUN, "counts": {…}}
//! {"at": …, "event": "run-started", …}    what is told, an event a line
//! …
//!                                         an empty line
//! a PATH                                  nothing is there
//! t PATH                                  something is
//! = STATE PATH                            what is there is in this state, links not followed
//! > STATE PATH                            what it leads to is
//! r STATE PATH                            where it really is, links followed: a digest of that path
//! f STATE MODE SIZE DIGEST PATH           a file of the workspace: in this state, or with these bytes
//! b MODE SIZE PATH                        kept bytes, as they were kept
//! 8f…                                     the blake3 of all lines above, with their line feeds
//! ```
//!
//! A path is relative to the project where it lies in it. It is believed whole or not at all; one of another header, or with a line that this
//! flowrun does not know, is none: then every step is looked at by itself.
//!
//! Knows nothing of when it may be used: the engine looks.

use serde::{Deserialize, Serialize};

use super::memo::Stat;
use super::{is_digest_of, last_line};
use crate::artifact::{Artifact, Mode};
use crate::event::{Counts, Event, Stamped};

const HEADER: &str = "flowrun-repeat 1\n";

/// A [`Stat`] in short: only ever compared with another. 16 bytes of blake3 as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State([u8; 32]);

impl State {
    /// Of a file's times, size and numbers.
    pub fn of(stat: &Stat) -> Self {
        let mut bytes = [0; 56];
        let (numbers, times) = bytes.split_at_mut(24);
        for (place, number) in numbers.chunks_exact_mut(8).zip([stat.dev, stat.ino, stat.size]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        for (place, time) in times.chunks_exact_mut(16).zip([stat.mtime, stat.ctime]) {
            place.copy_from_slice(&time.to_le_bytes());
        }
        Self::of_bytes(&bytes)
    }

    /// Of anything else that is only compared.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let hex = blake3::hash(bytes).to_hex();
        let mut short = [0; 32];
        short.copy_from_slice(&hex.as_bytes()[..32]);
        Self(short)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }
}

/// What was found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// Something.
    There,
    /// Something in this state: a folder, a link itself, a file that is read whole.
    Itself(State),
    /// A link that leads to something in this state.
    Leads(State),
    /// Something that really lies at the path of this digest, once all links are followed.
    Real(State),
    /// A file of the workspace in this state, with this content.
    File(State, Artifact),
    /// Kept bytes: whether they may be executed, and how many.
    Kept(Mode, u64),
}

/// A look at the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look<'a> {
    /// Where: relative to the project, or absolute.
    pub path: &'a str,
    /// What was there.
    pub seen: Seen,
}

/// When and by whom it was found that nothing has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// When that run began: milliseconds since 1970.
    pub at: u64,
    /// That run, in whose record stands what each step has.
    pub run: String,
    /// How many steps ended how.
    pub counts: Counts,
}

/// All of it, as it is read.
#[derive(Debug)]
pub struct Repeat<'a> {
    /// Of which run.
    pub finding: Finding,
    /// What is told, the first event of the run before all.
    pub told: Vec<Event>,
    looks: &'a str,
}

impl<'a> Repeat<'a> {
    /// Reads the stored text; nothing where it is not whole, or of another header.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (text, sum) = last_line(bytes)?;
        let body = text.strip_prefix(HEADER).filter(|_| is_digest_of(sum, text.as_bytes()))?;
        let (said, looks) = body.split_once("\n\n")?;
        let mut lines = said.split('\n');
        let finding = serde_json::from_str(lines.next()?).ok()?;
        let event = |line| serde_json::from_str(line).ok().map(|stamped: Stamped| stamped.event);
        Some(Self { finding, told: lines.map(event).collect::<Option<_>>()?, looks })
    }

    /// What must be as it was; `None` stands for a line that is not known.
    pub fn looks(&self) -> impl Iterator<Item = Option<Look<'a>>> {
        // A path may end with a carriage return.
        self.looks.split_terminator('\n').map(look)
    }
}

/// The stored text; nothing where a path cannot be written down.
pub fn to_text<'a>(finding: &Finding, told: &[Event], looks: impl IntoIterator<Item = Look<'a>>) -> Option<String> {
    let mut text = String::from(HEADER);
    text.push_str(&serde_json::to_string(finding).ok()?);
    for event in told {
        text.push('\n');
        text.push_str(&serde_json::to_string(&Stamped { at: finding.at, event: event.clone() }).ok()?);
    }
    text.push_str("\n\n");
    for look in looks {
        if look.path.contains('\n') || look.path.is_empty() {
            return None;
        }
        write(&mut text, &look);
    }
    let sum = blake3::hash(text.as_bytes()).to_hex();
    text.push_str(&sum);
    text.push('\n');
    Some(text)
}

fn write(text: &mut String, look: &Look<'_>) {
    use std::fmt::Write as _;
    // Writing to memory cannot fail.
    let _ = match &look.seen {
        Seen::Absent => write!(text, "a "),
        Seen::There => write!(text, "t "),
        Seen::Itself(state) => write!(text, "= {} ", state.text()),
        Seen::Leads(state) => write!(text, "> {} ", state.text()),
        Seen::Real(state) => write!(text, "r {} ", state.text()),
        Seen::File(state, Artifact { mode, digest, size }) => {
            write!(text, "f {} {} {size} {digest} ", state.text(), mode.text())
        }
        Seen::Kept(mode, size) => write!(text, "b {} {size} ", mode.text()),
    };
    text.push_str(look.path);
    text.push('\n');
}

fn look(line: &str) -> Option<Look<'_>> {
    let (kind, rest) = line.split_once(' ')?;
    let (seen, path) = match kind {
        "a" => (Seen::Absent, rest),
        "t" => (Seen::There, rest),
        "=" | ">" | "r" => {
            let (state, path) = rest.split_once(' ')?;
            let state = State::parse(state)?;
            let seen = match kind {
                "=" => Seen::Itself(state),
                ">" => Seen::Leads(state),
                _ => Seen::Real(state),
            };
            (seen, path)
        }
        "f" => {
            let mut words = rest.splitn(5, ' ');
            let state = State::parse(words.next()?)?;
            let mode = Mode::parse(words.next()?)?;
            let size = words.next()?.parse().ok()?;
            let digest = words.next()?.parse().ok()?;
            (Seen::File(state, Artifact { mode, digest, size }), words.next()?)
        }
        "b" => {
            let mut words = rest.splitn(3, ' ');
            (Seen::Kept(Mode::parse(words.next()?)?, words.next()?.parse().ok()?), words.next()?)
        }
        _ => return None,
    };
    Some(Look { path, seen })
}
