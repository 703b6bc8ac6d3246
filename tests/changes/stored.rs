//! What is stored beside contents: entries, history, memory, records. Damage there is a loud miss or no matter, never a wrong result.

use std::path::PathBuf;

use flowrun_core::digest::Digest;

use crate::support::Bed;
use crate::support::files::Damage;

const PIPELINE: &str = r#"
flowrun: 1
sources: { f: { path: f.txt } }
steps:
  a: { run: "MARK a; cat {{ inputs.f }} > {{ outputs.o }}; echo a >> {{ outputs.o }}", inputs: { f: sources.f }, outputs: { o: a.txt } }
  b: { run: "MARK b; cat {{ inputs.f }} > {{ outputs.o }}; echo b >> {{ outputs.o }}", inputs: { f: a.o }, outputs: { o: b.txt } }
results: { b: b.o }
"#;

fn lay_out() -> Bed {
    let bed = Bed::marking(PIPELINE);
    bed.write("f.txt", "f\n");
    assert_eq!(bed.ran(&[]), ["a", "b"]);
    bed
}

/// Files of a part of the store.
fn files(bed: &Bed, part: &str) -> Vec<PathBuf> {
    let mut pending = vec![bed.store().join("v1").join(part)];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        match path.is_dir() {
            true => pending.extend(std::fs::read_dir(path).expect("folder").flatten().map(|entry| entry.path())),
            false if path.exists() => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// The entry of the step that reads the source: the one whose manifest names it.
fn entry_of_a(bed: &Bed) -> PathBuf {
    let is_a = |path: &PathBuf| std::fs::read_to_string(path).expect("read").contains("echo a >>");
    files(bed, "entries").into_iter().find(is_a).expect("an entry")
}

#[test]
fn a_damaged_entry_is_a_loud_miss() {
    let bed = lay_out();
    let good = bed.left();
    for damage in Damage::ALL {
        damage.to(&entry_of_a(&bed));
        let plan = bed.flowrun(&["plan", "p.yaml"]).ok();
        if !matches!(damage, Damage::Deleted) {
            let told = format!("{}{}", plan.stdout, plan.stderr);
            assert!(told.contains("damaged"), "{damage:?} is not told:\n{told}");
        }
        assert_eq!(bed.ran(&[]), ["a"], "{damage:?}");
        assert!(bed.left() == good, "{damage:?}");
    }
    // Of two entries each under the other's name none is believed.
    let entries = files(&bed, "entries");
    let texts: Vec<Vec<u8>> = entries.iter().map(|path| std::fs::read(path).expect("read")).collect();
    std::fs::write(&entries[0], &texts[1]).expect("write");
    std::fs::write(&entries[1], &texts[0]).expect("write");
    assert_eq!(bed.ran(&[]), ["a", "b"], "entries that were swapped");
    assert!(bed.left() == good);
}

/// An entry that a later flowrun wrote into this store, whole, is not believed, and told.
#[test]
fn an_entry_of_another_format_is_a_loud_miss() {
    let bed = lay_out();
    let good = bed.left();
    let path = entry_of_a(&bed);
    let text = std::fs::read_to_string(&path).expect("read");
    let body = text.lines().next().expect("a line").replacen("\"format\":1", "\"format\":99", 1);
    assert!(body.contains("\"format\":99"), "{body}");
    std::fs::write(&path, format!("{body}\n{}\n", Digest::of(body.as_bytes()))).expect("write");
    bed.flowrun(&["plan", "p.yaml"]).ok().says("format 99");
    assert_eq!(bed.ran(&[]), ["a"]);
    assert!(bed.left() == good);
    assert!(bed.ran(&[]).is_empty());
}

/// A store that a later flowrun used too: its folder is not looked at.
#[test]
fn a_later_version_beside_is_left_alone() {
    let bed = lay_out();
    let good = bed.left();
    bed.write(".flowrun/v2/blobs/ab/cdef", "whatever");
    bed.write(".flowrun/v2/memo", "whatever");
    bed.write(".flowrun/format", "2");
    assert!(bed.ran(&[]).is_empty());
    bed.flowrun(&["gc", "--max-size", "0B"]).ok();
    assert_eq!(bed.ran(&[]), ["a", "b"]);
    assert!(bed.left() == good);
    assert_eq!(bed.read(".flowrun/v2/blobs/ab/cdef"), "whatever");
    assert_eq!(bed.read(".flowrun/v2/memo"), "whatever");
}

/// History, memory and records are conveniences: without them, and with rubbish in their place, the same runs.
#[test]
fn damaged_conveniences_do_no_harm() {
    let bed = lay_out();
    let good = bed.left();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert!(bed.ran(&[]).is_empty(), "and the memory holds the source");
    assert!(bed.read(".flowrun/v1/memo").lines().count() >= 3);
    for part in ["history", "memo", "runs"] {
        for damage in Damage::ALL {
            let some = |path: &&PathBuf| path.metadata().expect("metadata").len() > 0;
            files(&bed, part).iter().filter(some).for_each(|path| damage.to(path));
            still_right(&bed, &good, &format!("{part}, {damage:?}"));
        }
        for rubbish in [&b"rubbish\n"[..], b"\xff\xfe\x00\n\n\n", b"{}\n{\"at\":1}\n[[[[[[\n", &[b'9'; 5000]] {
            files(&bed, part).iter().for_each(|path| std::fs::write(path, rubbish).expect("write"));
            still_right(&bed, &good, &format!("{part}, rubbish"));
        }
    }
    std::fs::remove_dir_all(bed.store().join("v1/runs")).expect("remove");
    std::fs::remove_dir_all(bed.store().join("v1/history")).expect("remove");
    still_right(&bed, &good, "no records");
}

/// Whether a run runs nothing and leaves what it should, and an edit is still seen, and commands about the past still answer.
fn still_right(bed: &Bed, good: &crate::support::compare::Left, what: &str) {
    bed.flowrun(&["plan", "p.yaml"]).ok();
    let runs = bed.flowrun(&["runs"]);
    assert!([0, 2].contains(&runs.code), "{what}: {}", runs.stderr);
    assert!(bed.ran(&[]).is_empty(), "{what}");
    assert!(&bed.left() == good, "{what}");
    bed.write("f.txt", "g\n");
    bed.ran(&[]);
    assert_eq!(bed.read("results/p/b.txt"), "g\na\nb\n", "{what}");
    bed.write("f.txt", "f\n");
    assert!(bed.ran(&[]).is_empty(), "{what}");
    bed.flowrun(&["explain", "a", "p.yaml"]).ok();
}
