//! Everything that a pipeline's steps stand on brought ahead of a run, which then needs no network.

use flowrun_core::event::{Event, Stamped};
use flowrun_core::outcome::Failure;
use flowrun_core::plan::Plan;
use tokio::sync::mpsc;

use super::prepare::{Locking, prepare};
use super::{Options, Report, RunError, supply};
use crate::project::Project;
use crate::store::Store;

struct Teller<'a>(&'a mut (dyn FnMut(String) + Send));

impl Report for Teller<'_> {
    fn event(&mut self, event: &Stamped) {
        if let Event::Preparing { what } = &event.event {
            (self.0)(what.clone());
        }
    }
}

/// Brings what all steps stand on, also those that may never run. Says what it does, and gives what it has to warn of.
///
/// # Errors
/// When the lock does not hold something and may not be completed, or something cannot be brought: by the step that needs it.
pub async fn fetch(
    project: &Project,
    options: Options,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<Vec<String>, RunError> {
    let plan = Plan::new(&project.program);
    let store = Store::open(&project.root)?;
    let locking = if options.locked { Locking::Held } else { Locking::Completed { written: true } };
    let (session, notes) = prepare(project, options.params, store, &plan, locking, &mut Teller(tell)).await?;
    let mut warnings = Vec::new();
    for note in notes {
        match note {
            Event::Preparing { what } => tell(what),
            Event::Warned { text } => warnings.push(text),
            _ => {}
        }
    }
    let (say, mut said) = mpsc::channel(256);
    let bring = async {
        for planned in &plan.steps {
            let named = |failure: Failure| {
                let message = format!("step `{}`: {}", planned.id, failure.message);
                RunError::Prepare(Failure { message, ..failure })
            };
            supply::bring(&session, &planned.step, supply::For::Later, &say).await.map_err(named)?;
        }
        drop(say);
        Ok(())
    };
    let hear = async {
        while let Some(say) = said.recv().await {
            supply::told(say).into_iter().for_each(&mut *tell);
        }
    };
    let (brought, ()) = tokio::join!(bring, hear);
    brought.map(|()| warnings)
}
