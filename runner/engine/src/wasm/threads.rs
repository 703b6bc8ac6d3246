//! Threads for guests, with the stack that they need. One that has nothing to do waits a while for the next guest: a step may take
//! microseconds, and starting a thread takes tens of them.
//!
//! How many there are at once is up to who brings work: each piece gets a thread at once. Knows nothing of guests.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use flowrun_core::outcome::{Failure, FailureKind};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::machine::THREAD_STACK;

/// How long a thread waits for work before it ends. Longer than the pauses of a busy run, shorter than anyone looks at memory for.
const PATIENCE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce() + Send>;

/// Threads on which guests may run.
#[derive(Default)]
pub(crate) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    idle: usize,
    closed: bool,
}

impl Threads {
    /// Does `work` on a thread that does nothing else meanwhile, and may block. Called from a runtime, in which the work then is too.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (done, wait) = oneshot::channel();
        self.start(work, |result| drop(done.send(result)))?;
        wait.await.unwrap_or_else(|_| Err(super::panicked()))
    }

    /// The same, without waiting for it: `then` is told what came of it, on that thread.
    pub(crate) fn start<T>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
        then: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) -> Result<(), Failure> {
        let runtime = Handle::current();
        let body = move || {
            // wasmtime-wasi polls its futures on the runtime of this thread, and would else start one of its own.
            let _runtime = runtime.enter();
            then(catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(super::panicked())));
        };
        self.push(Box::new(body))
            .map_err(|error| Failure::new(FailureKind::Infrastructure, format!("cannot start a thread: {error}")))
    }

    fn push(&self, work: Work) -> io::Result<()> {
        let mut queue = self.0.queue();
        queue.work.push_back(work);
        if queue.idle >= queue.work.len() {
            self.0.more.notify_one();
            return Ok(());
        }
        let shared = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("wasm-step".to_owned()).stack_size(THREAD_STACK);
        match thread.spawn(move || shared.serve()) {
            Ok(_) => Ok(()),
            Err(error) => {
                // Nobody has taken it: the queue is locked.
                queue.work.pop_back();
                Err(error)
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.more.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        while let Some(work) = self.next() {
            work();
        }
    }

    /// The next piece of work; nothing when there was none for so long that the thread may end.
    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        queue.idle += 1;
        let idle = |queue: &mut Queue| queue.work.is_empty() && !queue.closed;
        let (mut queue, _) =
            self.more.wait_timeout_while(queue, PATIENCE, idle).unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        queue.work.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn work_that_waits_for_each_other_runs_at_once_and_threads_serve_again() {
        let threads = Threads::default();
        let mut seen = HashSet::new();
        for _ in 0..20 {
            let (barrier, (tell, told)) = (Arc::new(Barrier::new(3)), channel());
            for _ in 0..3 {
                let (barrier, tell) = (barrier.clone(), tell.clone());
                let work = move || {
                    barrier.wait();
                    tell.send(thread::current().id()).expect("heard");
                };
                threads.push(Box::new(work)).expect("a thread");
            }
            drop(tell);
            let ids: HashSet<_> = told.iter().collect();
            assert_eq!(ids.len(), 3);
            seen.extend(ids);
        }
        assert!(seen.len() < 60, "every piece of work had a new thread");
    }
}
