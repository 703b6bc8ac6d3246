//! Numbers that look random and depend on nothing but a seed and a name: the same on every machine, in any order of work.

/// SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, one multiplication chain a number. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to a seed, a name and a number.
    #[must_use]
    pub fn new(seed: i64, name: &str, number: u64) -> Self {
        // FNV-1a over the name, then one step with the seed and one with the number, so that near seeds are far apart.
        let hash = name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        let seeded = Self(hash ^ Self(seed.cast_unsigned()).bits()).bits();
        Self(seeded ^ Self(number).bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn part(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.part()
    }

    /// True this part of the times.
    pub fn chance(&mut self, part: f64) -> bool {
        self.part() < part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_belongs_to_its_seed_name_and_number() {
        let first = |seed, name, number| Random::new(seed, name, number).bits();
        assert_eq!(first(1, "a", 2), first(1, "a", 2));
        let all = [first(1, "a", 2), first(2, "a", 2), first(1, "b", 2), first(1, "a", 1), first(-1, "a", 2)];
        assert!((0..5).all(|i| (0..i).all(|j| all[i] != all[j])), "{all:?}");
    }

    #[test]
    fn parts_are_spread_evenly() {
        let mut random = Random::new(0, "", 0);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            counts[(random.part() * 10.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
