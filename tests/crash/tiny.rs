//! A real disk that fills up: a store on a memory disk that has room for a part of the run, from next to nothing to all of it.

use crate::bench::{Bench, STATES};
use crate::support::compare::lies;
use crate::support::disk::Disk;
use crate::support::random::{Random, number};
use crate::support::skip;

/// What a run needs, and more, in KiB: from here on it must succeed.
const ENOUGH: usize = 4096;

const ROUNDS: usize = 10;

#[test]
fn a_disk_that_fills_up_is_told_and_with_room_all_is_right() {
    let bench = Bench::new(&STATES[..1]);
    let state = &STATES[0];
    bench.edit(state);
    let mut random = Random::new(number("FLOWRUN_CRASH_SEED", 1));
    let mut full = 0;
    for round in 0..ROUNDS {
        // A part of each size, and both ends.
        let size = match round {
            0 => 4,
            1 => ENOUGH,
            _ => 8 * round + random.below(100 * round),
        };
        let Some(disk) = Disk::mount(&bench.bed.store(), &format!("{size}k")) else {
            return skip("a disk that fills up", "mounting takes root");
        };
        let told = bench.ran(&state.args(0));
        let what = format!("{size} KiB, ended with {}:\n{}", told.code, told.stderr);
        assert!([0, 1, 3].contains(&told.code), "{what}");
        assert!(told.code == 0 || told.stderr.contains("No space left"), "not told: {what}");
        // A plugin or a script that finds no room says so in its own words, and fails by itself.
        assert!(told.code != 3 || told.stderr.contains("make room"), "no advice: {what}");
        assert!(told.code == 0 || size < ENOUGH, "{what}");
        assert!(lies(&bench.bed.store()).is_empty(), "{what}: the store lies");
        full += usize::from(told.code != 0);
        disk.again("size=64m");
        let next = bench.ran(&state.args(0));
        assert_eq!(next.code, 0, "with room: {}\nafter {what}", next.stderr);
        bench.is_right(state, &what);
    }
    assert!(full >= ROUNDS / 2, "the disk was full in {full} rounds only: what is tested is not what is claimed");
}
