//! A warm guest: made, called and thrown away, in a process where it was before.

use std::path::Path;
use std::time::Instant;

use flowrun_core::digest::Digest;
use flowrun_engine::wasm::{Granted, Job, Limits, WasmHost};
use tokio_util::sync::CancellationToken;

use crate::Setting;
use crate::measure::{Row, median};
use crate::steps::component;

/// Calls of each kind that are measured.
const CALLS: usize = 5_000;

/// A job of the component `bytes` in `folder`.
pub(crate) fn job(folder: &Path, bytes: &[u8]) -> Job {
    std::fs::create_dir_all(folder).expect("a folder");
    let component = folder.join("plugin.wasm");
    std::fs::write(&component, bytes).expect("written");
    Job {
        component,
        digest: Digest::of(bytes),
        config: "{}".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        dir: folder.join("step"),
        limits: Limits::default(),
        granted: Granted::default(),
        seed: 1,
        part: None,
    }
}

/// Measures it.
pub(crate) fn measure(setting: &Setting) -> Vec<Row> {
    let host = WasmHost::new(&setting.folder.join("compiled")).expect("a host");
    let job = job(&setting.folder.join("calls"), &component());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let on_thread = runtime.block_on(host.timed(&job, CALLS)).expect("it runs");
    let mut sorted: Vec<f64> = on_thread.iter().map(|took| took.as_secs_f64() * 1e6).collect();
    sorted.sort_by(f64::total_cmp);
    let from_outside = runtime.block_on(async {
        let (say, _heard) = tokio::sync::mpsc::channel(16);
        let stop = CancellationToken::new();
        let mut took = Vec::new();
        for _ in 0..CALLS {
            let began = Instant::now();
            host.run(&job, &say, &stop).await.expect("it runs");
            took.push(began.elapsed().as_secs_f64() * 1e6);
        }
        median(took)
    });
    vec![
        Row::new("instantiate and call, on a guest's thread", sorted[CALLS / 2], "us").at_most(50.0),
        Row::new("  99 of 100", sorted[CALLS * 99 / 100], "us"),
        Row::new("  from another thread and back", from_outside, "us"),
    ]
}
