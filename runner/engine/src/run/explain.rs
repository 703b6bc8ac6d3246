//! Why a step has the key it has, where its result comes from, and how both differ from its nearest other result.

use std::collections::BTreeSet;
use std::sync::Arc;

use flowrun_core::digest::Digest;
use flowrun_core::event::{Event, Reason, Stamped};
use flowrun_core::key::Manifest;
use flowrun_core::plan::Plan;
use flowrun_core::schedule::{NodeId, Scheduler};

use super::driver::{Driver, Wishes};
use super::session::Session;
use super::{Locking, Options, Report, RunError, Stop, find_all, machine, prepare};
use crate::project::Project;
use crate::store::{Store, StoredEntry};

/// What a step's key is made of.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The key.
    pub key: Digest,
    /// Its leaves.
    pub manifest: Manifest,
    /// Its result, where that is there.
    pub result: Option<StoredEntry>,
    /// Why it would run, where it would.
    pub why: Vec<Reason>,
    /// The nearest other result of the step: its key and the run that made it.
    pub nearest: Option<(Digest, String)>,
    /// What differs from it.
    pub differences: Vec<Reason>,
}

/// Remembers why a step would run, or cannot be explained.
#[derive(Default)]
struct Witness {
    step: String,
    why: Vec<Reason>,
    problem: Option<String>,
    instances: Vec<String>,
}

impl Report for Witness {
    fn event(&mut self, event: &Stamped) {
        match &event.event {
            Event::Missed { step, reasons, .. } if *step == self.step => {
                self.why.clone_from(reasons);
                if let [Reason::After { steps }] = reasons.as_slice() {
                    self.problem = Some(format!("its inputs are known only when {} has run", steps.join(", ")));
                }
            }
            Event::Failed { step, failure, .. } if *step == self.step => self.problem = Some(failure.message.clone()),
            Event::Skipped { step, .. } if *step == self.step => self.problem = Some("it is skipped".into()),
            Event::Passed { step } if *step == self.step => {
                self.problem = Some("it is a gate, and open: gates have no key".into())
            }
            Event::Expanded { step, instances } if *step == self.step => self.instances.clone_from(instances),
            _ => {}
        }
    }
}

/// The id of a step in the file, of a step or an instance of a fan-out.
pub(super) fn id_of(label: &str) -> &str {
    label.split('[').next().unwrap_or(label)
}

/// A dry run over some steps, driven to its end: what is cached, what would run, and why.
pub(super) async fn survey<'a>(
    session: Arc<Session>,
    plan: &'a Plan,
    chosen: &BTreeSet<NodeId>,
    report: &'a mut dyn Report,
) -> Driver<'a> {
    let scheduler = Scheduler::new(plan.specs(Some(chosen)), machine(None), true);
    let wishes = Wishes {
        dry_run: true,
        recalled: true,
        keep_going: true,
        forced: Default::default(),
        resumed: Default::default(),
    };
    let mut driver = Driver::new(session, plan, scheduler, wishes, None, String::new(), report, Stop::new());
    driver.drive().await;
    driver
}

/// Explains a step (`train`) or an instance of a fan-out (`train[seed=1]`).
///
/// # Errors
/// When there is no such step, or its key cannot be known; then the message says until when.
pub async fn explain(project: &Project, options: Options, label: &str) -> Result<Explanation, RunError> {
    let plan = Plan::new(&project.program);
    let wanted = find_all(&plan, &[id_of(label).to_owned()])?;
    let mut witness = Witness { step: label.to_owned(), ..Witness::default() };
    let store = Store::open(&project.root)?;
    let (session, _) =
        prepare(project, options.params, store, &plan, Locking::Completed { written: false }, &mut witness).await?;
    let session = Arc::new(session);
    let mut driver = survey(session.clone(), &plan, &plan.with_ancestors(&wanted), &mut witness).await;
    let found = driver.found(label);
    drop(driver);
    session.save_memo();
    let Some(found) = found else {
        let instances = (!witness.instances.is_empty())
            .then(|| format!("it runs more than once: {}", witness.instances.join(", ")));
        let problem = instances.or(witness.problem).unwrap_or_else(|| "no such instance".to_owned());
        return Err(RunError::Unknown { step: label.to_owned(), problem });
    };
    let manifest = Arc::unwrap_or_clone(found.manifest);
    let key = manifest.key();
    let result = session.store.peek_entry(&key).ok().flatten().filter(|_| found.cached);
    let nearest = session.nearest(label, &manifest, Some(key));
    // Made once more: a look keeps what it found in the workspace only as long as it needs it.
    let made = session.job(&found.question);
    let origins = made.map(|(_, origins)| origins).unwrap_or_default();
    let differs = |(_, earlier): &(StoredEntry, Manifest)| session.differences(&manifest, earlier, &origins);
    let differences = nearest.as_ref().map(differs).unwrap_or_default();
    let nearest = nearest.map(|(entry, _)| (entry.key, entry.run));
    Ok(Explanation { key, result, why: witness.why, nearest, differences, manifest })
}
