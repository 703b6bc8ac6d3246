//! Whoever changes what was pinned, on whichever way, is found out before the step runs, and told by name.

use crate::bench::Bench;
use crate::support::wheels::package;
use crate::{ONE, support};

fn locked() -> Bench {
    let bench = Bench::new(ONE);
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok();
    bench
}

#[track_caller]
fn refused(bench: &Bench, what: &str) {
    for args in [&["run", "p.yaml"][..], &["run", "p.yaml", "--locked"]] {
        let said = bench.flowrun(args);
        assert_ne!(said.code, 0, "{}", said.stderr);
        let said = said.says("a==1.0").says(what);
        assert!(!said.stderr.contains("done"), "nothing ran: {}", said.stderr);
    }
    assert!(!bench.bed.path(".flowrun/v1/entries").exists() || bench.bed.read("said.txt").is_empty());
}

#[test]
fn a_line_of_the_lock() {
    let bench = locked();
    let line = bench.line("a-1.0-py3-none-any.whl");
    let sha256 = line.split("sha256 = \"").nth(1).expect("there")[..64].to_owned();
    bench.edit(&sha256, &"0".repeat(64));
    refused(&bench, &"0".repeat(64));
    // Also where the environment was built before.
    bench.edit(&"0".repeat(64), &sha256);
    bench.run(&[]);
    bench.edit(&sha256, &"0".repeat(64));
    refused(&bench, &"0".repeat(64));
}

#[test]
fn a_mirror_that_serves_another_file() {
    let bench = locked().elsewhere("other");
    package(&bench.bed.path("links"), "a-1.0-py3-none-any.whl", "something else", &[]);
    refused(&bench, "ash mismatch");
}

#[test]
fn the_bytes_of_a_wheel_in_the_cache() {
    let bench = locked();
    bench.run(&[]);
    // uv keeps wheels unpacked, and environments are links to what it keeps.
    let kept = find(&bench.cache().join("uv"), "a.py");
    std::fs::remove_file(&kept).expect("remove");
    std::fs::write(&kept, "def says(): return 'something else'\n").expect("write");
    std::fs::remove_dir_all(bench.cache().join("environments")).expect("remove");
    std::fs::remove_dir_all(bench.bed.path(".flowrun/v1")).expect("remove");
    // It is found out by name and brought again, and what was locked runs.
    bench.run(&[]);
    let said = bench.flowrun(&["get", "@latest", "say.said"]);
    assert_eq!(bench.bed.read("said.txt").trim(), "a-1.0-py3-none-any.whl", "{}", said.stderr);
    let told = "`a.py` of a 1.0 in uv's cache is not what was packed: it is brought again";
    bench.flowrun(&["logs", "@latest", "say"]).ok().says(told);
}

fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("folder").flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if path.ends_with(name) {
                return path;
            }
        }
    }
    panic!("no {name}");
}

#[test]
fn the_bytes_of_a_plugin() {
    let bench = Bench::new(
        "flowrun: 1\nsources: { data: { path: data.json } }\nsteps:\n  count:\n    uses: ./json.wasm\n    with: { filter: length }\n    \
         inputs: { data: sources.data }\n    values: [value]\n",
    );
    bench.bed.write("data.json", "[1]");
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/built/json.wasm");
    let mut bytes = std::fs::read(built).expect("read");
    let path = bench.bed.path("json.wasm");
    std::fs::write(&path, &bytes).expect("write");
    bench.flowrun(&["lock"]).ok().says("./json.wasm: 1.0.0 (sha256 ");
    assert_eq!(bench.run(&["--locked"]).0, ["count"]);
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(&path, &bytes).expect("write");
    bench.flowrun(&["run", "--locked"]).fails(5).says("plugin `./json.wasm` is 1.0.0 (sha256:");
    bench.flowrun(&["run"]).ok().says("p.lock: ./json.wasm: other bytes");
}

#[test]
fn a_wheel_that_is_fetched_for_itself() {
    // This one comes from the machine's own index.
    let text = "flowrun: 1\nsources: { w: { pypi: six==1.16.0 } }\nsteps:\n  look:\n    run: cp {{ inputs.w }} {{ outputs.w }}\n    \
                inputs: { w: sources.w }\n    outputs: { w: w.whl }\n";
    let bed = support::Bed::new(text);
    bed.flowrun(&["lock"]).ok().says("six==1.16.0: for linux-x86_64");
    let lock = bed.read("p.lock");
    let at = lock.find("sha256 = \"").expect("there") + 10;
    let spoilt = lock.replace(&lock[at..at + 64], &"0".repeat(64));
    bed.write("p.lock", &spoilt);
    bed.flowrun(&["run", "--locked"])
        .fails(1)
        .says("six-1.16.0-py2.py3-none-any.whl")
        .says("is not the wheel that was pinned");
    bed.write("p.lock", &lock);
    bed.flowrun(&["run", "--locked"]).ok();
}
