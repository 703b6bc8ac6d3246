//! An environment as something that `docker build` makes an image of.
//!
//! The image is the environment and nothing else: neither the step's command nor its `code:`, which change more often than a lock does. So
//! the same lock on the same base is the same context, byte for byte, and an image that was built of it is good until the lock changes.
//!
//! | what could make two builds differ | what is done |
//! |---|---|
//! | a base that moves | it is named by digest, or refused |
//! | packages | each is one file, by sha256; nothing else is installed, nothing is built but what the lock says is |
//! | bytecode, which holds a time | `SOURCE_DATE_EPOCH` makes Python write a hash instead |
//! | times of files in a layer | nothing here: `rewrite-timestamp=true` with `SOURCE_DATE_EPOCH` is the builder's to do |
//!
//! A password for an index comes as a build secret. An `ARG` or an `ENV` would be found in the image's history.

use std::fmt;
use std::str::FromStr;

use super::{Environment, one_line, requirements};
use crate::stored::lock::is_sha256;

/// An image to build on, by digest: `python:3.11-slim@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(String);

/// Why a text names no image to build on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBase {
    /// It says which image by something that moves.
    #[error(
        "without its digest it is another image tomorrow: write `{0}@sha256:…`, as `docker buildx imagetools inspect {0}` tells it"
    )]
    Moves(String),
    /// It is no image at all.
    #[error("expected `NAME@sha256:` and 64 hexadecimal digits")]
    Odd,
}

impl FromStr for Base {
    type Err = BadBase;

    fn from_str(text: &str) -> Result<Self, BadBase> {
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
            return Err(BadBase::Odd);
        }
        match digest {
            None => Err(BadBase::Moves(name.to_owned())),
            Some(digest) if digest.strip_prefix("sha256:").is_some_and(is_sha256) => Ok(Self(text.to_owned())),
            Some(_) => Err(BadBase::Odd),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By which a folder is known to hold what was made here.
const MARK: &str = "# Made by `flowrun image`: do not edit it, make it anew.";

/// Whether a Dockerfile was made here.
pub fn is_ours(dockerfile: &str) -> bool {
    dockerfile.lines().next() == Some(MARK)
}

/// The files of the context, by name, the Dockerfile first; nothing where no image runs on the platform.
pub fn image(environment: &Environment<'_>, pipeline: &str, base: &Base) -> Option<[(&'static str, String); 3]> {
    Some([
        ("Dockerfile", dockerfile(environment, pipeline, base)?),
        (".dockerignore", "*\n!requirements.txt\n".to_owned()),
        ("requirements.txt", requirements(environment)),
    ])
}

fn dockerfile(environment: &Environment<'_>, pipeline: &str, base: &Base) -> Option<String> {
    let machine = match environment.platform {
        "linux-x86_64" => "amd64",
        "linux-aarch64" => "arm64",
        _ => return None,
    };
    let python = environment.python;
    let title = one_line(&format!("{pipeline}: {}", environment.title()));
    let asked = python.replace('.', ", ");
    let parts = python.split('.').count();
    Some(format!(
        r#"{MARK}
# {title}.
#
#   docker build .
# with a pip.conf, where the index is another one or wants a password:
#   docker build --secret id=pip.conf,src=pip.conf .
# with the times in its layers fixed too, by BuildKit 0.13 or newer:
#   docker buildx build --build-arg SOURCE_DATE_EPOCH=315532800 --output type=docker,rewrite-timestamp=true .
FROM --platform=linux/{machine} {base}
USER 0:0

RUN ["python3", "-c", "import sys; sys.version_info[:{parts}] == ({asked}) or sys.exit('the lock is for Python {python}, and the base has ' + sys.version)"]

# 1980, before which zip files know no time. With it Python marks bytecode by a hash of its source, and not by a time.
ARG SOURCE_DATE_EPOCH=315532800
COPY requirements.txt /opt/flowrun/requirements.txt
RUN --mount=type=secret,id=pip.conf \
    python3 -m venv --without-pip /opt/flowrun/python \
    && PIP_CONFIG_FILE=/run/secrets/pip.conf PYTHONHASHSEED=0 python3 -m pip --python /opt/flowrun/python/bin/python install \
        --require-hashes --no-deps --no-cache-dir --disable-pip-version-check -r /opt/flowrun/requirements.txt

ENV PATH="/opt/flowrun/python/bin:$PATH" HOME=/tmp
WORKDIR /work
USER 65532:65532
"#
    ))
}
