//! flowrun against a model: random pipelines, random edits. The model computes everything itself and knows which keys there were; after
//! each edit exactly the steps that it predicts run, results are what it computes, and in the end an empty store gives the same.
//!
//! `FLOWRUN_MODEL_CASES` and `FLOWRUN_MODEL_SEED` set how many and which. A failure tells the case's own seed: one case of it is enough to
//! see it again.

#![cfg(target_os = "linux")]

mod edits;
mod function;
mod pipeline;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use edits::Edit;
use flowrun_core::digest::Digest;
use pipeline::{Key, Pipeline, Work, file_name};
use support::random::{Random, number};
use support::{Bed, REST, said};

const EDITS: usize = 6;

struct Case {
    bed: Bed,
    random: Random,
    pipeline: Pipeline,
    earlier: Vec<Pipeline>,
    /// Keys that have a result.
    seen: BTreeSet<Key>,
    story: Vec<String>,
    runs: usize,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let pipeline = Pipeline::any(&mut random);
        let story = vec![format!("FLOWRUN_MODEL_SEED={seed} FLOWRUN_MODEL_CASES=1")];
        Self { bed: Bed::new(""), random, pipeline, earlier: Vec::new(), seen: BTreeSet::new(), story, runs: 0 }
    }

    /// Makes the workspace what the pipeline says. What stays the same is not written, so that its time stays too.
    fn lay_out(&self) {
        let write = |name: &str, text: &str| {
            if !self.bed.path(name).exists() || self.bed.read(name) != text {
                self.bed.write(name, text);
            }
        };
        write("p.yaml", &self.bed.marked(&self.pipeline.yaml()));
        self.pipeline.files.iter().enumerate().for_each(|(number, text)| write(&file_name(number), text));
        self.pipeline.folder.iter().for_each(|(name, text)| write(&format!("folder/{name}"), text));
        for entry in std::fs::read_dir(self.bed.path("folder")).expect("folder").flatten() {
            if !self.pipeline.folder.contains_key(&*entry.file_name().to_string_lossy()) {
                std::fs::remove_file(entry.path()).expect("remove");
            }
        }
    }

    fn touch(&self) {
        let now = SystemTime::now() + Duration::from_secs(self.runs as u64);
        let mut files: Vec<String> = (0..self.pipeline.files.len()).map(file_name).collect();
        files.extend(self.pipeline.folder.keys().map(|name| format!("folder/{name}")));
        for file in files {
            std::fs::File::options()
                .write(true)
                .open(self.bed.path(&file))
                .expect("open")
                .set_modified(now)
                .expect("time");
        }
    }

    /// Takes the bytes that a step made out of the store, where nothing else holds the same: then exactly that step must run again. Which
    /// of two steps would, is a matter of who looks first.
    fn lose(&mut self, number: usize) -> Option<String> {
        let work = self.pipeline.work();
        let of_step = &work[number].first()?;
        let keys: BTreeSet<&Key> =
            work.iter().flatten().filter(|one| one.makes == of_step.makes).map(|one| &one.key).collect();
        let is_source =
            self.pipeline.files.iter().chain(self.pipeline.folder.values()).any(|text| *text == of_step.makes);
        if keys.len() > 1 || is_source {
            return None;
        }
        let digest = Digest::of(of_step.makes.as_bytes()).to_string();
        let blob = self.bed.store().join("v1/blobs").join(&digest[..2]).join(&digest[2..]);
        std::fs::remove_file(&blob)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", blob.display(), self.story.join("\n")));
        self.seen.remove(&of_step.key);
        // An older key that made the same bytes has lost them too, and gets them back with this one's.
        Some(format!("the store loses what step {number} made"))
    }

    fn edit(&mut self) {
        let before = self.pipeline.clone();
        let told = match edits::edit(&mut self.pipeline, &self.earlier, &mut self.random) {
            Edit::Changed(how) => how,
            Edit::Touch => {
                self.touch();
                "all files touched".to_owned()
            }
            Edit::Lose(number) => self.lose(number).unwrap_or_else(|| "nothing".to_owned()),
        };
        self.earlier.push(before);
        self.story.push(told);
    }

    /// The marks of what must run, and its keys.
    fn predict(&mut self, work: &[Vec<Work>]) -> Vec<String> {
        let mut marks = Vec::new();
        for one in work.iter().flatten() {
            if self.seen.insert(one.key.clone()) {
                marks.push(one.key.mark());
            }
        }
        marks.sort();
        marks
    }

    /// The results that the pipeline names, by path.
    fn results(&self, work: &[Vec<Work>]) -> BTreeMap<String, String> {
        let mut results = BTreeMap::new();
        for (number, step) in self.pipeline.steps.iter().enumerate() {
            match &step.matrix {
                None => drop(results.insert(format!("u{number}.txt"), work[number][0].makes.clone())),
                Some(_) => {
                    let joined = self.pipeline.joined(number, work);
                    results.extend(joined.into_iter().map(|(path, text)| (format!("u{number}/{path}"), text)));
                }
            }
        }
        results
    }

    fn told(&self, what: &str) -> String {
        format!("{what}\n{}\n{}", self.story.join("\n"), self.bed.read("p.yaml"))
    }

    /// Runs, and holds what ran and what came of it against the model.
    fn check(&mut self) {
        self.lay_out();
        let work = self.pipeline.work();
        let predicted = self.predict(&work);
        let jobs = (1 + self.random.below(4)).to_string();
        self.bed.forget();
        let ran = self.bed.flowrun(&["run", "p.yaml", "--jobs", &jobs]);
        assert_eq!(ran.code, 0, "{}", self.told(&ran.stderr));
        self.runs += 1;
        assert_eq!(self.bed.marks(), predicted, "{}", self.told("other steps ran than the model says (left: ran)"));
        self.is_published(&work, "results differ from the model's");
    }

    fn is_published(&self, work: &[Vec<Work>], what: &str) {
        for (path, text) in self.results(work) {
            assert_eq!(self.bed.read(&format!("results/p/{path}")), text, "{path}: {}", self.told(what));
        }
    }

    /// What an empty store gives is the same, and takes each key once.
    fn check_against_an_empty_store(&self) {
        let home = tempfile::tempdir().expect("tempdir");
        let _ = std::fs::remove_dir_all(self.bed.path("results"));
        self.bed.forget();
        let mut command = self.bed.command(&["run", "p.yaml"]);
        said(command.env("FLOWRUN_HOME", home.path()).output().expect("flowrun starts")).ok();
        let work = self.pipeline.work();
        let keys: BTreeSet<&Key> = work.iter().flatten().map(|one| &one.key).collect();
        let mut marks: Vec<String> = keys.iter().map(|key| key.mark()).collect();
        marks.sort();
        assert_eq!(self.bed.marks(), marks, "{}", self.told("an empty store: other steps ran (left: ran)"));
        self.is_published(&work, "an empty store gives otherwise");
    }
}

#[test]
fn exactly_what_the_model_predicts_runs_and_comes_of_it() {
    let (seed, cases) = (number("FLOWRUN_MODEL_SEED", 1), number("FLOWRUN_MODEL_CASES", 25));
    let begun = Instant::now();
    let (mut runs, mut marks) = (0, 0);
    for seed in seed..seed + cases {
        let mut case = Case::new(seed);
        case.check();
        for _ in 0..EDITS {
            case.edit();
            case.check();
        }
        case.check_against_an_empty_store();
        runs += case.runs + 1;
        marks += case.seen.len();
    }
    eprintln!("{cases} cases from seed {seed}: {runs} runs of {marks} keys in {:?}", begun.elapsed());
}

const RESTS: usize = 3;

/// The same where each edit comes after a run that only said again what the one before had found. All cases rest at once, until the clock can
/// tell the next change of what was touched last.
#[test]
fn what_could_be_said_again_is_not_after_an_edit() {
    let (seed, cases) = (number("FLOWRUN_MODEL_SEED", 1), number("FLOWRUN_MODEL_CASES", 25));
    let mut cases: Vec<Case> = (seed..seed + cases).map(Case::new).collect();
    cases.iter_mut().for_each(Case::check);
    let mut repeats = 0;
    for _ in 0..RESTS {
        std::thread::sleep(REST * 3);
        for case in &mut cases {
            case.bed.forget();
            (0..3).for_each(|_| drop(case.bed.flowrun(&["run", "p.yaml"]).ok()));
            assert!(case.bed.marks().is_empty(), "{}", case.told("nothing was changed, and it ran"));
            repeats += usize::from(case.bed.is_repeat());
            case.edit();
            case.check();
        }
    }
    cases.iter().for_each(Case::check_against_an_empty_store);
    assert!(repeats * 3 > cases.len() * RESTS * 2, "{repeats} repeats only, for {} cases", cases.len());
}
