//! Several runs at once on one store, with the real binary: what both need is made once, and whoever waits says for whom.

mod support;

use serde_json::Value as Json;
use support::background::Background;
use support::{Bed, wait_for};

/// A step that is slow until the sign `go` is given, and one after it.
const SLOW: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
steps:
  slow:
    run: |
      MARK slow
      until [ -e {outside}/go ]; do sleep 0.05; done
      echo {{ params.n }} > {{ outputs.x }}
    outputs: { x: x.txt }
  after: { run: "MARK after; cat {{ inputs.x }} > {{ outputs.y }}", inputs: { x: slow.x }, outputs: { y: y.txt } }
results: { y: after.y }
"#;

/// Whether a line says `verb` of `step`.
fn tells(said: &str, verb: &str, step: &str) -> bool {
    said.lines().any(|line| line.split_whitespace().take(2).eq([verb, step]))
}

#[test]
fn two_runs_of_one_pipeline_make_each_result_once() {
    let bed = Bed::marking(SLOW);
    let mut first = Background::start(&bed, "first", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let mut second = Background::start(&bed, "second", &["p.yaml"]);
    second.says(&format!("for run {}", first.id()));
    assert!(tells(&second.said(), "wait", "slow"), "{}", second.said());
    bed.sign("go");
    first.ends_with(0);
    second.ends_with(0);
    assert_eq!(bed.marks(), ["after", "slow"]);
    assert!(tells(&second.said(), "hit", "slow"), "{}", second.said());
    assert_eq!(bed.read("results/p/y.txt"), "1\n");
    let claims = std::fs::read_dir(bed.path(".flowrun/v1/claims")).expect("claims").count();
    assert_eq!(claims, 0, "what is let go of leaves nothing");
}

#[test]
fn another_pipeline_waits_for_a_step_that_it_shares_and_gives_its_room_away_meanwhile() {
    let bed = Bed::marking(SLOW);
    let other = SLOW.replace("slow", "base").replace("MARK base", "MARK slow");
    let other =
        other.replace("results:", "  free: { run: \"MARK free\" }\nresults:").replace("MARK after", "MARK other");
    bed.write("q.yaml", &bed.marked(&other));
    let mut first = Background::start(&bed, "first", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let mut second = Background::start(&bed, "second", &["q.yaml", "--json", "--jobs", "1"]);
    wait_for("the step that is free", || bed.marks() == ["free", "slow"]);
    second.says("\"waiting\"");
    bed.sign("go");
    first.ends_with(0);
    second.ends_with(0);
    assert_eq!(bed.marks(), ["after", "free", "other", "slow"]);
    let said = second.said();
    let events: Vec<Json> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |kind: &str| -> Vec<&Json> {
        events.iter().filter(|event| event["event"] == kind && event["step"] == "base").collect()
    };
    let [waiting] = of("waiting")[..] else { panic!("{said}") };
    assert_eq!(waiting["run"], first.id());
    let [cached] = of("cached")[..] else { panic!("{said}") };
    assert_eq!(cached["from"], first.id());
    assert!(of("started").is_empty(), "{said}");
}

#[test]
fn when_the_first_is_killed_the_second_takes_over() {
    let bed = Bed::marking(SLOW);
    let first = Background::start(&bed, "first", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let mut second = Background::start(&bed, "second", &["p.yaml"]);
    second.says("for run");
    first.kill();
    wait_for("the second's own", || bed.marks() == ["slow", "slow"]);
    bed.sign("go");
    second.ends_with(0);
    assert_eq!(bed.marks(), ["after", "slow", "slow"]);
    assert_eq!(bed.read("results/p/y.txt"), "1\n");
}

#[test]
fn when_the_first_fails_the_second_makes_it() {
    let failing = "until [ -e {outside}/go ] || [ -e {outside}/fail ]; do sleep 0.05; done
      if [ -e {outside}/fail ]; then rm {outside}/fail; exit 1; fi";
    let bed = Bed::marking(&SLOW.replace("until [ -e {outside}/go ]; do sleep 0.05; done", failing));
    let mut first = Background::start(&bed, "first", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let mut second = Background::start(&bed, "second", &["p.yaml"]);
    second.says("for run");
    bed.sign("fail");
    first.ends_with(1);
    wait_for("the second's own", || bed.marks() == ["slow", "slow"]);
    bed.sign("go");
    second.ends_with(0);
}

#[test]
fn whoever_waits_can_be_interrupted_at_once() {
    let bed = Bed::marking(SLOW);
    let mut first = Background::start(&bed, "first", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let mut second = Background::start(&bed, "second", &["p.yaml"]);
    second.says("for run");
    second.interrupt();
    second.ends_with(130);
    assert!(first.goes_on());
    bed.sign("go");
    first.ends_with(0);
}

#[test]
fn a_forced_step_waits_for_nobody() {
    let bed = Bed::marking(SLOW);
    let mut first = Background::start(&bed, "first", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let mut second = Background::start(&bed, "second", &["p.yaml", "--force", "slow"]);
    wait_for("the forced one", || bed.marks() == ["slow", "slow"]);
    bed.sign("go");
    first.ends_with(0);
    second.ends_with(0);
    assert!(!second.said().contains("for run"), "{}", second.said());
}

#[test]
fn where_nothing_can_be_claimed_the_work_is_done_all_the_same() {
    let last = "  last: { run: \"MARK last\", needs: [after] }\nresults:";
    let bed = Bed::marking(&SLOW.replace("results:", last));
    let mut run = Background::start(&bed, "run", &["p.yaml"]);
    wait_for("the slow step", || bed.marks() == ["slow"]);
    let claims = bed.path(".flowrun/v1/claims");
    std::fs::remove_dir_all(&claims).expect("remove");
    std::fs::write(&claims, "no folder").expect("write");
    bed.sign("go");
    run.ends_with(0);
    assert_eq!(bed.marks(), ["after", "last", "slow"]);
    assert_eq!(run.said().matches("other runs may do the same work").count(), 1, "{}", run.said());
}

#[test]
fn what_a_run_that_died_while_publishing_left_aside_is_removed() {
    let bed = Bed::marking(SLOW);
    bed.sign("go");
    bed.ran(&[]);
    // No process has such a number.
    bed.write("results/p/.y.999999999-0/half", "made");
    bed.write("results/p/.mine", "kept");
    assert!(bed.ran(&[]).is_empty());
    assert!(!bed.path("results/p/.y.999999999-0").exists());
    assert_eq!((bed.read("results/p/.mine"), bed.read("results/p/y.txt")), ("kept".to_owned(), "1\n".to_owned()));
}

#[test]
fn runs_that_publish_at_once_leave_one_whole_result() {
    let bed = Bed::new(
        r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
steps:
  make:
    run: |
      for i in 1 2 3 4 5 6 7 8 9; do echo {{ params.n }} > {{ outputs.many }}/$i; done
      echo {{ params.n }} > {{ outputs.one }}
    outputs: { many: dir, one: one.txt }
results: { many: make.many, one: make.one }
"#,
    );
    for round in 0..6 {
        let runs: Vec<Background> = (1..=4)
            .map(|n| Background::start(&bed, &format!("{round}.{n}"), &["p.yaml", "--set", &format!("n={n}")]))
            .collect();
        for mut run in runs {
            run.ends_with(0);
            assert!(!run.said().contains("warning"), "{}", run.said());
        }
        let many: Vec<String> = (1..=9).map(|file| bed.read(&format!("results/p/many/{file}"))).collect();
        assert!(!many[0].is_empty() && many.iter().all(|text| *text == many[0]), "{round}: {many:?}");
        assert!(["1\n", "2\n", "3\n", "4\n"].contains(&&*bed.read("results/p/one.txt")), "{round}");
        let mut names: Vec<String> = std::fs::read_dir(bed.path("results/p"))
            .expect("results")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["many", "one.txt"], "{round}: nothing is left aside");
    }
}
