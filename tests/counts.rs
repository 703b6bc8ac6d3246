//! How often a run turns to the disk for each of its steps: a guard against slowness that does not depend on how busy the machine is.
//!
//! Calls of the C library about the project and its store are counted by `support/shim.c`, for few steps and for more: what is added by a
//! step is the slope. Asking for a file's times and resolving a path are not counted, nor are threads, nor what flowrun asks of the kernel without
//! that library: 11 calls of a step's, which remove its folder by the names in it. Processes are counted in
//! `tests/guards.rs`, and what planning asks of memory in `runner/core/tests/memory.rs`. Bytes that are hashed or copied are those that the kernel
//! counts for the whole run, its steps' own included. Times are measured by `cargo bench --bench suite`.

#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use support::{Bed, REST, said, shim};

const FEW: usize = 10;
const MORE: usize = 60;

/// Steps that each copy a file.
fn bed(steps: usize) -> Bed {
    let mut text = "flowrun: 1\nname: counts\nsources:\n".to_owned();
    (0..steps).for_each(|at| text.push_str(&format!("  f{at}: {{ path: data/f{at}.txt }}\n")));
    text.push_str("steps:\n");
    for at in 0..steps {
        text.push_str(&format!(
            "  s{at}:\n    run: cat {{{{ inputs.read }}}} > {{{{ outputs.made }}}}\n    inputs: {{ read: sources.f{at} }}\n    \
             outputs: {{ made: made.txt }}\n"
        ));
    }
    let bed = Bed::new(&text);
    (0..steps).for_each(|at| bed.write(&format!("data/f{at}.txt"), &format!("{at}\n")));
    bed
}

/// The calls of one kind that a run makes, by name.
fn calls(bed: &Bed, kind: &str) -> Vec<String> {
    let (library, _folder) = shim::compile().expect("a C compiler, which building flowrun needs too");
    let log = bed.outside("calls");
    let _ = std::fs::remove_file(&log);
    let mut command = bed.command(&["run", "p.yaml"]);
    command.env("LD_PRELOAD", &library).env("FAULT_UNDER", bed.root()).env("FAULT_LOG", &log).env("FAULT_CALLS", kind);
    said(command.output().expect("flowrun starts")).ok();
    let text = std::fs::read_to_string(log).expect("calls");
    // NUMBER CALL PATH
    text.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect()
}

/// Calls that a step adds.
fn each(few: &[String], more: &[String]) -> f64 {
    (more.len() as f64 - few.len() as f64) / (MORE - FEW) as f64
}

/// Calls by name, a step.
fn told(few: &[String], more: &[String]) -> String {
    let names: BTreeSet<&String> = more.iter().collect();
    let of = |name: &String, calls: &[String]| -> Vec<String> {
        calls.iter().filter(|call| *call == name).cloned().collect()
    };
    let told = names.into_iter().map(|name| format!("{name} {:.2}", each(&of(name, few), &of(name, more))));
    told.collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn at_most(what: &str, most: f64, few: &[String], more: &[String]) {
    let (each, told) = (each(few, more), told(few, more));
    println!("{what}: {each} calls a step: {told}");
    assert!(few.len() > FEW, "{what}: {} calls only, for {FEW} steps", few.len());
    assert!(each <= most, "{what}: {each} calls a step, at most {most} before: {told}");
}

#[test]
fn what_a_step_asks_of_the_disk() {
    let (few, more) = (bed(FEW), bed(MORE));
    at_most("changes, first run", 36.0, &calls(&few, "change"), &calls(&more, "change"));
    std::thread::sleep(REST);
    // It remembers the files now that they have rested, and leaves what the next run may say again.
    let again = || [&few, &more].map(|bed| drop(bed.flowrun(&["run", "p.yaml"]).ok()));
    again();
    assert!(!few.is_repeat() && !more.is_repeat());
    for kind in ["change", "read"] {
        let (few, more) = (calls(&few, kind), calls(&more, kind));
        println!("{kind}s, said again: {} calls: {}", more.len(), told(&few, &more));
        assert_eq!(few.len(), more.len(), "{kind}s, said again: {few:?}, {more:?}");
    }
    assert!(few.is_repeat() && more.is_repeat());
    let looks = |kind| {
        let looked = |bed: &Bed| {
            std::fs::remove_dir_all(bed.path(".flowrun/v1/repeats")).expect("what was left");
            calls(bed, kind)
        };
        (looked(&few), looked(&more))
    };
    let (changed, read) = (looks("change"), looks("read"));
    at_most("changes, nothing to do", 0.1, &changed.0, &changed.1);
    at_most("reads, nothing to do", 2.1, &read.0, &read.1);
}

const SMALL: usize = 1 << 20;
const LARGE: usize = 17 << 20;

/// A step that copies a file of so many bytes.
fn copying(bytes: usize) -> Bed {
    let bed = Bed::new(
        "flowrun: 1\nname: bytes\nsources: { f: { path: data } }\nsteps:\n  s:\n    run: cat {{ inputs.read }} > {{ outputs.made }}\n    \
         inputs: { read: sources.f }\n    outputs: { made: made.bin }\n",
    );
    bed.write("data", &"x".repeat(bytes));
    bed
}

/// Bytes that a run and all that it starts read and write, as the kernel counts them for who waits for them: see proc_pid_io(5).
fn bytes(bed: &Bed) -> (f64, f64) {
    let flowrun = bed.command(&["run", "p.yaml"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\" > /dev/null 2> said || exit 1; cat /proc/$$/io"]);
    shell.arg(flowrun.get_program()).args(flowrun.get_args()).current_dir(bed.root());
    for (name, value) in flowrun.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let said = said(shell.output().expect("sh starts")).ok();
    let of = |name: &str| {
        let line = said.stdout.lines().find_map(|line| line.strip_prefix(name)).expect("counted");
        line.trim().parse::<f64>().expect("a number")
    };
    (of("rchar:"), of("wchar:"))
}

#[test]
fn what_a_byte_of_a_file_costs() {
    if !std::path::Path::new("/proc/self/io").exists() {
        return support::skip("bytes that are hashed and copied", "this kernel does not count them");
    }
    let (small, large) = (copying(SMALL), copying(LARGE));
    std::thread::sleep(REST);
    let each = || {
        let (small, large) = (bytes(&small), bytes(&large));
        let slope = |small: f64, large: f64| (large - small) / (LARGE - SMALL) as f64;
        (slope(small.0, large.0), slope(small.1, large.1))
    };
    // Read: hashed where it lies, copied into the store, hashed there, by the step, and what the step made is hashed. Written: the copy, and
    // what the step makes. A copy that shares blocks reads and writes nothing.
    let (read, written) = each();
    println!("first run: {read} bytes read and {written} written for each of the file");
    assert!((3.5..5.01).contains(&read) && (0.99..2.01).contains(&written), "{read} read, {written} written");
    let (read, written) = each();
    assert!(read.abs() < 0.001 && written.abs() < 0.001, "nothing to do: {read} read, {written} written");
}
