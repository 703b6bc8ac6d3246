//! Which part each item goes to: groups are never divided, strata are spread evenly. Knows nothing of tables and pictures.
//!
//! The idea is that of scikit-learn's `StratifiedGroupKFold` (groups one by one, the large ones first, each to where it is
//! missed most), for parts of any size instead of equal folds. A part's *deficit* is what it should have less what it has.
//!
//! 1. **Groups of two items or more**, the largest first, those of one size in an order drawn from the seed and the group's
//!    name. A group goes to a part whose deficit it fits into, if there is one to a part where it fits into the deficit of
//!    each of its strata too: of these to the one that lacks most, in proportion to its size, of the group's strata and on
//!    the whole. Where it fits nowhere it goes to the part of the largest deficit.
//! 2. **Single items**, stratum by stratum, in an order drawn in the same way. An item goes to the part of the largest
//!    deficit in its stratum while that is one or more. The rest of the stratum, less than one item a part, goes where the
//!    parts' whole sizes are furthest behind, so that the rounding of many small strata does not add up.
//!
//! What this guarantees:
//!
//! - where every group is a single item, each part has of each stratum its fraction, up or down by less than one item.
//!   (Nothing is given to a part without a deficit, so none is over by one. Were one under by one at the end, then all
//!   that others got, they got at a deficit of one or more, so none would be over; but deficits sum to nothing.)
//! - without strata, each part's size is off by less than the size of the largest group, for the same reason.
//! - the result is a function of the items' groups and strata, the fractions and the seed: not of the items' order.

use boxes::Random;
use std::collections::BTreeMap;

/// A deficit's rounding error stays below this: sizes are at most some millions, of 53 bits.
const NOTHING: f64 = 1e-6;

/// What is known of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The name of its group; an item that is alone has a name of its own.
    pub group: String,
    /// Its stratum, a number below that of strata.
    pub stratum: usize,
}

/// Items that stay together.
struct Group<'a> {
    name: &'a str,
    draw: u64,
    items: Vec<usize>,
}

/// The part (a place in `fractions`) of each item. Fractions sum to 1 and strata are numbered from 0 to `strata` - 1.
#[must_use]
pub fn assign(items: &[Item], strata: usize, fractions: &[f64], seed: i64) -> Vec<usize> {
    let mut ledger = Ledger::new(items, strata, fractions);
    let mut made = vec![0; items.len()];
    let (singles, groups): (Vec<_>, Vec<_>) = groups(items, seed).into_iter().partition(|group| group.items.len() == 1);
    for group in groups {
        let counts = counts(&group, items);
        let part = ledger.part_for_group(&counts, group.items.len());
        ledger.give(part, &counts);
        group.items.iter().for_each(|item| made[*item] = part);
    }
    let mut by_stratum: Vec<Vec<usize>> = vec![Vec::new(); strata];
    for item in singles.iter().flat_map(|group| &group.items) {
        by_stratum[items[*item].stratum].push(*item);
    }
    for (stratum, singles) in by_stratum.iter().enumerate() {
        for (done, item) in singles.iter().enumerate() {
            let part = ledger.part_for_single(stratum, singles.len() - done);
            ledger.give(part, &BTreeMap::from([(stratum, 1)]));
            made[*item] = part;
        }
    }
    made
}

/// All groups, the largest first, those of one size in the drawn order.
fn groups(items: &[Item], seed: i64) -> Vec<Group<'_>> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        by_name.entry(&item.group).or_default().push(index);
    }
    let group = |(name, items)| Group { name, draw: Random::new(seed, name, 0).bits(), items };
    let mut groups: Vec<Group<'_>> = by_name.into_iter().map(group).collect();
    groups.sort_by(|a, b| b.items.len().cmp(&a.items.len()).then((a.draw, a.name).cmp(&(b.draw, b.name))));
    groups
}

fn counts(group: &Group<'_>, items: &[Item]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for item in &group.items {
        *counts.entry(items[*item].stratum).or_default() += 1;
    }
    counts
}

/// What each part has, and should have.
struct Ledger<'a> {
    fractions: &'a [f64],
    all: usize,
    strata: Vec<usize>,
    given: Vec<usize>,
    given_of: Vec<Vec<usize>>,
}

impl<'a> Ledger<'a> {
    fn new(items: &[Item], strata: usize, fractions: &'a [f64]) -> Self {
        let mut sizes = vec![0; strata];
        items.iter().for_each(|item| sizes[item.stratum] += 1);
        let (given, given_of) = (vec![0; fractions.len()], vec![vec![0; strata]; fractions.len()]);
        Self { fractions, all: items.len(), strata: sizes, given, given_of }
    }

    fn give(&mut self, part: usize, counts: &BTreeMap<usize, usize>) {
        for (stratum, count) in counts {
            self.given_of[part][*stratum] += count;
            self.given[part] += count;
        }
    }

    fn deficit(&self, part: usize) -> f64 {
        self.fractions[part] * self.all as f64 - self.given[part] as f64
    }

    fn deficit_of(&self, part: usize, stratum: usize) -> f64 {
        self.fractions[part] * self.strata[stratum] as f64 - self.given_of[part][stratum] as f64
    }

    fn part_for_group(&self, counts: &BTreeMap<usize, usize>, size: usize) -> usize {
        let fits = |part: &usize| self.deficit(*part) + NOTHING >= size as f64;
        let lack = |part: usize| {
            let of = |(stratum, count): (&usize, &usize)| {
                let share = *count as f64 / size as f64;
                share * self.deficit_of(part, *stratum) / (self.fractions[part] * self.strata[*stratum] as f64)
            };
            counts.iter().map(of).sum::<f64>() + self.deficit(part) / (self.fractions[part] * self.all as f64)
        };
        let fits_strata = |part: &usize| {
            counts.iter().all(|(stratum, count)| self.deficit_of(*part, *stratum) + NOTHING >= *count as f64)
        };
        let fitting = || (0..self.fractions.len()).filter(fits);
        let part = best(fitting().filter(fits_strata), lack).or_else(|| best(fitting(), lack));
        part.or_else(|| self.neediest()).unwrap_or(0)
    }

    fn neediest(&self) -> Option<usize> {
        best(0..self.fractions.len(), |part| self.deficit(part))
    }

    /// `left`: items of the stratum that have no part yet, this one too.
    fn part_for_single(&self, stratum: usize, left: usize) -> usize {
        let parts = 0..self.fractions.len();
        let of = |part: usize| self.deficit_of(part, stratum);
        if let Some(part) = best(parts.clone().filter(|part| of(*part) + NOTHING >= 1.0), of) {
            return part;
        }
        // Against what the whole would be at the end of this stratum: against all, the first strata would feed the largest.
        let seen = (self.given.iter().sum::<usize>() + left) as f64;
        let behind = |part: usize| self.fractions[part] * seen - self.given[part] as f64;
        let rest = best(parts.clone().filter(|part| of(*part) > NOTHING), behind);
        rest.or_else(|| best(parts, of)).unwrap_or(0)
    }
}

/// The part of the highest score, the first of those that are equal.
fn best(parts: impl Iterator<Item = usize>, score: impl Fn(usize) -> f64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for part in parts {
        let score = score(part);
        if best.is_none_or(|(_, high)| score > high + NOTHING * 1e-3) {
            best = Some((part, score));
        }
    }
    best.map(|(part, _)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn singles(sizes: &[usize]) -> Vec<Item> {
        let of = |(stratum, size): (usize, &usize)| {
            (0..*size).map(move |number| Item { group: format!("{stratum}/{number}"), stratum })
        };
        sizes.iter().enumerate().flat_map(of).collect()
    }

    #[test]
    fn single_items_are_within_one_of_their_share_in_every_stratum() {
        for (seed, fractions) in [vec![0.8, 0.2], vec![0.7, 0.15, 0.15], vec![0.1; 10], vec![0.98, 0.01, 0.01]]
            .iter()
            .enumerate()
            .cycle()
            .take(40)
        {
            let mut random = Random::new(seed as i64, "sizes", 0);
            let sizes: Vec<usize> = (0..30).map(|_| 1 + (random.bits() % 40) as usize).collect();
            let items = singles(&sizes);
            let made = assign(&items, sizes.len(), fractions, seed as i64);
            for (stratum, size) in sizes.iter().enumerate() {
                for (part, fraction) in fractions.iter().enumerate() {
                    let has = (0..items.len()).filter(|i| items[*i].stratum == stratum && made[*i] == part).count();
                    assert!((has as f64 - fraction * *size as f64).abs() < 1.0, "{has} of {size}, {fractions:?}");
                }
            }
        }
    }

    #[test]
    fn the_rounding_of_small_strata_does_not_add_up() {
        let items = singles(&[3; 50]);
        let made = assign(&items, 50, &[0.8, 0.2], 1);
        assert_eq!(made.iter().filter(|part| **part == 1).count(), 30);
    }

    #[test]
    fn groups_stay_whole_and_sizes_are_off_by_less_than_the_largest() {
        for seed in 0..50 {
            let mut random = Random::new(seed, "groups", 0);
            let mut items = Vec::new();
            let mut largest = 0;
            for group in 0..25 {
                let size = 1 + (random.bits() % 9) as usize;
                largest = largest.max(size);
                items.extend((0..size).map(|_| Item { group: format!("g{group}"), stratum: 0 }));
            }
            let fractions = [0.6, 0.3, 0.1];
            let made = assign(&items, 1, &fractions, seed);
            for (a, b) in
                items.iter().zip(&made).zip(items.iter().zip(&made).skip(1)).filter(|(a, b)| a.0.group == b.0.group)
            {
                assert_eq!(a.1, b.1);
            }
            for (part, fraction) in fractions.iter().enumerate() {
                let has = made.iter().filter(|made| **made == part).count() as f64;
                assert!((has - fraction * items.len() as f64).abs() < largest as f64, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_order_of_items_does_not_matter_and_the_seed_does() {
        let mut items = singles(&[20, 11, 5]);
        items.extend((0..9).map(|n| Item { group: format!("g{}", n / 3), stratum: n % 3 }));
        let by_name = |items: &[Item], seed| -> BTreeMap<String, usize> {
            let made = assign(items, 3, &[0.5, 0.3, 0.2], seed);
            items.iter().map(|item| item.group.clone()).zip(made).collect()
        };
        let first = by_name(&items, 7);
        let mut turned = items.clone();
        turned.reverse();
        turned.rotate_left(13);
        assert_eq!(first, by_name(&turned, 7));
        assert_ne!(first, by_name(&items, 8));
    }
}
