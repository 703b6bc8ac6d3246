use std::os::unix::fs::PermissionsExt;

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;
use serde_json::json;

use super::*;

pub(super) struct Bed {
    pub(super) _folder: tempfile::TempDir,
    pub(super) root: PathBuf,
    pub(super) store: Store,
}

pub(super) fn bed() -> Bed {
    let folder = tempfile::tempdir().expect("tempdir");
    let root = folder.path().to_owned();
    let store = Store::open(&root).expect("opens");
    Bed { _folder: folder, root, store }
}

pub(super) fn folder(bed: &Bed, name: &str) -> PathBuf {
    let path = bed.root.join(name);
    std::fs::create_dir_all(path.join("sub")).expect("mkdir");
    std::fs::write(path.join("a.txt"), "one").expect("write");
    std::fs::write(path.join("sub/run.sh"), "two").expect("write");
    std::fs::set_permissions(path.join("sub/run.sh"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    std::os::unix::fs::symlink("../a.txt", path.join("sub/link")).expect("link");
    path
}

pub(super) fn entry(key: Digest, artifact: Artifact) -> StoredEntry {
    let output = StoredOutput { artifact, name: "out".into() };
    StoredEntry {
        key,
        manifest: json!({"run": {"text": "x"}}),
        outputs: [("out".to_owned(), output)].into_iter().collect(),
        values: Default::default(),
        run: "r".into(),
        took_ms: 1,
        created_unix_ms: 2,
        sandbox: Sandbox::None,
    }
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let bed = bed();
    let path = folder(&bed, "made");
    let artifact = bed.store.ingest(&path, Take::Copy).expect("ingest");
    for how in [How::Link, How::Copy] {
        let place = bed.root.join(format!("{how:?}"));
        bed.store.materialise(&artifact, &place, how).expect("materialise");
        assert_eq!(std::fs::read_to_string(place.join("sub/link")).expect("link"), "one");
        let mode = std::fs::metadata(place.join("sub/run.sh")).expect("stat").permissions().mode();
        assert_eq!(mode & 0o100, 0o100);
        assert_eq!(bed.store.ingest(&place, Take::Copy).expect("again"), artifact);
    }
    let memo = Memo::load(&bed.store);
    assert_eq!(bed.store.hash_source(&path, &memo).expect("hash"), artifact);
}

#[test]
fn what_leads_out_or_is_no_file_is_refused() {
    let bed = bed();
    for target in ["/etc/passwd", "../x", "../../etc"] {
        let path = bed.root.join("bad");
        std::fs::create_dir_all(&path).expect("mkdir");
        std::os::unix::fs::symlink(target, path.join("link")).expect("link");
        let refused = bed.store.ingest(&path, Take::Copy).expect_err(target).to_string();
        assert!(refused.contains("leads out"), "{refused}");
        bed.store.discard(&path).expect("discard");
    }
    let path = bed.root.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("socket");
    assert!(matches!(bed.store.ingest(&path, Take::Move), Err(StoreError::Unkeepable { .. })));
}

#[test]
fn damage_through_a_hard_link_is_found_and_removed() {
    let bed = bed();
    let artifact = bed.store.ingest(&folder(&bed, "made"), Take::Copy).expect("ingest");
    let key = Digest::of(b"key");
    bed.store.save_entry(&entry(key, artifact), "p/s").expect("save");
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Hit(_))));
    let place = bed.root.join("linked");
    bed.store.materialise(&artifact, &place, How::Link).expect("materialise");
    let file = place.join("a.txt");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    std::fs::write(&file, "ONE").expect("write");
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Damaged(_))));
    assert!(matches!(
        bed.store.materialise(&artifact, &bed.root.join("again"), How::Copy),
        Err(StoreError::Missing(_))
    ));
    // Made again, it is whole again.
    assert_eq!(bed.store.ingest(&folder(&bed, "made2"), Take::Copy).expect("ingest"), artifact);
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Hit(_))));
}

#[test]
fn a_torn_entry_is_never_believed() {
    let bed = bed();
    let artifact = bed.store.ingest(&folder(&bed, "made"), Take::Copy).expect("ingest");
    let key = Digest::of(b"key");
    bed.store.save_entry(&entry(key, artifact), "p/s").expect("save");
    let path = bed.store.entry_path(&key);
    let text = std::fs::read_to_string(&path).expect("read");
    for cut in [0, 1, text.len() / 2, text.len() - 2] {
        std::fs::write(&path, &text[..cut]).expect("write");
        assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Damaged(_))), "{cut}");
    }
    std::fs::write(&path, text.replace("\"took_ms\":1", "\"took_ms\":9")).expect("write");
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Damaged(_))));
}

#[test]
fn an_edit_that_sets_size_and_time_back_is_seen() {
    let bed = bed();
    let path = bed.root.join("data.csv");
    std::fs::write(&path, "aaaa").expect("write");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&path).expect("open").set_modified(old).expect("utime");
    let memo = Memo::load(&bed.store);
    let first = bed.store.hash_source(&path, &memo).expect("hash");
    std::fs::write(&path, "bbbb").expect("write");
    std::fs::File::options().write(true).open(&path).expect("open").set_modified(old).expect("utime");
    assert_ne!(bed.store.hash_source(&path, &memo).expect("hash"), first);
}

#[test]
fn the_memory_believes_only_settled_files() {
    let stat = memo::Stat { dev: 1, ino: 2, size: 3, mtime: 10_000_000_000, ctime: 10_000_000_000 };
    assert!(!stat.is_settled(10_000_000_001) && !stat.is_settled(12_000_000_000) && stat.is_settled(12_000_000_001));
    let bed = bed();
    let memo = Memo::load(&bed.store);
    let digest = Digest::of(b"x");
    memo.remember(stat, digest, 10_500_000_000);
    assert_eq!(memo.recall(&stat), None);
    memo.remember(stat, digest, memo::now_nanos());
    memo.save(&bed.store).expect("save");
    let loaded = Memo::load(&bed.store);
    assert_eq!(loaded.recall(&stat), Some(digest));
    assert_eq!(loaded.recall(&memo::Stat { ctime: 1, ..stat }), None);
}

#[test]
fn a_source_that_changes_before_it_is_taken_is_refused() {
    let bed = bed();
    let path = folder(&bed, "source");
    let artifact = bed.store.hash_source(&path, &Memo::load(&bed.store)).expect("hash");
    std::fs::write(path.join("a.txt"), "two").expect("write");
    assert!(matches!(bed.store.ensure_source(&path, &artifact), Err(StoreError::SourceChanged(_))));
}

#[test]
fn differences_name_files_and_skip_what_agrees() {
    let bed = bed();
    let path = folder(&bed, "source");
    let memo = Memo::load(&bed.store);
    let old = bed.store.hash_source(&path, &memo).expect("hash");
    std::fs::write(path.join("sub/new"), "x").expect("write");
    std::fs::remove_file(path.join("a.txt")).expect("rm");
    std::fs::set_permissions(path.join("sub/run.sh"), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let new = bed.store.hash_source(&path, &memo).expect("hash");
    let changes: Vec<String> = bed.store.diff(&old, &new, 10).expect("diff").iter().map(Change::to_string).collect();
    assert_eq!(changes, ["a.txt removed, 3 B", "sub/new added, 1 B", "sub/run.sh is a plain file now"]);
    let script = bed.store.subpath(&new, "sub/run.sh").expect("subpath").expect("there");
    assert_eq!(script.mode, Mode::File);
    assert_eq!(bed.store.subpath(&new, "sub/nothing").expect("subpath"), None);
}

#[test]
fn what_is_noted_of_a_run_is_written_before_what_follows() {
    let bed = bed();
    let id = new_run_id(0, 1);
    let mut record = RunRecord::create(&bed.store, &id, &json!({})).expect("record");
    record.note_event("{\"a\":1}").expect("noted");
    assert!(bed.store.events(&id).expect("events").is_empty(), "it can wait");
    record.append_event("{\"b\":2}").expect("append");
    assert_eq!(bed.store.events(&id).expect("events"), ["{\"a\":1}", "{\"b\":2}"]);
    record.note_event("{\"c\":3}").expect("noted");
    record.write_notes().and_then(|()| record.write_notes()).expect("written, once");
    let long = format!("{{\"d\":\"{}\"}}", "x".repeat(70_000));
    record.note_event(&long).expect("noted");
    assert_eq!(bed.store.events(&id).expect("events")[2..], ["{\"c\":3}".to_owned(), long], "so much does not wait");
}

#[test]
fn records_survive_a_torn_line_and_know_whether_they_live() {
    let bed = bed();
    let id = new_run_id(1_795_460_652_000, 7);
    assert!(id.starts_with("20261123-190412-"), "{id}");
    let mut record = RunRecord::create(&bed.store, &id, &json!({"pipeline": "p"})).expect("create");
    record.append_event("{\"a\":1}").expect("append");
    assert!(bed.store.is_live(&id));
    std::fs::OpenOptions::new()
        .append(true)
        .open(bed.root.join(format!(".flowrun/v1/runs/{id}/events.jsonl")))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"torn"))
        .expect("tear");
    assert_eq!(bed.store.events(&id).expect("events"), ["{\"a\":1}"]);
    drop(record);
    assert!(!bed.store.is_live(&id));
    assert_eq!(bed.store.resolve("@latest").expect("latest"), id);
    assert_eq!(bed.store.resolve("2026").expect("prefix"), id);
    assert!(bed.store.resolve("2027").is_err());
}

#[test]
fn run_ids_sort_by_the_millisecond() {
    let ids: Vec<String> = (0..2500).map(|ms| new_run_id(1_795_460_652_000 + ms, 7)).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert!(ids.iter().all(|id| id.len() == "20261123-190412-k3f9".len()));
    assert_ne!(new_run_id(1, 1), new_run_id(1, 2));
}

#[test]
fn gc_keeps_what_is_referred_to_and_waits_for_others() {
    let bed = bed();
    let artifact = bed.store.ingest(&folder(&bed, "made"), Take::Copy).expect("ingest");
    let key = Digest::of(b"key");
    bed.store.save_entry(&entry(key, artifact), "p/s").expect("save");
    bed.store.put_bytes(b"nobody's").expect("put");
    let other = Store::open(&bed.root).expect("second");
    assert!(matches!(bed.store.gc(GcPolicy::default()), Err(StoreError::Busy)));
    drop(other);
    let report = bed.store.gc(GcPolicy::default()).expect("gc");
    assert_eq!((report.entries, report.blobs), (0, 1));
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Hit(_))));
    let report = bed.store.gc(GcPolicy { max_bytes: Some(0), ..GcPolicy::default() }).expect("gc");
    assert_eq!(report.entries, 1);
    assert!(matches!(bed.store.load_entry(&key), Ok(Lookup::Absent)));
}

#[test]
fn leftovers_of_dead_runs_are_swept_also_read_only_ones() {
    let bed = bed();
    let left = bed.store.step_folder("20200101-000000-dead", "train[x=1].1").expect("folder");
    std::fs::create_dir(left.join("locked")).expect("mkdir");
    std::fs::write(left.join("locked/file"), "x").expect("write");
    std::fs::set_permissions(left.join("locked"), std::fs::Permissions::from_mode(0o555)).expect("chmod");
    Store::open(&bed.root).expect("again");
    assert!(!left.exists());
}
