//! What steps make: damaged in the store, damaged where it was published, not made, or made by half.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::compare::{blobs, lies};
use crate::support::files::Damage;
use crate::support::{Bed, said, wait_for};

/// A step whose outputs are of every sort, and one that reads them.
const PIPELINE: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
sources: { seed: { path: seed.txt } }
steps:
  make:
    run: |
      MARK make
      (cat {{ inputs.seed }}; echo and made) > {{ outputs.file }}
      cd {{ outputs.folder }}
      mkdir sub
      echo inside > sub/inner.txt
      echo executable > tool
      chmod +x tool
      ln -s sub/inner.txt link
    inputs: { seed: sources.seed }
    outputs: { file: file.txt, folder: dir }
  use:
    run: |
      MARK use
      (cat {{ inputs.file }} {{ inputs.folder }}/link {{ inputs.folder }}/tool; echo {{ params.n }}) > {{ outputs.all }}
    inputs: { file: make.file, folder: make.folder }
    outputs: { all: all.txt }
results: { file: make.file, folder: make.folder, all: use.all }
"#;

fn lay_out() -> Bed {
    let bed = Bed::marking(PIPELINE);
    bed.write("seed.txt", "seed\n");
    assert_eq!(bed.ran(&[]), ["make", "use"]);
    bed
}

/// The blob that holds these bytes; of a folder, the listing that names the file.
fn blob(bed: &Bed, is: impl Fn(&[u8]) -> bool) -> PathBuf {
    let found: Vec<PathBuf> =
        blobs(&bed.store()).into_iter().filter(|(_, bytes)| is(bytes)).map(|(path, _)| path).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn lists(bytes: &[u8], name: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.starts_with("flowrun-tree") && text.contains(&format!(" \"{name}\""))
}

#[test]
fn a_damaged_blob_is_made_again_by_the_step_that_made_it() {
    let bed = lay_out();
    let good = bed.left();
    type Is = fn(&[u8]) -> bool;
    let kinds: [(&str, Is); 6] = [
        ("a file", |bytes| bytes == b"seed\nand made\n"),
        ("a file in a folder", |bytes| bytes == b"inside\n"),
        ("an executable file", |bytes| bytes == b"executable\n"),
        ("a link's text", |bytes| bytes == b"sub/inner.txt"),
        ("a folder's listing", |bytes| lists(bytes, "link")),
        ("an inner folder's listing", |bytes| lists(bytes, "inner.txt")),
    ];
    for (what, is) in kinds {
        for damage in Damage::ALL {
            damage.to(&blob(&bed, is));
            assert_eq!(bed.ran(&[]), ["make"], "{what}, {damage:?}");
            let left = bed.left();
            assert!(left == good, "{what}, {damage:?}:\n{}", left.against(&good).join("\n"));
            assert!(lies(&bed.store()).is_empty(), "{what}, {damage:?}");
        }
    }
    for damage in Damage::ALL {
        damage.to(&blob(&bed, |bytes| bytes == b"inside\n"));
        damage.to(&blob(&bed, |bytes| {
            bytes.ends_with(b"and made\nexecutable\n1\n") || bytes.ends_with(b"inside\nexecutable\n1\n")
        }));
        assert_eq!(bed.ran(&[]), ["make", "use"], "both, {damage:?}");
        assert!(bed.left() == good, "both, {damage:?}");
    }
    assert!(bed.ran(&[]).is_empty(), "all is whole again");
}

#[test]
fn a_damaged_copy_of_a_source_is_taken_again() {
    let bed = lay_out();
    let good = bed.left();
    for damage in Damage::ALL {
        damage.to(&blob(&bed, |bytes| bytes == b"seed\n"));
        assert!(bed.ran(&[]).is_empty(), "{damage:?}: no result is lost");
        assert_eq!(bed.ran(&["--force", "make"]), ["make"], "{damage:?}");
        assert!(bed.left() == good, "{damage:?}");
    }
}

/// What a step reads was damaged since it was made: the step that reads it must not see it.
#[test]
fn a_damaged_input_is_made_again_before_it_is_read() {
    let bed = lay_out();
    for (number, damage) in Damage::ALL.into_iter().enumerate() {
        damage.to(&blob(&bed, |bytes| bytes == b"inside\n"));
        let set = format!("n={}", number + 2);
        assert_eq!(bed.ran(&["--set", &set]), ["make", "use"], "{damage:?}");
        assert_eq!(bed.read("results/p/all.txt"), format!("seed\nand made\ninside\nexecutable\n{}\n", number + 2));
    }
}

#[test]
fn what_was_published_is_put_right_without_running() {
    let bed = lay_out();
    let good = bed.left();
    type Spoil = fn(&Bed);
    let spoils: [(&str, Spoil); 9] = [
        ("a file deleted", |bed| std::fs::remove_file(bed.path("results/p/file.txt")).expect("remove")),
        ("all deleted", |bed| std::fs::remove_dir_all(bed.path("results")).expect("remove")),
        ("a file edited", |bed| bed.write("results/p/file.txt", "SEED\nand made\n")),
        ("a file in a folder edited", |bed| bed.write("results/p/folder/sub/inner.txt", "INSIDE\n")),
        ("a file in a folder deleted", |bed| {
            std::fs::remove_file(bed.path("results/p/folder/sub/inner.txt")).expect("remove");
        }),
        ("a file more in a folder", |bed| bed.write("results/p/folder/more", "")),
        ("a file no longer executable", |bed| {
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(bed.path("results/p/folder/tool"), mode).expect("chmod");
        }),
        ("a folder in a file's place", |bed| {
            std::fs::remove_file(bed.path("results/p/file.txt")).expect("remove");
            bed.write("results/p/file.txt/x", "");
        }),
        ("a link to nowhere in a file's place", |bed| {
            std::fs::remove_file(bed.path("results/p/file.txt")).expect("remove");
            std::os::unix::fs::symlink("nowhere", bed.path("results/p/file.txt")).expect("link");
        }),
    ];
    for (what, spoil) in spoils {
        spoil(&bed);
        assert!(bed.ran(&[]).is_empty(), "{what}");
        let left = bed.left();
        assert!(left == good, "{what}:\n{}", left.against(&good).join("\n"));
    }
}

/// What a person does to a published file, or to a copy that `flowrun get` gave, never reaches the store.
#[test]
fn the_store_has_no_second_names_outside() {
    let bed = lay_out();
    let before = blobs(&bed.store());
    bed.flowrun(&["get", "@latest", "make.file", "-o", "got.txt"]).ok();
    bed.flowrun(&["get", "@latest", "make.folder", "-o", "got"]).ok();
    for name in ["got.txt", "got/sub/inner.txt", "got/tool", "results/p/file.txt", "results/p/folder/tool"] {
        for damage in [Damage::Flipped, Damage::Truncated] {
            damage.to(&bed.path(name));
            assert!(blobs(&bed.store()) == before, "{name}, {damage:?}: the store changed");
        }
    }
    assert!(bed.ran(&[]).is_empty());
    // What was published is looked at, and put right: that may bring something in, and changes nothing.
    let after = blobs(&bed.store());
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "publishing again changed the store");
}

/// A step may try to write to what it reads; whatever comes of that, nobody else sees it.
#[test]
fn a_step_that_writes_to_its_inputs_harms_nobody() {
    let bed = Bed::marking(
        r#"
flowrun: 1
params: { n: { type: integer, default: 0 } }
sources: { seed: { path: seed.txt } }
steps:
  make: { run: "MARK make; cat {{ inputs.s }} > {{ outputs.o }}", inputs: { s: sources.seed }, outputs: { o: o.txt } }
  evil:
    needs: [make]
    run: |
      MARK evil
      chmod u+w {{ inputs.o }} || true
      echo evil >> {{ inputs.o }} || true
      rm -f {{ inputs.o }} || true
      echo more evil > {{ inputs.o }} || true
      echo {{ params.n }} > {{ outputs.x }}
    inputs: { o: make.o }
    outputs: { x: x.txt }
  good:
    needs: [evil]
    run: "MARK good; cat {{ inputs.o }} > {{ outputs.x }}; echo {{ params.n }}"
    inputs: { o: make.o }
    outputs: { x: x.txt }
results: { o: make.o, x: good.x }
"#,
    );
    bed.write("seed.txt", "seed\n");
    for n in 0..3 {
        let set = format!("n={n}");
        let told = bed.flowrun(&["run", "p.yaml", "--set", &set]);
        assert!([0, 1].contains(&told.code), "{}", told.stderr);
        assert!(lies(&bed.store()).is_empty(), "the store holds what the step wrote");
        bed.flowrun(&["run", "p.yaml", "--set", &set, "--only", "make"]).ok();
        assert_eq!(bed.read("results/p/o.txt"), "seed\n");
        if told.code == 0 {
            assert_eq!(bed.read("results/p/x.txt"), "seed\n");
        } else {
            assert!(told.stderr.contains("changed its input"), "{}", told.stderr);
        }
    }
}

#[test]
fn an_output_that_was_not_made_fails_the_step_and_one_that_was_not_declared_is_told() {
    let one = |outputs: &str, script: &str| {
        format!("flowrun: 1\nsteps:\n  s:\n    run: |\n      MARK s\n      {script}\n    outputs: {outputs}\n")
    };
    for (outputs, script, says) in [
        ("{ o: o.txt }", "true", "output `o` was declared but not made"),
        ("{ o: o.txt, p: p.txt }", "echo x > {{ outputs.o }}", "output `p` was declared but not made"),
        ("{ o: o.txt }", "mkdir {{ outputs.o }}", "output `o` is a folder"),
        ("{ o: dir }", "rmdir {{ outputs.o }}; echo x > {{ outputs.o }}", "output `o` is a file"),
        ("{ o: dir }", "ln -s /etc {{ outputs.o }}/etc", "leads out of the folder"),
        ("{ o: dir }", "mkfifo {{ outputs.o }}/pipe", "neither a file nor a folder"),
    ] {
        let bed = Bed::marking(&one(outputs, script));
        for _ in 0..2 {
            bed.forget();
            bed.flowrun(&["run", "p.yaml"]).fails(1).says(says);
            assert_eq!(bed.marks(), ["s"], "{script}: a failure is no result");
        }
    }
    let bed = Bed::marking(&one("{ o: o.txt }", "echo x > {{ outputs.o }}; echo y > out/stray.txt; mkdir out/more"));
    bed.flowrun(&["run", "p.yaml"]).ok().says("`s` left what it does not declare").says("more, stray.txt");
}

/// A pipeline whose first step writes half of its outputs, does something, and goes on only once the sign `go` is there.
fn half_made(what_then: &str, more: &str) -> Bed {
    Bed::marking(&format!(
        r#"
flowrun: 1
steps:
  make:
    run: |
      MARK make
      echo partial > {{{{ outputs.file }}}}
      echo partial > {{{{ outputs.folder }}}}/one
      if [ ! -e {{outside}}/go ]; then {what_then}; fi
      echo whole > {{{{ outputs.file }}}}
      echo whole > {{{{ outputs.folder }}}}/two
    outputs: {{ file: file.txt, folder: dir }}
    {more}
  use: {{ run: "MARK use; cat {{{{ inputs.f }}}} > {{{{ outputs.o }}}}", inputs: {{ f: make.file }}, outputs: {{ o: o.txt }} }}
results: {{ file: make.file, folder: make.folder, used: use.o }}
"#
    ))
}

fn is_whole(bed: &Bed) {
    bed.sign("go");
    assert_eq!(bed.ran(&[]), ["make", "use"], "what was half made is not used");
    assert_eq!(bed.read("results/p/file.txt"), "whole\n");
    assert_eq!(bed.read("results/p/used.txt"), "whole\n");
    let (is, should) = (bed.left(), bed.truth(&[]));
    assert!(is == should, "{}", is.against(&should).join("\n"));
}

#[test]
fn what_a_failed_step_left_is_never_used() {
    for (what_then, more, code) in [
        ("exit 1", "", 1),
        ("exit 1", "retry: { attempts: 2, backoff: 1ms, on: [step] }", 1),
        ("kill -9 $$", "", 3),
        ("kill -TERM $$", "", 1),
        ("sleep 1000", "timeout: 200ms", 4),
    ] {
        let bed = half_made(what_then, more);
        bed.flowrun(&["run", "p.yaml"]).fails(code);
        assert!(!bed.marks().contains(&"use".to_owned()), "{what_then}");
        assert!(!bed.path("results/p").exists(), "{what_then}: something was published");
        is_whole(&bed);
    }
}

#[test]
fn what_a_stopped_or_killed_run_left_is_never_used() {
    for signal in ["-INT", "-TERM", "-HUP", "-KILL"] {
        let bed = half_made("sleep 1000", "");
        let run =
            bed.command(&["run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        wait_for("the step", || !bed.marks().is_empty());
        let status = std::process::Command::new("kill").args([signal, &run.id().to_string()]).status().expect("kill");
        assert!(status.success());
        let told = said(run.wait_with_output().expect("ends"));
        assert_eq!(told.code, if signal == "-KILL" { -1 } else { 130 }, "{signal}: {}", told.stderr);
        assert!(!bed.path("results/p").exists(), "{signal}: something was published");
        is_whole(&bed);
    }
}

/// A fan-out that failed has made some of its instances: they are kept, and not published as if they were all.
#[test]
fn a_part_of_a_fan_out_is_not_published_for_the_whole() {
    let pipeline = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
steps:
  first: { run: "test -e {outside}/first; echo {{ params.n }} > {{ outputs.o }}", outputs: { o: o.txt } }
  each:
    matrix: { k: [1, 2] }
    run: "MARK each; test {{ matrix.k }} = 1 || test -e {outside}/each; cat {{ inputs.f }} > {{ outputs.o }}"
    inputs: { f: first.o }
    outputs: { o: o.txt }
results: { all: each.*.o }
"#;
    let bed = Bed::marking(pipeline);
    bed.flowrun(&["run", "p.yaml"]).fails(1);
    assert!(!bed.path("results/p/all").exists(), "nothing ran, and something was published");
    bed.sign("first");
    bed.flowrun(&["run", "p.yaml", "--keep-going"]).fails(1);
    assert!(!bed.path("results/p/all").exists(), "one of two ran, and something was published");
    bed.sign("each");
    bed.ran(&[]);
    let good = bed.left();
    assert!(good == bed.truth(&[]));
    std::fs::remove_file(bed.outside("each")).expect("remove");
    bed.flowrun(&["run", "p.yaml", "--keep-going", "--set", "n=2"]).fails(1);
    assert!(crate::support::compare::tree(&bed.path("results")) == good.results, "what was published before went");
}
