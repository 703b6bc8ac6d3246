//! A store with a long past: whether finding that there is nothing to do takes longer in it.
//!
//! The past is written by the store itself, through the same doors as a run's: its records, its results in their steps' histories, and what these
//! made. Only the steps themselves are not run a million times.

use std::path::{Path, PathBuf};

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;
use flowrun_engine::store::{RunRecord, Sandbox, Store, StoredEntry, StoredOutput, new_run_id};
use serde_json::{Map, json};

use crate::Setting;
use crate::builds::REST;
use crate::dag::Dag;
use crate::measure::{Cost, median, run};
use crate::table::{Goal, Line};

/// The same project twice, once with a past.
pub(crate) fn measure(setting: &Setting) -> Vec<Line> {
    let (runs, blobs, wide) = (setting.sizes.runs, setting.sizes.blobs, setting.sizes.wide);
    let folders = ["history-none", "history-long"].map(|name| setting.folder.join(name));
    for folder in &folders {
        Dag::wide(wide).write(folder);
        again(setting, folder);
    }
    live_through(&folders[1], runs, blobs);
    std::thread::sleep(REST);
    for folder in &folders {
        again(setting, folder);
    }
    let mut costs: [Vec<Cost>; 2] = [Vec::new(), Vec::new()];
    for round in 0..setting.rounds * 3 {
        // The first of a round is now the one and now the other.
        for at in [round % 2, (round + 1) % 2] {
            costs[at].push(again(setting, &folders[at]));
        }
    }
    let [without, with] = costs;
    let line = |of: fn(&Cost) -> f64, unit| {
        let ratio = median(with.iter().zip(&without).map(|(with, without)| of(with) / of(without)));
        Line::new(format!("no-op after {runs} runs, {blobs} blobs"), median(with.iter().map(of)) * 1e3, unit)
            .beside("after none", Some(median(without.iter().map(of)) * 1e3))
            .ratio(Some(ratio))
    };
    // A tenth is what two measurements of the same differ by.
    vec![line(|cost| cost.cpu, "CPU ms").goal(Some(Goal::AtMost(1.1))), line(|cost| cost.wall, "wall ms")]
}

fn again(setting: &Setting, folder: &Path) -> Cost {
    run(&mut setting.tools[0].command(folder))
}

/// Fills a project's store with what so many runs leave, each with its part of the blobs.
fn live_through(project: &Path, runs: usize, blobs: usize) {
    let store = Store::open(project).expect("a store");
    let told = store.resolve("@latest").and_then(|id| store.events(&id)).expect("the run that was just made");
    let tags = tags(project);
    for at in 0..runs {
        let id = new_run_id(1_600_000_000_000 + at as u64 * 60_000, at as u64);
        let record = RunRecord::create(&store, &id, &json!({"pipeline": "suite", "file": "p.yaml"}));
        let mut record = record.expect("a record");
        told.iter().for_each(|line| record.append_event(line).expect("an event"));
        let made = (at * blobs / runs)..((at + 1) * blobs / runs);
        store.save_entry(&result(&store, &id, made), &tags[at % tags.len()]).expect("an entry");
    }
    store.settle().expect("written out");
}

/// The names under which the project's steps have their histories.
fn tags(project: &Path) -> Vec<String> {
    let history: PathBuf = project.join(".flowrun/v1/history");
    history.read_dir().expect("a history").flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A result with so many outputs.
fn result(store: &Store, run: &str, made: std::ops::Range<usize>) -> StoredEntry {
    let output = |at: usize| {
        let bytes = format!("blob {at}\n");
        let artifact = Artifact {
            mode: Mode::File,
            digest: store.put_bytes(bytes.as_bytes()).expect("a blob"),
            size: bytes.len() as u64,
        };
        (format!("o{at}"), StoredOutput { artifact, name: format!("o{at}.txt") })
    };
    StoredEntry {
        key: Digest::of(run.as_bytes()),
        manifest: json!({}),
        outputs: made.map(output).collect(),
        values: Map::new(),
        run: run.to_owned(),
        took_ms: 1,
        created_unix_ms: 1_600_000_000_000,
        sandbox: Sandbox::Landlock,
    }
}
