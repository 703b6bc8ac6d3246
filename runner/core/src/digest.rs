//! Content digests: 32 bytes of blake3, written as 64 hexadecimal digits.
//!
//! Knows nothing of where bytes come from; the engine hashes files and hands digests in.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A blake3 digest of some content. Ordered and hashed by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A digest from its 32 raw bytes, as a hasher gives them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first ten hexadecimal digits: enough for a person to tell two apart, never used to look anything up.
    pub fn short(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex()[..10].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// Why a text is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest of 64 hexadecimal digits")]
pub struct BadDigest(String);

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        // By a table: blake3's own way takes ten times as long, and memories of files are digests for the most part.
        let mut bytes = [0; 32];
        let read = (text.len() == 64).then(|| HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes));
        match read {
            Some(Ok(_)) => Ok(Self(bytes)),
            _ => Err(BadDigest(text.to_owned())),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hexadecimal)
    }
}

struct Hexadecimal;

impl serde::de::Visitor<'_> for Hexadecimal {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of(b"leaf");
        assert_eq!(digest.to_string().parse::<Digest>().ok(), Some(digest));
        assert!("12".parse::<Digest>().is_err());
    }
}
