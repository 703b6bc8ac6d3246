//! What steps stand on — Python environments, ONNX Runtime, downloads — made ready ahead of them: what a mirror, a cache or a lock was tampered
//! with is refused by name before anything runs, and an hour of training is not lost to a package that cannot be had.
//!
//! Each step makes sure of the same when it starts; then it is there, and costs two stats.

use flowrun_core::lang::reference::{Reference, Target};
use flowrun_core::lang::written::{Python, Step};
use flowrun_core::outcome::{Failure, Say, Stream};
use tokio::sync::mpsc::Sender;

use super::detector;
use super::look::Sourced;
use super::session::Session;
use crate::python;

/// Something that a step stands on.
enum Need<'a> {
    Environment(&'a Python),
    Runtime(&'a Step),
    Source(&'a str),
}

/// Whether a step stands on anything that may have to be brought.
pub(super) fn needs_any(session: &Session, step: &Step) -> bool {
    needs(session, step).next().is_some()
}

/// What it is brought for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A run on this machine, now: what it lacks itself is a failure too.
    Run,
    /// One that may come, perhaps where there is more than here: a card.
    Later,
}

/// Brings what a step stands on.
pub(super) async fn bring(session: &Session, step: &Step, wanted: For, say: &Sender<Say>) -> Result<(), Failure> {
    for need in needs(session, step) {
        match need {
            Need::Environment(python) => {
                let lock = session.python_lock(python)?;
                python::environment(&session.cache, &lock, say).await?;
            }
            Need::Runtime(step) if wanted == For::Run => drop(detector::libraries(session, step, say).await?),
            Need::Runtime(step) => drop(detector::brought(session, step, say).await?),
            Need::Source(name) => {
                if let Sourced::Pinned { pin, .. } = session.source(name)? {
                    session.download(&pin, say).await?;
                }
            }
        }
    }
    Ok(())
}

/// What of that a person is told who waits: flowrun's own words, not those of its tools.
pub(super) fn told(say: Say) -> Option<String> {
    match say {
        Say::Line { stream: Stream::Log, text } => Some(text),
        _ => None,
    }
}

fn needs<'a>(session: &'a Session, step: &'a Step) -> impl Iterator<Item = Need<'a>> {
    let environment = step.run.as_ref().and(step.python.as_ref()).map(Need::Environment);
    let runtime = step.onnx.as_ref().map(|_| Need::Runtime(step));
    let sources = &session.project.program.pipeline.sources;
    let named = step.inputs.values().filter_map(|text| match Reference::parse(text).ok()?.target {
        Target::Source(name) => sources.get_key_value(&name),
        Target::Output { .. } => None,
    });
    let fetched = named.filter(|(_, source)| source.pypi.is_some() || source.url.is_some());
    environment.into_iter().chain(runtime).chain(fetched.map(|(name, _)| Need::Source(name)))
}
