//! Bringing things onto this machine: wheels from its package index, and the content of a URL.
//!
//! | door             | brings                                            | trusted because                                         |
//! |------------------|---------------------------------------------------|---------------------------------------------------------|
//! | [`wheel`]        | one wheel by exact version                        | its sha256 is pinned, or becomes the pin of the lock    |
//! | [`unzip_member`] | one file out of a wheel                           | the wheel is                                            |
//! | [`uv`]           | the uv this flowrun was tested with               | its sha256 is written down in this source               |
//! | [`unzip_members`] | all files of a kind out of a wheel               | the wheel is                                            |
//! | [`onnxruntime`]  | the ONNX Runtime library                          | as a wheel                                              |
//! | `onnxruntime_cuda` | the same with CUDA's libraries                  | as wheels, all of them pinned                           |
//! | [`url`]          | any `https:` content                              | its sha256 is given, or becomes known                   |
//!
//! No package index is named anywhere here: the machine's own `pip` is asked, which knows the company's mirror, its certificates
//! and its credentials. All that was brought once is kept in the user's [`Cache`] and found again without a network.
//! Knows nothing of steps, lockfiles or stores.

mod cache;
mod cuda;
mod member;
mod pip;
mod platform;
mod redact;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may")]
mod tests;
mod tools;
mod unused;
mod url;
mod wheel;

pub use cache::{Cache, Lock};
pub use member::{unzip_member, unzip_members};
pub use platform::{Arch, Os, Platform};
pub use tools::{ONNXRUNTIME, UV, onnxruntime, uv};
pub use unused::remove_unused_wheels;
pub use url::{Fetched, url};
pub use wheel::wheel;

pub(crate) use cache::{Scratch, Stamp, copy_hashed, hex, read_json, sha256_of, write_json};
pub(crate) use cuda::{onnxruntime_cuda, unavailable};
pub(crate) use pip::config as pip_config;
pub(crate) use redact::redact;
pub(crate) use tools::uv_pin;
pub(crate) use unused::{is_unused, touch};
pub(crate) use wheel::{checked_name, is_wheel_of, kept as kept_wheel, kept_by_hash, wheels};

use flowrun_core::outcome::{Failure, FailureKind};
use serde::{Deserialize, Serialize};

/// A wheel that was found once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelPin {
    /// The package, in its normal form: small letters and `-`.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// The wheel's file name.
    pub file: String,
    /// The wheel's sha256, 64 hexadecimal digits.
    pub sha256: String,
}

/// The machine or the network failed.
pub(crate) fn infrastructure(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Infrastructure, text)
}

/// What was asked for cannot be had, today or tomorrow.
pub(crate) fn refused(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Step, text)
}

/// Whether `text` is a sha256 as it is written everywhere here: 64 small hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` can be the name of a file in a folder, and of nothing else.
fn is_file_name(text: &str) -> bool {
    let plain = |c: char| !matches!(c, '/' | '\\' | ':') && !c.is_control();
    (1..=200).contains(&text.len()) && !text.starts_with(['.', '-']) && text.chars().all(plain)
}
