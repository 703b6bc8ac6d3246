//! Which wheels there are of a package that has none that fits: for which other Pythons, and for which other platforms. uv alone says of
//! such a package only that no wheel is usable, whether there are others or none.
//!
//! uv is asked for a resolution that holds for every platform and for each Python from some version on; what it finds lists every wheel of
//! the version it takes.

use std::ffi::OsString;

use flowrun_core::lang::glibc::Glibc;
use flowrun_core::outcome::Failure;

use super::uv::{Uv, is_network};
use super::{pylock, tags, unfit};
use crate::fetch::{Arch, Os, Platform};

/// The minor versions of Python 3 that are asked about. Wheels for older ones are of no use to anybody whose tools are alive.
const PYTHONS: std::ops::RangeInclusive<u32> = 8..=15;
/// The first of them.
pub(super) const OLDEST: &str = "3.8";
/// The platforms that are asked about.
const PLATFORMS: [Platform; 4] = [
    Platform { os: Os::Linux, arch: Arch::X86_64 },
    Platform { os: Os::Linux, arch: Arch::Aarch64 },
    Platform { os: Os::Macos, arch: Arch::Aarch64 },
    Platform { os: Os::Macos, arch: Arch::X86_64 },
];
/// How many names are listed where nothing else tells what they are for.
const NAMED: usize = 4;

/// The wheels that do not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Nobody can say: the index did not answer.
    Unknown,
    /// There is none for any of the Pythons that are asked about.
    Nothing,
    /// There are some.
    Wheels(Others),
}

/// What the wheels are for that there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Pythons that have one on the platform in question.
    pub(super) pythons: Vec<String>,
    /// Platforms that have one for the Python in question.
    pub(super) platforms: Vec<String>,
    /// The oldest glibc with which this Python on this platform has one.
    pub(super) glibc: Option<Glibc>,
    /// Names of wheels, where there are neither.
    pub(super) files: Vec<String>,
}

/// Asks for the wheels of `wanted`, a requirement of one package, that are not for this Python on this platform.
pub(super) async fn wheels(
    uv: &Uv,
    wanted: &str,
    python: &str,
    platform: Platform,
    glibc: Glibc,
) -> Result<Elsewhere, Failure> {
    for minor in PYTHONS {
        let said = uv.run(&arguments(minor, uv), &format!("{wanted}\n"), None).await?;
        if said.well {
            let packages = pylock::packages(&uv.read(FILE)?)?;
            let files = packages.iter().flat_map(|package| &package.wheels).filter_map(pylock::File::named).collect();
            return Ok(sorted(files, python, platform, glibc));
        }
        if is_network(&said.stderr) {
            return Ok(Elsewhere::Unknown);
        }
        // What has wheels for older Pythons alone was found with those. Otherwise this Python is too old for it.
        if unfit::missing(&said.stderr).is_some() {
            return Ok(Elsewhere::Nothing);
        }
    }
    Ok(Elsewhere::Unknown)
}

/// By this name uv knows the format.
const FILE: &str = "pylock.wheels.toml";

fn arguments(minor: u32, uv: &Uv) -> Vec<OsString> {
    let fixed = ["pip", "compile", "-", "--format", "pylock.toml", "--output-file", FILE, "--no-deps", "--universal"];
    let args = fixed.into_iter().chain(["--only-binary=:all:", "--no-header", "--no-annotate", "--quiet"]);
    let args = args.map(OsString::from).chain(["--python-version".into(), format!("3.{minor}").into()]);
    args.chain(uv.index_args()).collect()
}

fn sorted(files: Vec<String>, python: &str, platform: Platform, glibc: Glibc) -> Elsewhere {
    let has_with = |minor: u32, platform: Platform, glibc: Glibc| {
        files.iter().any(|file| tags::fits(file, minor, platform, glibc))
    };
    let has = |minor: u32, platform: Platform| has_with(minor, platform, glibc);
    let minor = tags::minor(python);
    let newer = |newer: &Glibc| platform.os == Os::Linux && *newer > glibc && has_with(minor, platform, *newer);
    let others = Others {
        pythons: PYTHONS.filter(|minor| has(*minor, platform)).map(|minor| format!("3.{minor}")).collect(),
        platforms: PLATFORMS.into_iter().filter(|other| has(minor, *other)).map(|other| other.to_string()).collect(),
        glibc: Glibc::ALL.into_iter().find(newer),
        files: Vec::new(),
    };
    match (files.is_empty(), others.pythons.is_empty() && others.platforms.is_empty() && others.glibc.is_none()) {
        (true, _) => Elsewhere::Nothing,
        (false, false) => Elsewhere::Wheels(others),
        (false, true) => Elsewhere::Wheels(Others { files: files.into_iter().take(NAMED).collect(), ..others }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str], python: &str, platform: &str) -> Elsewhere {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        sorted(files, python, platform.parse().expect("a platform"), Glibc::USUAL)
    }

    #[test]
    fn what_there_is_is_sorted_by_what_it_is_for() {
        let files = [
            "n-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "n-1-cp312-cp312-manylinux_2_17_x86_64.whl",
            "n-1-cp314-cp314-macosx_11_0_arm64.whl",
            "n-1-cp314-cp314-win_amd64.whl",
        ];
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let others =
            Others { pythons: texts(&["3.11", "3.12"]), platforms: texts(&["macos-aarch64"]), ..Others::default() };
        assert_eq!(of(&files, "3.14", "linux-x86_64"), Elsewhere::Wheels(others));
        let windows = Others { files: texts(&files[3..]), ..Others::default() };
        assert_eq!(of(&files[3..], "3.11.7", "linux-x86_64"), Elsewhere::Wheels(windows));
        assert_eq!(of(&[], "3.11", "linux-x86_64"), Elsewhere::Nothing);
        let newer = Others { glibc: Some(Glibc::V34), ..Others::default() };
        assert_eq!(
            of(&["n-1-cp311-cp311-manylinux_2_32_x86_64.whl"], "3.11", "linux-x86_64"),
            Elsewhere::Wheels(newer)
        );
    }
}
