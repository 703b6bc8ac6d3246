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

fn unloadable(path: &Path, why: &str) -> Failure {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = format!("`provider: cuda`: the library `{name}` ({}) cannot be loaded: {why}", path.display());
    Failure::new(FailureKind::Infrastructure, text)
}
