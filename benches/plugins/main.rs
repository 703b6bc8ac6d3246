//! What plugins cost: `cargo bench --bench plugins [-- PART...] [--json FILE]`. The parts are `steps`, `calls`, `native` and
//! `shards`; all of them by default.
//!
//! Prints a table of medians and writes the same as JSON. A machine that others use gives other times each time: trust CPU time and ratios,
//! and compare two builds in turns. `FLOWRUN_BENCH_STEPS` and `FLOWRUN_BENCH_ROUNDS` make it shorter or longer, `FLOWRUN_BENCH_DIR` says where
//! (a fresh file system is best: ext4 makes files more slowly for minutes after many were removed). How to read the figures: `docs/performance.md`.

mod calls;
#[path = "../measure/mod.rs"]
mod measure;
mod native;
mod shards;
mod steps;

use std::path::PathBuf;

use measure::Row;
use serde_json::json;

/// What a run of the benchmark needs to know.
pub(crate) struct Setting {
    /// Where everything lies; removed in the end.
    pub(crate) folder: PathBuf,
    /// How often each thing is measured.
    pub(crate) rounds: usize,
    /// The steps of the large pipeline.
    pub(crate) steps: usize,
}

/// Measures something.
type Part = fn(&Setting) -> Vec<Row>;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let mut asked: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let json = asked.iter().position(|word| word == "--json").map(|at| {
        asked.remove(at);
        PathBuf::from(asked.remove(at))
    });
    let json = json.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugins.json"));
    let mut builder = tempfile::Builder::new();
    builder.prefix("flowrun-bench-");
    let folder = match std::env::var_os("FLOWRUN_BENCH_DIR") {
        Some(place) => builder.tempdir_in(place),
        None => builder.tempdir(),
    };
    let folder = folder.expect("a folder");
    let setting = Setting {
        folder: folder.path().to_owned(),
        rounds: number("FLOWRUN_BENCH_ROUNDS", 3).max(1),
        steps: number("FLOWRUN_BENCH_STEPS", 10_000).max(1),
    };
    let parts: [(&str, Part); 4] = [
        ("steps", steps::measure),
        ("shards", shards::measure),
        ("calls", calls::measure),
        ("native", native::measure),
    ];
    let mut rows = Vec::new();
    for (name, measure) in parts {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            let measured = measure(&setting);
            measured.iter().for_each(|row| println!("{row}"));
            rows.extend(measured);
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let report = json!({"cores": cores, "load_after": load.trim(), "steps": setting.steps, "rows": rows});
    std::fs::write(&json, format!("{report:#}\n")).expect("written");
    println!("\nload average after it: {}\nwritten to {}", load.trim(), json.display());
}
