//! The wheels that an `onnx` step runs with, as a lock pins them: for whoever runs it, fetches for it, or packs what it needs.

use flowrun_core::lang::wheel_pin;
use flowrun_core::lang::written::Step;
use flowrun_core::outcome::Failure;
use flowrun_core::pins;
use flowrun_core::stored::lock::{FilePin, Pins};

use crate::fetch::{self, Platform, WheelPin, infrastructure, refused};

/// The wheel of ONNX Runtime of an `onnx` step, as the lock calls it: `NAME==VERSION`. Of other steps nothing.
pub(crate) fn runtime_of(step: &Step) -> Option<String> {
    step.onnx.as_ref().map(|onnx| pins::runtime_of(onnx, fetch::ONNXRUNTIME))
}

/// Whether a step runs on CUDA.
pub(crate) fn is_on_cuda(step: &Step) -> bool {
    runtime_of(step).is_some_and(|runtime| pins::is_on_cuda(&runtime))
}

/// All wheels that a step needs on a platform: ONNX Runtime first, then the libraries that it loads. None for a step of another kind.
///
/// # Errors
/// When there is no such runtime for the platform, or the lock does not hold all of it.
pub(crate) fn runtime_wheels(pins: &Pins, step: &Step, platform: Platform) -> Result<Vec<WheelPin>, Failure> {
    let Some(runtime) = runtime_of(step) else { return Ok(Vec::new()) };
    let unlocked = || match pins::is_on_cuda(&runtime) && platform.to_string() != pins::CUDA_PLATFORM {
        true => fetch::unavailable(platform),
        false => infrastructure(format!("`{runtime}` is not locked yet")),
    };
    let wheels = pins.runtime(&runtime, &platform.to_string()).ok_or_else(unlocked)?;
    let pin = |(pin, file): (&str, &FilePin)| {
        let inexact = || refused(format!("`{pin}` is not an exact version"));
        let (name, version) = wheel_pin(pin).ok_or_else(inexact)?;
        WheelPin::of(name, version, file)
    };
    wheels.into_iter().map(pin).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn step(provider: &str) -> Step {
        let text = format!(r#"{{"onnx": {{"provider": "{provider}", "runtime": "1.31"}}}}"#);
        serde_json::from_str(&text).expect("a step")
    }

    #[test]
    fn a_step_needs_its_runtime_and_the_libraries_of_that() {
        let file = |name: &str| FilePin { file: format!("{name}.whl"), sha256: "a".repeat(64), size: None };
        let wheel = |name: &str| {
            (
                name.to_owned(),
                BTreeMap::from([("linux-x86_64".to_owned(), file(name.split("==").next().expect("one")))]),
            )
        };
        let pins = Pins {
            wheels: ["onnxruntime-gpu==1.31", "nvidia-cublas==13"].map(wheel).into(),
            libraries: [("onnxruntime-gpu==1.31".to_owned(), BTreeSet::from(["nvidia-cublas==13".to_owned()]))].into(),
            ..Pins::default()
        };
        let of = |provider: &str, platform: &str| {
            runtime_wheels(&pins, &step(provider), platform.parse().expect("a platform"))
        };
        let found = of("cuda", "linux-x86_64").expect("locked");
        let names: Vec<_> = found.iter().map(|pin| (pin.name.as_str(), pin.version.as_str())).collect();
        assert_eq!(names, [("onnxruntime-gpu", "1.31"), ("nvidia-cublas", "13")]);
        let why = |provider: &str, platform: &str| of(provider, platform).expect_err("not locked").message;
        assert_eq!(why("cpu", "linux-x86_64"), "`onnxruntime==1.31` is not locked yet");
        for other in ["macos-aarch64", "linux-aarch64"] {
            assert!(why("cuda", other).contains(&format!("is made for linux-x86_64, and this is {other}")));
        }
    }
}
