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
    let told = "`a.py` of a 1.0 in uv's cache is not what was packed: it is brought again";
    bench.flowrun(&["run"]).ok().says(told).says("done  say");
    let said = bench.flowrun(&["get", "@latest", "say.said"]);
    assert_eq!(bench.bed.read("said.txt").trim(), "a-1.0-py3-none-any.whl", "{}", said.stderr);
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

/// A step that stands on nothing, and after it the one whose package is not what was locked.
const AFTER: &str = "flowrun: 1
steps:
  first:
    run: echo > {{ outputs.it }}
    outputs: { it: it.txt }
  say:
    run: python -c 'import a; print(a.says())' > {{ outputs.said }}
    inputs: { it: first.it }
    PYTHON [a]
    outputs: { said: said.txt }
";

#[test]
fn nothing_runs_before_everything_is_there() {
    let bench = Bench::new(AFTER);
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok();
    let bench = bench.elsewhere("other");
    package(&bench.bed.path("links"), "a-1.0-py3-none-any.whl", "something else", &[]);
    let ran = |args: &[&str]| {
        let said = bench.flowrun(&[&["run", "p.yaml"], args].concat()).fails(1).says("fail  say").says("a==1.0");
        said.stderr.contains("done  first")
    };
    assert!(!ran(&[]), "refused before anything runs");
    let said = bench.flowrun(&["run", "--resume"]);
    assert!(said.code == 1 && !said.stderr.contains("done  first"), "{}", said.stderr);
    assert!(ran(&["--keep-going"]), "what can be had is asked for");
    // A step that may never run, or may fail, keeps nobody from running.
    bench.pipeline(&AFTER.replace("    PYTHON", "    continue_on_error: true\n    PYTHON"));
    let said = bench.flowrun(&["run", "p.yaml", "--force", "first"]).ok();
    assert!(said.stderr.contains("done  first") && said.stderr.contains("a==1.0"), "{}", said.stderr);
    bench.pipeline(&AFTER.replace("    PYTHON", "    if: 1 > 2\n    PYTHON"));
    bench.flowrun(&["run", "p.yaml", "--force", "first"]).ok().says("done  first").says("skip  say");
}

#[test]
fn a_step_that_is_cached_needs_nothing() {
    let bench = Bench::new(&AFTER.replace("    inputs: { it: first.it }\n", ""));
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["run"]).ok();
    for kind in ["environments", "uv"] {
        std::fs::remove_dir_all(bench.cache().join(kind)).expect("remove");
    }
    std::fs::remove_dir_all(bench.bed.path("links")).expect("remove");
    for _ in 0..5 {
        let said = bench.flowrun(&["run", "p.yaml", "--force", "first"]).ok().says("hit   say").says("done  first");
        assert!(!said.stderr.contains("building"), "{}", said.stderr);
    }
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
