//! What `provider: cuda` loads before ONNX Runtime: NVIDIA's driver, which is the machine's, and its libraries, which the lock pins.
//!
//! Libraries find each other by name once they are loaded, so that nothing must be installed and no search path set. All are loaded, since
//! cuDNN and ONNX Runtime look for some of them only when a model needs them, and then in places of the system alone.

use std::error::Error;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::{Failure, FailureKind};

/// The driver's library. It comes with the kernel's part of the driver and must be of the same version: no wheel has it.
const DRIVER: &str = "libcuda.so.1";

/// Loads the driver.
///
/// # Errors
/// When the machine has none that can be loaded: with its name and the remedy.
pub(super) fn driver() -> Result<(), Failure> {
    preload(Path::new(DRIVER)).map_err(|why| {
        let text = format!("`provider: cuda` needs NVIDIA's driver, and `{DRIVER}` cannot be loaded: {why}");
        let hint =
            "install the driver of this machine's NVIDIA card (nothing else of CUDA is needed), or set `provider: cpu`";
        Failure::new(FailureKind::Infrastructure, text).hint(hint)
    })
}

/// Loads libraries, each after those it needs, in whatever order they come.
pub(super) fn load(libraries: &[PathBuf]) -> Result<(), Failure> {
    let mut left: Vec<&Path> = libraries.iter().map(PathBuf::as_path).collect();
    loop {
        let tried = left.len();
        let tries = left.into_iter().map(|path| (path, preload(path)));
        let failed: Vec<(&Path, String)> = tries.filter_map(|(path, tried)| Some((path, tried.err()?))).collect();
        match failed.first() {
            None => return Ok(()),
            Some((path, why)) if failed.len() == tried => return Err(unloadable(path, why)),
            Some(_) => left = failed.into_iter().map(|(path, _)| path).collect(),
        }
    }
}

/// Loads a library for the rest of the process; else says why not, in the loader's words.
fn preload(path: &Path) -> Result<(), String> {
    ort::util::preload_dylib(path).map_err(|error| {
        let words = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        words.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&words).to_owned()
    })
}

/// What of ONNX Runtime's words is for a person: they come with lines of its source, names of templates and of the machine.
pub(super) fn said(words: &str) -> String {
    if let Some((_, rest)) = words.split_once("Failed to load library ")
        && let Some((path, why)) = rest.split_once(" with error: ")
    {
        let name = path.rsplit('/').next().unwrap_or(path);
        return format!("the library `{name}` cannot be loaded: {}", why.trim_start_matches(&format!("{path}: ")));
    }
    match FAILURES.iter().find_map(|sign| words.find(sign)) {
        Some(at) => words[at..].split(" ; ").next().unwrap_or_default().to_owned(),
        None => words.to_owned(),
    }
}

/// That CUDA cannot be used, in ONNX Runtime's words.
pub(super) fn unusable(words: &str) -> Failure {
    let text = format!("`provider: cuda` cannot be used here: {}", said(words));
    Failure::new(FailureKind::Infrastructure, text)
        .hint("it needs an NVIDIA card that `nvidia-smi` shows, with a driver for the CUDA of this ONNX Runtime; or set `provider: cpu`")
}

/// Whether ONNX Runtime speaks of CUDA, not of the model.
pub(super) fn is_meant(words: &str) -> bool {
    FAILURES.iter().any(|sign| words.contains(sign))
}

/// How ONNX Runtime begins to tell what CUDA's libraries refused.
const FAILURES: [&str; 5] = ["CUDA failure", "CUDNN failure", "CUBLAS failure", "CUFFT failure", "CURAND failure"];

fn unloadable(path: &Path, why: &str) -> Failure {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = format!("`provider: cuda`: the library `{name}` ({}) cannot be loaded: {why}", path.display());
    Failure::new(FailureKind::Infrastructure, text)
}

#[cfg(test)]
mod tests {
    use super::{is_meant, said};

    #[test]
    fn the_words_of_onnx_runtime_are_cut_to_what_helps() {
        let none = "/onnxruntime_src/core/cuda_call.cc:154 std::conditional_t<THRW, void> CudaCall(ERRTYPE, int) [with THRW = true] \
                    CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=vm ; file=/x.cc ; line=7";
        assert_eq!(said(none), "CUDA failure 100: no CUDA-capable device is detected");
        assert!(is_meant(none) && !is_meant("Load model from m.onnx failed"));
        let path = "/home/u/.cache/x/libonnxruntime_providers_cuda.so";
        let missing = format!(
            "/y.cc:2043 Get() FAIL : Failed to load library {path} with error: libcurand.so.10: cannot open shared object file"
        );
        let told = "the library `libonnxruntime_providers_cuda.so` cannot be loaded: libcurand.so.10: cannot open shared object file";
        assert_eq!(said(&missing), told);
        let symbol =
            format!("Failed to load library {path} with error: {path}: undefined symbol: cuTensorMapEncodeTiled");
        assert!(said(&symbol).ends_with(
            "`libonnxruntime_providers_cuda.so` cannot be loaded: undefined symbol: cuTensorMapEncodeTiled"
        ));
        assert_eq!(said("something else ; that is the model's"), "something else ; that is the model's");
    }
}
