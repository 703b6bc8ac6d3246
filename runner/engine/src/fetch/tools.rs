//! The two programs of others that flowrun fetches for itself.

use std::path::PathBuf;

use flowrun_core::outcome::Failure;

use super::{Arch, Cache, Os, Platform, WheelPin, unzip_member, wheel};

/// The version of uv that this flowrun was tested with: its options and its words change between versions.
pub const UV: &str = "0.13.9";
/// The version of ONNX Runtime that a step gets which names none.
pub const ONNXRUNTIME: &str = "1.31.1";

/// uv's wheels. The Linux ones are linked statically, and run under any libc.
const UV_WHEELS: [(Os, Arch, &str, &str); 4] = [
    (
        Os::Linux,
        Arch::X86_64,
        "uv-0.13.9-py3-none-musllinux_1_1_x86_64.whl",
        "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
    ),
    (
        Os::Linux,
        Arch::Aarch64,
        "uv-0.13.9-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    ),
    (
        Os::Macos,
        Arch::X86_64,
        "uv-0.13.9-py3-none-macosx_10_12_x86_64.whl",
        "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    ),
    (
        Os::Macos,
        Arch::Aarch64,
        "uv-0.13.9-py3-none-macosx_11_0_arm64.whl",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
];

/// The pin of uv for `platform`.
pub(crate) fn uv_pin(platform: Platform) -> Option<WheelPin> {
    let (.., file, sha256) = *UV_WHEELS.iter().find(|(os, arch, ..)| Platform { os: *os, arch: *arch } == platform)?;
    Some(WheelPin { name: "uv".into(), version: UV.into(), file: file.into(), sha256: sha256.into() })
}

/// The program uv, fetched where it is not there yet.
pub async fn uv(cache: &Cache) -> Result<PathBuf, Failure> {
    let platform = Platform::current()?;
    let (path, _) = wheel(cache, "uv", UV, platform, uv_pin(platform).as_ref()).await?;
    unzip_member(cache, &path, "uv-*.data/scripts/uv", true).await
}

/// The library of ONNX Runtime in that version ([`ONNXRUNTIME`] by default), and the pin of the wheel it came in. The wheel is
/// made for one Python, which does not matter: the library in it is the same for all.
pub async fn onnxruntime(
    cache: &Cache,
    version: &str,
    pinned: Option<&WheelPin>,
) -> Result<(PathBuf, WheelPin), Failure> {
    let platform = Platform::current()?;
    let (path, pin) = wheel(cache, "onnxruntime", version, platform, pinned).await?;
    let pattern = match platform.os {
        Os::Linux => "onnxruntime/capi/libonnxruntime.so.*",
        Os::Macos => "onnxruntime/capi/libonnxruntime.*.dylib",
    };
    Ok((unzip_member(cache, &path, pattern, false).await?, pin))
}
