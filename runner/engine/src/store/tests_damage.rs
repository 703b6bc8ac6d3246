//! What must not be believed, must not be written through, and must not be lost.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use flowrun_core::artifact::{Artifact, Mode, Tree};
use serde_json::json;

use super::tests::{Bed, bed, entry, folder};
use super::*;

fn file(bed: &Bed, name: &str, text: &str) -> PathBuf {
    let path = bed.root.join(name);
    std::fs::write(&path, text).expect("write");
    path
}

fn blobs(bed: &Bed) -> usize {
    bed.store.size().expect("size").blobs
}

fn age(path: &Path, by: Duration) {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now() - by)).expect("utime");
}

const DAY: Duration = Duration::from_secs(86_400);

/// In each way in which a blob can be hurt, it is found, it is gone, and the same bytes make it whole again.
#[test]
fn every_damage_is_found() {
    type Hurt = fn(&Path);
    let hurts: [(&str, Hurt); 5] = [
        ("overwritten", |blob| std::fs::write(blob, "ABCD").expect("write")),
        ("cut", |blob| File::options().write(true).open(blob).and_then(|file| file.set_len(2)).expect("cut")),
        ("cut, its time set back", |blob| {
            File::options().write(true).open(blob).and_then(|file| file.set_len(2)).expect("cut");
            let stamp = std::time::UNIX_EPOCH + Duration::from_secs(1);
            File::open(blob).and_then(|file| file.set_modified(stamp)).expect("utime");
        }),
        ("deleted", |blob| std::fs::remove_file(blob).expect("rm")),
        ("replaced by a link", |blob| {
            std::fs::remove_file(blob).expect("rm");
            symlink("/etc/hostname", blob).expect("link");
        }),
    ];
    for (name, hurt) in hurts {
        let bed = bed();
        let artifact = bed.store.ingest(&file(&bed, "a", "abcd"), Take::Copy).expect("ingest");
        let blob = bed.store.blob(&artifact.digest, false);
        std::fs::set_permissions(&blob, Permissions::from_mode(0o644)).expect("chmod");
        hurt(&blob);
        assert!(!matches!(bed.store.has_all(&artifact), Ok(true)), "{name}");
        assert!(bed.store.materialise(&artifact, &bed.root.join("out"), How::Link).is_err(), "{name}");
        assert_eq!(bed.store.ingest(&file(&bed, "a", "abcd"), Take::Copy).expect(name), artifact);
        assert!(bed.store.has_all(&artifact).expect(name), "{name}");
        assert_eq!(bed.store.get_bytes(&artifact.digest).expect(name).as_deref(), Some(b"abcd".as_slice()));
    }
}

#[test]
fn what_was_only_touched_or_remoded_is_mended_as_a_file_of_its_own() {
    let bed = bed();
    let artifact = bed.store.ingest(&file(&bed, "a", "abcd"), Take::Copy).expect("ingest");
    let link = bed.root.join("link");
    bed.store.materialise(&artifact, &link, How::Link).expect("link");
    std::fs::set_permissions(&link, Permissions::from_mode(0o755)).expect("chmod");
    let out = bed.root.join("out");
    bed.store.materialise(&artifact, &out, How::Link).expect("again");
    assert_eq!(std::fs::metadata(&out).expect("stat").permissions().mode() & 0o777, 0o444);
    assert_ne!(std::fs::metadata(&out).expect("stat").ino(), std::fs::metadata(&link).expect("stat").ino());
}

/// Damage that keeps size and time is what stamps cannot show; reading everything does.
#[test]
fn a_check_reads_everything() {
    let bed = bed();
    let artifact = bed.store.ingest(&folder(&bed, "made"), Take::Copy).expect("ingest");
    assert_eq!(bed.store.check(&artifact).expect("check"), []);
    let blob = bed.store.blob(&Digest::of(b"one"), false);
    std::fs::set_permissions(&blob, Permissions::from_mode(0o644)).expect("chmod");
    std::fs::write(&blob, "ONE").expect("write");
    std::fs::set_permissions(&blob, Permissions::from_mode(0o444)).expect("chmod");
    let stamp = std::time::UNIX_EPOCH + Duration::from_secs(1);
    File::open(&blob).and_then(|file| file.set_modified(stamp)).expect("utime");
    std::fs::remove_file(bed.store.blob(&Digest::of(b"two"), true)).expect("rm");
    let problem = |path: &str, flaw| Problem { path: path.into(), flaw };
    let expected = [problem("a.txt", Flaw::Damaged), problem("sub/run.sh", Flaw::Missing)];
    assert_eq!(bed.store.check(&artifact).expect("check"), expected);
    assert!(!blob.exists());
}

/// A file that somebody else still has under another name, or open, is not taken as it is.
#[test]
fn a_file_that_others_can_write_to_is_copied() {
    let bed = bed();
    let path = file(&bed, "a", "abcd");
    std::fs::hard_link(&path, bed.root.join("other")).expect("link");
    let artifact = bed.store.ingest(&path, Take::Move).expect("ingest");
    assert!(!path.exists());
    std::fs::write(bed.root.join("other"), "ABCD").expect("write");
    assert_eq!(bed.store.check(&artifact).expect("check"), []);

    let path = file(&bed, "b", "wxyz");
    let mut open = File::options().append(true).open(&path).expect("open");
    let artifact = bed.store.ingest(&path, Take::Move).expect("ingest");
    open.write_all(b"!").expect("late write");
    assert!(!bed.store.has_all(&artifact).expect("has"));
}

#[test]
fn nothing_is_laid_out_over_what_is_there() {
    let bed = bed();
    let one = bed.store.ingest(&file(&bed, "a", "abcd"), Take::Copy).expect("ingest");
    let other = bed.store.ingest(&file(&bed, "b", "wxyz"), Take::Copy).expect("ingest");
    let place = bed.root.join("place");
    bed.store.materialise(&one, &place, How::Link).expect("link");
    for how in [How::Link, How::Copy] {
        assert!(bed.store.materialise(&other, &place, how).is_err());
    }
    assert_eq!(bed.store.check(&one).expect("check"), []);
}

#[test]
fn links_that_climb_after_they_descend_and_links_of_parts_are_refused() {
    let bed = bed();
    let path = bed.root.join("made");
    std::fs::create_dir_all(path.join("deep/er")).expect("mkdir");
    std::fs::create_dir_all(path.join("top")).expect("mkdir");
    symlink("../../top", path.join("deep/er/up")).expect("link");
    let whole = bed.store.ingest(&path, Take::Copy).expect("stays inside");
    // By names alone this stays inside; through `up` it leads out.
    symlink("up/../../secret", path.join("deep/er/out")).expect("link");
    let memo = Memo::load(&bed.store);
    assert!(matches!(bed.store.ingest(&path, Take::Copy), Err(StoreError::Unkeepable { .. })));
    assert!(matches!(bed.store.hash_source(&path, &memo), Err(StoreError::Unkeepable { .. })));
    let part = bed.store.subpath(&whole, "deep").expect("subpath").expect("there");
    assert!(matches!(bed.store.materialise(&part, &bed.root.join("p"), How::Link), Err(StoreError::Unkeepable { .. })));
    bed.store.materialise(&whole, &bed.root.join("w"), How::Link).expect("whole");
}

#[test]
fn odd_names_and_deep_folders_are_told_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let bed = bed();
    let path = bed.root.join("odd");
    std::fs::create_dir(&path).expect("mkdir");
    std::fs::write(path.join(std::ffi::OsStr::from_bytes(b"x\xff")), "").expect("write");
    let refused = bed.store.ingest(&path, Take::Copy).expect_err("odd").to_string();
    assert!(refused.contains("odd/x") && refused.contains("UTF-8"), "{refused}");
    let deep: PathBuf = std::iter::repeat_n("d", 250).collect();
    std::fs::create_dir_all(bed.root.join("deep").join(deep)).expect("mkdir");
    let refused = bed.store.ingest(&bed.root.join("deep"), Take::Copy).expect_err("deep").to_string();
    assert!(refused.contains("200 folders"), "{refused}");
}

#[test]
fn an_entry_of_another_format_is_not_believed() {
    let bed = bed();
    let key = Digest::of(b"key");
    let artifact = bed.store.ingest(&file(&bed, "a", "abcd"), Take::Copy).expect("ingest");
    bed.store.save_entry(&entry(key, artifact), "p/s").expect("save");
    let path = bed.store.entry_path(&key);
    let text = std::fs::read_to_string(&path).expect("read");
    let (body, _) = text.trim_end().rsplit_once('\n').expect("two lines");
    let newer = body.replace("\"format\":1", "\"format\":2");
    assert_ne!(newer, body);
    std::fs::write(&path, format!("{newer}\n{}\n", Digest::of(newer.as_bytes()))).expect("write");
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Damaged(why)) if why.contains("format 2")));
    // What a later version adds to this format is skipped.
    let more = body.replace("{\"format\":1,", "{\"format\":1,\"later\":[1],");
    std::fs::write(&path, format!("{more}\n{}\n", Digest::of(more.as_bytes()))).expect("write");
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Hit(_))));
}

#[test]
fn a_memory_with_a_wrong_bit_is_empty_and_two_runs_keep_each_others() {
    let bed = bed();
    let stat = |ino| memo::Stat { dev: 1, ino, size: 3, mtime: 10, ctime: 10 };
    let (ours, theirs) = (Memo::load(&bed.store), Memo::load(&bed.store));
    ours.remember(stat(1), Digest::of(b"1"), memo::now_nanos());
    theirs.remember(stat(2), Digest::of(b"2"), memo::now_nanos());
    ours.save(&bed.store).expect("save");
    theirs.save(&bed.store).expect("save");
    let both = Memo::load(&bed.store);
    assert_eq!((both.recall(&stat(1)), both.recall(&stat(2))), (Some(Digest::of(b"1")), Some(Digest::of(b"2"))));
    let path = bed.store.path("memo");
    let text = std::fs::read_to_string(&path).expect("read");
    let digest = Digest::of(b"1").to_string();
    std::fs::write(&path, text.replace(&digest, &Digest::of(b"3").to_string())).expect("write");
    assert_eq!(Memo::load(&bed.store).recall(&stat(1)), None);
    std::fs::write(&path, &text[..text.len() - 1]).expect("write");
    assert_eq!(Memo::load(&bed.store).recall(&stat(2)), None);
}

#[test]
fn events_after_a_torn_line_are_read_and_an_id_is_taken_once() {
    let bed = bed();
    let mut record = RunRecord::create(&bed.store, "r1", &json!({})).expect("create");
    assert!(RunRecord::create(&bed.store, "r1", &json!({})).is_err());
    assert!(RunRecord::create(&bed.store, "../r2", &json!({})).is_err());
    record.append_event("{\"a\":1}").expect("append");
    let path = bed.store.path("runs/r1/events.jsonl");
    File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"{\"t\":\"\xc3\n\0\0\n{\"x\"\n"))
        .expect("tear");
    record.append_event("{\"b\":2}").expect("append");
    assert_eq!(bed.store.events("r1").expect("events"), ["{\"a\":1}", "{\"b\":2}"]);
    assert!(bed.store.events("../r1").is_err() && !bed.store.is_live("../r1"));
    record.write_file("plan.json", b"{}").expect("write");
    assert!(bed.store.path("runs/r1/plan.json").exists());
}

#[test]
fn many_at_once_keep_the_same_bytes() {
    let bed = bed();
    let made = folder(&bed, "made");
    let all: Vec<Artifact> = std::thread::scope(|scope| {
        let work = |number: usize| {
            let (root, made) = (bed.root.clone(), made.clone());
            move || {
                let store = Store::open(&root).expect("opens");
                let artifact = store.ingest(&made, Take::Copy).expect("ingest");
                store.materialise(&artifact, &root.join(format!("out{number}")), How::Link).expect("lay");
                store.save_entry(&entry(Digest::of(b"key"), artifact), "p/s").expect("save");
                artifact
            }
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(work(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(all.iter().all(|artifact| *artifact == all[0]));
    assert_eq!(bed.store.check(&all[0]).expect("check"), []);
    assert!(matches!(bed.store.load_entry(&Digest::of(b"key")), Ok(Lookup::Hit(_))));
    assert_eq!(blobs(&bed), 5);
}

/// The scratch of an open store survives the opening of others, and goes with it; that of a dead one is swept.
#[test]
fn scratch_lives_as_long_as_its_store() {
    let bed = bed();
    let aside = bed.store.aside();
    std::fs::write(&aside, "half").expect("write");
    drop(Store::open(&bed.root).expect("other"));
    assert!(aside.exists());
    let dead = bed.store.path("tmp/.1-2-3");
    std::fs::create_dir(&dead).expect("mkdir");
    std::fs::write(dead.join("lock"), "").expect("write");
    drop(Store::open(&bed.root).expect("other"));
    assert!(!dead.exists() && aside.exists());
    let Bed { _folder, store, .. } = bed;
    drop(store);
    assert!(!aside.exists());
}

#[test]
fn gc_takes_the_longest_unused_first_and_counts_what_is_shared_once() {
    let bed = bed();
    let mut keys = Vec::new();
    for (number, text) in ["aaaa", "bbbb", "cccc"].iter().enumerate() {
        let mut tree = Tree::default();
        for (name, text) in [("own", *text), ("shared", "shared by all of them")] {
            tree.entries.insert(name.into(), bed.store.ingest(&file(&bed, name, text), Take::Move).expect("ingest"));
        }
        bed.store.put_bytes(&tree.to_bytes()).expect("put");
        let key = Digest::of(text.as_bytes());
        bed.store.save_entry(&entry(key, tree.artifact()), "p/s").expect("save");
        age(&bed.store.entry_path(&key), DAY * (10 - number as u32));
        keys.push(key);
    }
    // The oldest was used today.
    assert!(matches!(bed.store.load_entry(&keys[0]), Ok(Lookup::Hit(_))));
    let all = bed.store.gc(GcPolicy { dry_run: true, ..GcPolicy::default() }).expect("dry");
    assert_eq!((all.entries, all.blobs, all.kept_bytes), (0, 0, bed.store.size().expect("size").bytes));
    let policy = GcPolicy { max_bytes: Some(all.kept_bytes - 1), ..GcPolicy::default() };
    let dry = bed.store.gc(GcPolicy { dry_run: true, ..policy }).expect("dry");
    let report = bed.store.gc(policy).expect("gc");
    assert_eq!(dry, report);
    // One listing and one file go; the shared one stays.
    assert_eq!((report.entries, report.blobs, report.kept_bytes), (1, 2, all.kept_bytes - report.bytes));
    assert_eq!(bed.store.size().expect("size").bytes, report.kept_bytes);
    let found = keys.iter().map(|key| matches!(bed.store.load_entry(key), Ok(Lookup::Hit(_)))).collect::<Vec<_>>();
    assert_eq!(found, [true, false, true]);
    assert_eq!(bed.store.latest_for("p/s").expect("history"), [keys[2], keys[0]]);
    age(&bed.store.entry_path(&keys[2]), DAY * 8);
    let report = bed.store.gc(GcPolicy { older_than: Some(DAY * 5), ..GcPolicy::default() }).expect("gc");
    assert_eq!(report.entries, 1);
    assert!(matches!(bed.store.load_entry(&keys[0]), Ok(Lookup::Hit(_))));
}

#[test]
fn gc_waits_for_a_run_of_its_own_process_and_removes_what_nobody_can_read() {
    let bed = bed();
    let record = RunRecord::create(&bed.store, "r1", &json!({})).expect("create");
    assert!(matches!(bed.store.gc(GcPolicy::default()), Err(StoreError::Busy)));
    drop(record);
    let path = bed.store.entry_path(&Digest::of(b"key"));
    std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    std::fs::write(&path, "torn").expect("write");
    for number in 0..22 {
        RunRecord::create(&bed.store, &format!("s{number:02}"), &json!({})).expect("create");
    }
    let report = bed.store.gc(GcPolicy::default()).expect("gc");
    assert_eq!((report.entries, report.runs), (1, 3));
    assert!(bed.store.resolve("s02").is_ok() && bed.store.resolve("r1").is_err() && bed.store.resolve("s01").is_err());
    // The lock is shared again.
    assert!(matches!(Store::open(&bed.root).expect("other").gc(GcPolicy::default()), Err(StoreError::Busy)));
}

/// Listings of a hit's input folders stay for "why", their files do not.
#[test]
fn gc_keeps_listings_of_inputs() {
    let bed = bed();
    let input = bed.store.ingest(&folder(&bed, "source"), Take::Copy).expect("ingest");
    let output = bed.store.ingest(&file(&bed, "a", "abcd"), Take::Copy).expect("ingest");
    let made = StoredEntry { manifest: json!({"input.data": {"content": input}}), ..entry(Digest::of(b"key"), output) };
    bed.store.save_entry(&made, "p/s").expect("save");
    bed.store.gc(GcPolicy::default()).expect("gc");
    assert_eq!(blobs(&bed), 3);
    let below = bed.store.subpath(&input, "sub/run.sh").expect("subpath").expect("there");
    assert_eq!(below.mode, Mode::Executable);
    assert!(!bed.store.has_all(&below).expect("has"));
}
