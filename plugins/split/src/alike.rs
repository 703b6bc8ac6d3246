//! Near-duplicate pictures by a 64-bit difference hash (dHash; N. Krawetz, "Kind of Like That", 2013): the picture is shrunk
//! to 9 x 8 grey pixels, and a bit says whether a pixel is darker than its right neighbour. Copies that were made smaller,
//! recompressed or slightly recoloured differ in few bits; mirrored or cropped ones do not pass for copies. Pictures
//! without detail (blank pages, plain gradients) are all alike to it. Knows nothing of parts.

use boxes::{Picture, Rect};
use std::collections::HashMap;

/// The hash of a picture. `None` where it cannot be shrunk.
#[must_use]
pub fn hash(picture: &Picture) -> Option<u64> {
    let small = picture.resized(&Rect::whole(picture.width(), picture.height()), 9, 8)?;
    // Rec. 601 luma, in thousandths: whole numbers, so that equal pixels are equal.
    let luma = |[red, green, blue]: [u8; 3]| 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    let grey: Vec<u32> = small.pixels().map(luma).collect();
    let bits = grey.chunks_exact(9).flat_map(|row| row.windows(2)).map(|pair| u64::from(pair[0] < pair[1]));
    Some(bits.fold(0, |hash, bit| hash << 1 | bit))
}

/// Calls `found` with each pair of places (the lower first) whose hashes differ in at most `distance` bits, and with how
/// many these are: once a pair.
///
/// Of `distance` + 1 bands of bits at least one is equal in such a pair, so only those that share a band are compared.
pub fn pairs(hashes: &[u64], distance: u32, mut found: impl FnMut(usize, usize, u32)) {
    let bands = bands(distance + 1);
    for (number, band) in bands.iter().enumerate() {
        let mut buckets: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, hash) in hashes.iter().enumerate() {
            let bucket = buckets.entry(hash & band).or_default();
            for other in bucket.iter() {
                let differ = hash ^ hashes[*other];
                let met_before = bands[..number].iter().any(|band| differ & band == 0);
                if !met_before && differ.count_ones() <= distance {
                    found(*other, place, differ.count_ones());
                }
            }
            bucket.push(place);
        }
    }
}

/// Masks that divide 64 bits into so many bands of nearly equal width.
fn bands(count: u32) -> Vec<u64> {
    let edge = |number: u32| number * 64 / count;
    let ones = |bits: u32| if bits == 64 { u64::MAX } else { (1_u64 << bits) - 1 };
    (0..count).map(|number| ones(edge(number + 1)) ^ ones(edge(number))).collect()
}

/// Sets of places that belong together, by union and find.
#[derive(Debug, Clone)]
pub struct Sets(Vec<usize>);

impl Sets {
    /// So many places, each for itself.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// Joins the sets of two places; whether they were two.
    pub fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
        a != b
    }

    /// The first place of a place's set.
    pub fn find(&mut self, mut place: usize) -> usize {
        while self.0[place] != place {
            self.0[place] = self.0[self.0[place]];
            place = self.0[place];
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boxes::Random;

    #[test]
    fn bands_cover_every_bit_once() {
        for count in 1..=11 {
            let bands = bands(count);
            assert_eq!(bands.iter().fold(0, |all, band| all ^ band), u64::MAX, "{count}");
            assert_eq!(bands.iter().map(|band| band.count_ones()).sum::<u32>(), 64, "{count}");
        }
    }

    #[test]
    fn pairs_are_those_that_comparing_all_with_all_finds() {
        let mut random = Random::new(3, "hashes", 0);
        let mut hashes: Vec<u64> = (0..100).map(|_| random.bits()).collect();
        for place in 0..100 {
            let flips = (0..place % 8).fold(0, |flips, _| flips | 1 << (random.bits() % 64));
            hashes.push(hashes[place] ^ flips);
        }
        for distance in [0, 1, 4, 10] {
            let (mut banded, mut plain) = (Vec::new(), Vec::new());
            pairs(&hashes, distance, |a, b, bits| banded.push((a, b, bits)));
            for b in 0..hashes.len() {
                let near = (0..b).map(|a| (a, b, (hashes[a] ^ hashes[b]).count_ones()));
                plain.extend(near.filter(|(_, _, bits)| *bits <= distance));
            }
            banded.sort_unstable();
            plain.sort_unstable();
            assert!(plain.len() > 10, "{distance}");
            assert_eq!(banded, plain);
        }
    }

    #[test]
    fn joined_places_have_one_first() {
        let mut sets = Sets::new(5);
        assert!(sets.join(4, 3) && sets.join(1, 4) && !sets.join(3, 1));
        assert_eq!((0..5).map(|place| sets.find(place)).collect::<Vec<_>>(), [0, 1, 2, 1, 1]);
    }
}
