//! Making room: what goes can be made again, what stays is whole, and nothing goes under a run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use crate::support::compare::{blobs, lies, tree};
use crate::support::{Bed, said, wait_for};

const PIPELINE: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
sources: { f: { path: f.txt } }
steps:
  a:
    run: |
      MARK a{{ params.n }}
      (cat {{ inputs.f }}; echo {{ params.n }}) > {{ outputs.o }}
      cp {{ outputs.o }} {{ outputs.d }}/copy
    inputs: { f: sources.f }
    outputs: { o: a.txt, d: dir }
  b: { run: "MARK b{{ params.n }}; cat {{ inputs.d }}/copy {{ inputs.d }}/copy > {{ outputs.o }}", inputs: { d: a.d }, outputs: { o: b.txt } }
results: { a: a.d, b: b.o }
"#;

fn lay_out() -> Bed {
    let bed = Bed::marking(PIPELINE);
    bed.write("f.txt", "f\n");
    assert_eq!(bed.ran(&[]), ["a1", "b1"]);
    assert_eq!(bed.ran(&["--set", "n=2"]), ["a2", "b2"]);
    bed
}

fn entries(bed: &Bed) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(bed.store().join("v1/entries")).expect("entries").flatten();
    folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).expect("folder").flatten())
        .map(|file| file.path())
        .collect()
}

/// Makes a result look as if it was last used so many days ago.
fn age(path: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    std::fs::File::options().write(true).open(path).expect("open").set_modified(then).expect("time");
}

fn is_of(path: &Path, mark: &str) -> bool {
    std::fs::read_to_string(path).expect("read").contains(&format!("echo {mark} "))
}

#[test]
fn a_dry_run_says_what_would_go_and_removes_nothing() {
    let bed = lay_out();
    let before = tree(&bed.store().join("v1/blobs"));
    let kept = tree(&bed.store().join("v1/entries"));
    bed.flowrun(&["gc", "--max-size", "0B", "--dry-run"]).ok().says("would remove 4 results");
    assert!(tree(&bed.store().join("v1/blobs")) == before && tree(&bed.store().join("v1/entries")) == kept);
    assert!(bed.ran(&[]).is_empty() && bed.ran(&["--set", "n=2"]).is_empty());
    bed.flowrun(&["gc", "--max-size", "0B"]).ok().says("removed 4 results");
    assert!(entries(&bed).is_empty() && blobs(&bed.store()).is_empty());
}

#[test]
fn everything_that_went_is_made_again() {
    let bed = lay_out();
    let good = bed.left();
    for policy in [&["--max-size", "0B"][..], &["--older-than", "1h"]] {
        entries(&bed).iter().for_each(|path| age(path, 2));
        bed.flowrun(&[&["gc"], policy].concat()).ok().says("removed 4 results");
        assert_eq!(bed.ran(&["--set", "n=2"]), ["a2", "b2"], "{policy:?}");
        let left = bed.left();
        assert!(left == good, "{policy:?}:\n{}", left.against(&good).join("\n"));
        assert_eq!(bed.ran(&[]), ["a1", "b1"], "{policy:?}");
    }
}

#[test]
fn what_was_used_lately_stays_whole() {
    let bed = lay_out();
    entries(&bed).iter().filter(|path| is_of(path, "a1") || is_of(path, "b1")).for_each(|path| age(path, 40));
    bed.flowrun(&["gc", "--older-than", "30d"]).ok().says("removed 2 results");
    assert!(bed.ran(&["--set", "n=2"]).is_empty(), "the newer stay");
    assert_eq!(bed.ran(&[]), ["a1", "b1"], "the older went");
    // By size: those unused longest go first, until the rest fits.
    entries(&bed).iter().filter(|path| is_of(path, "a2") || is_of(path, "b2")).for_each(|path| age(path, 1));
    bed.flowrun(&["gc"]).ok();
    let all: u64 = blobs(&bed.store()).values().map(|bytes| bytes.len() as u64).sum();
    bed.flowrun(&["gc", "--max-size", &format!("{}B", all - 1)]).ok();
    assert!(bed.ran(&[]).is_empty(), "the newer stay");
    assert!(!bed.ran(&["--set", "n=2"]).is_empty(), "the older went");
    // A use counts: what a run took from the cache is as new as what it made.
    entries(&bed).iter().for_each(|path| age(path, 40));
    assert!(bed.ran(&[]).is_empty());
    bed.flowrun(&["gc", "--older-than", "30d"]).ok().says("removed 2 results");
    assert!(bed.ran(&[]).is_empty());
    assert!(lies(&bed.store()).is_empty());
}

#[test]
fn under_a_run_it_is_refused() {
    let bed = Bed::marking(
        "flowrun: 1\nsteps:\n  s: { run: \"MARK s; while [ ! -e {outside}/go ]; do sleep 0.05; done; echo x > {{ outputs.o }}\", outputs: { o: o.txt } }\nresults: { o: s.o }\n",
    );
    let run = bed.command(&["run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    wait_for("the step", || !bed.marks().is_empty());
    for args in [&["gc", "--max-size", "0B"][..], &["gc", "--older-than", "0s"], &["gc", "--dry-run"]] {
        bed.flowrun(args).fails(3).says("a run is using the store").says("try again when it has ended");
    }
    bed.sign("go");
    said(run.wait_with_output().expect("ends")).ok();
    assert_eq!(bed.read("results/p/o.txt"), "x\n");
    assert!(bed.ran(&[]).is_empty());
    bed.flowrun(&["gc", "--max-size", "0B"]).ok();
    assert_eq!(bed.ran(&[]), ["s"]);
}
