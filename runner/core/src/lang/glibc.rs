//! Versions of Linux's C library: the oldest one that a Python environment's wheels must run on. Knows nothing of which machine has which.

use schemars::JsonSchema;
use serde::Deserialize;

/// A version of Linux's C library that wheels are made for (the `manylinux` tags of PEP 600).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum Glibc {
    /// CentOS 7, Ubuntu 14.04.
    #[serde(rename = "2.17")]
    V17,
    /// RHEL 8, Debian 10, Ubuntu 20.04.
    #[serde(rename = "2.28")]
    V28,
    /// Debian 11.
    #[serde(rename = "2.31")]
    V31,
    /// RHEL 9.
    #[serde(rename = "2.34")]
    V34,
    /// Ubuntu 22.04.
    #[serde(rename = "2.35")]
    V35,
    /// Debian 12.
    #[serde(rename = "2.36")]
    V36,
    /// Ubuntu 24.04, RHEL 10.
    #[serde(rename = "2.39")]
    V39,
}

impl Glibc {
    /// What is meant where nothing is said.
    pub const USUAL: Self = Self::V28;

    /// The version: `2.28`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V17 => "2.17",
            Self::V28 => "2.28",
            Self::V31 => "2.31",
            Self::V34 => "2.34",
            Self::V35 => "2.35",
            Self::V36 => "2.36",
            Self::V39 => "2.39",
        }
    }

    /// What follows the `2.`.
    pub fn minor(self) -> u32 {
        match self {
            Self::V17 => 17,
            Self::V28 => 28,
            Self::V31 => 31,
            Self::V34 => 34,
            Self::V35 => 35,
            Self::V36 => 36,
            Self::V39 => 39,
        }
    }

    /// That of a version.
    pub fn of(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.version() == version)
    }

    /// Those that can be asked for, the oldest first.
    pub const ALL: [Self; 7] = [Self::V17, Self::V28, Self::V31, Self::V34, Self::V35, Self::V36, Self::V39];
}
