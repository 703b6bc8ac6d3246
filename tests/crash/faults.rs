//! A disk that is full or broken at one call of the system, or from one call on: the run says so, or does without; the next one is right.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, STATES, State};
use crate::support::compare::tree;
use crate::support::random::{Random, number};
use crate::support::{Said, said, shim, skip};

/// A run whose disk fails takes no longer than one whose disk does not; this is for a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

/// Errors by name, number and the calls that may give them.
const ERRORS: [(&str, i32, &str); 3] = [("ENOSPC", 28, "change"), ("EIO", 5, "change"), ("EIO", 5, "read")];

struct Fault {
    error: (&'static str, i32, &'static str),
    at: usize,
    onwards: bool,
}

impl Fault {
    fn told(&self) -> String {
        let (name, _, calls) = self.error;
        format!("{name} at {calls} {}{}", self.at, if self.onwards { " and on" } else { "" })
    }
}

struct Harness {
    bench: Bench,
    shim: PathBuf,
    _folder: tempfile::TempDir,
}

impl Harness {
    fn new() -> Option<Self> {
        let (shim, folder) = shim::compile()?;
        let bench = Bench::new(&STATES[..2]);
        bench.edit(&STATES[0]);
        bench.ran(&STATES[0].args(0)).ok();
        Some(Self { bench, shim, _folder: folder })
    }

    /// A run whose disk fails so, and what it called.
    fn run(&self, fault: &Fault, args: &[String]) -> (Said, Vec<String>) {
        let log = self.bench.bed.outside("calls");
        let _ = std::fs::remove_file(&log);
        let mut command = self.bench.run(args);
        let (_, errno, calls) = fault.error;
        command.env("LD_PRELOAD", &self.shim).env("FAULT_UNDER", self.bench.bed.root()).env("FAULT_LOG", &log);
        command.env("FAULT_CALLS", calls).env("FAULT_ERRNO", errno.to_string()).env("FAULT_AT", fault.at.to_string());
        command.env("FAULT_ONWARDS", if fault.onwards { "1" } else { "0" });
        let said = within(LONGEST, command, &fault.told());
        let log = std::fs::read_to_string(log).unwrap_or_default();
        (said, log.lines().map(str::to_owned).collect())
    }

    /// A state that differs from the one before, in a store that has much of it or nothing.
    fn prepare(&self, state: &State, empty: bool) {
        if empty {
            self.bench.bed.flowrun(&["gc", "--max-size", "0B"]).ok();
        }
        self.bench.edit(state);
    }

    /// How many calls a run makes, from an empty store and from a full one.
    fn count(&self, calls: &'static str, empty: bool, salt: u64) -> usize {
        self.prepare(&STATES[0], empty);
        let none = Fault { error: ("nothing", 0, calls), at: 0, onwards: false };
        let (said, log) = self.run(&none, &STATES[0].args(salt));
        said.ok();
        assert!(log.len() > 50, "the shim counts {} {calls} calls only", log.len());
        log.len()
    }
}

/// The end of a command that must not hang.
fn within(longest: Duration, mut command: Command, what: &str) -> Said {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("flowrun starts");
    let pid = child.id();
    let begun = Instant::now();
    // What it says fits into a pipe.
    while child.try_wait().expect("wait").is_none() {
        if begun.elapsed() > longest {
            child.kill().expect("kill");
            panic!("{what}: process {pid} hangs: {}", said(child.wait_with_output().expect("ends")).stderr);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    said(child.wait_with_output().expect("ends"))
}

fn fail_once(harness: &Harness, random: &mut Random, counts: &[[usize; 2]; 3], salt: u64) -> String {
    let kind = random.below(ERRORS.len());
    let empty = random.one_in(2);
    let at = 1 + random.below(counts[kind][usize::from(empty)]);
    let fault = Fault { error: ERRORS[kind], at, onwards: random.one_in(2) };
    let state = *random.pick(&STATES[..2]);
    harness.prepare(&state, empty);
    let published = tree(&harness.bench.bed.path("results"));
    let (told, log) = harness.run(&fault, &state.args(salt));
    let failed: Vec<&String> = log.iter().filter(|line| line.ends_with('!')).take(3).collect();
    let what = format!("{} ({failed:?}), ended with {}:\n{}", fault.told(), told.code, told.stderr);
    assert!([0, 1, 3].contains(&told.code), "{what}");
    assert!(!told.stderr.contains("panicked") && !told.stderr.contains("a bug"), "{what}");
    assert!(told.code == 0 || told.stderr.contains("error"), "no word of it: {what}");
    if told.code == 0 && !told.stderr.contains("warn") {
        harness.bench.is_published(&state, &what);
    }
    assert!(harness.bench.processes().is_empty(), "{what}: orphans");
    harness.bench.is_whole(&published, &what);
    let next = harness.bench.ran(&state.args(salt));
    assert_eq!(next.code, 0, "the next run: {}\nafter {what}", next.stderr);
    harness.bench.is_right(&state, &what);
    format!("{} -> {}", fault.told(), told.code)
}

#[test]
fn whatever_call_of_the_system_fails_the_next_run_is_right() {
    let Some(harness) = Harness::new() else { return skip("failing disks", "there is no C compiler, `cc`") };
    let (seed, faults) = (number("FLOWRUN_CRASH_SEED", 1), number("FLOWRUN_CRASH_FAULTS", 40));
    let begun = Instant::now();
    let counts = ERRORS.map(|(_, _, calls)| [harness.count(calls, false, 0), harness.count(calls, true, 0)]);
    let mut random = Random::new(seed);
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for round in 1..=faults {
        let salt = if random.one_in(2) { round } else { 0 };
        let end = fail_once(&harness, &mut random, &counts, salt);
        *ends.entry(end.rsplit("-> ").next().expect("a code").to_owned()).or_default() += 1;
    }
    eprintln!("seed {seed}: {faults} faults among {counts:?} calls in {:?}; ended with {ends:?}", begun.elapsed());
}
