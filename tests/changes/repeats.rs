//! A run that only says again what an earlier one found: whatever that one hangs on makes the next a run of its own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::compare::blobs;
use crate::support::files::Damage;
use crate::support::{Bed, REST, Said, said};

/// Nothing of it lies where it was made a moment ago: it can be repeated at once.
const PIPELINE: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
sources: { seed: { path: seed.txt }, far: { path: link } }
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
      echo executable > another
      ln -s sub/inner.txt link
    inputs: { seed: sources.seed }
    outputs: { file: file.txt, folder: dir }
  use: { run: "MARK use; extra || true; {outside}/away || true; helper > {{ outputs.o }}; cat {{ inputs.folder }}/link", inputs: { folder: make.folder, far: sources.far }, code: [code], tools: [helper], outputs: { o: o.txt } }
  rare: { run: "MARK rare", if: "params.n > 5" }
"#;

/// A project with programs of its own, before all others on the `PATH`.
struct Yard {
    bed: Bed,
    path: String,
}

impl Yard {
    fn new() -> Self {
        let bed = Bed::marking(PIPELINE);
        bed.write("seed.txt", "seed\n");
        bed.write("far/one.txt", "one\n");
        bed.write("far/two.txt", "two\n");
        symlink("far/one.txt", bed.path("between")).expect("link");
        symlink("between", bed.path("link")).expect("link");
        bed.write("code/a.sh", "true\n");
        for folder in ["empty", "first", "second"] {
            std::fs::create_dir_all(bed.outside(folder)).expect("mkdir");
        }
        program(&bed.outside("second/helper"), "echo help");
        std::fs::write(bed.outside("first/extra"), "#!/bin/sh\nfalse\n").expect("write");
        let path = std::env::var("PATH").expect("PATH");
        let own = ["empty", "first", "second"].map(|folder| format!("{}:", bed.outside(folder).display()));
        let path = own.concat() + &path;
        Self { bed, path }
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = self.bed.command(&[&["run", "p.yaml"], args].concat());
        self.bed.forget();
        said(command.env("PATH", &self.path).output().expect("starts")).ok()
    }

    fn ran(&self, args: &[&str]) -> Vec<String> {
        self.run(args);
        self.bed.marks()
    }

    /// Runs until the next run would be a repeat.
    #[track_caller]
    fn arm(&self, what: &str) {
        for _ in 0..3 {
            self.run(&[]);
            if self.bed.is_repeat() {
                return;
            }
        }
        panic!("{what}: no run was a repeat");
    }
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("write");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn may_be_run(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn relink(link: &Path, target: &str) {
    std::fs::remove_file(link).expect("remove");
    symlink(target, link).expect("link");
}

fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).expect("remove");
}

/// What was left for the next run.
fn left(bed: &Bed) -> PathBuf {
    let folder = bed.store().join("v1/repeats");
    let mut files = std::fs::read_dir(folder).expect("folder").flatten();
    let file = files.next().expect("a file").path();
    assert!(files.next().is_none(), "one file alone");
    file
}

fn edit(bed: &Bed, from: &str, to: &str) {
    let text = bed.read("p.yaml");
    assert!(text.contains(from), "{from}");
    bed.write("p.yaml", &text.replace(from, to));
}

/// A change, and what the next run must run.
type Change = (&'static str, fn(&Yard), &'static [&'static str]);

const CHANGES: [Change; 19] = [
    ("a link of two leads elsewhere", |yard| relink(&yard.bed.path("between"), "far/two.txt"), &["use"]),
    ("code", |yard| yard.bed.write("code/a.sh", "false\n"), &["use"]),
    ("code added", |yard| yard.bed.write("code/b.sh", "true\n"), &["use"]),
    ("a program", |yard| program(&yard.bed.outside("second/helper"), "echo other"), &["use"]),
    ("a program before it", |yard| program(&yard.bed.outside("first/helper"), "echo first"), &["use"]),
    ("what was passed over may be run", |yard| may_be_run(&yard.bed.outside("first/extra")), &["use"]),
    ("what was not there", |yard| program(&yard.bed.outside("away"), "echo"), &["use"]),
    ("an empty folder of the PATH is gone", |yard| remove(&yard.bed.outside("empty")), &[]),
    ("the pipeline", |yard| edit(&yard.bed, "echo inside", "echo  inside"), &["make"]),
    ("what a condition reads", |yard| edit(&yard.bed, "default: 1", "default: 6"), &["rare"]),
    ("a source that nothing reads", |yard| edit(&yard.bed, "sources: {", "sources: { more: { path: far },"), &[]),
    ("a lock", |yard| yard.bed.write("p.lock", "flowrun-lock = 2\n"), &[]),
    ("what was left is damaged", |yard| Damage::Flipped.to(&left(&yard.bed)), &[]),
    ("what was left is cut", |yard| Damage::Truncated.to(&left(&yard.bed)), &[]),
    ("entries are gone", |yard| remove(&yard.bed.store().join("v1/entries")), &["make", "use"]),
    ("contents are gone", |yard| remove(&yard.bed.store().join("v1/blobs")), &["make", "use"]),
    ("the store is gone", |yard| remove(&yard.bed.store().join("v1")), &["make", "use"]),
    ("room was made", |yard| drop(yard.bed.flowrun(&["gc", "--max-size", "0B"]).ok()), &["make", "use"]),
    ("room was made, and nothing went", |yard| drop(yard.bed.flowrun(&["gc", "--max-size", "1TB"]).ok()), &[]),
];

#[test]
fn whatever_a_run_hangs_on_makes_the_next_one_look() {
    let yards: Vec<Yard> = CHANGES.iter().map(|_| Yard::new()).collect();
    std::thread::sleep(REST);
    for ((what, change, runs), yard) in CHANGES.iter().zip(&yards) {
        yard.arm(what);
        change(yard);
        assert_eq!(yard.ran(&[]), *runs, "{what}");
        assert!(!yard.bed.is_repeat(), "{what}: it was a repeat");
        assert!(yard.ran(&[]).is_empty(), "{what}");
    }
}

#[test]
fn a_run_that_is_asked_for_otherwise_is_no_repeat() {
    let yard = Yard::new();
    std::thread::sleep(REST);
    yard.arm("at first");
    let runs: [(&[&str], &[&str]); 6] = [
        (&["--no-locked"], &[]),
        (&["--set", "n=6"], &["rare"]),
        (&["--only", "make"], &[]),
        (&["--force", "use"], &["use"]),
        (&["--from", "make"], &["make", "use"]),
        (&["--json"], &[]),
    ];
    for (args, ran) in runs {
        assert_eq!(yard.ran(args), ran, "{args:?}");
        assert_eq!(yard.bed.is_repeat(), args == ["--no-locked"], "{args:?}");
    }
    yard.arm("after others");
    let other = Yard { path: format!("{}:/", yard.path), ..yard };
    assert!(other.ran(&[]).is_empty() && !other.bed.is_repeat(), "another PATH");
    other.arm("another PATH");
}

#[test]
fn what_was_only_touched_is_read_again_once() {
    let yard = Yard::new();
    std::thread::sleep(REST);
    yard.arm("at first");
    let before = std::fs::read(left(&yard.bed)).expect("read");
    let touch = |text: &str| yard.bed.write("seed.txt", text);
    touch("seed\n");
    assert!(yard.ran(&[]).is_empty() && yard.bed.is_repeat());
    assert!(std::fs::read(left(&yard.bed)).expect("read") == before, "the clock cannot tell its next change yet");
    touch("deed\n");
    assert_eq!(yard.ran(&[]), ["make"], "the same size");
    touch("seed\n");
    std::thread::sleep(REST);
    yard.arm("it rested");
    touch("seed\n");
    std::thread::sleep(REST);
    assert!(yard.ran(&[]).is_empty() && yard.bed.is_repeat());
    let after = std::fs::read(left(&yard.bed)).expect("read");
    assert!(after != before, "what was touched is known as it is now");
    assert!(yard.ran(&[]).is_empty() && yard.bed.is_repeat());
    assert!(std::fs::read(left(&yard.bed)).expect("read") == after);
    may_be_run(&yard.bed.path("seed.txt"));
    assert_eq!(yard.ran(&[]), ["make"], "the same bytes, and it may be run");
}

#[test]
fn damage_in_the_store_is_found_by_a_repeat_too() {
    let yard = Yard::new();
    std::thread::sleep(REST);
    // One of the listings is that of the code, which is made again without a step.
    let contents: [(&[u8], usize); 4] =
        [(b"seed\nand made\n", 1), (b"inside\n", 1), (b"executable\n", 2), (b"flowrun-tree 1\n", 3)];
    for damage in Damage::ALL {
        for (content, times) in contents {
            yard.arm("whole");
            let all = blobs(&yard.bed.store());
            let same: Vec<&PathBuf> =
                all.iter().filter(|(_, bytes)| bytes.starts_with(content)).map(|(path, _)| path).collect();
            assert_eq!(same.len(), times, "{same:?}");
            for path in same {
                yard.arm("whole");
                let is_code = all[path].windows(4).any(|name| name == b"a.sh");
                damage.to(path);
                let ran = yard.ran(&[]);
                assert!(if is_code { ran.is_empty() } else { ran == ["make"] }, "{damage:?}, {content:?}: {ran:?}");
            }
        }
        yard.arm("whole again");
        let entry = first_file(&yard.bed.store().join("v1/entries"));
        damage.to(&entry);
        assert_eq!(yard.ran(&[]).len(), 1, "{damage:?}: an entry");
    }
}

/// Where a path really leads is looked at when the pipeline is checked, whatever is in its file.
#[test]
fn what_leaves_the_project_or_is_gone_is_told_after_a_repeat_too() {
    let pipeline = "flowrun: 1\nsources: { in: { path: data/in.txt }, off: { path: link } }\nsteps:\n  \
                    a: { run: \"cat {{ inputs.i }} > {{ outputs.o }}\", inputs: { i: sources.in }, outputs: { o: o.txt } }\n  \
                    b: { run: \"cat {{ inputs.i }} > {{ outputs.o }}\", if: \"false\", inputs: { i: sources.off }, outputs: { o: o.txt } }\n";
    type Move = (&'static str, fn(&Bed));
    let changes: [Move; 3] = [
        ("leaves the project", |bed| {
            std::fs::rename(bed.path("data"), beside(bed)).expect("rename");
            symlink(beside(bed), bed.path("data")).expect("link");
        }),
        ("does not exist", |bed| std::fs::rename(bed.path("far"), bed.path("near")).expect("rename")),
        ("leaves the project", |bed| relink(&bed.path("link"), "/etc/passwd")),
    ];
    let beds = changes.map(|_| {
        let bed = Bed::new(pipeline);
        bed.write("data/in.txt", "in\n");
        bed.write("far/one.txt", "one\n");
        symlink("far/one.txt", bed.path("link")).expect("link");
        bed.flowrun(&["run"]).ok();
        bed
    });
    std::thread::sleep(REST);
    for ((what, change), bed) in changes.iter().zip(&beds) {
        (0..2).for_each(|_| drop(bed.flowrun(&["run"]).ok()));
        assert!(bed.is_repeat(), "{what}");
        change(bed);
        bed.flowrun(&["run"]).fails(2).says(what);
    }
    let _ = std::fs::remove_dir_all(beside(&beds[0]));
}

/// A folder outside of the project, on the same file system.
fn beside(bed: &Bed) -> PathBuf {
    bed.root().with_extension("beside")
}

fn first_file(folder: &Path) -> PathBuf {
    let first = std::fs::read_dir(folder).expect("folder").flatten().next().expect("something").path();
    if first.is_dir() { first_file(&first) } else { first }
}

/// Results lie where people work: what they do to them is set right.
#[test]
fn results_are_looked_at_again() {
    let bed = Bed::marking(
        "flowrun: 1\nsteps:\n  copy: { run: \"MARK copy; echo a > {{ outputs.o }}\", outputs: { o: o.txt } }\nresults: { o: copy.o }\n",
    );
    let result = "results/p/o.txt";
    let changes: [fn(&Path); 4] = [
        |path| std::fs::write(path, "b\n").expect("write"),
        |path| std::fs::remove_file(path).expect("remove"),
        |path| std::fs::write(path.with_file_name("stray.txt"), "").expect("write"),
        |path| std::fs::write(path.with_file_name(".o.999999999-1"), "").expect("write"),
    ];
    assert_eq!(bed.ran(&[]), ["copy"]);
    for change in changes {
        std::thread::sleep(REST);
        for _ in 0..2 {
            assert!(bed.ran(&[]).is_empty());
        }
        assert!(bed.is_repeat());
        change(&bed.path(result));
        assert!(bed.ran(&[]).is_empty() && !bed.is_repeat());
        assert_eq!(bed.read(result), "a\n");
    }
    assert!(!bed.path("results/p/.o.999999999-1").exists(), "what a dead run left aside is gone");
}

/// With many steps those that are only counted are in the record by the one that is repeated.
#[test]
fn a_repeat_tells_and_records_what_the_run_before_did() {
    let bed = Bed::new(
        "flowrun: 1\nname: many\nsteps:\n  gate: { if: \"false\", fail: never }\n  each:\n    matrix: { n: [0, 1, 2, 3, 4, 5, 6, 7], m: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] }\n    \
         run: echo {{ matrix.n }} {{ matrix.m }} > {{ outputs.o }}\n    outputs: { o: o.txt }\n",
    );
    std::thread::sleep(REST);
    bed.flowrun(&["run"]).ok();
    let runs = || std::fs::read_dir(bed.store().join("v1/runs")).expect("runs").count();
    let told = |said: Said| -> Vec<String> {
        // Without the run's id and the time it took.
        let line =
            |line: &str| line.split(" in ").next().and_then(|line| line.split("  run ").next()).map(str::to_owned);
        said.stderr.lines().filter_map(line).collect()
    };
    let artifacts = || bed.flowrun(&["artifacts", "@latest", "--json"]).ok().json()["steps"].clone();
    let looked = told(bed.flowrun(&["run"]).ok());
    assert!(!bed.is_repeat());
    let (known, before) = (artifacts(), runs());
    for _ in 0..2 {
        assert_eq!(told(bed.flowrun(&["run"]).ok()), looked);
        assert!(bed.is_repeat());
        assert_eq!(artifacts(), known);
    }
    assert_eq!(runs(), before + 2);
    assert!(looked.iter().any(|line| line.contains("80 steps")), "{looked:?}");
    // Without the record of the run that it would repeat, a run looks for itself.
    remove(&bed.store().join("v1/runs"));
    assert_eq!(told(bed.flowrun(&["run"]).ok()), looked);
    assert!(!bed.is_repeat());
}
