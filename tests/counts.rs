//! How often a run turns to the disk for each of its steps: a guard against slowness that does not depend on how busy the machine is.
//!
//! Calls of the C library about the project and its store are counted by `support/shim.c`, for few steps and for more: what is added by a
//! step is the slope. Asking for a file's times and resolving a path are not counted, nor are threads and processes. Times are measured by
//! `cargo bench --bench suite`.

#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::{Bed, said, shim};

const FEW: usize = 10;
const MORE: usize = 60;

/// A file that was changed less than two seconds ago is read again whatever its times say.
const REST: Duration = Duration::from_millis(2100);

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
    at_most("changes, first run", 58.0, &calls(&few, "change"), &calls(&more, "change"));
    std::thread::sleep(REST);
    // It remembers the files now that they have rested.
    [&few, &more].iter().for_each(|bed| drop(bed.flowrun(&["run", "p.yaml"]).ok()));
    at_most("changes, nothing to do", 0.1, &calls(&few, "change"), &calls(&more, "change"));
    at_most("reads, nothing to do", 2.1, &calls(&few, "read"), &calls(&more, "read"));
}
