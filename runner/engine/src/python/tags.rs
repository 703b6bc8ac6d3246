//! Which of a package's wheels is installed on a platform, where several would do: the one that pip and uv would take there.
//!
//! uv says which wheels fit; several may (`any` beside one for the platform, macOS's two kinds, builds for two glibc versions). The lock
//! names one, so that it does not depend on the machine. The order is that of `packaging.tags`: made for this Python before the stable ABI
//! before none, then for the platform before any, newer platforms first. A later build of the same goes before.

use flowrun_core::lang::glibc::Glibc;
use flowrun_core::stored::lock::FilePin;

use crate::fetch::{Arch, Os, Platform};

/// The best of wheels that all fit.
pub(super) fn best(wheels: Vec<FilePin>, python: &str, platform: Platform) -> Option<FilePin> {
    let minor = minor(python);
    wheels.into_iter().min_by_key(|wheel| (rank(&wheel.file, minor, platform), wheel.file.clone()))
}

/// The 11 of `3.11.7`.
pub(super) fn minor(python: &str) -> u32 {
    python.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

/// Whether a wheel of that name can be installed on a Python 3.`minor` there.
pub(super) fn fits(file: &str, minor: u32, platform: Platform, glibc: Glibc) -> bool {
    let parts: Vec<&str> = file.trim_end_matches(".whl").split('-').collect();
    let [.., python, abi, system] = parts.as_slice() else { return false };
    let mut codes = python.split('.').flat_map(|python| abi.split('.').map(move |abi| (python, abi)));
    codes.any(|(python, abi)| is_code_for(python, abi, minor))
        && system.split('.').any(|tag| is_place(tag, platform, glibc))
}

fn is_code_for(python: &str, abi: &str, minor: u32) -> bool {
    let of = |prefix: &str| python.strip_prefix(prefix)?.parse::<u32>().ok();
    match (of("cp3"), of("py3"), abi) {
        (Some(its), _, "abi3") => its <= minor,
        // Not for a Python without a global lock (`cp313t`), which is another Python.
        (Some(its), _, abi) => its == minor && !abi.ends_with('t'),
        (None, Some(its), "none") => its <= minor,
        _ => python == "py3" && abi == "none",
    }
}

fn is_place(tag: &str, platform: Platform, glibc: Glibc) -> bool {
    if tag == "any" {
        return true;
    }
    match platform.os {
        Os::Linux => {
            tag.ends_with(&platform.arch.to_string()) && its_glibc(tag).is_some_and(|its| its <= glibc.minor())
        }
        Os::Macos if platform.arch == Arch::Aarch64 => {
            tag.starts_with("macosx_") && (tag.ends_with("_arm64") || tag.ends_with("_universal2"))
        }
        Os::Macos => tag.starts_with("macosx_") && !tag.ends_with("_arm64"),
    }
}

/// The 17 of `manylinux_2_17_x86_64`, and of what it was called before.
fn its_glibc(tag: &str) -> Option<u32> {
    let versions = [("manylinux2014", 17), ("manylinux2010", 12), ("manylinux1", 5)];
    let named = versions.into_iter().find(|(name, _)| tag.starts_with(name)).map(|(_, glibc)| glibc);
    named.or_else(|| tag.strip_prefix("manylinux_2_")?.split('_').next()?.parse::<u32>().ok())
}

/// The less the better: the kind of code, the platform, and the build.
fn rank(file: &str, minor: u32, platform: Platform) -> (u32, u32, u64) {
    let parts: Vec<&str> = file.trim_end_matches(".whl").split('-').collect();
    let [.., python, abi, system] = parts.as_slice() else { return (u32::MAX, u32::MAX, 0) };
    let build = if parts.len() == 6 { digits(parts[2]) } else { 0 };
    let mut ranks = Vec::new();
    for python in python.split('.') {
        for abi in abi.split('.') {
            ranks.extend(system.split('.').map(|system| {
                let system = place(system, platform);
                (code(python, abi, system == ANY, minor), system)
            }));
        }
    }
    let (code, system) = ranks.into_iter().min().unwrap_or((u32::MAX, u32::MAX));
    (code, system, u64::MAX - build)
}

fn digits(text: &str) -> u64 {
    text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

/// How well the code fits a Python 3.`minor`.
fn code(python: &str, abi: &str, any: bool, minor: u32) -> u32 {
    let of = |prefix: &str| python.strip_prefix(prefix)?.parse::<u32>().ok();
    let older = |of: u32| minor.saturating_sub(of);
    match (of("cp3"), abi) {
        (Some(its), "none") if its == minor && !any => 2,
        (Some(its), "none") if its == minor => 300,
        (Some(its), "abi3") if its <= minor && its == minor => 1,
        (Some(its), "abi3") if its <= minor => 2 + older(its),
        (Some(its), _) if its == minor => 0,
        _ => {
            let pure = of("py3").map_or(if python == "py3" { 0 } else { 90 }, |its| 1 + older(its));
            if any { 301 + pure } else { 100 + pure }
        }
    }
}

const ANY: u32 = u32::MAX;

/// How near a platform tag is.
fn place(tag: &str, platform: Platform) -> u32 {
    if tag == "any" {
        return ANY;
    }
    match platform.os {
        Os::Linux => its_glibc(tag).map_or(1000, |glibc| 500_u32.saturating_sub(glibc)),
        Os::Macos => {
            let own = if platform.arch == Arch::Aarch64 { "arm64" } else { "x86_64" };
            let mut numbers =
                tag.strip_prefix("macosx_").unwrap_or_default().split('_').map_while(|part| part.parse().ok());
            let (major, minor): (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            let age = 100_000_u32.saturating_sub(major.min(900) * 100 + minor.min(99));
            age * 2 + u32::from(!tag.ends_with(own))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(python: &str, platform: &str, files: &[&str]) -> String {
        let pin = |file: &&str| FilePin { file: (*file).to_owned(), sha256: String::new(), size: None };
        let platform = platform.parse().expect("a platform");
        let forwards = best(files.iter().map(pin).collect(), python, platform).expect("one");
        let backwards = best(files.iter().rev().map(pin).collect(), python, platform).expect("one");
        assert_eq!(forwards, backwards, "their order does not matter");
        forwards.file
    }

    #[test]
    fn the_wheel_is_the_one_that_pip_would_take() {
        // As the index had them, and as `pip download` chose on these platforms.
        let charset = [
            "charset_normalizer-3.5.3-cp311-cp311-manylinux1_x86_64.manylinux_2_28_x86_64.manylinux_2_5_x86_64.whl",
            "charset_normalizer-3.5.3-cp37-abi3-manylinux1_x86_64.manylinux_2_28_x86_64.manylinux_2_5_x86_64.whl",
            "charset_normalizer-3.5.3-py3-none-any.whl",
        ];
        assert_eq!(chosen("3.11", "linux-x86_64", &charset), charset[0]);
        assert_eq!(chosen("3.12", "linux-x86_64", &charset[1..]), charset[1]);
        let cryptography = [
            "cryptography-50.0.2-cp311-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "cryptography-50.0.2-cp311-abi3-manylinux_2_28_x86_64.whl",
            "cryptography-50.0.2-cp39-abi3-manylinux_2_28_x86_64.whl",
        ];
        assert_eq!(chosen("3.11", "linux-x86_64", &cryptography), cryptography[1]);
        assert_eq!(chosen("3.13.1", "linux-x86_64", &cryptography), cryptography[1]);
        let wandb = ["wandb-0.17.3-py3-none-any.whl", "wandb-0.17.3-py3-none-macosx_11_0_arm64.whl"];
        assert_eq!(chosen("3.11", "macos-aarch64", &wandb), wandb[1]);
        let kiwi = [
            "kiwisolver-1.5.1-cp311-cp311-macosx_10_9_universal2.whl",
            "kiwisolver-1.5.1-cp311-cp311-macosx_11_0_arm64.whl",
        ];
        assert_eq!(chosen("3.11", "macos-aarch64", &kiwi), kiwi[1]);
        let clang = [
            "libclang-18.1.1-1-py2.py3-none-macosx_11_0_arm64.whl",
            "libclang-18.1.1-py2.py3-none-macosx_11_0_arm64.whl",
        ];
        assert_eq!(chosen("3.11", "macos-aarch64", &clang), clang[0]);
        let odd = ["x-1-py3-none-any.whl", "x.whl"];
        assert_eq!(chosen("3.11", "linux-x86_64", &odd), odd[0]);
    }

    #[test]
    fn a_wheel_fits_or_does_not() {
        let fits = |file: &str, minor, platform: &str| {
            super::fits(file, minor, platform.parse().expect("a platform"), Glibc::USUAL)
        };
        let numpy = "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
        assert!(fits(numpy, 11, "linux-x86_64") && !fits(numpy, 12, "linux-x86_64"));
        assert!(!fits(numpy, 11, "linux-aarch64") && !fits(numpy, 11, "macos-x86_64"));
        assert!(!fits("n-1-cp313-cp313t-manylinux_2_17_x86_64.whl", 13, "linux-x86_64"), "free threads");
        assert!(!fits("n-1-cp311-cp311-manylinux_2_34_x86_64.whl", 11, "linux-x86_64"), "a newer glibc");
        assert!(!fits("n-1-cp311-cp311-musllinux_1_2_x86_64.whl", 11, "linux-x86_64"));
        assert!(fits("n-1-cp39-abi3-manylinux1_x86_64.whl", 14, "linux-x86_64"));
        assert!(!fits("n-1-cp312-abi3-manylinux1_x86_64.whl", 11, "linux-x86_64"));
        assert!(fits("n-1-py2.py3-none-any.whl", 11, "macos-aarch64"));
        assert!(!fits("n-1-py2-none-any.whl", 11, "macos-aarch64") && !fits("n.whl", 11, "linux-x86_64"));
        assert!(fits("n-1-2-cp311-cp311-macosx_10_9_universal2.whl", 11, "macos-aarch64"));
        assert!(fits("n-1-cp311-cp311-macosx_10_9_x86_64.whl", 11, "macos-x86_64"));
        assert!(!fits("n-1-cp311-cp311-macosx_11_0_arm64.whl", 11, "macos-x86_64"));
    }
}
