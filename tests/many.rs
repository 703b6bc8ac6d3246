//! Eight runs at once, round after round, on one store and one workspace, with edits between: every result is right, and what one run
//! makes no other makes again.
//!
//! `FLOWRUN_MANY_ROUNDS` and `FLOWRUN_MANY_SEED` set how long and what.

#![cfg(target_os = "linux")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::Instant;

use flowrun_core::digest::Digest;
use serde_json::Value as Json;
use support::random::{Random, number};
use support::{Bed, Said, compare, said};

const RUNS: usize = 8;

/// What both pipelines share. A mark says what a key does: the function and the bytes that it reads.
const SHARED: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 0 } }
sources: { f: { path: f.txt }, g: { path: g } }
steps:
  a:
    run: |
      MARK a $(cat {{ inputs.f }})
      sleep 0.03
      (cat {{ inputs.f }}; echo a) > {{ outputs.o }}
    inputs: { f: sources.f }
    outputs: { o: a.txt }
  b:
    run: |
      MARK b $(cat {{ inputs.g }}/*)
      (cat {{ inputs.g }}/*; echo b) > {{ outputs.o }}
      cp {{ outputs.o }} {{ outputs.d }}/copy
    inputs: { g: sources.g }
    outputs: { o: b.txt, d: dir }
  m:
    matrix: { k: [1, 2, 3] }
    run: |
      MARK m{{ matrix.k }} $(cat {{ inputs.a }})
      (cat {{ inputs.a }}; echo {{ matrix.k }}) > {{ outputs.o }}
    inputs: { a: a.o }
    outputs: { o: m.txt }
"#;

const P: &str = r#"
  join:
    run: |
      MARK join $(cat {{ inputs.m }}/*/m.txt {{ inputs.b }})
      cat {{ inputs.m }}/*/m.txt {{ inputs.b }} > {{ outputs.o }}
    inputs: { m: m.*.o, b: b.o }
    outputs: { o: join.txt }
  n:
    run: |
      MARK n{{ params.n }} $(cat {{ inputs.j }})
      sleep 0.02
      (cat {{ inputs.j }}; echo {{ params.n }}) > {{ outputs.o }}
    inputs: { j: join.o }
    outputs: { o: n.txt }
results: { join: join.o, n: n.o, d: b.d, m: m.*.o }
"#;

const Q: &str = r#"
  z:
    run: |
      MARK z $(cat {{ inputs.d }}/copy)
      (cat {{ inputs.d }}/copy; echo z) > {{ outputs.o }}
    inputs: { d: b.d }
    outputs: { o: z.txt }
results: { z: z.o, d: b.d }
"#;

/// What the sources hold.
struct Sources {
    f: String,
    g: String,
}

impl Sources {
    /// Everything that a run of either pipeline makes, by `STEP.OUTPUT`: the bytes of files.
    fn makes(&self, n: usize) -> BTreeMap<String, String> {
        let a = format!("{}a\n", self.f);
        let b = format!("{}b\n", self.g);
        let m: Vec<String> = (1..=3).map(|k| format!("{a}{k}\n")).collect();
        let join = format!("{}{b}", m.concat());
        let mut made = BTreeMap::from([
            ("a.o".to_owned(), a),
            ("z.o".to_owned(), format!("{b}z\n")),
            ("n.o".to_owned(), format!("{join}{n}\n")),
            ("join.o".to_owned(), join),
            ("b.o".to_owned(), b),
        ]);
        made.extend(m.into_iter().enumerate().map(|(index, text)| (format!("m[k={}].o", index + 1), text)));
        made
    }
}

/// One of the runs of a round.
struct Run {
    pipeline: &'static str,
    n: usize,
    child: Child,
}

struct Field {
    bed: Bed,
    random: Random,
    sources: Sources,
    /// Contents that the sources had before, to come back to.
    earlier: Vec<String>,
    seen: BTreeSet<String>,
}

impl Field {
    fn new(seed: u64) -> Self {
        let bed = Bed::marking(&format!("{}{}", SHARED.trim_end(), P));
        bed.write("q.yaml", &bed.marked(&format!("{}{}", SHARED.trim_end(), Q)));
        let sources = Sources { f: String::new(), g: String::new() };
        Self { bed, random: Random::new(seed), sources, earlier: vec!["at first\n".to_owned()], seen: BTreeSet::new() }
    }

    /// A new content, or now and then an earlier one.
    fn content(&mut self, round: u64, of: &str) -> String {
        if self.random.one_in(4) {
            return self.random.pick(&self.earlier).clone();
        }
        let new = format!("{of} of round {round}\n");
        self.earlier.push(new.clone());
        new
    }

    fn edit(&mut self, round: u64) {
        if round == 1 || self.random.one_in(2) {
            self.sources.f = self.content(round, "f");
        }
        if round == 1 || self.random.one_in(2) {
            self.sources.g = self.content(round, "g");
        }
        self.bed.write("f.txt", &self.sources.f);
        self.bed.write("g/only.txt", &self.sources.g);
    }

    fn start(&mut self) -> Vec<Run> {
        let kind = self.random.below(4);
        let mut start = |index: usize| {
            let pipeline = if kind % 2 == 1 && index % 2 == 1 { "q" } else { "p" };
            let n = if kind >= 2 { self.random.below(4) } else { 0 };
            let jobs = (1 + self.random.below(4)).to_string();
            let (file, set) = (format!("{pipeline}.yaml"), format!("n={n}"));
            let mut command = self.bed.command(&["run", &file, "--json", "--jobs", &jobs, "--set", &set]);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("flowrun starts");
            Run { pipeline, n, child }
        };
        (0..RUNS).map(&mut start).collect()
    }

    fn round(&mut self, seed: u64, round: u64) {
        self.edit(round);
        let runs = self.start();
        // Everybody is read at once, so that nobody waits for a reader.
        let ends: Vec<(&'static str, usize, Said)> = std::thread::scope(|scope| {
            let end = |run: Run| {
                scope.spawn(move || (run.pipeline, run.n, said(run.child.wait_with_output().expect("ends"))))
            };
            let threads: Vec<_> = runs.into_iter().map(end).collect();
            threads.into_iter().map(|thread| thread.join().expect("joins")).collect()
        });
        let what = format!("seed {seed}, round {round}");
        for (pipeline, n, said) in &ends {
            self.is_right(said, *n, &format!("{what}, {pipeline} with n={n}"));
        }
        let ns: BTreeSet<(&str, usize)> = ends.iter().map(|(pipeline, n, _)| (*pipeline, *n)).collect();
        self.is_published(&ns, &what);
        let lies = compare::lies(&self.bed.store());
        assert!(lies.is_empty(), "{what}: the store lies: {lies:?}");
        self.ran_once(&what);
    }

    /// Whether a run ended well, with every output of every step what it should be.
    fn is_right(&self, said: &Said, n: usize, what: &str) {
        assert_eq!(said.code, 0, "{what}:\n{}\n{}", said.stdout, said.stderr);
        let should = self.sources.makes(n);
        let mut outputs = 0;
        for line in said.stdout.lines() {
            let event: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
            assert_ne!(event["event"], "warned", "{what}: {line}");
            for (name, output) in event["outputs"].as_object().into_iter().flatten() {
                let name = format!("{}.{name}", event["step"].as_str().expect("a step"));
                let Some(text) = should.get(&name) else { continue };
                outputs += 1;
                assert_eq!(output["artifact"]["digest"], Digest::of(text.as_bytes()).to_string(), "{what}: {name}");
            }
        }
        assert!(outputs >= 6, "{what}: {outputs} outputs only:\n{}", said.stdout);
    }

    /// Whether what lies published is whole and of one of the runs of the round.
    fn is_published(&self, runs: &BTreeSet<(&str, usize)>, what: &str) {
        let read = |name: &str| self.bed.read(&format!("results/{name}"));
        let whole = |n: usize| self.sources.makes(n);
        if runs.iter().any(|(pipeline, _)| *pipeline == "p") {
            let fitting =
                runs.iter().filter(|(pipeline, _)| *pipeline == "p").any(|(_, n)| whole(*n)["n.o"] == read("p/n.txt"));
            assert!(fitting, "{what}: results/p/n.txt is of no run: {}", read("p/n.txt"));
            assert_eq!(read("p/join.txt"), whole(0)["join.o"], "{what}");
            assert_eq!(read("p/d/copy"), whole(0)["b.o"], "{what}");
            for k in 1..=3 {
                assert_eq!(read(&format!("p/m/k={k}/m.txt")), whole(0)[&format!("m[k={k}].o")], "{what}");
            }
        }
        if runs.iter().any(|(pipeline, _)| *pipeline == "q") {
            assert_eq!(read("q/z.txt"), whole(0)["z.o"], "{what}");
            assert_eq!(read("q/d/copy"), whole(0)["b.o"], "{what}");
        }
        let stray = |path: &&String| path.split('/').any(|part| part.starts_with('.'));
        let left = compare::tree(&self.bed.path("results"));
        let left: Vec<&String> = left.keys().filter(stray).collect();
        assert!(left.is_empty(), "{what}: left in the results: {left:?}");
    }

    /// Whether every mark is new, in this round and since the first: the store forgets nothing here.
    fn ran_once(&mut self, what: &str) {
        let mut again: Vec<String> = self.bed.marks();
        self.bed.forget();
        again.retain(|mark| !self.seen.insert(mark.clone()));
        assert!(again.is_empty(), "{what}: ran again: {again:?}");
    }
}

#[test]
fn eight_runs_at_once_are_right_and_run_each_step_once() {
    let (seed, rounds) = (number("FLOWRUN_MANY_SEED", 1), number("FLOWRUN_MANY_ROUNDS", 50));
    let begun = Instant::now();
    let mut field = Field::new(seed);
    for round in 1..=rounds {
        field.round(seed, round);
    }
    eprintln!("seed {seed}: {rounds} rounds of {RUNS} runs in {:?}, {} keys", begun.elapsed(), field.seen.len());
}
