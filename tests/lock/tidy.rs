//! What is left in a person's folders and cache, and for how long.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::bench::Bench;

const DATA: &str = "flowrun: 1
name: p
sources: { some: { path: data } }
steps:
  say:
    run: ls {{ inputs.some }} > {{ outputs.said }}
    inputs: { some: sources.some }
    outputs: { said: said.txt }
";

/// Makes something look unused for forty days.
fn age(marker: &Path) {
    let file = std::fs::File::open(marker).expect("there");
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(86_400 * 40)).expect("set");
}

fn only(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder).expect("there").flatten().map(|entry| entry.path()).find(|path| !path.is_symlink())
}

fn names(bench: &Bench) -> Vec<String> {
    let entries = std::fs::read_dir(bench.bed.root()).expect("there").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn packing_that_is_stopped_leaves_nothing() {
    let bench = Bench::new(DATA);
    // Some seconds of packing, that take no room here.
    std::fs::create_dir(bench.bed.path("data")).expect("mkdir");
    std::fs::File::create(bench.bed.path("data/large")).and_then(|file| file.set_len(3 << 30)).expect("sparse");
    bench.flowrun(&["lock"]).ok();
    let before = names(&bench);
    let mut packing = bench.command(&["bundle"]).stderr(Stdio::piped()).spawn().expect("starts");
    let mut words = BufReader::new(packing.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(words.any(|line| line.contains("packing")));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let status = std::process::Command::new("kill").args(["-INT", &packing.id().to_string()]).status().expect("kill");
    assert!(status.success() && !packing.wait().expect("ends").success(), "it was packed before it was stopped");
    assert_eq!(names(&bench), before);
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_is_fetched() {
    let bench = Bench::new(&DATA.replace("sources: {", "sources: { wheel: { pypi: w==1.0 },"));
    bench.package("w-1.0-py3-none-any.whl", &[]);
    bench.bed.write("data/x", "x");
    std::fs::create_dir(bench.bed.path("folder.flow")).expect("mkdir");
    bench.flowrun(&["lock"]).ok();
    for output in ["none/p.flow", "folder.flow"] {
        let said = bench.flowrun(&["bundle", "-o", output]).fails(3).says(&format!("cannot write {output}"));
        assert!(!said.stderr.contains("fetching"), "{}", said.stderr);
    }
    assert_eq!(only(&bench.cache().join("wheels")), None, "nothing was fetched");
    for _ in 0..2 {
        bench.flowrun(&["bundle"]).ok().says("fetching w==1.0");
        std::fs::remove_dir_all(only(&bench.cache().join("wheels")).expect("one")).expect("remove");
    }
    assert!(!names(&bench).iter().any(|name| name.starts_with(".flow") && name != ".flowrun"), "{:?}", names(&bench));
    let mode = std::fs::metadata(bench.bed.path("p.flow")).expect("there").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o644);
}

#[test]
fn wheels_and_bundles_that_nobody_uses_are_removed() {
    let bench = Bench::new(&DATA.replace("sources: {", "sources: { wheel: { pypi: w==1.0 },"));
    bench.package("w-1.0-py3-none-any.whl", &[]);
    bench.bed.write("data/x", "x");
    bench.flowrun(&["lock"]).ok();
    bench.flowrun(&["bundle"]).ok();
    bench.flowrun(&["run", "p.flow"]).ok();
    let cache = bench.cache();
    let wheel = only(&cache.join("wheels")).expect("one");
    let bundle = only(&cache.join("bundles")).expect("one");
    let lock =
        cache.join("locks").join(format!("bundle-{}.lock", bundle.file_name().expect("a name").to_string_lossy()));
    let gc = |args: &[&str]| bench.flowrun(&[&["gc", "--older-than", "30d"], args].concat()).ok();
    let stay = |why: &str| assert!(wheel.is_dir() && bundle.join("p.yaml").is_file(), "{why}");
    gc(&[]);
    stay("used just now");
    age(&wheel.join("stamp.json"));
    age(&lock);
    // Both are looked at again.
    bench.flowrun(&["bundle"]).ok();
    bench.flowrun(&["run", "p.flow"]).ok().says("1 cached");
    gc(&[]);
    stay("used again");
    age(&wheel.join("stamp.json"));
    age(&lock);
    gc(&["--dry-run"]).says("would remove 1 wheel, 1 bundle");
    stay("only told");
    let held = std::fs::File::open(&lock).expect("there");
    held.lock_shared().expect("locks");
    gc(&[]).says("removed 1 wheel\n");
    assert!(!wheel.exists() && bundle.is_dir(), "somebody runs it");
    drop(held);
    gc(&[]).says("removed 1 bundle");
    assert_eq!((only(&cache.join("bundles")), only(&cache.join("wheels"))), (None, None));
    assert!(std::fs::read_dir(cache.join("tmp")).expect("there").next().is_none(), "nor does it lie elsewhere");
    bench.flowrun(&["run", "p.flow"]).ok().says("1 cached");
    assert!(bundle.is_dir());
}

#[test]
fn a_bundle_that_lies_alone_is_named() {
    let bench = Bench::new(DATA);
    bench.bed.write("data/x", "x");
    bench.flowrun(&["lock"]).ok();
    bench.flowrun(&["bundle"]).ok();
    let folder = tempfile::tempdir().expect("tempdir");
    let run = || crate::support::said(bench.command(&["run"]).current_dir(folder.path()).output().expect("starts"));
    run().fails(2).says("no pipeline file here").says("`flowrun init`");
    std::fs::copy(bench.bed.path("p.flow"), folder.path().join("p.flow")).expect("copy");
    run().fails(2).says("no pipeline file here").says("`flowrun run p.flow`");
    std::fs::write(folder.path().join("q.flow"), "").expect("write");
    run().fails(2).says("`flowrun init`");
}
