//! The pipeline that is killed and starved, its states, and the truth about each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::compare::{Left, Thing, differences, lies, tree};
use crate::support::{Bed, Said, said};

/// Every sort of step that needs nothing from a network: plugins, processes, a matrix and a `foreach` with their joins, values, a
/// condition, an open gate, a step that is never cached. `salt` changes keys and nothing that is made.
const PIPELINE: &str = r#"
flowrun: 1
params:
  salt: { type: integer, default: 0 }
  copies: { type: integer, default: 1 }
  parts: { type: list, default: [1, 2, 3] }
sources: { pictures: { path: pictures }, text: { path: text } }
steps:
  check:
    uses: flowrun/boxes-check@1
    inputs: { dataset: sources.pictures }
    with: { seed: "{{ params.salt }}" }
    outputs: { dataset: dir, report: findings.json }
    values: [images, boxes]
  augment:
    uses: flowrun/boxes-augment@1
    inputs: { dataset: check.dataset }
    with: { copies: "{{ params.copies }}" }
    outputs: { dataset: dir }
    values: [images]
  list:
    run: |
      : {{ params.salt }}
      cd {{ inputs.dataset }}
      find . -type f | sort | xargs cksum > "$OLDPWD"/{{ outputs.sums }}
      cd "$OLDPWD"
      echo '{"images": {{ augment.values.images }}, "sides": ["left", "right"]}' > "$FLOWRUN_VALUES"
    inputs: { dataset: augment.dataset }
    outputs: { sums: sums.txt }
    values: [images, sides]
  part:
    matrix: { of: "{{ params.parts }}" }
    run: |
      : {{ params.salt }}
      echo half > {{ outputs.lines }}
      (cat {{ inputs.text }}/*.txt; echo {{ matrix.of }}) > {{ outputs.lines }}
      mkdir {{ outputs.folder }}/deep
      cp {{ outputs.lines }} {{ outputs.folder }}/deep/{{ matrix.of }}
      ln -s deep/{{ matrix.of }} {{ outputs.folder }}/link
    inputs: { text: sources.text }
    outputs: { lines: lines.txt, folder: dir }
  side:
    foreach: "{{ list.values.sides }}"
    run: |
      : {{ params.salt }}
      (echo {{ item }}; head -n 3 {{ inputs.sums }}) > {{ outputs.o }}
    inputs: { sums: list.sums }
    outputs: { o: side.txt }
  join:
    run: cat {{ inputs.lines }}/*/lines.txt {{ inputs.folders }}/*/link {{ inputs.sides }}/*/side.txt > {{ outputs.all }}
    inputs: { lines: part.*.lines, folders: part.*.folder, sides: side.*.o }
    outputs: { all: all.txt }
  fresh: { run: "wc -l < {{ inputs.all }} > {{ outputs.n }}", inputs: { all: join.all }, outputs: { n: n.txt }, cache: false }
  many: { if: augment.values.images > 6, run: "echo many > {{ outputs.o }}", outputs: { o: many.txt } }
  gate: { if: check.values.images < 1, fail: nothing to look at }
results: { dataset: augment.dataset, report: check.report, all: join.all, parts: part.*.folder, n: fresh.n }
"#;

/// Pictures of the sample: enough for both splits, few enough for a run of a fifth of a second.
const PICTURES: [(&str, &[&str]); 2] =
    [("train", &["0000.jpg", "022.jpg", "000gb.jpg"]), ("test", &["000.jpg", "02c.jpg"])];

/// What a run can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    copies: u32,
    parts: &'static str,
    text: &'static str,
}

pub(crate) const STATES: [State; 5] = [
    State { copies: 1, parts: "[1, 2, 3]", text: "one\n" },
    State { copies: 1, parts: "[1, 2, 3]", text: "two\n" },
    State { copies: 2, parts: "[2, 3]", text: "two\n" },
    State { copies: 2, parts: "[3, 4, 5, 6]", text: "one\n" },
    State { copies: 0, parts: "[1]", text: "one\n" },
];

impl State {
    /// The arguments that ask for it.
    pub(crate) fn args(&self, salt: u64) -> Vec<String> {
        [format!("salt={salt}"), format!("copies={}", self.copies), format!("parts={}", self.parts)]
            .into_iter()
            .flat_map(|set| ["--set".to_owned(), set])
            .collect()
    }
}

/// The project, and what a run with an empty store makes of each state.
pub(crate) struct Bench {
    pub(crate) bed: Bed,
    truths: BTreeMap<State, Left>,
}

impl Bench {
    pub(crate) fn new(states: &[State]) -> Self {
        let bed = Bed::marking(PIPELINE);
        for (split, names) in PICTURES {
            lay_pictures(&bed, split, names);
        }
        let mut bench = Self { bed, truths: BTreeMap::new() };
        for state in states {
            bench.edit(state);
            let args = state.args(0);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let truth = bench.bed.truth(&args);
            bench.truths.insert(*state, truth);
        }
        bench
    }

    /// Brings the workspace into a state.
    pub(crate) fn edit(&self, state: &State) {
        self.bed.write("text/a.txt", state.text);
        self.bed.write("text/b.txt", "always\n");
    }

    pub(crate) fn run(&self, more: &[String]) -> Command {
        let mut args = vec!["run", "p.yaml"];
        args.extend(more.iter().map(String::as_str));
        self.bed.command(&args)
    }

    pub(crate) fn ran(&self, more: &[String]) -> Said {
        said(self.run(more).output().expect("flowrun starts"))
    }

    /// Whether the last run left exactly what an empty store gives, and the store holds nothing but the truth.
    #[track_caller]
    pub(crate) fn is_right(&self, state: &State, what: &str) {
        let (is, should) = (self.bed.left(), &self.truths[state]);
        assert!(is == *should, "{what}: not what an empty store gives:\n{}", is.against(should).join("\n"));
        let lies = lies(&self.bed.store());
        assert!(lies.is_empty(), "{what}: the store lies: {lies:?}");
    }

    /// Whether what is published is what this state asks for.
    #[track_caller]
    pub(crate) fn is_published(&self, state: &State, what: &str) {
        let (is, should) = (tree(&self.bed.path("results")), &self.truths[state].results);
        assert!(is == *should, "published otherwise, without a word: {what}\n{}", differences(&is, should).join("\n"));
    }

    /// Whether everything that is published is whole: of this run, of some state, or as it was before.
    #[track_caller]
    pub(crate) fn is_whole(&self, before: &BTreeMap<String, Thing>, what: &str) {
        let truths: Vec<&BTreeMap<String, Thing>> =
            self.truths.values().map(|left| &left.results).chain([before]).collect();
        for (path, thing) in tree(&self.bed.path("results")) {
            let aside = path.split('/').any(|part| part.starts_with('.'));
            let known = truths.iter().any(|truth| truth.get(&path) == Some(&thing));
            assert!(aside || known, "{path} was published by half: {thing:?}: {what}");
        }
    }

    /// What lies in the store's folder of unfinished things.
    pub(crate) fn unfinished(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.bed.store().join("v1/tmp")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| !path.ends_with(".sweep")).collect()
    }

    /// Processes that work in this bed, or are about it: number and command line.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let places = [self.bed.root().to_owned(), self.bed.outside("")];
        let numbers = std::fs::read_dir("/proc").expect("proc").flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter(|pid| is_about(*pid, &places)).map(|pid| (pid, words(pid))).collect()
    }
}

fn is_about(pid: i32, places: &[PathBuf]) -> bool {
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let words = words(pid);
    // A zombie has neither.
    let inside = |place: &PathBuf| folder.starts_with(place) || words.contains(&*place.to_string_lossy());
    pid != std::process::id() as i32 && places.iter().any(inside)
}

fn words(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Copies pictures of the sample with their rows.
fn lay_pictures(bed: &Bed, split: &str, names: &[&str]) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/data/plantdoc-sample");
    let table = std::fs::read_to_string(sample.join(format!("{split}.csv"))).expect("read");
    let of_these = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name},")));
    let rows: Vec<&str> = table.lines().take(1).chain(table.lines().filter(of_these)).collect();
    assert!(rows.len() > names.len(), "a picture has no row");
    bed.write(&format!("pictures/{split}.csv"), &(rows.join("\n") + "\n"));
    std::fs::create_dir_all(bed.path(&format!("pictures/{split}"))).expect("mkdir");
    for name in names {
        std::fs::copy(sample.join(split).join(name), bed.path(&format!("pictures/{split}/{name}"))).expect("copy");
    }
}
