//! Steps that run on CUDA: what is known before they start of whether they can.
//!
//! | | when | what is done |
//! |---|---|---|
//! | no CUDA for this platform | before anything runs | refused: the lock has no pin for it, so that there is not even a key |
//! | no driver | before anything runs | a warning: the step may be skipped or found in the cache |
//! | | when the step starts, before 1.6 GB are fetched | it fails |
//! | a library that does not load, no card, a driver that is too old | in the step's child | it fails |
//!
//! Whether there is a driver a child of flowrun finds out by loading it, as the step's own child will: a look around the file system would miss
//! the loader's ways.

use std::process::Stdio;

use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::pins::CUDA_PLATFORM;
use flowrun_core::plan::{Plan, Planned};

use super::detector::CHILD;
use crate::fetch::{self, Platform};
use crate::{locking, onnx};

fn on_cuda(plan: &Plan) -> impl Iterator<Item = &Planned> {
    plan.steps.iter().map(|planned| &**planned).filter(|planned| locking::is_on_cuda(&planned.step))
}

/// Refuses a plan with a step on CUDA on a platform that has none. One with a condition may be skipped, and is refused when its turn comes.
pub(super) fn check(plan: &Plan, platform: Platform) -> Result<(), Failure> {
    let mut steps = on_cuda(plan).filter(|planned| planned.step.r#if.is_none());
    match steps.next().filter(|_| platform.to_string() != CUDA_PLATFORM) {
        None => Ok(()),
        Some(planned) => {
            let failure = fetch::unavailable(platform);
            Err(Failure { message: format!("step `{}`: {}", planned.id, failure.message), ..failure })
        }
    }
}

/// What to tell before anything runs where there is no driver for a step on CUDA.
pub(super) async fn warning(plan: &Plan) -> Option<String> {
    let steps: Vec<String> = on_cuda(plan).map(|planned| format!("`{}`", planned.id)).collect();
    if steps.is_empty() {
        return None;
    }
    let failure = driver().await.err()?;
    let (what, fail) = if steps.len() == 1 { ("step", "fails") } else { ("steps", "fail") };
    Some(format!("{what} {}: {}; what is not in the cache {fail}", steps.join(", "), failure.message))
}

/// Whether the driver can be loaded.
pub(super) async fn driver() -> Result<(), Failure> {
    let broken = |error: std::io::Error| {
        Failure::new(FailureKind::Infrastructure, format!("cannot look for NVIDIA's driver: {error}"))
    };
    let program = std::env::current_exe().map_err(broken)?;
    let mut child = tokio::process::Command::new(program);
    child
        .args([CHILD, onnx::DRIVER_QUESTION])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let said = child.output().await.map_err(broken)?;
    onnx::driver_answer(&said.stdout)
}
