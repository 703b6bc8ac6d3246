//! Changes of what steps can see.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::compare::{Thing, tree};
use crate::support::files::{replaced_unseen, unseen};
use crate::support::{Bed, REST, said};

/// Two readers of files and folders, one that follows what a folder's reader found, and two that read nothing.
const PIPELINE: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
sources: { file: { path: one.txt }, folder: { path: data } }
steps:
  one:
    run: |
      MARK one
      cat {{ inputs.file }} > {{ outputs.o }}
    inputs: { file: sources.file }
    outputs: { o: one.txt }
  all:
    run: |
      MARK all
      cd {{ inputs.folder }}
      (find . -printf '%P %y %l\n' | sort; find . -type f -perm -100 | sort; find . -type f | sort | xargs cat) > "$OLDPWD"/{{ outputs.o }}
    inputs: { folder: sources.folder }
    outputs: { o: all.txt }
  count:
    run: |
      MARK count
      ls {{ inputs.folder }} | wc -l > {{ outputs.o }}
    inputs: { folder: sources.folder }
    outputs: { o: count.txt }
  after: { run: "MARK after; cat {{ inputs.n }} > {{ outputs.o }}", inputs: { n: count.o }, outputs: { o: after.txt } }
  param: { run: "MARK param; echo {{ params.n }} > {{ outputs.o }}", outputs: { o: param.txt } }
  setting: { run: "MARK setting; echo $MODE > {{ outputs.o }}", env: { MODE: a }, outputs: { o: setting.txt } }
results: { one: one.o, all: all.o, after: after.o, param: param.o, setting: setting.o }
"#;

/// A change, and the steps that the run after it must run.
struct Phase {
    edit: fn(&Bed),
    args: &'static [&'static str],
    stray: &'static str,
    runs: &'static [&'static str],
}

/// A claim: changes one after another, each with its run.
struct Row {
    claim: &'static str,
    phases: Vec<Phase>,
}

fn row(claim: &'static str, edit: fn(&Bed), runs: &'static [&'static str]) -> Row {
    Row { claim, phases: Vec::new() }.then(edit, runs)
}

impl Row {
    fn then(mut self, edit: fn(&Bed), runs: &'static [&'static str]) -> Self {
        self.phases.push(Phase { edit, args: &[], stray: "", runs });
        self
    }

    /// The same with arguments to the run.
    fn with(mut self, args: &'static [&'static str], runs: &'static [&'static str]) -> Self {
        self.phases.push(Phase { edit: |_| {}, args, stray: "", runs });
        self
    }

    /// The same with a variable of flowrun's own environment that no step declared.
    fn stray(mut self, stray: &'static str, runs: &'static [&'static str]) -> Self {
        self.phases.push(Phase { edit: |_| {}, args: &[], stray, runs });
        self
    }
}

fn edit_pipeline(bed: &Bed, from: &str, to: &str) {
    let text = bed.read("p.yaml");
    assert!(text.contains(from), "`{from}` is not in the pipeline");
    bed.write("p.yaml", &text.replace(from, to));
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
}

fn make_executable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn rename(bed: &Bed, from: &str, to: &str) {
    std::fs::rename(bed.path(from), bed.path(to)).expect("rename");
}

const NOTHING: &[&str] = &[];
/// The readers of the folder, where the number of its entries stays.
const FOLDER: &[&str] = &["all", "count"];
const FOLDER_AND_NUMBER: &[&str] = &["after", "all", "count"];

fn rows() -> Vec<Row> {
    vec![
        row("touched only", |bed| touch(bed, &["one.txt", "data/a.txt", "data/sub/deep.txt"]), NOTHING),
        row("rewritten with the same bytes", |bed| bed.write("data/a.txt", "alpha\n"), NOTHING),
        row("replaced by a file of the same bytes", |bed| replaced_unseen(&bed.path("one.txt"), b"one\n"), NOTHING),
        row("a file edited", |bed| bed.write("one.txt", "one and more\n"), &["one"]),
        row("same size and time, in place", |bed| unseen(&bed.path("one.txt"), |path| write(path, "eno\n")), &["one"]),
        row("same size and time, by rename", |bed| replaced_unseen(&bed.path("one.txt"), b"eno\n"), &["one"]),
        row(
            "same size and time, in place inside a folder",
            |bed| unseen(&bed.path("data/a.txt"), |path| write(path, "ALPHA\n")),
            FOLDER,
        ),
        row(
            "same size and time, in place deep inside a folder",
            |bed| unseen(&bed.path("data/sub/deep.txt"), |path| write(path, "DEEP\n")),
            FOLDER,
        ),
        row(
            "same size and time, by rename inside a folder",
            |bed| replaced_unseen(&bed.path("data/a.txt"), b"ALPHA\n"),
            FOLDER,
        ),
        row("two files swap their bytes", swap, FOLDER),
        row("a file added", |bed| bed.write("data/c.txt", "gamma\n"), FOLDER_AND_NUMBER),
        row("an empty file added", |bed| bed.write("data/c.txt", ""), FOLDER_AND_NUMBER),
        row("a hidden file added", |bed| bed.write("data/.hidden", "h\n"), FOLDER),
        row("a file added deep inside", |bed| bed.write("data/sub/more.txt", ""), FOLDER),
        row("a file removed", |bed| std::fs::remove_file(bed.path("data/b.txt")).expect("remove"), FOLDER_AND_NUMBER),
        row("a file renamed", |bed| rename(bed, "data/b.txt", "data/c.txt"), FOLDER),
        row("a folder renamed", |bed| rename(bed, "data/sub", "data/bus"), FOLDER),
        row("a file made executable inside a folder", |bed| make_executable(&bed.path("data/a.txt")), FOLDER),
        row("a file made executable", |bed| make_executable(&bed.path("one.txt")), &["one"]),
        row("a link added", |bed| symlink("b.txt", bed.path("data/other")).expect("link"), FOLDER_AND_NUMBER),
        row("a link leads elsewhere", |bed| relink(bed, "b.txt"), FOLDER),
        row("a link becomes a file of the same bytes", link_to_file, FOLDER),
        row(
            "an empty folder added",
            |bed| std::fs::create_dir(bed.path("data/empty")).expect("mkdir"),
            FOLDER_AND_NUMBER,
        ),
        row(
            "an empty folder added deep inside",
            |bed| std::fs::create_dir(bed.path("data/sub/empty")).expect("mkdir"),
            FOLDER,
        ),
        row("a file becomes a folder of the same name", file_to_folder, FOLDER),
        row("what is nobody's data", |bed| bed.write("data/.git/HEAD", "x"), NOTHING)
            .then(|bed| bed.write("data/sub/__pycache__/m.pyc", "x"), NOTHING),
        row("an input changed and changed back", |bed| bed.write("one.txt", "two\n"), &["one"])
            .then(|bed| bed.write("one.txt", "one\n"), NOTHING)
            .then(|bed| bed.write("one.txt", "two\n"), NOTHING),
        row("a folder changed and changed back", |bed| bed.write("data/c.txt", "x"), FOLDER_AND_NUMBER)
            .then(|bed| std::fs::remove_file(bed.path("data/c.txt")).expect("remove"), NOTHING),
        row("a command changed and changed back", |bed| edit_pipeline(bed, "echo {{", "echo 0{{"), &["param"])
            .then(|bed| edit_pipeline(bed, "echo 0{{", "echo {{"), NOTHING),
        row("a param changed and changed back", |_| {}, NOTHING)
            .with(&["--set", "n=2"], &["param"])
            .with(&[], NOTHING)
            .with(&["--set", "n=2"], NOTHING),
        row(
            "a declared variable changed and changed back",
            |bed| edit_pipeline(bed, "MODE: a", "MODE: b"),
            &["setting"],
        )
        .then(|bed| edit_pipeline(bed, "MODE: b", "MODE: a"), NOTHING),
        row("a declared variable added", |bed| edit_pipeline(bed, "MODE: a", "MODE: a, MORE: 1"), &["setting"]),
        row("a variable that nobody declared", |_| {}, NOTHING).stray("1", NOTHING).stray("2", NOTHING),
        row("a step renamed", rename_step, NOTHING),
        row("what does not change what is made", dress_up, NOTHING),
        row("an output's file renamed", |bed| edit_pipeline(bed, "o: one.txt", "o: uno.txt"), &["one"]),
    ]
}

fn touch(bed: &Bed, names: &[&str]) {
    let now = SystemTime::now() + Duration::from_secs(5);
    for name in names {
        std::fs::File::options().write(true).open(bed.path(name)).expect("open").set_modified(now).expect("time");
    }
}

fn swap(bed: &Bed) {
    rename(bed, "data/a.txt", "data/x");
    rename(bed, "data/b.txt", "data/a.txt");
    rename(bed, "data/x", "data/b.txt");
}

fn relink(bed: &Bed, target: &str) {
    std::fs::remove_file(bed.path("data/link")).expect("remove");
    symlink(target, bed.path("data/link")).expect("link");
}

fn link_to_file(bed: &Bed) {
    std::fs::remove_file(bed.path("data/link")).expect("remove");
    bed.write("data/link", "a.txt");
}

fn file_to_folder(bed: &Bed) {
    std::fs::remove_file(bed.path("data/b.txt")).expect("remove");
    bed.write("data/b.txt/inside", "beta\n");
}

fn rename_step(bed: &Bed) {
    edit_pipeline(bed, "  one:\n", "  first:\n");
    edit_pipeline(bed, "one: one.o", "one: first.o");
}

/// Changes everything about a step that is no part of its result.
fn dress_up(bed: &Bed) {
    let more = "count:\n    help: counts\n    timeout: 1h\n    needs: [one]\n    retry: { attempts: 2 }\n    resources: { cpu: 2 }\n";
    edit_pipeline(bed, "count:\n", more);
}

fn lay_out() -> Bed {
    let bed = Bed::marking(PIPELINE);
    bed.write("one.txt", "one\n");
    bed.write("data/a.txt", "alpha\n");
    bed.write("data/b.txt", "beta\n");
    bed.write("data/sub/deep.txt", "deep\n");
    symlink("a.txt", bed.path("data/link")).expect("link");
    bed
}

/// Runs what is asked for, so that the files are remembered.
fn begin(row: &Row, bed: &Bed) {
    bed.ran(&[]);
    let remembered = bed.read(".flowrun/v1/memo").lines().count();
    assert!(
        remembered >= 6,
        "{}: the files are not remembered, so that what is tested is not what is claimed",
        row.claim
    );
}

fn check(row: &Row, bed: &Bed, number: usize) {
    let phase = &row.phases[number];
    let claim = format!("{}, change {}", row.claim, number + 1);
    (phase.edit)(bed);
    bed.forget();
    let mut command = bed.command(&[&["run", "p.yaml"], phase.args].concat());
    said(command.env("STRAY", phase.stray).output().expect("flowrun starts")).ok();
    assert_eq!(bed.marks(), phase.runs, "{claim}");
    let (is, should) = (bed.left(), bed.truth(phase.args));
    assert!(is == should, "{claim}: not what an empty store gives:\n{}", is.against(&should).join("\n"));
}

/// Each row starts from a run that remembers its files; files are remembered once the clock can tell their next change.
#[test]
fn what_changed_runs_and_nothing_else() {
    let rows = rows();
    let beds: Vec<Bed> = rows.iter().map(|_| lay_out()).collect();
    std::thread::sleep(REST);
    for (row, bed) in rows.iter().zip(&beds) {
        begin(row, bed);
        (0..row.phases.len()).for_each(|number| check(row, bed, number));
    }
}

/// The same where each change comes after a run that had nothing to do and left what the next one may say again.
#[test]
fn what_changed_runs_also_after_a_run_that_could_be_repeated() {
    let rows = rows();
    let beds: Vec<Bed> = rows.iter().map(|_| lay_out()).collect();
    std::thread::sleep(REST);
    rows.iter().zip(&beds).for_each(|(row, bed)| begin(row, bed));
    let most = rows.iter().map(|row| row.phases.len()).max().unwrap_or_default();
    for number in 0..most {
        let going = || rows.iter().zip(&beds).filter(|(row, _)| number < row.phases.len());
        // What was touched last was set five seconds ahead.
        std::thread::sleep(if number == 0 { REST } else { REST * 4 });
        for (row, bed) in going() {
            let args = number.checked_sub(1).map_or(&[][..], |before| row.phases[before].args);
            assert_eq!(bed.ran(args), NOTHING, "{}", row.claim);
            assert_eq!(bed.ran(args), NOTHING, "{}", row.claim);
            assert!(bed.is_repeat(), "{}, before change {}: it was no repeat", row.claim, number + 1);
        }
        going().for_each(|(row, bed)| check(row, bed, number));
    }
}

const ROUNDS: usize = 50;

/// An edit right after a run, of the same size and even with the same time: no clock tells it from what was there, and it is seen.
#[test]
fn an_edit_in_the_tick_of_the_last_look_is_seen() {
    let bed = Bed::marking(
        "flowrun: 1\nsources: { f: { path: f } }\nsteps:\n  copy: { run: \"cat {{ inputs.f }} > {{ outputs.o }}\", inputs: { f: sources.f }, outputs: { o: o.txt } }\nresults: { o: copy.o }\n",
    );
    bed.write("f", "0000");
    for round in 1..=ROUNDS {
        bed.flowrun(&["run", "p.yaml", "--jobs", "1"]).ok();
        let was = format!("{:04}", round - 1);
        assert_eq!(bed.read("results/p/o.txt"), was, "round {round}");
        let next = format!("{round:04}");
        match round % 3 {
            0 => bed.write("f", &next),
            1 => unseen(&bed.path("f"), |path| write(path, &next)),
            _ => replaced_unseen(&bed.path("f"), next.as_bytes()),
        }
    }
}

fn shell(bed: &Bed, script: &str) {
    let status = Command::new("sh").args(["-eu", "-c", script]).current_dir(bed.root()).status().expect("sh");
    assert!(status.success(), "{script}");
}

/// Nothing of a workspace's place, and nothing of its files' numbers and times, is in a key.
#[test]
fn a_workspace_that_was_moved_or_copied_runs_nothing() {
    let bed = lay_out();
    shell(&bed, "mkdir here && mv p.yaml one.txt data .flowrun here/");
    let run = |folder: &str| {
        bed.forget();
        said(bed.command(&["run", "p.yaml"]).current_dir(bed.path(folder)).output().expect("starts")).ok();
        (bed.marks(), tree(&bed.path(folder).join("results")))
    };
    let (first, results) = run("here");
    assert_eq!(first, ["after", "all", "count", "one", "param", "setting"]);
    for (what, script, folder) in [
        ("moved", "mv here there", "there"),
        ("copied", "cp -r there copy", "copy"),
        ("copied with times", "cp -a there exact", "exact"),
        ("copied without results", "cp -r there bare && rm -r bare/results", "bare"),
        ("moved deeper", "mkdir -p deep/er && mv there deep/er/", "deep/er/there"),
    ] {
        shell(&bed, script);
        let (marks, found) = run(folder);
        assert!(marks.is_empty(), "{what}: {marks:?} ran");
        assert!(found == results, "{what}: other results");
    }
    assert!(results.values().any(|thing| matches!(thing, Thing::File { .. })));
}
