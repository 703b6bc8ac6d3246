//! ONNX Runtime for CUDA, and the libraries of NVIDIA that it loads, out of their wheels.
//!
//! Together they are the largest thing that flowrun fetches (1.6 GB, and 2.5 GB more unpacked), so that whoever calls this looks first whether
//! the machine has a driver. Every wheel is pinned: what is needed, and in which versions, is the lock's to say.

use std::path::PathBuf;

use flowrun_core::outcome::{Failure, Say};
use flowrun_core::pins::CUDA_PLATFORM;
use tokio::sync::mpsc::Sender;

use super::wheel::kept;
use super::{Cache, Platform, WheelPin, infrastructure, refused, unzip_members, wheel};

/// What is unpacked of the runtime's wheel: ONNX Runtime, and what it loads from beside itself to use CUDA.
const RUNTIME: [&str; 3] = [
    "onnxruntime/capi/libonnxruntime.so.*",
    "onnxruntime/capi/libonnxruntime_providers_shared.so",
    "onnxruntime/capi/libonnxruntime_providers_cuda.so",
];
/// And of each of NVIDIA's.
const LIBRARIES: [&str; 1] = ["nvidia/*/lib/lib*.so*"];

/// That there is no CUDA for a platform.
pub(crate) fn unavailable(platform: Platform) -> Failure {
    refused(format!(
        "`provider: cuda` cannot run here: ONNX Runtime with CUDA is made for {CUDA_PLATFORM}, and this is {platform}"
    ))
    .hint("run it on such a machine, or set `provider: cpu`, in a profile for machines like this one")
}

/// The library of ONNX Runtime, and those to load before it, of these wheels: the runtime's first.
pub(crate) async fn onnxruntime_cuda(
    cache: &Cache,
    wheels: &[WheelPin],
    say: &Sender<Say>,
) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let (runtime, libraries) = wheels.split_first().ok_or_else(|| infrastructure("no runtime is pinned"))?;
    let own = unpacked(cache, runtime, &RUNTIME, say).await?;
    let is_runtime = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so."));
    let library = own.iter().find(is_runtime).ok_or_else(|| infrastructure("the runtime was not unpacked"))?;
    let mut preload = Vec::new();
    for pin in libraries {
        preload.extend(unpacked(cache, pin, &LIBRARIES, say).await?);
    }
    Ok((library.clone(), preload))
}

async fn unpacked(
    cache: &Cache,
    pin: &WheelPin,
    patterns: &[&str],
    say: &Sender<Say>,
) -> Result<Vec<PathBuf>, Failure> {
    if kept(cache, pin).is_none() {
        let _ = say.send(Say::log(format!("fetching {} {}", pin.name, pin.version))).await;
    }
    let (path, _) = wheel(cache, &pin.name, &pin.version, Platform::current()?, Some(pin)).await?;
    unzip_members(cache, &path, patterns).await
}
