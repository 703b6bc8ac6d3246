//! SIGKILL at a random instant of a run, or of its resumption, or of making room. The next run is right, and nothing of the dead one stays.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, STATES, State};
use crate::support::random::{Random, number};
use crate::support::wait_for;

/// How long processes of a dead run may take to be gone: a guard is told by the kernel at once, and kills within milliseconds; the rest
/// is for a busy machine.
const ORPHANS_GONE: Duration = Duration::from_secs(5);

/// Kills that a command may have.
#[derive(Default, Debug)]
struct Tally {
    runs: u64,
    resumptions: u64,
    gcs: u64,
    resumed: u64,
    refused: u64,
}

struct Harness {
    bench: Bench,
    random: Random,
    /// How long a whole run takes on a machine that has time for it: longer, and most kills would come after the end.
    length: Duration,
    tally: Tally,
    what: String,
}

impl Harness {
    fn new(seed: u64) -> Self {
        let bench = Bench::new(&STATES);
        bench.edit(&STATES[0]);
        let length = (0..3).map(|_| whole_run(&bench)).min().expect("three");
        Self { bench, random: Random::new(seed), length, tally: Tally::default(), what: String::new() }
    }

    fn kills(&self) -> u64 {
        self.tally.runs + self.tally.resumptions + self.tally.gcs
    }

    /// Starts a command and kills it some time within `longest`. Whether it still lived.
    fn kill_within(&mut self, mut command: Command, longest: Duration) -> bool {
        let pause = longest.mul_f64(self.random.part());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("flowrun starts");
        std::thread::sleep(pause);
        let lived = child.try_wait().expect("wait").is_none();
        child.kill().expect("kill");
        child.wait().expect("wait");
        self.what.push_str(&format!(", {} after {pause:?}", if lived { "killed" } else { "had ended" }));
        let begun = Instant::now();
        loop {
            let left = self.bench.processes();
            if left.is_empty() {
                return lived;
            }
            assert!(begun.elapsed() < ORPHANS_GONE, "{}: orphans: {left:?}", self.what);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes results away, so that the run has all to do; sometimes dies over it.
    fn wipe(&mut self) {
        if self.random.one_in(4) {
            let gc = self.bench.bed.command(&["gc", "--max-size", "0B"]);
            self.tally.gcs += u64::from(self.kill_within(gc, Duration::from_millis(25)));
        }
        self.bench.bed.flowrun(&["gc", "--max-size", "0B"]).ok();
    }

    /// A state, and arguments of the run that is to be killed.
    fn prepare(&mut self, round: u64) -> (State, Vec<String>) {
        let state = *self.random.pick(&STATES);
        self.bench.edit(&state);
        let mut salt = 0;
        let mut more = Vec::new();
        let how = match self.random.below(8) {
            0..4 => {
                self.wipe();
                "an empty store"
            }
            4..6 => {
                salt = round;
                "new keys"
            }
            6 => {
                more.extend(["--from".to_owned(), "check".to_owned(), "--force".to_owned(), "part".to_owned()]);
                "results that are made again"
            }
            _ => "what the store has",
        };
        self.what.push_str(&format!("{state:?}, salt {salt}, {how}"));
        (state, [state.args(salt), more].concat())
    }

    /// Takes the dead run up, or starts anew where it had not begun or had succeeded.
    fn resume(&mut self, args: &[String]) {
        let told = self.bench.ran(&["--resume".to_owned()]);
        if told.code == 0 {
            self.tally.resumed += 1;
            return;
        }
        let refusal =
            told.code == 2 && ["nothing to resume", "has succeeded"].iter().any(|why| told.stderr.contains(why));
        assert!(refusal, "{}: the resumption ended with {}: {}", self.what, told.code, told.stderr);
        self.tally.refused += 1;
        let told = self.bench.ran(args);
        assert_eq!(told.code, 0, "{}: refused to start: {}", self.what, told.stderr);
    }

    fn round(&mut self, seed: u64, round: u64) {
        self.what = format!("seed {seed}, round {round}: ");
        let (state, args) = self.prepare(round);
        let longest = self.length.mul_f64(1.1);
        let run = self.bench.run(&args);
        self.tally.runs += u64::from(self.kill_within(run, longest));
        if self.random.one_in(3) {
            let resumption = self.bench.run(&["--resume".to_owned()]);
            self.tally.resumptions += u64::from(self.kill_within(resumption, longest.mul_f64(0.7)));
        }
        self.resume(&args);
        self.bench.is_right(&state, &self.what);
        let what = self.what.clone();
        // The last command may still be closing the store when its word is out.
        wait_for(&format!("{what}: an empty folder of unfinished things"), || self.bench.unfinished().is_empty());
    }
}

/// How long a run takes that has all to do.
fn whole_run(bench: &Bench) -> Duration {
    bench.bed.flowrun(&["gc", "--max-size", "0B"]).ok();
    let begun = Instant::now();
    bench.ran(&STATES[0].args(0)).ok();
    begun.elapsed()
}

#[test]
fn killed_at_any_instant_the_next_run_is_right() {
    let (seed, kills) = (number("FLOWRUN_CRASH_SEED", 1), number("FLOWRUN_CRASH_KILLS", 60));
    let begun = Instant::now();
    let mut harness = Harness::new(seed);
    let mut round = 0;
    while harness.kills() < kills {
        round += 1;
        harness.round(seed, round);
    }
    eprintln!(
        "seed {seed}: {round} rounds in {:?}, a run takes {:?}: {:?}",
        begun.elapsed(),
        harness.length,
        harness.tally
    );
}
