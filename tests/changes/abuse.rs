//! Surroundings that give a run too little: a store that cannot be written, too few open files.

use crate::support::compare::lies;
use crate::support::disk::Disk;
use crate::support::{Bed, Said, said, skip};

const PIPELINE: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
sources: { d: { path: data } }
steps:
  a: { run: "MARK a; cat {{ inputs.d }}/* > {{ outputs.o }}; echo {{ params.n }} >> {{ outputs.o }}", inputs: { d: sources.d }, outputs: { o: a.txt } }
  b: { run: "MARK b; cat {{ inputs.f }} {{ inputs.f }} > {{ outputs.o }}", inputs: { f: a.o }, outputs: { o: b.txt } }
  c:
    matrix: { k: [1, 2, 3] }
    run: "MARK c{{ matrix.k }}; head -n {{ matrix.k }} {{ inputs.f }} > {{ outputs.o }}"
    inputs: { f: b.o }
    outputs: { o: c.txt }
results: { a: a.o, b: b.o, c: c.*.o }
"#;

fn lay_out() -> Bed {
    let bed = Bed::marking(PIPELINE);
    for number in 0..20 {
        bed.write(&format!("data/{number:02}.txt"), &format!("line {number}\n"));
    }
    bed
}

/// Whether a command that could not do its work said so, and what to do, and not that something is wrong with flowrun.
fn is_clear(said: &Said, what: &str) {
    let text = format!("{what}:\n{}{}", said.stdout, said.stderr);
    assert!([0, 1, 3].contains(&said.code), "ends with {}: {text}", said.code);
    assert!(!said.stderr.contains("panicked") && !said.stderr.contains("a bug"), "{text}");
    assert!(said.code == 0 || said.stderr.contains("error") || said.stderr.contains("failed"), "no word: {text}");
}

/// What a normal run makes, after whatever happened, is what an empty store gives.
fn is_right(bed: &Bed, args: &[&str], what: &str) {
    assert!(lies(&bed.store()).is_empty(), "{what}: the store lies");
    bed.ran(args);
    let (is, should) = (bed.left(), bed.truth(args));
    assert!(is == should, "{what}:\n{}", is.against(&should).join("\n"));
    assert!(bed.ran(args).is_empty(), "{what}: and it stays");
}

#[test]
fn too_few_open_files() {
    for most in [8, 10, 12, 14, 16, 20, 24, 32, 48] {
        let bed = lay_out();
        let script = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        let flowrun = env!("CARGO_BIN_EXE_flowrun");
        let command = bed.command(&[]);
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", &script, flowrun, "run", "p.yaml"]).current_dir(bed.root());
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.env_remove("CI");
        let told = said(limited.output().expect("sh starts"));
        is_clear(&told, &format!("{most} open files"));
        assert!(told.code == 0 || told.stderr.contains("Too many open files"), "{most} open files: {}", told.stderr);
        assert!(most < 48 || told.code == 0, "{most} open files are enough: {}", told.stderr);
        if told.code == 0 {
            assert!(bed.left() == bed.truth(&[]), "{most} open files");
        }
        is_right(&bed, &[], &format!("after a run with {most} open files"));
    }
}

#[test]
fn a_store_that_cannot_be_written() {
    let bed = lay_out();
    let Some(disk) = Disk::mount(&bed.store(), "64m") else {
        return skip("a store that cannot be written", "mounting takes root");
    };
    bed.ran(&[]);
    disk.again("ro");
    for args in [&["run", "p.yaml"][..], &["run", "p.yaml", "--set", "n=2"], &["gc"], &["runs"], &["plan", "p.yaml"]] {
        let told = bed.flowrun(args);
        is_clear(&told, &args.join(" "));
        if told.code != 0 {
            told.says("Read-only file system").says("flowrun must be able to write");
        }
    }
    bed.write("data/05.txt", "another line\n");
    is_clear(&bed.flowrun(&["run", "p.yaml"]), "a run after an edit");
    disk.again("rw");
    is_right(&bed, &[], "writable again");
    is_right(&bed, &["--set", "n=2"], "writable again");
}
