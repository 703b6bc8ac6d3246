//! Every format survives its text, and nothing that is not exactly what was written is believed.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::entry::{BadEntry, Sandbox, StoredEntry, StoredOutput, StoredResult};
use super::memo::{Known, Stat};
use super::repeat::{self, Finding, Look, Repeat, Seen, State};
use super::{memo, record};
use crate::artifact::{Artifact, Mode, Tree};
use crate::digest::Digest;
use crate::event::{Counts, Event};

fn entry(name: &str, took_ms: u64) -> StoredEntry {
    let artifact = Artifact { mode: Mode::File, digest: Digest::of(name.as_bytes()), size: took_ms };
    StoredEntry {
        key: Digest::of(b"key"),
        manifest: json!({"run": {"text": name}}),
        outputs: IndexMap::from([("out".to_owned(), StoredOutput { artifact, name: "out.txt".to_owned() })]),
        values: Map::from_iter([(name.to_owned(), json!(0.1))]),
        run: "20261123-190412-k3f9".to_owned(),
        took_ms,
        created_unix_ms: took_ms,
        sandbox: Sandbox::Landlock,
    }
}

fn with_manifest(result: StoredResult, entry: &StoredEntry) -> StoredEntry {
    let StoredResult { key, outputs, values, run, took_ms, created_unix_ms, sandbox, .. } = result;
    StoredEntry { key, manifest: entry.manifest.clone(), outputs, values, run, took_ms, created_unix_ms, sandbox }
}

fn known(numbers: (u64, u64, u64, i64, i64)) -> Known {
    let (dev, ino, size, mtime, ctime) = numbers;
    let stat = Stat { dev, ino, size, mtime: mtime.into(), ctime: ctime.into() };
    Known { stat, digest: Digest::of(&ino.to_le_bytes()), day: size }
}

fn artifacts() -> impl Strategy<Value = Artifact> {
    let modes = prop_oneof![Just(Mode::File), Just(Mode::Executable), Just(Mode::Symlink), Just(Mode::Folder)];
    (modes, any::<u64>(), any::<[u8; 4]>()).prop_map(|(mode, size, bytes)| Artifact {
        mode,
        digest: Digest::of(&bytes),
        size,
    })
}

/// One byte of a text that is another, or is gone, or all from there on.
fn spoilt(text: &str, at: prop::sample::Index, how: u8, byte: u8) -> Option<Vec<u8>> {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.index(bytes.len());
    match how % 3 {
        0 => bytes[at] ^= byte.max(1),
        1 => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
    (bytes != text.as_bytes()).then_some(bytes)
}

proptest! {
    #[test]
    fn an_entry_survives_its_text_and_no_damage_is_believed(
        name in "\\PC{0,12}", took in any::<u64>(), at in any::<prop::sample::Index>(), how in any::<u8>(), byte in any::<u8>(),
    ) {
        let entry = entry(&name, took);
        let text = entry.to_text();
        prop_assert_eq!(StoredEntry::parse(text.as_bytes(), &entry.key), Ok(entry.clone()));
        let result = StoredResult::parse_result(text.as_bytes(), &entry.key).map(|result| with_manifest(result, &entry));
        prop_assert_eq!(result, Ok(entry.clone()));
        if let Some(bytes) = spoilt(&text, at, how, byte) {
            prop_assert!(StoredEntry::parse(&bytes, &entry.key).is_err());
            prop_assert!(StoredResult::parse_result(&bytes, &entry.key).is_err());
        }
    }

    #[test]
    fn a_memo_survives_its_text_and_no_damage_is_believed(
        files in prop::collection::vec(any::<(u64, u64, u64, i64, i64)>(), 0..4),
        at in any::<prop::sample::Index>(), how in any::<u8>(), byte in any::<u8>(),
    ) {
        let files: Vec<Known> = files.into_iter().map(known).collect();
        let text = memo::to_text(&files);
        prop_assert_eq!(memo::parse(text.as_bytes()), Some(files));
        if let Some(bytes) = spoilt(&text, at, how, byte) {
            prop_assert_eq!(memo::parse(&bytes), None);
        }
    }

    /// What can be read is what would be written, so that one folder has one digest.
    #[test]
    fn a_tree_has_one_form(
        entries in prop::collection::btree_map("[^/\0]{1,6}", artifacts(), 0..4),
        at in any::<prop::sample::Index>(), how in any::<u8>(), byte in any::<u8>(),
    ) {
        let entries: BTreeMap<String, Artifact> =
            entries.into_iter().filter(|(name, _)| crate::artifact::is_component(name)).collect();
        let tree = Tree { entries };
        let bytes = tree.to_bytes();
        prop_assert_eq!(Tree::from_bytes(&bytes).ok(), Some(tree));
        let text = String::from_utf8(bytes).expect("text");
        if let Some(spoilt) = spoilt(&text, at, how, byte)
            && let Ok(read) = Tree::from_bytes(&spoilt)
        {
            prop_assert_eq!(read.to_bytes(), spoilt);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let key = Digest::of(b"key");
        prop_assert!(StoredEntry::parse(&bytes, &key).is_err());
        prop_assert_eq!(memo::parse(&bytes), None);
        record::lines(&bytes).for_each(|line| drop(record::event(line)));
        let _ = Tree::from_bytes(&bytes);
    }
}

#[test]
fn an_entry_of_another_time_is_read_or_refused_as_the_table_says() {
    let whole = entry("a", 1);
    let text = |change: fn(&mut serde_json::Value)| {
        let mut body: serde_json::Value =
            serde_json::from_str(whole.to_text().lines().next().expect("a line")).expect("json");
        change(&mut body);
        let body = body.to_string();
        format!("{body}\n{}\n", Digest::of(body.as_bytes()))
    };
    let read = |text: String| StoredEntry::parse(text.as_bytes(), &whole.key);
    let old = read(text(|body| drop(body.as_object_mut().expect("a map").remove("sandbox")))).expect("read");
    assert_eq!(old.sandbox, Sandbox::None);
    assert_eq!(read(text(|body| body["later"] = json!(1))), Ok(whole.clone()));
    assert_eq!(read(text(|body| body["format"] = json!(2))), Err(BadEntry::Format(2)));
    assert!(matches!(read(text(|body| body["sandbox"] = json!("gvisor"))), Err(BadEntry::Unknown(_))));
    assert!(matches!(read(text(|body| body["outputs"]["out"]["name"] = json!("../x"))), Err(BadEntry::Unknown(_))));
    assert_eq!(StoredEntry::parse(whole.to_text().as_bytes(), &Digest::of(b"other")), Err(BadEntry::Damaged));
}

#[test]
fn a_record_is_read_as_far_as_it_is_known() {
    let lines = b"{\"at\":1,\"event\":\"passed\",\"step\":\"a\"}\n{\"at\":2,\"event\":\"invented\"}\n{\"at\":3,\"ev";
    let events: Vec<_> = record::lines(lines).map(record::event).collect();
    assert_eq!(events.len(), 2, "what was cut off is no line");
    assert!(events[0].is_some() && events[1].is_none(), "a kind that is not known is no event");
}

fn looked_at(path: &str, artifact: Artifact, number: u64) -> Vec<Look<'_>> {
    let state = State::of(&known((number, 1, 2, 3, -4)).stat);
    let kept = Seen::Kept(artifact.mode, number);
    let file = Seen::File(state, artifact);
    let all = [Seen::Absent, Seen::There, Seen::Itself(state), Seen::Leads(state), Seen::Real(state), file, kept];
    all.map(|seen| Look { path, seen }).to_vec()
}

fn finding(run: &str) -> Finding {
    Finding { at: 7, run: run.to_owned(), counts: Counts { cached: 3, ..Counts::default() } }
}

proptest! {
    #[test]
    fn what_is_said_again_survives_its_text_and_nothing_else_is_believed(
        path in "[^\n]{1,20}", artifact in artifacts(), number: u64, at: prop::sample::Index, how: u8, byte: u8,
    ) {
        let told = [Event::Passed { step: path.clone() }, Event::Repeated { run: "r1".into(), steps: 9 }];
        let looks = looked_at(&path, artifact, number);
        let text = repeat::to_text(&finding("r1"), &told, looks.iter().copied()).expect("has no line feed");
        let read = Repeat::parse(text.as_bytes()).expect("whole");
        prop_assert_eq!((&read.finding, read.told.as_slice()), (&finding("r1"), &told[..]));
        prop_assert_eq!(read.looks().collect::<Option<Vec<_>>>(), Some(looks));
        if let Some(bytes) = spoilt(&text, at, how, byte) {
            prop_assert!(Repeat::parse(&bytes).is_none());
        }
    }
}

#[test]
fn a_state_is_another_when_anything_of_it_is() {
    let one = known((1, 2, 3, 4, 5)).stat;
    let others = [(0, 2, 3, 4, 5), (1, 0, 3, 4, 5), (1, 2, 0, 4, 5), (1, 2, 3, 0, 5), (1, 2, 3, 4, 0)];
    assert!(others.into_iter().all(|other| State::of(&known(other).stat) != State::of(&one)));
    assert_eq!(State::of(&known((1, 2, 3, 4, 5)).stat), State::of(&one));
    assert!(repeat::to_text(&finding("r"), &[], [Look { path: "a\nb", seen: Seen::There }]).is_none());
}
