//! How fast a guest may talk: a bucket of lines that fills as time passes.

use std::time::{Duration, Instant};

/// Lines a second that a guest may say on and on: many times what can be read on its way past.
pub(super) const RATE: u64 = 1_000;

/// Lines that it may say at once before [`RATE`] holds: a report at the end, the trace of a crash.
const BURST: u64 = 5_000;

/// How many lines may be said just now: [`RATE`] more each second, never more than [`BURST`].
pub(super) struct Bucket {
    lines: u64,
    filled: Instant,
    /// How many could not be said.
    pub(super) dropped: u64,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { lines: BURST, filled: now, dropped: 0 }
    }

    /// Takes a line out; counts it as dropped where there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled);
        let more = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).saturating_mul(RATE) / 1_000_000;
        if more > 0 {
            // What is left of a line's time counts for the next one.
            self.filled += Duration::from_micros(more.saturating_mul(1_000_000) / RATE);
            self.lines = self.lines.saturating_add(more).min(BURST);
        }
        let there = self.lines > 0;
        self.lines = self.lines.saturating_sub(1);
        self.dropped += u64::from(!there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let said = |bucket: &mut Bucket, at: Duration| (0..10_000).filter(|_| bucket.take(start + at)).count();
        assert_eq!(said(&mut bucket, Duration::ZERO), 5_000);
        assert_eq!(said(&mut bucket, Duration::from_millis(1_500)), 1_500);
        assert_eq!(said(&mut bucket, Duration::from_secs(60)), 5_000);
        assert_eq!(bucket.dropped, 30_000 - 11_500);
        // Halves of a line's time add up.
        let late = Duration::from_secs(60);
        let halves = (1..=100u32).filter(|half| bucket.take(start + late + *half * Duration::from_micros(500))).count();
        assert_eq!(halves, 50);
    }
}
