//! What a run that has nothing to do leaves for the next one: what it told, and all it looked at.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use flowrun_core::artifact::Artifact;
use flowrun_core::digest::Digest;
use flowrun_core::event::{Counts, Event};
use flowrun_core::stored::memo::Stat;
use flowrun_core::stored::repeat::{self, Finding, Look, Seen, State};

use super::Asked;
use crate::store::{Result, Store, StoredResult};

/// More steps than this without values are counted and not told one by one.
const MOST_TOLD: usize = 64;

/// Hears a run, to leave what the next one can say again.
#[derive(Debug, Default)]
pub(crate) struct Retelling {
    started: Option<Event>,
    steps: Vec<Event>,
    quiet: usize,
    published: Vec<Event>,
    /// Results that were there: their keys, the states of their entries as they were read, and what they hold.
    found: Vec<(Digest, State, Vec<Artifact>)>,
}

impl Retelling {
    /// Hears an event; whether the run may still be repeated.
    pub(in crate::run) fn hear(&mut self, event: &Event) -> bool {
        match event {
            Event::RunStarted { resumed: None, .. } => self.started = Some(event.clone()),
            Event::Published { .. } => self.published.push(event.clone()),
            Event::Cached { .. } | Event::Expanded { .. } | Event::Passed { .. } | Event::Skipped { .. } => {
                self.hear_step(event)
            }
            _ => return false,
        }
        true
    }

    /// Hears where a result was found.
    pub(in crate::run) fn found(&mut self, entry: &StoredResult, state: &Stat) {
        let outputs = entry.outputs.values().map(|output| output.artifact).collect();
        self.found.push((entry.key, State::of(state), outputs));
    }

    /// With something that is told before all steps.
    pub(in crate::run) fn remarking(mut self, event: Event) -> Self {
        self.steps.push(event);
        self
    }

    fn hear_step(&mut self, event: &Event) {
        self.quiet += usize::from(event.is_quiet());
        if self.quiet == MOST_TOLD + 1 {
            self.steps.retain(|event| !event.is_quiet());
        }
        if self.quiet <= MOST_TOLD || !event.is_quiet() {
            self.steps.push(event.clone());
        }
    }

    /// Leaves it, where everything can be looked at again.
    pub(in crate::run) fn leave(self, asked: &Asked, store: &Store, at: u64, run: &str, counts: Counts) -> Result<()> {
        let Some(looks) = asked.looks.take() else { return Ok(()) };
        let mut told: Vec<Event> = self.started.into_iter().chain(self.steps).collect();
        if self.quiet > MOST_TOLD {
            told.push(Event::Repeated { run: run.to_owned(), steps: self.quiet });
        }
        told.extend(self.published);
        let looks = merged(looks, kept(store, &self.found)?);
        let root = &asked.root;
        let paths: Option<Vec<(&str, Seen)>> =
            looks.iter().map(|(path, seen)| Some((written(path, root)?, *seen))).collect();
        let finding = Finding { at, run: run.to_owned(), counts };
        let Some(paths) = paths else { return Ok(()) };
        let looks = paths.iter().map(|(path, seen)| Look { path, seen: *seen });
        match repeat::to_text(&finding, &told, looks) {
            Some(text) => store.keep_repeat(&asked.name, &text),
            None => Ok(()),
        }
    }
}

/// A path as it is written down: below the project, where it is.
fn written<'a>(path: &'a Path, root: &Path) -> Option<&'a str> {
    match path.strip_prefix(root) {
        Ok(own) if own.as_os_str().is_empty() => Some("."),
        Ok(below) => below.to_str(),
        Err(_) => path.to_str(),
    }
}

/// What the store holds of the results: entries and contents.
fn kept(store: &Store, found: &[(Digest, State, Vec<Artifact>)]) -> Result<Vec<(PathBuf, Seen)>> {
    let (mut looks, mut seen) = (Vec::new(), HashSet::new());
    for (key, state, outputs) in found {
        looks.push((store.entry_path(key), Seen::Itself(*state)));
        for output in outputs {
            let files = store.files_of(output, &mut seen)?;
            looks.extend(files.into_iter().map(|(path, mode, size)| (path, Seen::Kept(mode, size))));
        }
    }
    Ok(looks)
}

/// All looks, each once, and none that another one of the same path makes needless.
fn merged(looks: Vec<(PathBuf, Seen)>, kept: Vec<(PathBuf, Seen)>) -> Vec<(PathBuf, Seen)> {
    let mut known = HashSet::new();
    let seen: HashSet<PathBuf> =
        looks.iter().filter(|(_, seen)| *seen != Seen::There).map(|(path, _)| path.clone()).collect();
    let is_new = |look: &(PathBuf, Seen)| {
        let needless = look.1 == Seen::There && seen.contains(&look.0);
        !needless && known.insert(look.clone())
    };
    looks.into_iter().filter(is_new).chain(kept).collect()
}
