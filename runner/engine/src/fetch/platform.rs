//! The machines wheels are made for, and what pip and uv call them.

use std::fmt;
use std::str::FromStr;

use flowrun_core::lang::glibc::Glibc;
use flowrun_core::outcome::Failure;
use serde::{Deserialize, Serialize};

use super::infrastructure;

/// An operating system that flowrun runs steps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Os {
    /// Linux with glibc 2.28 or newer.
    Linux,
    /// macOS.
    Macos,
}

/// A processor that flowrun runs steps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// What a wheel must run on. Written `linux-x86_64`, `macos-aarch64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Its system.
    pub os: Os,
    /// Its processor.
    pub arch: Arch,
}

/// The glibc versions whose tags are accepted: first those every supported Linux has, the newest first as pip itself would; then
/// newer ones, of which a wheel may be the only one.
const GLIBC: [u32; 18] = [28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 29, 30, 31, 32, 33, 34];

impl Platform {
    /// This machine.
    pub fn current() -> Result<Self, Failure> {
        let name = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        name.parse().map_err(|()| {
            infrastructure(format!("wheels for `{name}` are not supported"))
                .hint("flowrun fetches wheels on Linux and macOS, on x86_64 and aarch64")
        })
    }

    /// The platform tags of the wheels that run here, the best first.
    pub(super) fn tags(self) -> Vec<String> {
        match (self.os, self.arch) {
            (Os::Linux, _) => {
                let glibc = GLIBC.map(|minor| format!("manylinux_2_{minor}_{}", self.arch));
                let others = ["manylinux2014", "musllinux_1_2", "musllinux_1_1"];
                glibc.into_iter().chain(others.map(|tag| format!("{tag}_{}", self.arch))).collect()
            }
            // pip takes every earlier macOS as meant.
            (Os::Macos, Arch::Aarch64) => vec!["macosx_15_0_arm64".into()],
            (Os::Macos, Arch::X86_64) => vec!["macosx_15_0_x86_64".into()],
        }
    }

    /// What uv calls it, with a glibc of that version or the usual one.
    pub(crate) fn uv_name(self, glibc: Option<&str>) -> String {
        let glibc = glibc.unwrap_or(Glibc::USUAL.version()).replace('.', "_");
        match self.os {
            Os::Linux => format!("{}-manylinux_{glibc}", self.arch),
            Os::Macos => format!("{}-apple-darwin", self.arch),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = match self.os {
            Os::Linux => "linux",
            Os::Macos => "macos",
        };
        write!(f, "{os}-{}", self.arch)
    }
}

impl FromStr for Platform {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Os::Linux, Os::Macos]
            .into_iter()
            .flat_map(|os| [Arch::X86_64, Arch::Aarch64].map(|arch| Self { os, arch }));
        all.into_iter().find(|platform| platform.to_string() == text).ok_or(())
    }
}
