//! The result of a step, under its key.
//!
//! ```text
//! {"format":1,"key":"ab…","manifest":{…},"outputs":{…},"values":{…},"run":"…","took_ms":1,"created_unix_ms":2,"sandbox":"none"}
//! 8f…   the blake3 of the line above, without its line feed
//! ```
//!
//! | | an entry without `sandbox` | an entry with it |
//! |---|---|---|
//! | flowrun that does not know it | reads it | skips the key |
//! | flowrun that knows it | reads `none` | reads it; a word that it does not know is not believed, since it cannot judge what the step saw |
//!
//! Knows nothing of whether the contents that an entry names are there.

use indexmap::IndexMap;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use super::{is_digest_of, last_line};
use crate::artifact::{Artifact, is_component};
use crate::digest::Digest;
use crate::event::Output;

/// What this flowrun writes and reads.
const FORMAT: u32 = 1;

/// How the text of one of this format begins.
const BEGINNING: &str = "{\"format\":1,";

/// An output of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOutput {
    /// Its content.
    pub artifact: Artifact,
    /// The file's name; the output's for a folder.
    pub name: String,
}

impl StoredOutput {
    /// From an event's output.
    pub fn of(output: &Output) -> Self {
        Self { artifact: output.artifact, name: output.name.clone() }
    }

    /// As an event's output.
    pub fn into_event(self) -> Output {
        Output { artifact: self.artifact, name: self.name }
    }
}

/// What kept the step from seeing more than its key holds. Not part of the key: the same key means the same result only as far as this
/// reached, so a store that others share may refuse results of `off` and `unavailable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// It was no process: a plugin sees what it is given. Also what entries from before this was written down say.
    #[default]
    None,
    /// Landlock, over the whole file system.
    Landlock,
    /// The pipeline turned it off.
    Off,
    /// The machine had none to give.
    Unavailable,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEntry<M = Json> {
    /// The key it is stored under.
    pub key: Digest,
    /// What the key was made of.
    pub manifest: M,
    /// What it made, by name.
    pub outputs: IndexMap<String, StoredOutput>,
    /// What it gave.
    pub values: Map<String, Json>,
    /// The run that made it.
    pub run: String,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// Milliseconds since 1970.
    pub created_unix_ms: u64,
    /// What kept it from seeing more than its key holds.
    #[serde(default)]
    pub sandbox: Sandbox,
}

/// A manifest that was passed over: whoever looks a key up has just made it of one, and the same key is the same manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The result of a step without its manifest, which is the most of it.
pub type StoredResult = StoredEntry<Unread>;

/// Why bytes are not the result of a key. To be shown after "its entry".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// They are not whole, or not the ones that were written, or those of another key.
    #[error("its entry is damaged")]
    Damaged,
    /// They are whole, and of another format.
    #[error("its entry is of format {0}, this flowrun reads {FORMAT}")]
    Format(u32),
    /// They are whole and of this format, and say something that this flowrun does not know.
    #[error("its entry is not one that this flowrun reads: {0}")]
    Unknown(String),
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    entry: &'a StoredEntry,
}

#[derive(Deserialize)]
struct Format {
    #[serde(default)]
    format: u32,
}

impl StoredEntry {
    /// The stored text.
    pub fn to_text(&self) -> String {
        // Only maps whose keys are not text can fail to become JSON, and there is none in it.
        let body = serde_json::to_string(&Written { format: FORMAT, entry: self }).unwrap_or_default();
        let sum = Digest::of(body.as_bytes());
        format!("{body}\n{sum}\n")
    }

    /// Reads the stored text of the entry of `key`.
    ///
    /// # Errors
    /// When it cannot be believed; the message says why.
    pub fn parse(bytes: &[u8], key: &Digest) -> Result<Self, BadEntry> {
        Self::read(bytes, key)
    }
}

impl StoredResult {
    /// The same as [`StoredEntry::parse`], in a third of the time.
    ///
    /// # Errors
    /// When it cannot be believed; the message says why.
    pub fn parse_result(bytes: &[u8], key: &Digest) -> Result<Self, BadEntry> {
        Self::read(bytes, key)
    }
}

impl<M: DeserializeOwned> StoredEntry<M> {
    fn read(bytes: &[u8], key: &Digest) -> Result<Self, BadEntry> {
        let (line, sum) = last_line(bytes).ok_or(BadEntry::Damaged)?;
        let body = line.strip_suffix('\n').ok_or(BadEntry::Damaged)?;
        if !is_digest_of(sum, body.as_bytes()) {
            return Err(BadEntry::Damaged);
        }
        let unknown = |error: serde_json::Error| BadEntry::Unknown(error.to_string());
        // As it is written the format stands first, and all need not be read for it.
        if !body.starts_with(BEGINNING) {
            let Format { format } = serde_json::from_str(body).map_err(unknown)?;
            if format != FORMAT {
                return Err(BadEntry::Format(format));
            }
        }
        let entry: Self = serde_json::from_str(body).map_err(unknown)?;
        // A name becomes a path where results are laid out.
        if let Some(odd) = entry.outputs.values().find(|output| !is_component(&output.name)) {
            return Err(BadEntry::Unknown(format!("it has an output of the name {:?}", odd.name)));
        }
        if entry.key == *key { Ok(entry) } else { Err(BadEntry::Damaged) }
    }
}
