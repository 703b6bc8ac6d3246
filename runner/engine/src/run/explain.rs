//! Why a step has the key it has, and how that differs from its nearest earlier result.

use std::sync::Arc;

use flowrun_core::digest::Digest;
use flowrun_core::event::{Event, Reason, Stamped};
use flowrun_core::key::Manifest;
use flowrun_core::plan::Plan;
use flowrun_core::schedule::Scheduler;

use super::driver::{Driver, Wishes};
use super::{Options, Report, RunError, Stop, find_all, machine, prepare};
use crate::project::Project;
use crate::store::Store;

/// What a step's key is made of.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The key.
    pub key: Digest,
    /// Its leaves.
    pub manifest: Manifest,
    /// Whether its result is there.
    pub cached: bool,
    /// The nearest other result of the step: its key and the run that made it.
    pub nearest: Option<(Digest, String)>,
    /// What differs from it.
    pub reasons: Vec<Reason>,
}

/// Remembers why a step cannot be explained.
#[derive(Default)]
struct Witness {
    step: String,
    problem: Option<String>,
    instances: Vec<String>,
}

impl Report for Witness {
    fn event(&mut self, event: &Stamped) {
        match &event.event {
            Event::Missed { step, reasons, .. } if *step == self.step => {
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

/// Explains a step (`train`) or an instance of a fan-out (`train[seed=1]`).
///
/// # Errors
/// When there is no such step, or its key cannot be known; then the message says until when.
pub async fn explain(project: &Project, options: Options, label: &str) -> Result<Explanation, RunError> {
    let plan = Plan::new(&project.program);
    let step = label.split('[').next().unwrap_or(label).to_owned();
    let wanted = find_all(&plan, std::slice::from_ref(&step))?;
    let mut witness = Witness { step: label.to_owned(), ..Witness::default() };
    let store = Store::open(&project.root)?;
    let (session, _) = prepare(project, options.params, store, &plan, true, &mut witness).await?;
    let session = Arc::new(session);
    let chosen = plan.with_ancestors(&wanted);
    let scheduler = Scheduler::new(plan.specs(Some(&chosen)), machine(None), true);
    let wishes = Wishes { dry_run: true, forced: Default::default(), resumed: Default::default() };
    let mut driver =
        Driver::new(session.clone(), &plan, scheduler, wishes, None, String::new(), &mut witness, Stop::new());
    driver.drive().await;
    let found = driver.found(label);
    drop(driver);
    session.save_memo();
    let Some((manifest, cached)) = found else {
        let instances = (!witness.instances.is_empty())
            .then(|| format!("it runs more than once: {}", witness.instances.join(", ")));
        let problem = instances.or(witness.problem).unwrap_or_else(|| "no such instance".to_owned());
        return Err(RunError::Unknown { step: label.to_owned(), problem });
    };
    let key = manifest.key();
    let nearest = session.nearest(label, &manifest, Some(key));
    let reasons = nearest.as_ref().map(|(_, earlier)| session.differences(&manifest, earlier)).unwrap_or_default();
    Ok(Explanation { key, cached, nearest: nearest.map(|(entry, _)| (entry.key, entry.run)), reasons, manifest })
}
