//! The processes that guard commands, seen from outside: what happens without the one they are forked from, and what they leave.

#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use support::background::Background;
use support::{Bed, wait_for};

/// Two steps, the first of which tells its guard and goes on when it may.
const STEPS: &str = r#"
flowrun: 1
steps:
  first:
    run: |
      echo $PPID > {outside}/guard
      while ! [ -e {outside}/go ]; do sleep 0.01; done
      MARK first
  second: { run: "cat /proc/$PPID/stat > {outside}/second; MARK second", needs: [first] }
"#;

/// The parent, by a process's line in `/proc`.
fn parent(stat: &str) -> String {
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).expect("a parent").to_owned()
}

fn stat(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default()
}

/// A run of them in its first step, the guard of that, and where the guard comes from.
fn start(bed: &Bed) -> (Background, String, String) {
    let run = Background::start(bed, "said", &["p.yaml"]);
    wait_for("the step", || bed.told("guard").ends_with('\n'));
    let guard = bed.told("guard").trim().to_owned();
    let server = parent(&stat(&guard));
    (run, guard, server)
}

#[test]
fn no_step_fails_for_what_guards_are_forked_from() {
    let bed = Bed::marking(STEPS);
    let (mut run, _, server) = start(&bed);
    assert!(Command::new("kill").args(["-KILL", &server]).status().expect("kill").success());
    std::fs::write(bed.outside("go"), "").expect("written");
    run.ends_with(0);
    assert_eq!(bed.marks(), ["first", "second"]);
    assert_ne!(parent(&bed.told("second")), server, "it is dead");
}

#[test]
fn a_flowrun_that_is_killed_leaves_none_of_them() {
    let bed = Bed::marking(STEPS);
    let (run, guard, server) = start(&bed);
    assert_eq!(stat(&guard).split(' ').nth(1), Some("(step-guard)"), "`pkill flowrun` is not for it");
    assert_eq!(stat(&server).split(' ').nth(1), Some("(guard-server)"));
    run.kill();
    let is_gone = |pid: &str| stat(pid).is_empty() || stat(pid).contains(") Z ");
    wait_for("their end", || is_gone(&guard) && is_gone(&server));
    assert!(bed.marks().is_empty());
}

/// Starting a program costs a step as much as all else that is done for it, and forking one a tenth of that.
#[test]
fn one_process_is_started_for_all_steps_and_one_is_forked_for_those_at_once() {
    let step = |at: usize| {
        format!(
            "  s{at}: {{ run: \"echo {at} $PPID $(cut -d' ' -f4 /proc/$PPID/stat) >> {{outside}}/parents\", tools: [cut] }}\n"
        )
    };
    let steps: String = (0..8).map(step).collect();
    let bed = Bed::marking(&format!("flowrun: 1\nsteps:\n{steps}"));
    bed.flowrun(&["run", "p.yaml", "--jobs", "2"]).ok();
    let told = bed.told("parents");
    assert_eq!(told.lines().count(), 8, "{told}");
    let of = |at: usize| -> BTreeSet<&str> { told.lines().filter_map(|line| line.split(' ').nth(at)).collect() };
    let (guards, servers) = (of(1), of(2));
    assert!((1..=2).contains(&guards.len()) && servers.len() == 1, "{told}");
}

/// Seconds of processors that children of this process have taken which it has waited for, and those they waited for.
fn taken() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the place is ours and large enough, and is read only after the call succeeded.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000).as_secs_f64();
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Run alone: other tests of this program start children too, which only adds to what is asked for here.
#[test]
fn what_steps_take_of_the_processors_is_told_as_flowruns_own() {
    let busy = "i=0; while [ $i -lt 400000 ]; do i=$((i + 1)); done; times > {outside}/times";
    let bed = Bed::marking(&format!("flowrun: 1\nsteps:\n  busy: {{ run: \"{busy}\" }}\n"));
    let before = taken();
    bed.flowrun(&["run", "p.yaml"]).ok();
    // `0m0.310000s 0m0.000000s`
    let told = bed.told("times");
    let own = told.split(['m', 's']).nth(1).and_then(|seconds| seconds.parse::<f64>().ok()).expect("seconds");
    let all = taken() - before;
    assert!(own > 0.05 && all >= own, "{all} s of which the step took {own}");
}
