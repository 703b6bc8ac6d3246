//! Ctrl-C, once and twice, and steps that do not want to end, with the real binary.

mod support;

use std::time::{Duration, Instant};

use support::background::Background;
use support::{Bed, wait_for};

/// A step that will not end when it is asked to, with a child in a session of its own whose parent is gone.
const STUBBORN: &str = r#"
flowrun: 1
steps:
  hung:
    run: |
      trap '' TERM
      echo $$ >> {outside}/pids
      (setsid sh -c 'sh -c "echo \$\$ >> {outside}/pids; exec sleep 1000" &')
      MARK hung
      while :; do sleep 1000; done
    LIMIT
  next: { run: "MARK next", needs: [hung] }
"#;

/// How long a step has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

fn stubborn(limit: &str) -> Bed {
    Bed::marking(&STUBBORN.replace("LIMIT", limit))
}

fn start(bed: &Bed) -> Background {
    let run = Background::start(bed, "said", &["p.yaml"]);
    wait_for("the step", || !bed.marks().is_empty());
    run
}

fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// The processes that the step told of.
#[track_caller]
fn pids(bed: &Bed) -> Vec<String> {
    wait_for("both processes", || bed.told("pids").lines().count() == 2);
    let pids: Vec<String> = bed.told("pids").lines().map(str::to_owned).collect();
    assert!(pids.iter().all(|pid| !is_gone(pid)), "they run: {pids:?}");
    pids
}

#[test]
fn once_running_steps_are_asked_to_end_and_have_time_to() {
    let bed = Bed::marking(
        r#"
flowrun: 1
steps:
  kind:
    run: |
      trap 'sleep 0.3; MARK ended; exit 0' TERM
      MARK kind
      sleep 1000 & wait
  next: { run: "MARK next", needs: [kind] }
"#,
    );
    let mut run = start(&bed);
    let asked = Instant::now();
    run.interrupt();
    run.ends_with(130);
    run.says("flowrun run p.yaml --resume");
    assert!(asked.elapsed() < GRACE, "a step that ends is not waited for any longer");
    assert_eq!(bed.marks(), ["ended", "kind"]);
}

#[test]
fn once_a_step_that_will_not_end_is_killed_whole_after_its_time() {
    let bed = stubborn("");
    let mut run = start(&bed);
    let pids = pids(&bed);
    let asked = Instant::now();
    run.interrupt();
    run.ends_with(130);
    run.says("--resume");
    assert!(asked.elapsed() >= GRACE, "it had its time");
    assert!(pids.iter().all(|pid| is_gone(pid)), "{pids:?}");
    assert_eq!(bed.marks(), ["hung"]);
}

#[test]
fn twice_nothing_is_waited_for_and_nothing_stays() {
    let bed = stubborn("");
    let mut run = start(&bed);
    let pids = pids(&bed);
    run.interrupt();
    run.says("press again to kill it");
    let forced = Instant::now();
    run.interrupt();
    run.ends_with(130);
    run.says("p: 2 steps: 1 stopped, 1 skipped, interrupted");
    run.says("--resume");
    assert!(forced.elapsed() < GRACE - Duration::from_secs(1), "it ends at once");
    wait_for("the end of what the step started", || pids.iter().all(|pid| is_gone(pid)));
    assert_eq!(bed.marks(), ["hung"]);
}

#[test]
fn a_step_that_runs_too_long_and_will_not_end_is_killed_whole() {
    let bed = stubborn("timeout: 1s");
    let mut run = start(&bed);
    run.ends_with(4);
    run.says("ran past its timeout of 1s");
    let pids: Vec<String> = bed.told("pids").lines().map(str::to_owned).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_gone(pid)), "{pids:?}");
    assert_eq!(bed.marks(), ["hung"]);
}
