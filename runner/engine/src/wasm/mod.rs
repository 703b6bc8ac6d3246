//! WebAssembly steps: components run in this process, in a world that holds their inputs, their outputs and nothing else.
//!
//! ```text
//!  component file ── digest ──> compiled (memory, then disk, then the compiler) ──> a thread ──> values or a failure
//! ```
//!
//! | file | knows |
//! |---|---|
//! | `machine` | the engine's settings, the tick that lets a guest be stopped |
//! | `compiled` | compiled components on disk |
//! | `load` | from a file to something that can be instantiated |
//! | `inspect` | what a file is and whether we speak its version |
//! | `bindings` | the interface `flowrun:step`, generated |
//! | `job` | what a step is |
//! | `guest` | one running guest |
//! | `memory`, `budget`, `rate` | its limits: what it holds, what it writes, how fast it talks |
//! | `end` | what it means that a guest did not return |
//! | `command` | plain WASI commands as plugins |
//! | `files`, `still` | a world that stands still: files, clocks, randomness |
//! | `folders` | the folders it is given |
//! | `wait` | waiting that ends with a stop |
//! | `voice` | what a guest says |
//! | `threads` | threads with room for a guest, used again |
//!
//! # What a guest sees
//! `/in` to read and `/out` to write: the folders `in` and `out` of the job's folder. No environment, no input, no
//! network; a fixed date, a clock that counts looks, randomness from the job's seed. So what it writes is a function of
//! the component, the request, the inputs and the seed. One thing is left that it could see and that is in no
//! key: how much memory it may have. Any other limit ends it, and so does a disk that is full.
//!
//! What a step is granted ([`Granted`]) is real: the clock, randomness, variables, the network.
//!
//! # Threads
//! A guest has a thread to itself while it runs: as many at once as there are slots, none of them on tokio's workers, however long
//! they compute. A stop is seen within 10 ms (`machine::TICK`) where they compute, and at once where they wait (`wait`):
//! files are plain files, and a listener that does not listen is waited for only until the stop.
//! Threads stay for the next guest. Whoever has more to do around one than to run it does it on the guest's thread ([`WasmHost::run_here`]),
//! since to hand work from thread to thread costs more than a light step's own.
//!
//! Knows nothing of the store, of pipelines, or of where plugins are fetched from.

mod bindings;
mod budget;
mod command;
mod compiled;
mod end;
mod fault;
mod files;
mod folders;
mod guest;
mod inspect;
mod job;
mod load;
mod machine;
mod memory;
mod rate;
mod still;
#[cfg(test)]
mod tests;
mod threads;
mod voice;
mod wait;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flowrun_core::digest::Digest;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc::Sender};
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::Linker;

pub(crate) use self::inspect::interface;
pub use self::inspect::{Kind, check as inspect_bytes};
pub use self::job::{Granted, Job, Limits, Part, Place};
pub(crate) use self::load::COMPONENT as LARGEST_COMPONENT;
pub use self::load::{Unread, component_bytes};
use crate::process::Mask;
use compiled::Compiled;
use guest::{Guest, Prepared, State};
use load::Loader;
use machine::{Ticker, Ticking};
pub(crate) use threads::Threads;
use voice::Voice;
pub(crate) use voice::{Ear, ear};

/// The host could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime does not run on this machine.
    #[error("WebAssembly does not run on this machine: {0:#}")]
    Engine(wasmtime::Error),
    /// The ticking thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A step's values, or why there are none.
type Ended = Result<Map<String, Value>, Failure>;

/// Runs WebAssembly steps. One for the whole process; costs little until the first step.
pub struct WasmHost {
    here: Arc<Here>,
    threads: Threads,
}

/// What a guest's thread needs of the host.
struct Here {
    engine: Engine,
    linker: Linker<State>,
    compiled: Arc<Compiled>,
    ticker: Ticker,
    slots: Arc<Semaphore>,
    prepared: Mutex<HashMap<Digest, Arc<OnceCell<Arc<Prepared>>>>>,
}

impl WasmHost {
    /// A host that keeps compiled components in `folder`, which it makes with mode 0700. A folder that others can write
    /// is not used: every process then compiles anew.
    pub fn new(folder: &Path) -> Result<Self, HostError> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u32::MAX));
        // Twice the cores, that one step's reading overlaps another's computing; more only costs memory.
        let slots = cores.saturating_mul(2).clamp(4, 256);
        let engine = machine::engine(slots).map_err(HostError::Engine)?;
        let here = Here {
            linker: guest::linker(&engine).map_err(HostError::Engine)?,
            compiled: Arc::new(Compiled::new(folder)),
            ticker: Ticker::new(&engine)?,
            slots: Arc::new(Semaphore::new(slots as usize)),
            prepared: Mutex::default(),
            engine,
        };
        Ok(Self { here: Arc::new(here), threads: Threads::default() })
    }

    /// Runs `job` and returns its values. What it says goes to `say`, which should be read until the end. When `stop`
    /// is cancelled the guest has ended before this returns; when this future is dropped it ends within 10 ms.
    pub async fn run(&self, job: &Job, say: &Sender<Say>, stop: &CancellationToken) -> Ended {
        let stop = stop.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let (job, say, here) = (job.clone(), ear(say.clone()), Arc::clone(&self.here));
        let work = move || {
            let _ticking = here.ticker.run(None);
            here.run(&job, &say, &stop)
        };
        self.threads.run(work).await
    }

    /// For measurements: how long each of `calls` runs of `job` takes on the thread of its guest, once it is ready.
    #[doc(hidden)]
    pub async fn timed(&self, job: &Job, calls: usize) -> Result<Vec<Duration>, Failure> {
        let (job, here) = (job.clone(), Arc::clone(&self.here));
        let (say, stop): (Ear, _) = (Arc::new(|_| None), CancellationToken::new());
        let work = move || {
            let _ticking = here.ticker.run(None);
            let one = |_| {
                let began = Instant::now();
                here.run(&job, &say, &stop).map(|_| began.elapsed())
            };
            here.run(&job, &say, &stop)?;
            (0..calls).map(one).collect()
        };
        self.threads.run(work).await
    }

    /// Runs `job` as [`WasmHost::run`] does, on this thread of [`Threads`], while [`WasmHost::ticking`].
    pub(crate) fn run_here(&self, job: &Job, say: &Ear, stop: &CancellationToken) -> Ended {
        self.here.run(job, say, stop)
    }

    /// As long as what it returns lives, guests can be stopped; and what is longer at work than the limit is.
    pub(crate) fn ticking(&self, limit: Option<(Instant, CancellationToken)>) -> Ticking {
        self.here.ticker.run(limit)
    }
}

impl Here {
    fn run(&self, job: &Job, say: &Ear, stop: &CancellationToken) -> Ended {
        let (prepared, _slot) = Handle::current().block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(stopped()),
                ready = self.ready(job, say, stop) => ready,
            }
        })?;
        let mask = Mask::new(&job.granted.secrets);
        let voice = Voice::new(Arc::clone(say), stop.clone(), job.limits.lines, mask);
        Guest { engine: &self.engine, job, voice, stop: stop.clone() }.run(&prepared)
    }

    async fn ready(
        &self,
        job: &Job,
        say: &Ear,
        stop: &CancellationToken,
    ) -> Result<(Arc<Prepared>, OwnedSemaphorePermit), Failure> {
        let prepared = self.prepare(job, say, stop).await?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        Ok((prepared, slot.map_err(|_| panicked())?))
    }

    /// The component, compiled and linked: once in this process however many steps ask at the same time.
    async fn prepare(&self, job: &Job, say: &Ear, stop: &CancellationToken) -> Result<Arc<Prepared>, Failure> {
        let cell = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(prepared.entry(job.digest).or_default())
        };
        cell.get_or_try_init(|| self.load(job, say, stop)).await.map(Arc::clone)
    }

    async fn load(&self, job: &Job, say: &Ear, stop: &CancellationToken) -> Result<Arc<Prepared>, Failure> {
        let loader = Loader {
            engine: self.engine.clone(),
            linker: self.linker.clone(),
            compiled: Arc::clone(&self.compiled),
            path: job.component.clone(),
            digest: job.digest,
            say: say.clone(),
            stop: stop.clone(),
        };
        let loaded = tokio::task::spawn_blocking(move || loader.load()).await;
        loaded.unwrap_or_else(|_| Err(panicked())).map(Arc::new)
    }
}

fn stopped() -> Failure {
    Failure::new(FailureKind::Interrupted, "stopped")
}

fn panicked() -> Failure {
    Failure::new(FailureKind::Infrastructure, "flowrun's WebAssembly host broke down")
        .hint("a bug of flowrun's: please report it with the step's log")
}

/// A number of bytes for a person: `2 GiB`, `1.5 MiB`, `12 bytes`.
fn bytes(count: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| count >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(count) * 10) >> shift;
            let (whole, tenth) = (tenths / 10, tenths % 10);
            if tenth == 0 { format!("{whole} {unit}") } else { format!("{whole}.{tenth} {unit}") }
        }
        None => format!("{count} bytes"),
    }
}
