//! What `--locked` refuses, and what a run without it does about it.

use std::path::Path;

use crate::bench::{Bench, here};

const ALL: &str = "flowrun: 1
sources: { data: { path: data.json }, far: { url: 'https://127.0.0.1:9/x', sha256: SUM } }
steps:
  count:
    uses: flowrun/json@1
    with: { filter: length }
    inputs: { data: sources.data }
    values: [value]
  tick:
    uses: ./clock.wasm
    if: false
    allow: [clock]
    outputs: { page: page.html }
  say:
    run: python -c 'import a; print(a.says())' > {{ outputs.said }}
    PYTHON [a]
    outputs: { said: said.txt }
";

fn all() -> String {
    ALL.replace("SUM", &"1a".repeat(32))
}

fn bench() -> Bench {
    let bench = Bench::new(&all());
    bench.bed.write("data.json", "[1, 2]");
    let invalid = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    for name in ["clock.wasm", "clock.plugin.yaml"] {
        std::fs::copy(invalid.join(name), bench.bed.path(name)).expect("copy");
    }
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.package("b-1.0-py3-none-any.whl", &[]);
    bench
}

#[test]
fn a_run_that_is_locked_needs_a_lock_that_holds_all_of_it() {
    let bench = bench();
    for args in [&["run", "--locked"][..], &["run", "--locked", "--dry-run"]] {
        bench.flowrun(args).fails(5).says("there is no p.lock").says("run `flowrun lock`");
    }
    bench.flowrun(&["lock"]).ok();
    let lock = bench.lock();
    assert_eq!(bench.run(&["--locked"]).0.len(), 2);
    let refused = |text: &str, what: &[&str]| {
        bench.pipeline(text);
        let mut said = bench.flowrun(&["run", "p.yaml", "--locked", "--json"]).fails(5).says("run `flowrun lock`");
        assert!(said.stdout.is_empty(), "nothing ran: {}", said.stdout);
        for one in what {
            said = said.says(one);
        }
        assert_eq!(bench.lock(), lock, "nothing is written");
        bench.pipeline(&all());
        bench.run(&["--locked"]);
    };
    let none: &[&str] = &["asks for `b`, which is not locked", "`a` no more"];
    refused(&all().replace("PYTHON [a]", "PYTHON [b]"), none);
    refused(
        &all().replace("PYTHON [a]", "python: { version: \"3.99\", requirements: [a] }"),
        &["asks for Python 3.99"],
    );
    let more = "  more: { run: 'true' }\n  other:\n    run: 'true'\n    PYTHON []\n  say:\n";
    refused(&all().replace("  say:\n", more), &["step `other` is not in the lock"]);
    refused(&all().replace(&"1a".repeat(32), &"2b".repeat(32)), &["source `far` is sha256:2b2b", "sha256:1a1a"]);
    let other = ["step `count` uses `./other.wasm`, and `flowrun/json@1` is locked"];
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/built/json.wasm");
    std::fs::copy(built, bench.bed.path("other.wasm")).expect("copy");
    refused(&all().replace("flowrun/json@1", "./other.wasm"), &other);
    let onnx =
        "  see: { onnx: {}, inputs: { model: say.said, images: sources.data }, outputs: { detections: d.json } }\n";
    refused(&format!("{}{onnx}", all()), &["step `see` is not in the lock", "`onnxruntime=="]);
}

#[test]
fn what_a_plugin_may_do_is_pinned() {
    let bench = bench();
    bench.flowrun(&["lock"]).ok().says("tick: plugin ./clock.wasm, now may use clock");
    assert!(bench.lock().contains("allow = [\"clock\"]"));
    let manifest = bench.bed.read("clock.plugin.yaml");
    let lines =
        manifest.lines().filter(|line| !line.starts_with("capabilities") && !line.trim_start().starts_with("clock:"));
    bench.bed.write("clock.plugin.yaml", &(lines.collect::<Vec<_>>().join("\n") + "\n"));
    bench.pipeline(&all().replace("    allow: [clock]\n", ""));
    bench.flowrun(&["run", "--locked"]).fails(5).says("step `tick` may no longer use clock");
    bench.flowrun(&["lock"]).ok().says("tick: no longer may use clock");
}

#[test]
fn continuous_integration_is_locked_unless_told_otherwise() {
    let bench = bench();
    let ci = |value: &str, args: &[&str]| {
        let mut command = bench.command(&[&["run", "p.yaml"], args].concat());
        crate::support::said(command.env("CI", value).output().expect("flowrun starts"))
    };
    ci("true", &[]).fails(5).says("there is no p.lock");
    assert_eq!(bench.lock(), "");
    ci("", &[]).ok().says("wrote ");
    std::fs::remove_file(bench.bed.path("p.lock")).expect("remove");
    ci("true", &["--no-locked"]).ok().says("wrote ");
    ci("true", &[]).ok();
}

/// A newer flowrun brings other plugins.
#[test]
fn another_built_in_plugin_is_told_and_pinned_or_refused() {
    let bench = bench();
    bench.flowrun(&["lock"]).ok();
    let lock = bench.lock();
    let known = lock.split_once("[plugins.\"flowrun/json@1\"]").expect("there").1;
    let sha256 = known.split_once("sha256 = \"").expect("there").1[..64].to_owned();
    bench.edit(&sha256, &"0".repeat(64));
    let told = format!(
        "plugin `flowrun/json@1` is 1.0.0 (sha256:{}…), and 1.0.0 (sha256:000000000000…) is locked",
        &sha256[..12]
    );
    bench.flowrun(&["run", "--locked"]).fails(5).says(&told);
    bench.flowrun(&["lock", "--check"]).fails(5).says("flowrun/json@1: other bytes: sha256 000000000000… →");
    bench.flowrun(&["run"]).ok().says("p.lock: flowrun/json@1: other bytes");
    assert_eq!(bench.lock(), lock);
}

#[test]
fn another_interpreter_than_was_locked_is_told_or_refused() {
    let bench = bench();
    bench.flowrun(&["lock"]).ok();
    let lock = bench.lock();
    let line = format!("interpreters.{} = \"", here());
    let known = lock.split_once(&line).expect("there").1.split('"').next().expect("there").to_owned();
    bench.edit(&known, "cpython 3.99.1");
    let told = format!("is {known} here, and cpython 3.99.1 is locked");
    bench.flowrun(&["run", "--locked"]).fails(5).says(&told);
    bench.flowrun(&["run"]).ok().says(&told);
    assert!(bench.cache().join("pythons/3.99.1.absent.json").is_file(), "it is not looked for at every run");
    bench.flowrun(&["lock"]).ok().says("up to date");
    // A newer package is there by now, and stays where it is.
    bench.package("a-2.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock", "--upgrade", "python"]).ok().says(&format!("cpython 3.99.1 → {known}"));
    assert_eq!(bench.lock(), lock);
    bench.edit(&known, "cpython 3.99.1");
    bench.flowrun(&["lock", "--upgrade"]).ok().says("a 1.0 → 2.0").says(&format!("cpython 3.99.1 → {known}"));
}

#[test]
fn a_lock_that_cannot_be_read_is_told_by_its_line() {
    let bench = bench();
    bench.flowrun(&["lock"]).ok();
    let lock = bench.lock();
    let line = 1 + lock.lines().position(|line| line.starts_with("[steps.say]")).expect("there");
    for args in [&["run"][..], &["run", "--locked"], &["lock"], &["plan"]] {
        bench.bed.write("p.lock", &lock.replace("[steps.say]", "<<<<<<< HEAD"));
        bench.flowrun(args).fails(2).says(&format!("p.lock:{line}: the lock is damaged")).says("version control");
        bench.bed.write("p.lock", &lock.replace("flowrun-lock = 2", "flowrun-lock = 3"));
        bench.flowrun(args).fails(2).says("the lock is of format 3, and this flowrun reads 2");
    }
}
