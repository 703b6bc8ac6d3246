//! Every miss says why, with what was and what is; and `verify` tells steps that make something else each time.

mod support;

use std::path::Path;
use std::process::Stdio;

use support::{Bed, said, wait_for};

const WORK: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
sources: { data: { path: data }, table: { path: table.csv }, model: { path: model.bin } }
steps:
  work:
    code: [work.sh]
    run: |
      set -e
      sh work.sh {{ params.n }}
      cat {{ inputs.table }} > {{ outputs.out }}
    env: { MODE: a }
    inputs: { data: sources.data, table: sources.table, model: sources.model }
    outputs: { out: out.txt }
"#;

fn work() -> Bed {
    let bed = Bed::new(WORK);
    bed.write("work.sh", "echo one\n");
    bed.write("table.csv", "name\n2\n");
    std::fs::write(bed.path("model.bin"), [0, 159, 146, 150]).expect("write");
    bed.write("data/a.txt", "a\n");
    bed.write("data/b.txt", "b\n");
    bed
}

fn edit(bed: &Bed, old: &str, new: &str) {
    let text = bed.read("p.yaml");
    assert!(text.contains(old));
    bed.write("p.yaml", &text.replace(old, new));
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

#[track_caller]
fn told(what: &str, by: &str, text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "{what}: {by} does not say `{part}`:\n{text}");
    }
}

#[test]
fn every_edit_is_named_with_old_and_new_by_plan_run_and_explain() {
    let bed = work();
    bed.flowrun(&["plan", "p.yaml"]).ok().says("never ran here");
    bed.flowrun(&["run", "p.yaml"]).ok().says("never ran here");
    type Edit = fn(&Bed);
    // What the one line says, and what stands below it where there is room.
    let edits: [(&str, Edit, &[&str], &[&str]); 13] = [
        ("the script", |bed| edit(bed, "set -e\n", "set -eu\n"), &["run: set -e → set -eu"], &["-set -e", "+set -eu"]),
        (
            "a line more",
            |bed| edit(bed, "set -eu\n", "set -eu\n      true\n"),
            &["run: + true"],
            &["+true", "@@ -1,3 +1,4 @@"],
        ),
        ("a param", |bed| edit(bed, "default: 1", "default: 2"), &["run: sh work.sh 1 → sh work.sh 2"], &[" true"]),
        ("a variable", |bed| edit(bed, "MODE: a", "MODE: b"), &["env.MODE: a → b"], &[]),
        ("a variable more", |bed| edit(bed, "MODE: b", "MODE: b, SIZE: 3"), &["env.SIZE is new: 3"], &[]),
        (
            "the text of a file",
            |bed| bed.write("table.csv", "name\n3\n"),
            &["input.table: 2 → 3"],
            &["@@ -1,2 +1,2 @@", " name"],
        ),
        (
            "a file that is no text",
            |bed| std::fs::write(bed.path("model.bin"), [0, 159, 146, 150, 1, 2]).expect("write"),
            &["input.model: 4 B ", " → 6 B "],
            &[],
        ),
        (
            "a file of a folder",
            |bed| bed.write("data/b.txt", "bbb\n"),
            &["input.data: b.txt changed, 2 B → 4 B"],
            &["-b", "+bbb"],
        ),
        ("a file more", |bed| bed.write("data/c.txt", "c\n"), &["input.data: c.txt added, 2 B"], &[]),
        (
            "a file under another name",
            |bed| std::fs::rename(bed.path("data/b.txt"), bed.path("data/z.txt")).expect("rename"),
            &["input.data: b.txt → z.txt renamed"],
            &[],
        ),
        (
            "a file's mode and one less",
            |bed| {
                mode(&bed.path("data/a.txt"), 0o755);
                std::fs::remove_file(bed.path("data/c.txt")).expect("remove");
            },
            &["input.data: a.txt is executable now (and 1 more)"],
            &["c.txt removed, 2 B"],
        ),
        ("code", |bed| bed.write("work.sh", "echo two\n"), &["code.work.sh: echo one → echo two"], &[]),
        (
            "the name of an output",
            |bed| edit(bed, "out: out.txt", "out: other.txt"),
            &["out/out.txt → ", "out/other.txt"],
            &["output.out: out.txt → other.txt"],
        ),
    ];
    for (what, edit, line, below) in edits {
        edit(&bed);
        let plan = bed.flowrun(&["plan", "p.yaml"]).ok().stdout;
        told(what, "plan", &plan, line);
        told(what, "plan", &plan, below);
        let explain = bed.flowrun(&["explain", "work", "p.yaml"]).ok().stdout;
        told(what, "explain", &explain, line);
        told(what, "explain", &explain, below);
        told(what, "explain", &explain, &["would run"]);
        let run = bed.flowrun(&["run", "p.yaml"]).ok().stderr;
        let miss = run.lines().find(|line| line.starts_with("miss")).unwrap_or_default();
        told(what, "run", miss, line);
        let after = bed.flowrun(&["explain", "work", "p.yaml"]).ok().stdout;
        told(what, "explain of what is cached", &after, line);
        told(what, "explain of what is cached", &after, below);
        told(what, "explain of what is cached", &after, &["cached", "from run"]);
    }
}

#[test]
fn explain_speaks_json_knows_instances_and_tells_no_secret() {
    let bed = Bed::new(
        r#"
flowrun: 1
steps:
  train:
    matrix: { seed: [1, 2] }
    run: 'echo {{ matrix.seed }} > {{ outputs.m }}'
    env: { TOKEN: { secret: MY_TOKEN } }
    outputs: { m: m.txt }
  never: { run: "true", cache: false }
  after: { run: "cat {{ inputs.x }}", inputs: { x: new.x } }
  new: { run: "echo 1 > {{ outputs.x }}", outputs: { x: x.txt }, cache: false }
"#,
    );
    let flowrun =
        |args: &[&str]| said(bed.command(args).env("MY_TOKEN", "sesame-9f3a").output().expect("flowrun starts"));
    flowrun(&["run", "p.yaml"]).ok();
    flowrun(&["explain", "train", "p.yaml"]).fails(2).says("train[seed=1], train[seed=2]");
    flowrun(&["explain", "train[seed=3]", "p.yaml"]).fails(2);
    flowrun(&["explain", "after", "p.yaml"]).fails(2).says("known only when new has run");
    flowrun(&["explain", "never", "p.yaml"]).ok().says("would run  `cache: false`");
    let shown = flowrun(&["explain", "train[seed=1]", "p.yaml"]).ok();
    assert!(shown.stdout.contains("secret.TOKEN") && !shown.stdout.contains("sesame"), "{}", shown.stdout);
    edit(&bed, "echo {{", "echo x{{");
    let told = flowrun(&["explain", "train[seed=1]", "p.yaml", "--json"]).ok().json();
    assert_eq!((&told["cached"], &told["result"]), (&false.into(), &serde_json::Value::Null), "{told}");
    assert_eq!(told["differences"][0]["difference"]["leaf"], "run", "{told}");
    assert_eq!(told["differences"], told["why"], "{told}");
    flowrun(&["run", "p.yaml"]).ok();
    let told = flowrun(&["explain", "train[seed=2]", "p.yaml", "--json"]).ok().json();
    assert_eq!(told["result"]["outputs"]["m"]["file"], "m.txt", "{told}");
    assert_eq!(told["leaves"]["secret.TOKEN"]["text"], "MY_TOKEN", "{told}");
}

/// The names of everything below a folder of the store.
fn stored(bed: &Bed, part: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![bed.path(".flowrun/v1").join(part)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("folder").flatten() {
            names.push(entry.path().display().to_string());
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("mkdir");
    for entry in std::fs::read_dir(from).expect("folder").flatten() {
        let place = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(std::fs::copy(entry.path(), place).expect("copy")),
        }
    }
}

#[test]
fn steps_that_make_the_same_again_are_the_same_and_the_cache_stays_as_it_is() {
    let bed = Bed::new("");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/data/plantdoc-sample"), &bed.path("sample"));
    let pipeline = r#"
flowrun: 1
sources: { pictures: { path: sample } }
steps:
  check:
    uses: flowrun/boxes-check@1
    inputs: { dataset: sources.pictures }
    outputs: { dataset: dir, report: findings.json }
    values: [images]
  list:
    run: 'MARK; ls {{ inputs.dataset }} > {{ outputs.list }}'
    inputs: { dataset: check.dataset }
    outputs: { list: list.txt }
  each:
    matrix: { n: [1, 2] }
    run: 'MARK; mkdir {{ outputs.made }}/sub; echo {{ matrix.n }} > {{ outputs.made }}/sub/n.txt'
    outputs: { made: dir }
  always: { run: "MARK", cache: false }
  gate: { if: check.values.images < 1, fail: no pictures }
"#;
    bed.write("p.yaml", &pipeline.replace("MARK", &bed.mark("ran")));
    bed.flowrun(&["verify", "p.yaml"]).ok().says("6 left out").says("not cached");
    assert!(bed.marks().is_empty(), "what is not cached is not run");
    assert_eq!(bed.ran(&[]).len(), 4);
    let before: Vec<_> = ["entries", "history", "runs"].map(|part| stored(&bed, part)).into();
    let said = bed.flowrun(&["verify", "p.yaml"]).ok();
    for line in ["same     check", "same     list", "same     each[n=1]", "same     each[n=2]"] {
        assert!(said.stdout.contains(line), "{}", said.stdout);
    }
    let said =
        said.says("left out always  `cache: false`").says("left out gate  a gate").says("4 the same, 2 left out");
    assert_eq!(said.stdout.lines().count(), 6);
    assert_eq!(bed.marks().len(), 7, "each ran once more");
    let after: Vec<_> = ["entries", "history", "runs"].map(|part| stored(&bed, part)).into();
    assert_eq!(after, before);
    assert_eq!(stored(&bed, "tmp").iter().filter(|name| !name.ends_with(".sweep")).count(), 0, "nothing is left of it");
    assert_eq!(bed.ran(&[]).len(), 1, "only what is never cached");
    let said = bed.flowrun(&["verify", "each[n=2]", "list", "p.yaml", "--json"]).ok();
    let steps: Vec<serde_json::Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(steps.len(), 2);
    assert!(steps.iter().all(|step| step["verdict"] == "same" && step["key"].is_string()), "{steps:?}");
    bed.flowrun(&["verify", "lst", "p.yaml"]).fails(2).says("did you mean `list`");
    bed.flowrun(&["verify", "each[n=3]", "p.yaml"]).fails(2).says("each[n=");
    bed.flowrun(&["verify", "a.yaml", "p.yaml"]).fails(2).says("two files");
}

const FICKLE: &str = r#"
flowrun: 1
steps:
  same: { run: "MARK; echo 1 > {{ outputs.o }}", outputs: { o: o.txt } }
  clock: { run: "MARK; echo begun > {{ outputs.t }}; date +%s%N >> {{ outputs.t }}", outputs: { t: t.txt } }
  score:
    run: |
      MARK
      date +'{"score": 1%N, "folds": 3}' > "$FLOWRUN_VALUES"
    values: [score, folds]
  three:
    run: |
      MARK
      for name in a b c; do echo $name > {{ outputs.made }}/$name.txt; done
      date +%s%N > {{ outputs.made }}/b.txt
    outputs: { made: dir }
  once:
    run: |
      MARK
      echo "it is line $(wc -l < RAN)"
      test "$(grep -c x RAN)" -le 5
"#;

fn fickle() -> Bed {
    let bed = Bed::new("");
    let mark = bed.mark("x");
    let ran = mark.rsplit(' ').next().expect("a path").to_owned();
    bed.write("p.yaml", &FICKLE.replace("MARK", &mark).replace("RAN", &ran));
    bed
}

#[test]
fn steps_that_make_something_else_are_named_with_what_differs() {
    let bed = fickle();
    assert_eq!(bed.ran(&["--jobs", "1"]).len(), 5);
    let said = bed.flowrun(&["verify", "p.yaml"]).fails(1);
    let expected = [
        "same     same",
        "differs  clock",
        "output t (t.txt: 26 B, first difference at byte ",
        " begun",
        "differs  score",
        "value score: ",
        "differs  three",
        "output made (made/: 1 file)",
        "b.txt: 20 B, first difference at byte ",
        "failed   once",
        "exited with 1",
        "it is line 10",
    ];
    for text in expected {
        assert!(said.stdout.contains(text), "`{text}` is not in\n{}", said.stdout);
    }
    for text in ["folds", "a.txt", "c.txt"] {
        assert!(!said.stdout.contains(text), "`{text}` is in\n{}", said.stdout);
    }
    said.says("1 the same, 3 different, 1 failed").says("hint: ").says("a seed that is not set");
    assert!(bed.ran(&[]).is_empty(), "the cache is as it was");
    bed.flowrun(&["verify", "p.yaml", "same"]).ok();
    let told = bed.flowrun(&["verify", "p.yaml", "three", "--json"]).fails(1).json();
    assert_eq!(told["outputs"][0]["files"][0]["path"], "b.txt", "{told}");
    assert!(told["outputs"][0]["files"][0]["first_difference"].as_u64().is_some_and(|at| at < 20), "{told}");
    assert_eq!(told["values"], serde_json::json!([]), "{told}");
}

#[test]
fn verifying_can_be_interrupted() {
    let bed = Bed::new("");
    let mark = bed.mark("x");
    let ran = mark.rsplit(' ').next().expect("a path").to_owned();
    let step = format!("{mark}; if [ $(wc -l < {ran}) -gt 1 ]; then sleep 1000; fi");
    bed.write("p.yaml", &format!("flowrun: 1\nsteps:\n  slow: {{ run: \"{step}\" }}\n"));
    assert_eq!(bed.ran(&[]).len(), 1);
    let verify =
        bed.command(&["verify", "p.yaml"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    wait_for("the second run", || bed.marks().len() == 2);
    let status = std::process::Command::new("kill").args(["-INT", &verify.id().to_string()]).status().expect("kill");
    assert!(status.success());
    said(verify.wait_with_output().expect("ends")).fails(130).says("interrupted");
}
