use std::sync::atomic::{AtomicUsize, Ordering};

use flowrun_core::artifact::{Artifact, Mode};

use super::super::tests::{bed, entry};
use super::super::{GcPolicy, Lookup};
use super::*;

fn mine(claimed: Claimed) -> Claim {
    match claimed {
        Claimed::Mine(claim) => claim,
        Claimed::Busy(by) => panic!("it is held by {by:?}"),
    }
}

/// The run that holds it, as one who wants it is told.
fn refused(store: &Store, key: &Digest) -> Option<String> {
    match store.claim(key, "me") {
        Ok(Claimed::Busy(by)) => by.run,
        other => panic!("it is not held: {other:?}"),
    }
}

/// The run that holds it, as one who only looks is told.
fn seen(store: &Store, key: &Digest) -> Option<String> {
    store.claimed_by(key).expect("it is held").run
}

#[test]
fn one_store_claims_and_another_sees_by_whom() {
    let bed = bed();
    let other = Store::open(&bed.root).expect("opens");
    let (key, free) = (Digest::of(b"key"), Digest::of(b"free"));
    let claim = mine(bed.store.claim(&key, "20260101-000000-aaaa").expect("claim"));
    for store in [&bed.store, &other] {
        assert_eq!(refused(store, &key).as_deref(), Some("20260101-000000-aaaa"));
        assert_eq!(seen(store, &key).as_deref(), Some("20260101-000000-aaaa"));
    }
    mine(other.claim(&free, "x").expect("another key"));
    drop(claim);
    assert!(other.claimed_by(&key).is_none());
    assert!(!bed.store.claim_path(&key).exists(), "what is let go of leaves nothing");
    mine(other.claim(&key, "y").expect("claim"));
}

#[test]
fn what_a_death_left_is_taken_over_and_not_named() {
    let bed = bed();
    let key = Digest::of(b"key");
    for left in ["", "20260101-000000-a-much-longer-name"] {
        std::fs::write(bed.store.claim_path(&key), left).expect("write");
        assert!(bed.store.claimed_by(&key).is_none());
        let store = Store::open(&bed.root).expect("opens");
        let claim = mine(store.claim(&key, "short").expect("claim"));
        assert_eq!(seen(&bed.store, &key).as_deref(), Some("short"));
        // A holder whose id could not be written.
        std::fs::write(bed.store.claim_path(&key), "").expect("write");
        assert_eq!(refused(&bed.store, &key), None);
        drop(claim);
    }
}

/// Somebody opens a claim's file; its holder lets go; somebody else claims anew: what the first one has open says nothing any more.
#[test]
fn a_file_that_lost_its_name_is_no_claim() {
    let bed = bed();
    let key = Digest::of(b"key");
    let path = bed.store.claim_path(&key);
    for by_file in [false, true] {
        let claim = |run: &str| match by_file {
            true => mine(claim_by_file(path.clone(), run).expect("claim")),
            false => mine(bed.store.claim(&key, run).expect("claim")),
        };
        let old = claim("old");
        let late = File::open(&path).expect("open");
        drop(old);
        let new = claim("new");
        assert_eq!(late.try_lock().is_ok(), by_file, "a badge is locked as long as its store is open");
        assert!(!has_name(&late, &path).expect("stat"));
        assert_eq!(seen(&bed.store, &key).as_deref(), Some("new"));
        drop(new);
        assert!(!has_name(&late, &path).expect("stat"), "nor does it when the name is nobody's");
        assert!(bed.store.claimed_by(&key).is_none());
    }
}

/// A store on a file system without links, or an older flowrun, claims by a file: either kind sees the other's.
#[test]
fn a_claim_by_link_and_one_by_file_see_each_other() {
    let bed = bed();
    let key = Digest::of(b"key");
    let path = bed.store.claim_path(&key);
    let by_file = mine(claim_by_file(path.clone(), "by file").expect("claim"));
    assert_eq!(refused(&bed.store, &key).as_deref(), Some("by file"));
    drop(by_file);
    let by_link = mine(bed.store.claim(&key, "by link").expect("claim"));
    assert!(
        matches!(claim_by_file(path.clone(), "me").expect("claim"), Claimed::Busy(by) if by.run.as_deref() == Some("by link"))
    );
    drop(by_link);
    drop(mine(claim_by_file(path, "me").expect("claim")));
}

const ROUNDS: usize = 40;

/// What one of many does in a round: the result is looked up, or claimed, looked up again and made.
fn take_part(store: &Store, round: usize, artifact: Artifact, inside: &AtomicUsize, made: &AtomicUsize) {
    let key = Digest::of(format!("round {round}").as_bytes());
    while !matches!(store.load_entry(&key), Ok(Lookup::Hit(_))) {
        let Claimed::Mine(claim) = store.claim(&key, "run").expect("claim") else {
            std::thread::yield_now();
            continue;
        };
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it at once");
        if matches!(store.load_entry(&key), Ok(Lookup::Absent)) {
            made.fetch_add(1, Ordering::SeqCst);
            store.save_entry(&entry(key, artifact), "p/s").expect("save");
        }
        inside.fetch_sub(1, Ordering::SeqCst);
        drop(claim);
    }
}

#[test]
fn in_a_crowd_one_at_a_time_holds_it_and_the_result_is_made_once() {
    let bed = bed();
    let digest = bed.store.put_bytes(b"made").expect("put");
    let artifact = Artifact { mode: Mode::File, digest, size: 4 };
    let counts: Vec<[AtomicUsize; 2]> = (0..ROUNDS).map(|_| Default::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(&bed.root).expect("opens");
                for (round, [inside, made]) in counts.iter().enumerate() {
                    take_part(&store, round, artifact, inside, made);
                }
            });
        }
    });
    assert!(counts.iter().all(|[_, made]| made.load(Ordering::SeqCst) == 1), "{counts:?}");
}

#[test]
fn while_files_come_and_go_no_two_hold_it() {
    let bed = bed();
    let (key, inside) = (Digest::of(b"key"), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    // A claim that ends between another's opening of its file and the lock is what this is about.
                    if let Claimed::Mine(claim) = bed.store.claim(&key, "run").expect("claim") {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it at once");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(claim);
                    }
                }
            });
        }
    });
}

/// Set for the child of the test below: the project whose store it is to claim in.
const HOLDER: &str = "FLOWRUN_TEST_HOLDER";

#[test]
fn a_killed_process_lets_go() {
    let key = Digest::of(b"key");
    if let Some(root) = std::env::var_os(HOLDER) {
        let store = Store::open(Path::new(&root)).expect("opens");
        let _claim = mine(store.claim(&key, "holder").expect("claim"));
        std::thread::park();
        unreachable!("it is killed");
    }
    let bed = bed();
    let me = std::env::current_exe().expect("exe");
    let mut child = std::process::Command::new(me)
        .args(["--exact", "store::claims::tests::a_killed_process_lets_go"])
        .env(HOLDER, &bed.root)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let begun = std::time::Instant::now();
    while bed.store.claimed_by(&key) != Some(Holder { run: Some("holder".into()) }) {
        assert!(begun.elapsed().as_secs() < 60, "the other process does not claim");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert!(bed.store.claim_path(&key).exists() && bed.store.claimed_by(&key).is_none());
    drop(mine(bed.store.claim(&key, "me").expect("claim")));
}

#[test]
fn gc_removes_what_nobody_holds() {
    let bed = bed();
    let (left, held) = (Digest::of(b"left"), Digest::of(b"held"));
    std::fs::write(bed.store.claim_path(&left), "dead").expect("write");
    let claim = mine(bed.store.claim(&held, "r").expect("claim"));
    bed.store.gc(GcPolicy { dry_run: true, ..GcPolicy::default() }).expect("gc");
    assert!(bed.store.claim_path(&left).exists(), "a dry run removes nothing");
    bed.store.gc(GcPolicy::default()).expect("gc");
    assert!(!bed.store.claim_path(&left).exists());
    assert_eq!(seen(&bed.store, &held).as_deref(), Some("r"));
    drop(claim);
}

#[test]
fn where_it_cannot_be_known_the_caller_is_told() {
    let bed = bed();
    std::fs::remove_dir(bed.store.path("claims")).expect("rmdir");
    std::fs::write(bed.store.path("claims"), "").expect("write");
    let key = Digest::of(b"key");
    assert!(bed.store.claim(&key, "r").is_err());
    assert!(bed.store.claimed_by(&key).is_none(), "a wait must end");
}
