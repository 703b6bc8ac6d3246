//! flowrun beside make, ninja and doit: `cargo bench --bench suite [-- WORKLOAD...] [--install] [--json FILE]`.
//!
//! The same work is written for each of them; they run in turns, and what counts are processor time of the whole process tree, medians and
//! ratios. `--install` brings ninja, doit and b3sum from their registries into the target directory; what is missing is a column of `-`. n2 takes
//! part where `FLOWRUN_BENCH_N2` names its binary. `FLOWRUN_BENCH_ROUNDS` says how often, `FLOWRUN_BENCH_DIR` where (a fresh file system is
//! best), and each workload has a variable for its size: see [`Sizes`]. How to read the figures: `docs/performance.md`.

mod builds;
mod dag;
mod hashing;
mod history;
#[path = "../measure/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses its own part")]
mod measure;
mod peers;
mod predict;
mod single;
mod table;

use std::path::PathBuf;

use peers::Tool;
use serde_json::{Map, json};
use table::Line;

/// How large each workload is; smaller ones are for machines with little room.
pub(crate) struct Sizes {
    /// Steps side by side between the first and the last: `FLOWRUN_BENCH_WIDE`.
    pub(crate) wide: usize,
    /// Steps that know nothing of each other: `FLOWRUN_BENCH_FLAT`.
    pub(crate) flat: usize,
    /// Steps one after the other: `FLOWRUN_BENCH_CHAIN`.
    pub(crate) chain: usize,
    /// Steps that are only planned: `FLOWRUN_BENCH_PLAN`.
    pub(crate) plan: usize,
    /// Steps over which memory is looked at: `FLOWRUN_BENCH_STEPS`.
    pub(crate) steps: usize,
    /// Pictures that a detector looks at: `FLOWRUN_BENCH_PICTURES`.
    pub(crate) pictures: usize,
    /// MiB of the large file: `FLOWRUN_BENCH_MIB`.
    pub(crate) mib: usize,
    /// Files of 16 KiB: `FLOWRUN_BENCH_FILES`.
    pub(crate) files: usize,
    /// Runs that were before: `FLOWRUN_BENCH_RUNS`.
    pub(crate) runs: usize,
    /// What these made: `FLOWRUN_BENCH_BLOBS`.
    pub(crate) blobs: usize,
}

/// What a run of the benchmark needs to know.
pub(crate) struct Setting {
    /// Where everything lies; removed in the end.
    pub(crate) folder: PathBuf,
    /// How often each thing is measured.
    pub(crate) rounds: usize,
    /// Steps at once, and threads, for everybody.
    pub(crate) jobs: usize,
    /// How large it all is.
    pub(crate) sizes: Sizes,
    /// flowrun, then its peers.
    pub(crate) tools: Vec<Tool>,
}

/// Measures something.
type Workload = fn(&Setting) -> Vec<Line>;

const WORKLOADS: [(&str, Workload); 12] = [
    ("no-op", builds::no_op),
    ("flat", builds::flat),
    ("touched", builds::touched),
    ("edited", builds::edited),
    ("first", builds::first),
    ("chain", builds::chain),
    ("small", single::small),
    ("hashing", hashing::measure),
    ("plan", single::plan),
    ("memory", single::memory),
    ("history", history::measure),
    ("predict", predict::measure),
];

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise).max(1)
}

impl Sizes {
    fn asked() -> Self {
        Self {
            wide: number("FLOWRUN_BENCH_WIDE", 500),
            flat: number("FLOWRUN_BENCH_FLAT", 5000),
            chain: number("FLOWRUN_BENCH_CHAIN", 100),
            plan: number("FLOWRUN_BENCH_PLAN", 100_000),
            steps: number("FLOWRUN_BENCH_STEPS", 10_000),
            mib: number("FLOWRUN_BENCH_MIB", 4096),
            files: number("FLOWRUN_BENCH_FILES", 20_000),
            runs: number("FLOWRUN_BENCH_RUNS", 10_000),
            blobs: number("FLOWRUN_BENCH_BLOBS", 1_000_000),
            pictures: number("FLOWRUN_BENCH_PICTURES", 400),
        }
    }
}

/// What was asked for: workloads, whether peers are to be brought, and where the figures go.
fn asked() -> (Vec<String>, bool, PathBuf) {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let install = words.iter().position(|word| word == "--install").map(|at| words.remove(at)).is_some();
    let json = words.iter().position(|word| word == "--json").map(|at| {
        words.remove(at);
        PathBuf::from(words.remove(at))
    });
    let known = |word: &String| WORKLOADS.iter().any(|(name, _)| name == word);
    if let Some(unknown) = words.iter().find(|word| !known(word)) {
        let names: Vec<&str> = WORKLOADS.iter().map(|(name, _)| *name).collect();
        panic!("there is no workload `{unknown}`: there are {}", names.join(", "));
    }
    (words, install, json.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("suite.json")))
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

fn main() {
    let (wanted, install, json_file) = asked();
    if install {
        peers::install();
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix("flowrun-bench-");
    let folder = match std::env::var_os("FLOWRUN_BENCH_DIR") {
        Some(place) => builder.tempdir_in(place),
        None => builder.tempdir(),
    };
    let folder = folder.expect("a folder");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let path = folder.path().to_owned();
    let rounds = number("FLOWRUN_BENCH_ROUNDS", 7);
    let setting = Setting { tools: peers::tools(&path, jobs), folder: path, rounds, jobs, sizes: Sizes::asked() };
    let versions = peers::versions(&setting.tools);
    versions.iter().for_each(|(name, version)| println!("{name:<8} {}", version.as_str().unwrap_or("-")));
    let before = load();
    println!("\n{jobs} cores, {rounds} rounds, load average {before}");
    let lines = measure_all(&setting, &wanted);
    let report = report(&setting, versions, &before, &lines);
    std::fs::write(&json_file, format!("{report:#}\n")).expect("written");
    println!("\nload average after it: {}\nwritten to {}", load(), json_file.display());
}

fn measure_all(setting: &Setting, wanted: &[String]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (name, workload) in WORKLOADS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            println!();
            let measured = workload(setting);
            table::print(&measured);
            lines.extend(measured);
        }
    }
    lines
}

fn report(
    setting: &Setting,
    versions: Map<String, serde_json::Value>,
    before: &str,
    lines: &[Line],
) -> serde_json::Value {
    json!({
        "cores": setting.jobs,
        "rounds": setting.rounds,
        "load_before": before,
        "load_after": load(),
        "versions": versions,
        "lines": lines,
    })
}
