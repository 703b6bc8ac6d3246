//! Whole runs with the real binary: what runs, what does not, and what is said about it.

mod support;

use std::process::Stdio;

use support::{Bed, said, wait_for};

const CHAIN: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 1 }, unused: { type: string, default: x } }
sources: { data: { path: data } }
steps:
  count:
    run: |
      MARK count
      cat {{ inputs.data }}/*.txt | wc -l | tr -d ' ' > {{ outputs.lines }}
      echo "{\"lines\": $(cat {{ outputs.lines }})}" > "$FLOWRUN_VALUES"
    inputs: { data: sources.data }
    outputs: { lines: lines.txt }
    values: [lines]
  scale:
    code: [scale.sh]
    run: |
      MARK scale
      sh scale.sh {{ params.n }} < {{ inputs.lines }} > {{ outputs.scaled }}
    inputs: { lines: count.lines }
    outputs: { scaled: scaled.txt }
  other:
    run: |
      MARK other
      echo hello
    env: { MODE: a }
results: { scaled: scale.scaled }
"#;

fn chain() -> Bed {
    let bed = Bed::marking(CHAIN);
    bed.write("data/a.txt", "1\n2\n");
    bed.write("data/b.txt", "3\n");
    bed.write("scale.sh", "read x; echo $((x * $1))\n");
    bed
}

#[test]
fn exactly_what_must_run_does_and_the_plan_says_so() {
    let bed = chain();
    assert_eq!(bed.ran(&[]), ["count", "other", "scale"]);
    assert_eq!(bed.read("results/p/scaled.txt"), "3\n");
    assert!(bed.ran(&[]).is_empty(), "a second run runs nothing");
    type Edit = fn(&Bed);
    let edits: [(&str, Edit, &[&str], &[&str]); 7] = [
        ("a file in a folder", |bed| bed.write("data/b.txt", "4\n5\n"), &["count", "scale"], &["b.txt changed"]),
        (
            "the same number of lines: early cut-off",
            |bed| bed.write("data/b.txt", "6\n7\n"),
            &["count"],
            &["b.txt changed"],
        ),
        ("code", |bed| bed.write("scale.sh", "read x; echo $((x * $1 + 1))\n"), &["scale"], &["code.scale.sh"]),
        ("a file more", |bed| bed.write("data/c.txt", ""), &["count"], &["c.txt added"]),
        (
            "the script",
            |bed| bed.write("p.yaml", &bed.read("p.yaml").replace("echo hello", "echo goodbye")),
            &["other"],
            &["+echo goodbye"],
        ),
        (
            "a variable",
            |bed| bed.write("p.yaml", &bed.read("p.yaml").replace("MODE: a", "MODE: b")),
            &["other"],
            &["env.MODE", "a", "b"],
        ),
        ("touched only", |bed| bed.write("scale.sh", &bed.read("scale.sh")), &[], &[]),
    ];
    for (what, edit, runs, reasons) in edits {
        edit(&bed);
        let plan = bed.flowrun(&["plan", "p.yaml"]).ok();
        let told = format!("{}{}", plan.stdout, plan.stderr);
        for reason in reasons {
            assert!(told.contains(reason), "{what}: the plan does not say `{reason}`:\n{told}");
        }
        assert_eq!(bed.ran(&[]), runs, "{what}");
    }
    assert_eq!(bed.ran(&["--set", "n=5"]), ["scale"]);
    assert!(bed.ran(&["--set", "unused=y"]).is_empty(), "a param that no step uses changes nothing");
    assert!(bed.ran(&[]).is_empty(), "a result seen before comes back");
    assert_eq!(bed.ran(&["--force", "count"]), ["count"]);
    assert_eq!(bed.ran(&["--from", "count"]), ["count", "scale"]);
    assert!(bed.ran(&["--only", "scale"]).is_empty());
    assert_eq!(bed.ran(&["--only", "count", "--force", "count"]), ["count"], "what comes after is left out");
    bed.flowrun(&["run", "p.yaml", "--dry-run", "--force", "other"]).ok().says("other");
    assert!(bed.ran(&[]).is_empty(), "a dry run runs nothing");
}

#[test]
fn what_was_damaged_is_made_again_and_what_was_published_is_restored() {
    let bed = chain();
    bed.ran(&["--set", "n=2"]);
    std::fs::write(bed.path("results/p/scaled.txt"), "rubbish").expect("write");
    assert!(bed.ran(&["--set", "n=2"]).is_empty());
    assert_eq!(bed.read("results/p/scaled.txt"), "6\n", "a changed result is put right from the store");
    let blobs = bed.path(".flowrun/v1/blobs");
    for folder in std::fs::read_dir(blobs).expect("blobs").flatten() {
        for blob in std::fs::read_dir(folder.path()).expect("folder").flatten() {
            if [b"3\n", b"6\n"].iter().any(|bytes| std::fs::read(blob.path()).expect("read") == *bytes) {
                std::fs::remove_file(blob.path()).expect("remove");
                std::fs::write(blob.path(), "4\n").expect("write");
            }
        }
    }
    assert_eq!(bed.ran(&["--set", "n=2"]), ["count", "scale"]);
    assert_eq!(bed.read("results/p/scaled.txt"), "6\n");
}

#[test]
fn a_failure_says_what_why_and_where_the_rest_is() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  bad:
    run: |
      echo one
      echo "two went wrong" >&2
      exit 3
    outputs: { x: x.txt }
  after: { run: "MARK after", inputs: { x: bad.x } }
  last: { run: "MARK last", needs: [after] }
  free: { run: "MARK free" }
  lies: { run: "true", outputs: { y: y.txt } }
"#,
    );
    let told = bed.flowrun(&["run", "p.yaml", "--keep-going"]).fails(1);
    for text in [
        "bad",
        "exited with 3",
        "two went wrong",
        "flowrun logs",
        "after",
        "last",
        "output `y` was declared but not made",
    ] {
        assert!(told.stderr.contains(text), "`{text}` is not in\n{}", told.stderr);
    }
    assert_eq!(bed.marks(), ["free"]);
    bed.flowrun(&["logs", "@latest", "bad"]).ok().says("one\n").says("two went wrong\n");
    let artifacts = bed.flowrun(&["artifacts", "@latest", "--json"]).ok().json();
    assert_eq!(artifacts["steps"]["bad"]["state"], "failed", "{artifacts}");
}

#[test]
fn fan_outs_join_and_values_flow() {
    let bed = Bed::marking(
        r#"
flowrun: 1
params: { seeds: { type: list, default: [1, 2] } }
steps:
  train:
    matrix: { seed: "{{ params.seeds }}", mode: [a, b] }
    run: |
      MARK train-{{ matrix.seed }}{{ matrix.mode }}
      echo {{ matrix.seed }}{{ matrix.mode }} > {{ outputs.model }}
      echo '{"score": {{ matrix.seed }}}' > "$FLOWRUN_VALUES"
    outputs: { model: m.txt }
    values: [score]
  join:
    run: |
      MARK join
      cat {{ inputs.models }}/*/m.txt > {{ outputs.all }}
      echo {{ train.values | map(attribute="score") | max }} >> {{ outputs.all }}
      echo '{"names": ["x", "y y"], "n": 2}' > "$FLOWRUN_VALUES"
    inputs: { models: train.*.model }
    outputs: { all: all.txt }
    values: [names, n]
  each:
    foreach: "{{ join.values.names }}"
    run: |
      MARK each
      echo {{ item }} > {{ outputs.out }}
    outputs: { out: out.txt }
  last:
    run: cat {{ inputs.outs }}/*/out.txt > {{ outputs.all }}
    inputs: { outs: each.*.out }
    outputs: { all: last.txt }
    if: join.values.n > 1
  never: { run: "MARK never", if: join.values.n > 2 }
  after: { run: "MARK after", needs: [never] }
  gate: { if: join.values.n < 2, fail: "{{ join.values.n }} is too few" }
results: { all: join.all, last: last.all }
"#,
    );
    let marks = bed.ran(&[]);
    assert_eq!(marks, ["after", "each", "each", "join", "train-1a", "train-1b", "train-2a", "train-2b"]);
    assert_eq!(bed.read("results/p/all.txt"), "1a\n1b\n2a\n2b\n2\n");
    assert_eq!(bed.read("results/p/last.txt"), "x\ny y\n");
    assert_eq!(bed.ran(&["--set", "seeds=[2,3]"]), ["join", "train-3a", "train-3b"]);
    let got = bed.flowrun(&["get", "@latest", "train[seed=3,mode=a].model", "-o", "got.txt"]).ok();
    assert_eq!(bed.read("got.txt"), "3a\n", "{}", got.stderr);
}

#[test]
fn gates_conditions_retries_and_tolerance() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  flaky:
    run: |
      MARK flaky
      test "$(grep -c flaky {outside}/ran)" -ge 3
    retry: { attempts: 3, backoff: 10ms, on: [step] }
  soft: { run: "MARK soft; exit 1", continue_on_error: true }
  after: { run: "MARK after", needs: [soft] }
  gate: { needs: [after, flaky], fail: "closed for {{ 1 + 1 }} reasons" }
  behind: { run: "MARK behind", needs: [gate] }
"#,
    );
    bed.flowrun(&["run", "p.yaml"]).fails(1).says("closed for 2 reasons").says("behind");
    assert_eq!(bed.marks(), ["after", "flaky", "flaky", "flaky", "soft"]);
}

#[test]
fn what_a_step_sees_is_what_it_declared() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  look:
    run: |
      env | cut -d= -f1 | sort > {{ outputs.env }}
      echo "token is $TOKEN"
      ls -A > {{ outputs.files }}
    env: { TOKEN: { secret: MY_TOKEN }, SIZE: 3 }
    outputs: { env: env.txt, files: files.txt }
results: { env: look.env, files: look.files }
"#,
    );
    let run = |token: &str| {
        said(bed.command(&["run", "p.yaml"]).env("MY_TOKEN", token).env("STRAY", "1").output().expect("starts"))
    };
    run("sesame-9f3a").ok();
    let names: Vec<String> = bed.read("results/p/env.txt").lines().map(str::to_owned).collect();
    assert!(names.contains(&"TOKEN".to_owned()) && names.contains(&"SIZE".to_owned()));
    assert!(!names.iter().any(|name| name == "STRAY" || name == "MY_TOKEN"), "{names:?}");
    bed.flowrun(&["logs", "@latest", "look"]).ok().says("token is ***");
    let mut files = vec![bed.path(".flowrun")];
    while let Some(path) = files.pop() {
        match path.is_dir() {
            true => files.extend(std::fs::read_dir(path).expect("folder").flatten().map(|entry| entry.path())),
            false => {
                let bytes = std::fs::read(&path).expect("read");
                assert!(
                    !bytes.windows(11).any(|window| window == b"sesame-9f3a"),
                    "the secret is in {}",
                    path.display()
                );
            }
        }
    }
    run("another").ok().says("cached");
    bed.flowrun(&["run", "p.yaml", "--force", "look"]).fails(3).says("the secret `MY_TOKEN` is not set");
}

#[test]
fn a_killed_run_leaves_nothing_behind_and_is_taken_up() {
    let bed = Bed::marking(
        r#"
flowrun: 1
params: { n: { type: integer, default: 1 } }
steps:
  first: { run: "MARK first; echo {{ params.n }} > {{ outputs.x }}", outputs: { x: x.txt }, cache: false }
  slow:
    run: |
      MARK slow
      echo partial > {{ outputs.y }}
      if [ ! -e {outside}/go ]; then sleep 1000 & echo $! > {outside}/pid; wait; fi
      echo whole > {{ outputs.y }}
    inputs: { x: first.x }
    outputs: { y: y.txt }
results: { y: slow.y }
"#,
    );
    bed.flowrun(&["run", "p.yaml", "--resume"]).fails(2).says("nothing to resume");
    let mut run = bed.command(&["run", "p.yaml", "--set", "n=7"]).stderr(Stdio::null()).spawn().expect("starts");
    wait_for("the slow step", || !bed.told("pid").is_empty());
    run.kill().expect("kill");
    run.wait().expect("wait");
    let pid = bed.told("pid").trim().to_owned();
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    wait_for("the end of the killed run's processes", gone);
    assert_eq!(bed.read("results/p/y.txt"), "");
    bed.sign("go");
    assert_eq!(bed.ran(&["--resume"]), ["slow"], "what succeeded stays, even with `cache: false`");
    assert_eq!(bed.read("results/p/y.txt"), "whole\n");
    bed.flowrun(&["run", "p.yaml", "--resume"]).fails(2).says("has succeeded");
}

#[test]
fn a_timeout_and_an_interruption_have_their_own_codes() {
    let bed = Bed::marking("flowrun: 1\nsteps:\n  slow: { run: sleep 1000, timeout: 300ms }\n");
    bed.flowrun(&["run", "p.yaml"]).fails(4).says("ran past its timeout");
    let bed = bed_with_sleep();
    let run = bed.command(&["run", "p.yaml"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    wait_for("the step", || !bed.marks().is_empty());
    let status = std::process::Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill");
    assert!(status.success());
    said(run.wait_with_output().expect("ends")).fails(130).says("--resume");
}

fn bed_with_sleep() -> Bed {
    Bed::marking("flowrun: 1\nsteps:\n  slow: { run: \"MARK slow; sleep 1000\" }\n")
}

#[test]
fn the_same_key_runs_once_and_gc_makes_room() {
    let bed = Bed::marking(
        "flowrun: 1\nsteps:\n  a: { run: \"MARK x; echo 1 > {{ outputs.o }}\", outputs: { o: o.txt } }\n  b: { run: \"MARK x; echo 1 > {{ outputs.o }}\", outputs: { o: o.txt } }\n",
    );
    assert_eq!(bed.ran(&["--jobs", "4"]), ["x"]);
    bed.flowrun(&["gc", "--max-size", "0B", "--dry-run"]).ok();
    assert!(bed.ran(&[]).is_empty());
    bed.flowrun(&["gc", "--max-size", "0B"]).ok();
    assert_eq!(bed.ran(&[]), ["x"]);
}

#[test]
fn json_speaks_events_and_init_runs() {
    let bed = chain();
    let out = bed.flowrun(&["run", "p.yaml", "--json"]).ok();
    let events: Vec<serde_json::Value> = out
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(events[0]["event"], "run-started");
    assert_eq!(events.last().expect("events")["event"], "run-finished");
    bed.flowrun(&["explain", "scale", "p.yaml"]).ok().says("code.scale.sh");
    bed.flowrun(&["runs"]).ok().says("p");
    for format in ["text", "dot", "mermaid"] {
        bed.flowrun(&["graph", "p.yaml", "--format", format]).ok().says("scale");
    }
    bed.flowrun(&["completions", "bash"]).ok().says("flowrun");
    bed.flowrun(&["init", "fresh"]).ok();
    let fresh = std::fs::read_dir(bed.path("fresh"))
        .expect("folder")
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|e| e == "yaml"));
    let fresh = fresh.expect("a pipeline").path();
    bed.flowrun(&["run", fresh.to_str().expect("text")]).ok();
    bed.flowrun(&["init", "fresh"]).fails(2);
}
