//! Taking up runs that were killed or have failed, with the real binary.

mod support;

use support::background::Background;
use support::{Bed, Said, wait_for};

/// A step that is never cached and makes what lies outside in `value`, one that is cached, and one that is slow until the sign `go` is given.
const PIPELINE: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1, max: 9 } }
steps:
  first: { run: "MARK first; echo {{ params.n }} > {{ outputs.x }}", outputs: { x: x.txt } }
  once:
    run: |
      MARK once
      cat {outside}/value > {{ outputs.x }}
    inputs: { x: first.x }
    outputs: { x: x.txt }
    cache: false
  slow:
    run: |
      MARK slow
      until [ -e {outside}/go ]; do sleep 0.05; done
      cat {{ inputs.x }} > {{ outputs.y }}
    inputs: { x: once.x }
    outputs: { y: y.txt }
results: { y: slow.y }
profiles: { other: { params: { n: 2 } } }
"#;

fn bed() -> Bed {
    let bed = Bed::marking(PIPELINE);
    std::fs::write(bed.outside("value"), "1\n").expect("write");
    bed
}

/// Runs until the marks are these, and is killed then.
#[track_caller]
fn killed(bed: &Bed, args: &[&str], marks: &[&str]) {
    bed.forget();
    let run = Background::start(bed, "killed", &[&["p.yaml"], args].concat());
    wait_for(&format!("{marks:?}"), || bed.marks() == marks);
    run.kill();
}

fn resumed(bed: &Bed, args: &[&str]) -> Said {
    bed.forget();
    bed.sign("go");
    bed.flowrun(&[&["run", "p.yaml", "--resume"], args].concat())
}

/// The id of the newest run.
fn latest(bed: &Bed) -> String {
    let runs = bed.flowrun(&["runs", "--json"]).ok().json();
    runs[0]["run"].as_str().expect("a run").to_owned()
}

#[test]
fn what_the_run_had_is_kept_though_another_made_it_anew() {
    let bed = bed();
    killed(&bed, &[], &["first", "once", "slow"]);
    let run = latest(&bed);
    std::fs::write(bed.outside("value"), "2\n").expect("write");
    bed.forget();
    bed.flowrun(&["run", "p.yaml", "--only", "once"]).ok();
    assert_eq!(bed.marks(), ["once"], "it is never cached");
    resumed(&bed, &[]).fails(2).says("has succeeded").says("hint");
    resumed(&bed, &[&run]).ok();
    assert_eq!(bed.marks(), ["slow"]);
    assert_eq!(bed.read("results/p/y.txt"), "1\n", "as the run had it");
}

#[test]
fn what_is_lost_is_made_again_and_said() {
    let bed = bed();
    std::fs::write(bed.outside("value"), "lost\n").expect("write");
    killed(&bed, &[], &["first", "once", "slow"]);
    let blobs = std::fs::read_dir(bed.path(".flowrun/v1/blobs")).expect("blobs").flatten();
    let blobs = blobs.flat_map(|folder| std::fs::read_dir(folder.path()).expect("folder").flatten());
    let lost: Vec<_> = blobs.filter(|blob| std::fs::read(blob.path()).expect("read") == b"lost\n").collect();
    assert_eq!(lost.len(), 1);
    std::fs::remove_file(lost[0].path()).expect("remove");
    let run = latest(&bed);
    resumed(&bed, &[]).ok().says(&format!("what run {run} made as `x` is gone or damaged"));
    assert_eq!(bed.marks(), ["once", "slow"]);
}

#[test]
fn what_a_person_forces_now_comes_first() {
    let bed = bed();
    killed(&bed, &[], &["first", "once", "slow"]);
    std::fs::write(bed.outside("value"), "3\n").expect("write");
    resumed(&bed, &["--from", "once"]).ok();
    assert_eq!(bed.marks(), ["once", "slow"]);
    assert_eq!(bed.read("results/p/y.txt"), "3\n");
}

#[test]
fn what_changed_since_is_named() {
    let bed = bed();
    killed(&bed, &["--set", "n=4"], &["first", "once", "slow"]);
    let run = latest(&bed);
    bed.write("p.yaml", &bed.read("p.yaml").replace("cat {{ inputs.x }} >", "cat {{ inputs.x }} {{ inputs.x }} >"));
    let told = resumed(&bed, &[]).ok();
    assert!(!told.stderr.contains("changed"), "what the run had not made cannot have changed:\n{}", told.stderr);
    assert_eq!(bed.read("results/p/y.txt"), "1\n1\n");

    std::fs::remove_file(bed.outside("go")).expect("remove");
    bed.write("p.yaml", &bed.read("p.yaml").replace("cat {{ inputs.x }} ", "cat "));
    killed(&bed, &["--set", "n=4"], &["once", "slow"]);
    let run = (latest(&bed) != run).then(|| latest(&bed)).expect("another run");
    bed.write("p.yaml", &bed.read("p.yaml").replace("; echo {{ params.n }} >", "; echo a{{ params.n }} >"));
    resumed(&bed, &[])
        .ok()
        .says(&format!("since run {run}: first changed: run: "))
        .says(&format!("since run {run}: once changed: input.x"));
    assert_eq!(bed.marks(), ["first", "once", "slow"]);
}

#[test]
fn a_run_that_takes_up_another_and_dies_can_be_taken_up() {
    let bed = Bed::marking(
        &PIPELINE.replace("MARK first;", "MARK first; until [ ! -e {outside}/hold ]; do sleep 0.05; done;"),
    );
    std::fs::write(bed.outside("value"), "1\n").expect("write");
    killed(&bed, &[], &["first", "once", "slow"]);
    // This one dies before it comes to what is never cached, and so never says what the first one made.
    bed.sign("hold");
    killed(&bed, &["--resume", "--force", "first"], &["first"]);
    std::fs::remove_file(bed.outside("hold")).expect("remove");
    // The first one's record is not needed any more.
    let runs = bed.flowrun(&["runs", "--json"]).ok().json();
    let oldest = runs.as_array().and_then(|runs| runs.last()).and_then(|run| run["run"].as_str()).expect("a run");
    std::fs::remove_dir_all(bed.path(".flowrun/v1/runs").join(oldest)).expect("remove");
    std::fs::write(bed.outside("value"), "2\n").expect("write");
    resumed(&bed, &[]).ok();
    assert_eq!(bed.marks(), ["slow"]);
    assert_eq!(bed.read("results/p/y.txt"), "1\n");
}

#[test]
fn a_run_that_failed_is_taken_up_as_well() {
    let bed = Bed::marking(&PIPELINE.replace("until [ -e {outside}/go ]; do sleep 0.05; done", "[ -e {outside}/go ]"));
    std::fs::write(bed.outside("value"), "1\n").expect("write");
    bed.flowrun(&["run", "p.yaml", "--set", "n=7"]).fails(1).says("--resume");
    assert_eq!(bed.marks(), ["first", "once", "slow"]);
    resumed(&bed, &[]).ok();
    assert_eq!(bed.marks(), ["slow"]);
}

#[test]
fn what_cannot_be_taken_up_is_refused_with_advice() {
    let bed = bed();
    let refused = |args: &[&str], texts: &[&str]| {
        let said = bed.flowrun(&[&["run"], args].concat()).fails(2);
        texts.iter().fold(said.says("hint"), |said, text| said.says(text));
    };
    refused(&["p.yaml", "--resume"], &["there is no earlier run of `p` here"]);
    refused(&["p.yaml", "--resume", "2019"], &["no run `2019` here", "flowrun runs"]);

    let run = Background::start(&bed, "running", &["p.yaml", "--set", "n=9"]);
    wait_for("the slow step", || bed.marks() == ["first", "once", "slow"]);
    let id = latest(&bed);
    for args in [&["p.yaml", "--resume"][..], &["p.yaml", "--resume", &id]] {
        refused(args, &[&format!("run {id} is still running"), "wait until it has ended"]);
    }
    run.kill();

    refused(&["p.yaml", "--resume", "--profile", "other"], &["was run with no profile", "without `--profile`"]);
    bed.write("q.yaml", "flowrun: 1\nsteps: { a: { run: 'true' } }\n");
    refused(&["q.yaml", "--resume", &id], &["is one of `p`, not of `q`", &format!("flowrun run p.yaml --resume {id}")]);
    refused(&["q.yaml", "--resume"], &["there is no earlier run of `q` here"]);

    let text = bed.read("p.yaml");
    bed.write("p.yaml", &text.replace("max: 9", "max: 8"));
    refused(&["p.yaml", "--resume"], &["the value `9` of param `n` is above 8", "cannot be taken up"]);
    bed.write(
        "p.yaml",
        &text.replace("params: { n:", "params: { k:").replace("params.n", "params.k").replace("n: 2", "k: 2"),
    );
    refused(&["p.yaml", "--resume"], &["no param `n`"]);
    bed.write("p.yaml", &text);

    resumed(&bed, &[]).ok();
    assert_eq!(bed.read("results/p/y.txt"), "1\n");
    let id = latest(&bed);
    for args in [&["p.yaml", "--resume"][..], &["p.yaml", "--resume", &id]] {
        refused(args, &[&format!("run {id} has succeeded"), "start a new run"]);
    }
}
