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
//! | `wait` | waiting that ends with a stop |
//! | `voice` | what a guest says |
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
//! A guest runs on a thread of its own: as many at once as there are slots, none of them on tokio's workers, however long
//! they compute. A stop is seen within 10 ms (`machine::TICK`) where they compute, and at once where they wait (`wait`):
//! files are plain files, and a listener that does not listen is waited for only until the stop.
//!
//! Knows nothing of the store, of pipelines, or of where plugins are fetched from.

mod bindings;
mod budget;
mod command;
mod compiled;
mod end;
mod fault;
mod files;
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
mod voice;
mod wait;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flowrun_core::digest::Digest;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc::Sender, oneshot};
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::Linker;

pub use self::inspect::check as inspect_bytes;
pub use self::job::{Granted, Job, Limits, Part, Place};
pub use self::load::{Unread, component_bytes};
use crate::process::Mask;
use compiled::Compiled;
use guest::{Guest, Prepared, State};
use load::Loader;
use machine::Ticker;
use voice::Voice;

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
        Ok(Self {
            linker: guest::linker(&engine).map_err(HostError::Engine)?,
            compiled: Arc::new(Compiled::new(folder)),
            ticker: Ticker::new(&engine)?,
            slots: Arc::new(Semaphore::new(slots as usize)),
            prepared: Mutex::default(),
            engine,
        })
    }

    /// Runs `job` and returns its values. What it says goes to `say`, which should be read until the end. When `stop`
    /// is cancelled the guest has ended before this returns; when this future is dropped it ends within 10 ms.
    pub async fn run(
        &self,
        job: &Job,
        say: &Sender<Say>,
        stop: &CancellationToken,
    ) -> Result<Map<String, Value>, Failure> {
        let (prepared, slot) = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(stopped()),
            ready = self.ready(job, say) => ready?,
        };
        let stop = stop.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        self.on_a_thread(job.clone(), prepared, slot, say.clone(), stop)?.await.unwrap_or_else(|_| Err(panicked()))
    }

    async fn ready(&self, job: &Job, say: &Sender<Say>) -> Result<(Arc<Prepared>, OwnedSemaphorePermit), Failure> {
        let prepared = self.prepare(job, say).await?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        Ok((prepared, slot.map_err(|_| panicked())?))
    }

    fn on_a_thread(
        &self,
        job: Job,
        prepared: Arc<Prepared>,
        slot: OwnedSemaphorePermit,
        say: Sender<Say>,
        stop: CancellationToken,
    ) -> Result<oneshot::Receiver<Ended>, Failure> {
        let (done, wait) = oneshot::channel();
        let (runtime, engine, ticking) = (Handle::current(), self.engine.clone(), self.ticker.run());
        let body = move || {
            // wasmtime-wasi polls its futures on the runtime of this thread, and would else start one of its own.
            let _runtime = runtime.enter();
            let voice = Voice::new(say, stop.clone(), job.limits.lines, Mask::new(&job.granted.secrets));
            let guest = Guest { engine: &engine, job: &job, voice, stop };
            let ended = catch_unwind(AssertUnwindSafe(|| guest.run(&prepared)));
            drop((guest, ticking, slot));
            done.send(ended.unwrap_or_else(|_| Err(panicked()))).ok();
        };
        let thread = thread::Builder::new().name("wasm-step".to_owned()).stack_size(machine::THREAD_STACK);
        match thread.spawn(body) {
            Ok(_) => Ok(wait),
            Err(error) => Err(Failure::new(FailureKind::Infrastructure, format!("cannot start a thread: {error}"))),
        }
    }

    /// The component, compiled and linked: once in this process however many steps ask at the same time.
    async fn prepare(&self, job: &Job, say: &Sender<Say>) -> Result<Arc<Prepared>, Failure> {
        let cell = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(prepared.entry(job.digest).or_default())
        };
        cell.get_or_try_init(|| self.load(job, say)).await.map(Arc::clone)
    }

    async fn load(&self, job: &Job, say: &Sender<Say>) -> Result<Arc<Prepared>, Failure> {
        let loader = Loader {
            engine: self.engine.clone(),
            linker: self.linker.clone(),
            compiled: Arc::clone(&self.compiled),
            path: job.component.clone(),
            digest: job.digest,
            say: say.clone(),
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
