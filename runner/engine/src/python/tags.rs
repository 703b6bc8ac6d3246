//! Which of a package's wheels is installed on a platform, where several would do: the one that pip and uv would take there.
//!
//! uv says which wheels fit; several may (`any` beside one for the platform, macOS's two kinds, builds for two glibc versions). The lock
//! names one, so that it does not depend on the machine. The order is that of `packaging.tags`: made for this Python before the stable ABI
//! before none, then for the platform before any, newer platforms first. A later build of the same goes before.

use flowrun_core::stored::lock::FilePin;

use crate::fetch::{Arch, Os, Platform};

/// The best of wheels that all fit.
pub(super) fn best(wheels: Vec<FilePin>, python: &str, platform: Platform) -> Option<FilePin> {
    let minor = python.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
    wheels.into_iter().min_by_key(|wheel| (rank(&wheel.file, minor, platform), wheel.file.clone()))
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
        Os::Linux => {
            let versions = [("manylinux2014", 17), ("manylinux2010", 12), ("manylinux1", 5)];
            let named = versions.into_iter().find(|(name, _)| tag.starts_with(name)).map(|(_, glibc)| glibc);
            let glibc = named.or_else(|| tag.strip_prefix("manylinux_2_")?.split('_').next()?.parse::<u32>().ok());
            glibc.map_or(1000, |glibc| 500_u32.saturating_sub(glibc))
        }
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
}
