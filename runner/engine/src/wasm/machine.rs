//! The WebAssembly engine: how code is compiled, where instances live, and the clock tick that lets a guest be stopped.
//!
//! Knows nothing of steps or plugins.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flowrun_core::digest::Digest;
use tokio_util::sync::CancellationToken;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often a running guest looks whether it should stop. Stopping takes up to this long; a look costs a guest that
/// computes about a nanosecond a loop turn (a load and a compare), whatever the interval. Shorter only wakes the machine.
const TICK: Duration = Duration::from_millis(10);

/// The stack that a guest's own calls may use. Interpreters (Python, QuickJS) recurse deeply: wasmtime's half MiB is not
/// enough for them. The thread that runs a guest needs this much and [`HOST_STACK`] on top.
const WASM_STACK: usize = 2 << 20;

/// The stack that flowrun's code needs beneath and above a guest's.
const HOST_STACK: usize = 1 << 20;

/// The largest linear memory there can be: all that 32-bit WebAssembly addresses. It is address space that is reserved
/// for each slot, not memory; a step's own limit is enforced by counting.
const MEMORY_SPACE: usize = 1 << 32;

/// Frames of a crash that are kept; a runaway recursion has thousands that are all the same.
pub(super) const FRAMES: NonZeroUsize = NonZeroUsize::new(20).expect("20 is not 0");

/// How many core instances, memories and tables one component needs at most, on average over those that run together.
/// A component from Rust or C has 4, 1 and 2; one from Python some thirty of each small thing and two memories.
const CORE_INSTANCES_EACH: u32 = 40;
const MEMORIES_EACH: u32 = 3;
const TABLES_EACH: u32 = 40;

/// Entries of one function table. Python's has some twenty thousand; each entry is eight bytes of address space. More is
/// denied.
pub(super) const TABLE_ENTRIES: usize = 200_000;

/// Bytes of a memory and of a table that stay with their slot and are cleared by hand. To give pages back and fault them in anew costs a
/// light guest more than its own work, and the other threads of this process an interrupt. What is kept is twice this for each slot, at most.
const KEPT_MEMORY: usize = 1 << 20;
const KEPT_TABLE: usize = 64 << 10;

/// The size of the thread's stack that runs a guest.
pub(super) const THREAD_STACK: usize = WASM_STACK + HOST_STACK;

/// An engine whose instances come from a pool of `slots` where the address space allows that (a container may limit it),
/// else one by one. The pool spares a few system calls an instance; everything else is the same, compiled code too.
pub(super) fn engine(slots: u32) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    Engine::new(&config).or_else(|_| {
        let mut config = self::config();
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    })
}

fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(WASM_STACK);
    config.async_stack_size(THREAD_STACK);
    config.wasm_backtrace_max_frames(Some(FRAMES));
    // A step's outputs are a function of its key on every machine: no instruction may differ between processors.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots);
    pool.total_core_instances(slots * CORE_INSTANCES_EACH);
    pool.total_memories(slots * MEMORIES_EACH);
    pool.total_tables(slots * TABLES_EACH);
    pool.total_stacks(0);
    pool.max_memory_size(MEMORY_SPACE);
    pool.max_memories_per_module(4);
    pool.max_tables_per_module(8);
    pool.table_elements(TABLE_ENTRIES);
    pool.linear_memory_keep_resident(KEPT_MEMORY);
    pool.table_keep_resident(KEPT_TABLE);
    pool.pagemap_scan(Enabled::Auto);
    pool
}

/// Names the compiled form of component `digest` by this `engine`: every setting, version and processor feature that
/// the machine code depends on is in it.
pub(super) fn compiled_key(engine: &Engine, digest: &Digest) -> Digest {
    let mut hasher = KeyHasher(blake3::Hasher::new_derive_key("flowrun compiled component v1"));
    hasher.write(digest.as_bytes());
    hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.write(std::env::consts::ARCH.as_bytes());
    hasher.write(std::env::consts::OS.as_bytes());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Digest::from_bytes(*hasher.0.finalize().as_bytes())
}

/// Feeds what `Hash` writes to blake3: a name that lasts, unlike std's hashers.
struct KeyHasher(blake3::Hasher);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        u64::from_le_bytes(self.0.finalize().as_bytes()[..8].try_into().unwrap_or_default())
    }
}

/// Moves the engine's epoch on every [`TICK`] while any guest runs, and sleeps while none does.
pub(super) struct Ticker(Arc<Beat>);

struct Beat {
    count: Mutex<Count>,
    changed: Condvar,
}

#[derive(Default)]
struct Count {
    running: usize,
    ended: bool,
    next: u64,
    /// Whom to stop when.
    limits: BTreeMap<u64, (Instant, CancellationToken)>,
}

impl Beat {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a guest runs; false when there will be none any more.
    fn wait(&self) -> bool {
        let idle = |count: &mut Count| count.running == 0 && !count.ended;
        let count = self.changed.wait_while(self.count(), idle).unwrap_or_else(PoisonError::into_inner);
        !count.ended
    }

    /// Stops those whose time is over.
    fn stop_late(&self) {
        let now = Instant::now();
        self.count().limits.values().filter(|(limit, _)| *limit <= now).for_each(|(_, stop)| stop.cancel());
    }
}

impl Ticker {
    /// Starts the ticking thread.
    pub(super) fn new(engine: &Engine) -> std::io::Result<Self> {
        let beat = Arc::new(Beat { count: Mutex::default(), changed: Condvar::new() });
        let (engine, shared) = (engine.clone(), Arc::clone(&beat));
        std::thread::Builder::new().name("wasm-ticker".to_owned()).spawn(move || {
            while shared.wait() {
                std::thread::sleep(TICK);
                engine.increment_epoch();
                shared.stop_late();
            }
        })?;
        Ok(Self(beat))
    }

    /// Ticks until the guard is dropped, and at `limit` cancels the token that comes with it.
    pub(super) fn run(&self, limit: Option<(Instant, CancellationToken)>) -> Ticking {
        let mut count = self.0.count();
        count.running += 1;
        if count.running == 1 {
            self.0.changed.notify_one();
        }
        let id = count.next;
        count.next += 1;
        let limited = limit.is_some();
        count.limits.extend(limit.map(|limit| (id, limit)));
        Ticking { beat: Arc::clone(&self.0), limit: limited.then_some(id) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.count().ended = true;
        self.0.changed.notify_one();
    }
}

/// While this lives, the engine's epoch moves.
pub(crate) struct Ticking {
    beat: Arc<Beat>,
    limit: Option<u64>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let mut count = self.beat.count();
        count.running -= 1;
        if let Some(id) = self.limit {
            count.limits.remove(&id);
        }
    }
}
