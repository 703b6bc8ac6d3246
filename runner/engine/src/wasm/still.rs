//! A world that stands still: the clocks and the randomness a guest sees, all functions of its seed and its own calls.
//!
//! | the guest asks for | it gets |
//! |---|---|
//! | the date | [`DATE`], always |
//! | the monotonic clock | a count that grows by a microsecond a look, and by what it slept |
//! | a sleep or a time-out | at once, the clock moved to its end |
//! | secure random bytes | blake3's output stream keyed by the seed |
//! | insecure random bytes, and their seed | the same, from streams of their own |
//!
//! So a step's outputs are a function of its key. A step that was granted the real clock has that, and sleeps. Knows nothing of files: `files` makes those stand still.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand_core::TryRng;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// The date in every guest: 2000-01-01T00:00:00Z in seconds since 1970. Late enough for every archive format (ZIP begins
/// in 1980), and plainly not today. It must never change: it is part of what a step's outputs depend on.
pub(super) const DATE: u64 = 946_684_800;

/// What one look at the monotonic clock moves it by, in nanoseconds: a loop that waits for time to pass ends.
const LOOK: u64 = 1_000;

/// The monotonic clock of one guest.
#[derive(Clone)]
pub(super) enum Clock {
    /// It counts looks.
    Still(Arc<AtomicU64>),
    /// It counts from the guest's start, in nanoseconds, as the machine's does.
    Real(Instant),
}

impl Clock {
    pub(super) fn still() -> Self {
        Self::Still(Arc::default())
    }

    pub(super) fn real() -> Self {
        Self::Real(Instant::now())
    }

    fn look(&self) -> u64 {
        match self {
            Self::Still(count) => count.fetch_add(LOOK, Ordering::Relaxed) + LOOK,
            Self::Real(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn step(&self) -> u64 {
        if matches!(self, Self::Still(_)) { LOOK } else { 1 }
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        self.step()
    }

    fn now(&self) -> u64 {
        self.look()
    }
}

struct Calendar;

impl HostWallClock for Calendar {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(DATE)
    }
}

/// Random bytes that are the same for the same seed, for ever: blake3 in derive-key mode, its output read on and on.
struct Stream(blake3::OutputReader);

impl Stream {
    fn new(context: &str, seed: u64) -> Self {
        Self(blake3::Hasher::new_derive_key(context).update(&seed.to_le_bytes()).finalize_xof())
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// Gives the guest a clock: one that stands still with its date, or the machine's.
pub(super) fn time(wasi: &mut WasiCtxBuilder, clock: &Clock) {
    if matches!(clock, Clock::Still(_)) {
        wasi.wall_clock(Calendar);
    }
    wasi.monotonic_clock(clock.clone());
}

/// Gives the guest the randomness of `seed`. Without this it has the machine's.
pub(super) fn randomness(wasi: &mut WasiCtxBuilder, seed: u64) {
    wasi.secure_random(Stream::new("flowrun wasm random v1", seed));
    wasi.insecure_random(Stream::new("flowrun wasm insecure random v1", seed));
    let hash_seed = Stream::new("flowrun wasm insecure seed v1", seed).take();
    wasi.insecure_random_seed(u128::from_le_bytes(hash_seed));
}

/// What the monotonic clock's calls work on.
pub(super) struct ClockView<'a> {
    pub(super) clock: &'a Clock,
    pub(super) table: &'a mut ResourceTable,
}

struct Clocks;

impl HasData for Clocks {
    type Data<'a> = ClockView<'a>;
}

/// Puts the clock whose sleeps are over at once in the place of wasmtime's.
pub(super) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> ClockView<'_>,
) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<T, Clocks>(linker, view)
}

impl monotonic_clock::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.look())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.step())
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let over = self.table.push(Sleep { clock: self.clock.clone(), until: when })?;
        subscribe(self.table, over)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let until = self.clock.look().saturating_add(duration);
        self.subscribe_instant(until)
    }
}

/// A sleep. Where the clock stands still it is over when it is waited for, and the clock is then where it would be.
struct Sleep {
    clock: Clock,
    until: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        match &self.clock {
            Clock::Still(count) => drop(count.fetch_max(self.until, Ordering::Relaxed)),
            Clock::Real(start) => match start.checked_add(Duration::from_nanos(self.until)) {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_streams_are_their_seeds_and_differ_from_each_other() {
        let bytes = |context, seed| Stream::new(context, seed).take::<64>();
        assert_eq!(bytes("a", 1), bytes("a", 1));
        assert_ne!(bytes("a", 1), bytes("a", 2));
        assert_ne!(bytes("a", 1), bytes("b", 1));
    }

    #[test]
    fn looking_at_the_clock_moves_it() {
        let clock = Clock::still();
        assert!(clock.now() < clock.now());
    }
}
