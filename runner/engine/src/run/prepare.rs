//! Before anything runs: the lock holds what the pipeline asks for, or is completed, or the run is refused; and the Pythons are found.
//!
//! Knows nothing of how anything is found out: that is [`crate::locking`]'s.

use std::collections::BTreeSet;

use flowrun_core::event::{Event, Stamped};
use flowrun_core::pins::{self, Wants};
use flowrun_core::plan::Plan;
use flowrun_core::stored::lock::Pins;
use serde_json::{Map, Value as Json};

use super::session::{self, Session};
use super::{Report, RunError, cuda, now_ms};
use crate::fetch::{Cache, Platform};
use crate::lockfile::{self, Lockfile};
use crate::locking::{self, Completion, Upgrade};
use crate::project::Project;
use crate::store::Store;

/// What a run does with the lock.
#[derive(Clone, Copy)]
pub(super) enum Locking {
    /// What is missing is found out.
    Completed { written: bool },
    /// It is refused.
    Held,
}

/// A session whose lock pins everything, and what was done for it.
pub(super) async fn prepare(
    project: &Project,
    params: Map<String, Json>,
    store: Store,
    plan: &Plan,
    locking: Locking,
    report: &mut dyn Report,
) -> Result<(Session, Vec<Event>), RunError> {
    let cache = Cache::of_user().map_err(RunError::Prepare)?;
    let platform = Platform::current().map_err(RunError::Prepare)?;
    cuda::check(plan, platform).map_err(RunError::Prepare)?;
    project.looks.glance(&lockfile::path_of(&project.file));
    let mut lock = Lockfile::of(&project.file)?;
    let wants = [locking::wants_of(project).map_err(RunError::Prepare)?];
    let mut drift = match locking {
        Locking::Held => locking::drift(&lock, &wants[0], platform),
        Locking::Completed { .. } => Vec::new(),
    };
    if !drift.is_empty() {
        return Err(RunError::Drift(drift));
    }
    let mut notes: Vec<Event> = cuda::warning(plan).await.map(|text| Event::Warned { text }).into_iter().collect();
    if let Locking::Completed { written } = locking {
        let mut tell = |what| {
            project.looks.spoil();
            report.event(&Stamped { at: now_ms(), event: Event::Preparing { what } });
        };
        notes.extend(complete(&mut lock, project, &wants, &cache, platform, written, &mut tell).await?);
    }
    let found = session::interpreters(plan, &cache, &lock.pins, platform, &project.looks).await;
    let (interpreters, others) = found.map_err(RunError::Prepare)?;
    match locking {
        Locking::Held => drift.extend(others),
        Locking::Completed { .. } => notes.extend(others.into_iter().map(|text| Event::Warned { text })),
    }
    match drift.is_empty() {
        true => Ok((Session::new(project.clone(), params, store, cache, platform, lock.pins, interpreters), notes)),
        false => Err(RunError::Drift(drift)),
    }
}

/// Finds out what the lock lacks for this run, and writes it down; what changed is told in a line.
async fn complete(
    lock: &mut Lockfile,
    project: &Project,
    wants: &[Wants],
    cache: &Cache,
    here: Platform,
    written: bool,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<Vec<Event>, RunError> {
    let old = lock.pins.clone();
    let upgrade = Upgrade::None;
    locking::unmoved(&old.plugins, &project.plugins, &upgrade).map_err(RunError::Prepare)?;
    let only = BTreeSet::from([here.to_string()]);
    let platforms = old.platforms.union(&only).cloned().collect();
    let mut next = pins::carry(&old, wants, &platforms, false);
    let completion = Completion { cache, project, here, old: &old, all: wants, platforms: &only, upgrade: &upgrade };
    let done = locking::complete(&mut next, &completion, tell).await;
    done?;
    lock.pins = next;
    // A bundle stays what it was packed as.
    if !written || project.is_bundle() {
        return Ok(Vec::new());
    }
    let is_new = !lock.exists();
    let shown = lock.path().display().to_string();
    match lock.save() {
        Ok(false) => Ok(Vec::new()),
        Ok(true) if is_new => Ok(vec![Event::Preparing { what: format!("wrote {shown}") }]),
        Ok(true) => Ok(vec![Event::Preparing { what: format!("wrote {shown}: {}", told(&old, &lock.pins)) }]),
        // What is found out is used; the next run finds it out again.
        Err(error) => Ok(vec![Event::Warned { text: format!("nothing is pinned by this run: {error}") }]),
    }
}

/// Changes that are told in a run's line about its lock.
const MOST_TOLD: usize = 4;

fn told(old: &Pins, new: &Pins) -> String {
    let changes = pins::changes(old, new);
    let shown = changes.iter().take(MOST_TOLD).map(|change| format!("{}: {}", change.about, change.change));
    let mut shown: Vec<String> = shown.collect();
    match changes.len().saturating_sub(MOST_TOLD) {
        0 if shown.is_empty() => "in its present form".to_owned(),
        0 => shown.join("; "),
        more => {
            shown.push(format!("and {more} more"));
            shown.join("; ")
        }
    }
}
