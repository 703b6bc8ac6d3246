//! ONNX Runtime: which wheel a step runs with, and the libraries that it needs besides.
//!
//! | `provider` | wheel | libraries | for |
//! |---|---|---|---|
//! | `cpu` | `onnxruntime` | none | every platform |
//! | `cuda` | `onnxruntime-gpu` | those of NVIDIA that the wheel itself asks for, by its extras `cuda` and `cudnn` | [`CUDA_PLATFORM`] |
//!
//! With them a machine needs NVIDIA's driver and nothing else of CUDA. The extras bring packages of Python too, which only Python's side of the
//! wheel imports: a library is what is called `nvidia-…`.
//!
//! A pipeline is locked on machines that have no CUDA, and for them: such a platform has no pin of the runtime, and a run on it is refused by
//! [`without_cuda`].

use std::collections::{BTreeMap, BTreeSet};

use super::Wants;
use crate::lang::written::{Onnx, Provider};
use crate::stored::lock::{PackagePin, Pins, SourcePin};

/// The one platform with CUDA. There are wheels for 64-bit ARM, but for a newer glibc (2.34) than Linux is locked for.
pub const CUDA_PLATFORM: &str = "linux-x86_64";

/// The package with the runtime for CUDA.
const ON_CUDA: &str = "onnxruntime-gpu";
/// How names of packages with libraries of CUDA begin.
const NVIDIA: &str = "nvidia-";

/// The wheel of ONNX Runtime that a step asks for, `NAME==VERSION`. `version` is the one where it names none.
pub fn runtime_of(onnx: &Onnx, version: &str) -> String {
    let name = if onnx.provider == Some(Provider::Cuda) { ON_CUDA } else { "onnxruntime" };
    format!("{name}=={}", onnx.runtime.as_deref().unwrap_or(version))
}

/// The version of a runtime on CUDA; `None` where it is not one.
fn cuda_version(runtime: &str) -> Option<&str> {
    runtime.strip_prefix(ON_CUDA)?.strip_prefix("==")
}

/// Whether a runtime is one on CUDA.
pub fn is_on_cuda(runtime: &str) -> bool {
    cuda_version(runtime).is_some()
}

/// What must be resolved, with all that it needs, to know a runtime on CUDA and its libraries.
pub fn requirement(runtime: &str) -> Option<String> {
    cuda_version(runtime).map(|version| format!("{ON_CUDA}[cuda,cudnn]=={version}"))
}

/// Whether the lock has a runtime on CUDA whole for a platform.
pub(super) fn is_whole(pins: &Pins, runtime: &str, platform: &str) -> bool {
    pins.libraries.contains_key(runtime) && pins.runtime(runtime, platform).is_some()
}

/// The versions of libraries to keep where a runtime on CUDA is resolved: its own, else those of others of the lock.
pub fn known_libraries(pins: &Pins, runtime: &str) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    let own = pins.libraries.get(runtime).into_iter().flatten();
    for (name, version) in own.chain(pins.libraries.values().flatten()).filter_map(|pin| pin.split_once("==")) {
        known.entry(name.to_owned()).or_insert_with(|| version.to_owned());
    }
    known
}

/// Puts what a runtime on CUDA was resolved to into the lock, for a platform. `false` where no library came: then nothing is changed.
pub fn take_runtime(pins: &mut Pins, runtime: &str, platform: &str, packages: Vec<PackagePin>) -> bool {
    let (own, others): (Vec<_>, Vec<_>) = packages.into_iter().partition(|package| package.name == ON_CUDA);
    let libraries = others.into_iter().filter(|package| package.name.starts_with(NVIDIA));
    let libraries: Vec<_> = libraries.map(|it| (format!("{}=={}", it.name, it.version), it.file)).collect();
    if own.is_empty() || libraries.is_empty() {
        return false;
    }
    let names = libraries.iter().map(|(pin, _)| pin.clone()).collect();
    let before = pins.libraries.insert(runtime.to_owned(), names).unwrap_or_default();
    for (pin, file) in own.into_iter().map(|package| (runtime.to_owned(), package.file)).chain(libraries) {
        pins.wheels.entry(pin).or_default().insert(platform.to_owned(), file);
    }
    drop_unnamed(pins, &before);
    true
}

/// Takes libraries out of the wheels that nothing names any more.
fn drop_unnamed(pins: &mut Pins, libraries: &BTreeSet<String>) {
    for pin in libraries {
        let named = pins.libraries.values().any(|all| all.contains(pin))
            || pins.sources.values().any(|source| *source == SourcePin::Pypi(pin.clone()));
        if !named {
            pins.wheels.remove(pin);
        }
    }
}

/// The first step that runs on CUDA although none of these platforms has it: such a lock would be of no use to anyone.
pub fn without_cuda<'a>(all: &'a [Wants], platforms: &BTreeSet<String>) -> Option<&'a str> {
    if platforms.contains(CUDA_PLATFORM) {
        return None;
    }
    let mut steps = all.iter().flat_map(|wants| &wants.steps);
    steps.find(|(_, step)| step.runtime.as_deref().is_some_and(is_on_cuda)).map(|(id, _)| id.as_str())
}
