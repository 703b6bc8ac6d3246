//! The threads that look steps up, and what passes between them and the driver.
//!
//! ```text
//!   driver ── add ──► waiting ── next ──► a thread ──► found ── news ──► driver
//! ```
//! Most looks take microseconds, less than waking anybody up; some hash a disk full of data. So a thread takes one step at a time, and the
//! driver is woken when enough has been found, or when nothing is left to look at, and has a glance by itself every [`GLANCE`]. Threads are
//! added while more waits than they are likely to do soon, up to one a core; more of them, which then wait for the disk, only where none has
//! found anything between two glances.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flowrun_core::schedule::NodeId;
use tokio::sync::Notify;

use crate::run::look::{Looked, Question};

/// The most threads. Ten thousand steps at once would otherwise have a thread each.
const MOST: usize = 8;

/// So many steps found are worth waking the driver for.
const ENOUGH: usize = 32;

/// So many steps wait for each thread before there is another: they take about as long as it takes to start.
const CROWD: usize = 8;

/// How long what was found may lie there because not enough was: no person and no timer of a step notices it.
pub(super) const GLANCE: Duration = Duration::from_millis(2);

/// See the head of the module.
pub(super) struct Looks {
    state: Mutex<State>,
    news: Notify,
    cores: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(NodeId, Question)>,
    found: Vec<(NodeId, Looked)>,
    threads: usize,
    /// Looks that came to an end since the last glance.
    ended: usize,
}

impl Default for Looks {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { state: Mutex::default(), news: Notify::new(), cores }
    }
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step; whether it needs another thread.
    pub(super) fn add(&self, id: NodeId, question: Question) -> bool {
        let mut state = self.lock();
        state.waiting.push_back((id, question));
        let crowded = state.waiting.len() > CROWD * state.threads && state.threads < self.cores.min(MOST);
        let needed = state.threads == 0 || crowded;
        state.one_more(needed)
    }

    /// Whether those who look get nowhere and another thread may help.
    pub(super) fn are_stuck(&self) -> bool {
        let mut state = self.lock();
        let stuck = std::mem::take(&mut state.ended) == 0 && !state.waiting.is_empty();
        let needed = stuck && state.threads < MOST;
        state.one_more(needed)
    }

    /// Takes a thread's last answer and hands it the next step. Without one the thread is done.
    pub(super) fn next(&self, answer: Option<(NodeId, Looked)>) -> Option<(NodeId, Question)> {
        let mut state = self.lock();
        state.ended += usize::from(answer.is_some());
        state.found.extend(answer);
        let next = state.waiting.pop_front();
        state.threads -= usize::from(next.is_none());
        let worth = !state.found.is_empty() && (state.waiting.is_empty() || state.found.len() >= ENOUGH);
        drop(state);
        if worth {
            self.news.notify_one();
        }
        next
    }

    /// Returns when there is something to take.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// What was found since it was taken last.
    pub(super) fn take(&self) -> Vec<(NodeId, Looked)> {
        std::mem::take(&mut self.lock().found)
    }
}

impl State {
    fn one_more(&mut self, needed: bool) -> bool {
        self.threads += usize::from(needed);
        needed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flowrun_core::plan::Planned;

    use super::*;

    fn question() -> Question {
        Question {
            planned: Arc::new(Planned { id: "a".into(), step: Arc::default(), waits: Vec::new() }),
            label: "a".into(),
            instance: None,
            before: Arc::default(),
            parts: None,
            pending: Vec::new(),
            forced: false,
            brief: false,
            recalled: false,
            resumed: None,
        }
    }

    fn looks(cores: usize) -> Looks {
        Looks { cores, ..Looks::default() }
    }

    /// Whether somebody who waits for news would go on.
    async fn is_told(looks: &Looks) -> bool {
        tokio::time::timeout(Duration::from_millis(1), looks.news()).await.is_ok()
    }

    #[tokio::test]
    async fn the_driver_hears_of_many_at_once_and_of_the_last_at_once() {
        let looks = looks(1);
        let threads = (0..ENOUGH + 2).filter(|at| looks.add(NodeId(*at), question())).count();
        assert_eq!(threads, 1, "one core, one thread");
        let mut next = looks.next(None).expect("one waits");
        for _ in 1..ENOUGH {
            next = looks.next(Some((next.0, Looked::Pass))).expect("more wait");
        }
        assert!(!is_told(&looks).await, "not enough was found");
        next = looks.next(Some((next.0, Looked::Pass))).expect("one more waits");
        assert!(is_told(&looks).await);
        assert_eq!(looks.take().into_iter().map(|(id, _)| id.0).collect::<Vec<_>>(), (0..ENOUGH).collect::<Vec<_>>());
        next = looks.next(Some((next.0, Looked::Pass))).expect("the last");
        assert!(is_told(&looks).await, "nobody else is left to be looked at: whoever waits for one step is not kept");
        assert!(looks.next(Some((next.0, Looked::Pass))).is_none());
        assert!(is_told(&looks).await && looks.take().len() == 2);
        assert!(looks.add(NodeId(0), question()), "the thread is done");
    }

    #[tokio::test]
    async fn slow_looks_get_more_threads_and_fast_ones_do_not() {
        let looks = looks(2);
        let threads = (0..100).filter(|at| looks.add(NodeId(*at), question())).count();
        assert_eq!(threads, 2, "as many as there are cores");
        let first = looks.next(None).expect("one waits");
        looks.next(Some((first.0, Looked::Pass)));
        assert!(!looks.are_stuck(), "one was found since");
        assert_eq!((0..10).filter(|_| looks.are_stuck()).count(), MOST - 2, "nothing was found since");
    }
}
