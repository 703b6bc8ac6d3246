//! The host against guests that behave and guests that do not. Those of WAT are made from `testdata/step.wat`; the WASI
//! command is `testdata/probe.rs`, built into `testdata/probe.wasm`.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc::{self, Receiver};

use super::*;

const PROBE: &[u8] = include_bytes!("testdata/probe.wasm");
const OK: &str = "(call $ok (i32.const 1024) (i32.const 8))";

fn plugin(version: &str, body: &str) -> Vec<u8> {
    let text = include_str!("testdata/step.wat").replace("VERSION", version).replace("BODY", body);
    wat::parse_str(text).expect("the test's WAT is sound")
}

/// A step folder with a plugin in it, and the host's folder.
struct Bench {
    folder: TempDir,
    job: Job,
    host: WasmHost,
}

impl Bench {
    fn new(component: &[u8]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let dir = folder.path().join("step");
        std::fs::create_dir_all(dir.join("in/dataset")).expect("folders");
        std::fs::create_dir_all(dir.join("out")).expect("folders");
        let path = folder.path().join("plugin.wasm");
        std::fs::write(&path, component).expect("a file");
        let job = Job {
            component: path,
            digest: Digest::of(component),
            config: "{}".to_owned(),
            inputs: vec![Place::new("dataset", "in/dataset")],
            outputs: vec![Place::new("report", "out/report.txt")],
            part: None,
            dir,
            limits: Limits::default(),
            granted: Granted::default(),
            seed: 7,
        };
        let host = WasmHost::new(&folder.path().join("compiled")).expect("a host");
        Self { folder, job, host }
    }

    fn body(body: &str) -> Self {
        Self::new(&plugin("1.0.0", body))
    }

    fn probe(what: &str) -> Self {
        let mut bench = Self::new(PROBE);
        bench.job.config = format!(r#"{{"do":"{what}"}}"#);
        for name in ["c", "a", "b"] {
            std::fs::write(bench.job.dir.join("in/dataset").join(name), name).expect("a file");
        }
        bench
    }

    async fn run(&self) -> (Result<Map<String, Value>, Failure>, Vec<Say>) {
        let (say, heard) = mpsc::channel(16);
        let hearing = tokio::spawn(hear(heard));
        let ended = self.host.run(&self.job, &say, &CancellationToken::new()).await;
        drop(say);
        (ended, hearing.await.expect("the listener lives"))
    }

    async fn failure(&self) -> Failure {
        self.run().await.0.expect_err("the step fails")
    }
}

async fn hear(mut heard: Receiver<Say>) -> Vec<Say> {
    let mut all = Vec::new();
    while let Some(say) = heard.recv().await {
        all.push(say);
    }
    all
}

fn lines(said: &[Say]) -> Vec<&str> {
    said.iter().filter_map(|say| if let Say::Line { text, .. } = say { Some(text.as_str()) } else { None }).collect()
}

#[tokio::test]
async fn a_plugin_returns_its_values() {
    let (ended, said) = Bench::body(OK).run().await;
    assert_eq!(Value::from(ended.expect("it succeeds")), serde_json::json!({"ok": 1}));
    assert_eq!(said, []);
}

#[tokio::test]
async fn values_must_be_an_object() {
    let failure = Bench::body("(call $ok (i32.const 1032) (i32.const 3))").failure().await;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Output, "the plugin's values are JSON but not an object")
    );
    let failure = Bench::body("(call $ok (i32.const 1032) (i32.const 2))").failure().await;
    assert!(failure.message.starts_with("the plugin's values are not JSON: "), "{failure:?}");
}

#[tokio::test]
async fn a_failure_is_told_by_its_kind() {
    let config = "(i32.store (i32.const 272) (i32.const 1044)) (i32.store (i32.const 276) (i32.const 12)) \
                  (call $fail (i32.const 0) (i32.const 1035) (i32.const 9))";
    let failure = Bench::body(config).failure().await;
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Step, "with.crops.min: is too large"));
    let failure = Bench::body("(call $fail (i32.const 1) (i32.const 1035) (i32.const 5))").failure().await;
    assert_eq!(failure.message, "bad input: crops");
    let failure = Bench::body("(call $fail (i32.const 2) (i32.const 1035) (i32.const 5))").failure().await;
    assert_eq!(failure.message, "the plugin failed: crops");
}

#[tokio::test]
async fn a_crash_shows_where() {
    let (ended, said) = Bench::body("(call $break)").run().await;
    let failure = ended.expect_err("it crashes");
    assert_eq!(failure.kind, FailureKind::Step);
    assert!(failure.message.contains("unreachable"), "{failure:?}");
    assert!(lines(&said).iter().any(|line| line.ends_with("body: break")), "{said:?}");
}

#[tokio::test]
async fn endless_recursion_is_a_crash_with_a_short_trace() {
    let (ended, said) = Bench::body("(call $deeper (i32.const 1))").run().await;
    assert!(ended.expect_err("it crashes").message.contains("stack"), "{said:?}");
    assert!(said.len() < 40 && lines(&said).last().is_some_and(|line| line.contains("called it")), "{said:?}");
}

#[tokio::test]
async fn an_endless_loop_is_stopped_while_others_run() {
    let bench = Bench::body("(loop $l (br $l)) (unreachable)");
    let (say, _heard) = mpsc::channel(16);
    let stop = CancellationToken::new();
    // The test's runtime has one worker: this would hang if the guest ran on it.
    let (ended, ()) = tokio::join!(bench.host.run(&bench.job, &say, &stop), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
    });
    assert_eq!(ended.expect_err("it was stopped").kind, FailureKind::Interrupted);
}

#[tokio::test]
async fn a_stop_is_seen_where_nobody_listens() {
    let bench = Bench::body("(loop $l (call $log (i32.const 1) (i32.const 1024) (i32.const 8)) (br $l)) (unreachable)");
    let (say, heard) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let (ended, ()) = tokio::join!(bench.host.run(&bench.job, &say, &stop), async {
        while heard.is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    assert_eq!(ended.expect_err("it was stopped").kind, FailureKind::Interrupted);
}

#[tokio::test]
async fn a_stop_ends_a_real_sleep() {
    let mut bench = Bench::probe("look"); // it sleeps for an hour
    bench.job.granted.allow.insert(flowrun_core::plugin::Capability::Clock);
    let (say, _heard) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let (ended, stopped) = tokio::join!(bench.host.run(&bench.job, &say, &stop), async {
        // Compiled, and asleep; were it not, the stop would be seen all the same.
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
        Instant::now()
    });
    assert_eq!(ended.expect_err("it was stopped").kind, FailureKind::Interrupted);
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(2), "it slept on for {took:?}");
}

#[tokio::test]
async fn a_dropped_run_ends_its_guest() {
    let bench = Bench::body("(loop $l (br $l)) (unreachable)");
    let slots = bench.host.here.slots.available_permits();
    let (say, _heard) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let run = bench.host.run(&bench.job, &say, &stop);
    assert!(tokio::time::timeout(Duration::from_millis(300), run).await.is_err());
    let end = Instant::now() + Duration::from_secs(20);
    while bench.host.here.slots.available_permits() < slots {
        assert!(Instant::now() < end, "the guest still runs");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn memory_has_a_limit() {
    let bomb = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let mut bench = Bench::body(bomb);
    bench.job.limits.memory = 64 << 20;
    let failure = bench.failure().await;
    assert_eq!(failure.message, "ran out of memory: it wanted more than 64 MiB");
    bench.job.limits.memory = 100;
    assert!(bench.failure().await.message.starts_with("ran out of memory"), "not even its first page");
}

#[tokio::test]
async fn a_flood_of_log_is_counted_not_kept() {
    let flood = "(local $i i32) (loop $l (call $log (i32.const 2) (i32.const 1024) (i32.const 8)) \
                 (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 500)))) ";
    let mut bench = Bench::body(&format!("{flood}{OK}"));
    bench.job.limits.lines = 100;
    let (ended, said) = bench.run().await;
    assert!(ended.is_ok());
    assert_eq!(said.len(), 101);
    assert_eq!(lines(&said)[0], r#"warning: {"ok":1}"#);
    assert!(lines(&said)[100].starts_with("400 more lines"), "{said:?}");
}

#[tokio::test]
async fn what_is_not_a_plugin_is_refused_with_advice() {
    let refused = [
        (wat::parse_str("(module)").expect("WAT"), "a core WebAssembly module"),
        (wat::parse_str("(component)").expect("WAT"), "not a flowrun plugin"),
        (b"#!/bin/sh".to_vec(), "not WebAssembly"),
        (b"\0asm\x0d\0\x01\0garbage".to_vec(), "cannot be compiled"),
        (plugin("1.4.0", OK), "too new"),
        (plugin("2.0.0", OK), "too new"),
        (plugin("0.3.0", OK), "too old"),
        (wat::parse_str(r#"(component (import "wasi:http/types@0.2.0" (instance)))"#).expect("WAT"), "wasi:http/types"),
        (wat::parse_str(r#"(component (import "wasi:cli/run@0.3.0" (instance)))"#).expect("WAT"), "WASI 0.3.0"),
    ];
    for (component, message) in refused {
        let failure = Bench::new(&component).failure().await;
        assert!(failure.message.contains(message), "{failure:?}");
        assert!(failure.hint.is_some(), "{failure:?}");
    }
}

#[tokio::test]
async fn a_component_that_was_changed_is_not_run() {
    let bench = Bench::body(OK);
    std::fs::write(&bench.job.component, plugin("1.0.0", "(call $break)")).expect("a file");
    assert!(bench.failure().await.message.contains("not the one that was asked for"));
}

#[tokio::test]
async fn compiled_code_is_kept_and_used() {
    let bench = Bench::body(OK);
    bench.run().await.0.expect("it succeeds");
    // A second host that cannot read the component any more runs it all the same.
    std::fs::remove_file(&bench.job.component).expect("it was there");
    let folder = bench.folder.path().join("compiled");
    let again = Bench { host: WasmHost::new(&folder).expect("a host"), ..bench };
    again.run().await.0.expect("it succeeds");
    // What is damaged is not used and goes away.
    let kept = std::fs::read_dir(&folder).expect("the folder").next().expect("one file").expect("a file").path();
    // (Replaced, not written over: the first host still has it mapped.)
    std::fs::remove_file(&kept).and_then(|()| std::fs::write(&kept, "damaged")).expect("written");
    let third = Bench { host: WasmHost::new(&folder).expect("a host"), ..again };
    assert!(third.failure().await.message.contains("cannot be read"));
    assert!(!kept.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn compiled_code_that_others_could_write_is_not_used() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let bench = Bench::body(OK);
    let folder = bench.folder.path().join("compiled");
    bench.run().await.0.expect("it succeeds");
    assert_eq!(std::fs::metadata(&folder).expect("the folder").mode() & 0o777, 0o700);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).expect("ours");
    std::fs::remove_file(&bench.job.component).expect("it was there");
    let again = Bench { host: WasmHost::new(&folder).expect("a host"), ..bench };
    assert!(again.failure().await.message.contains("cannot be read"));
    std::fs::write(&again.job.component, plugin("1.0.0", OK)).expect("written");
    let (ended, said) = again.run().await;
    assert!(ended.is_ok());
    assert!(lines(&said)[0].contains("not kept"), "{said:?}");
}

#[tokio::test]
async fn steps_that_start_together_compile_once() {
    let bench = Bench::body(OK);
    let runs: [_; 4] = std::array::from_fn(|_| bench.run());
    let [a, b, c, d] = runs.map(Box::pin);
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    for (ended, _) in [a, b, c, d] {
        assert_eq!(ended.expect("it succeeds")["ok"], 1);
    }
    let folder = bench.folder.path().join("compiled");
    assert_eq!(std::fs::read_dir(folder).expect("the folder").count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_sees_its_world_and_no_more() {
    let bench = Bench::probe("look");
    std::fs::write(bench.folder.path().join("out-of-here"), "secret").expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", bench.job.dir.join("in/dataset/escape")).expect("a link");
    let (first, said) = bench.run().await;
    let first = first.unwrap_or_else(|failure| panic!("{failure:?} {said:#?}"));
    assert_eq!(first["names"], serde_json::json!(["a", "b", "c", "escape"]));
    assert_eq!((&first["now"], &first["modified"]), (&still::DATE.into(), &still::DATE.into()));
    assert_eq!(first["slept"], 3600);
    assert_eq!((&first["env"], &first["input"]), (&0.into(), &0.into()));
    assert_eq!(first["refused"], serde_json::json!([true, true, true, true, true, true, true, true]));
    assert_eq!(first["request"]["inputs"]["dataset"], "/in/dataset");
    assert_eq!(first["request"]["outputs"]["report"], "/out/report.txt");
    let left: Vec<_> =
        std::fs::read_dir(bench.job.dir.join("out")).expect("out").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["report.txt"]);
    assert!(!bench.job.dir.join("step").exists());

    let mut other = bench;
    assert_eq!(other.run().await.0.expect("it succeeds"), first);
    other.job.seed = 8;
    assert_ne!(other.run().await.0.expect("it succeeds")["random"], first["random"]);
}

#[tokio::test]
async fn what_a_command_prints_becomes_lines() {
    let (ended, said) = Bench::probe("say").run().await;
    assert!(ended.is_ok());
    let on = |wanted| -> Vec<&str> {
        let text = |say: &'_ _| matches!(say, Say::Line { stream, .. } if *stream == wanted);
        said.iter().filter(|say| text(say)).flat_map(|say| lines(std::slice::from_ref(say))).collect()
    };
    let out = on(flowrun_core::outcome::Stream::Stdout);
    assert_eq!(out[..2], ["one", "two"]);
    assert!(out[2].len() < 20_000 && out[2].ends_with("x… (83616 bytes more)"), "{}", &out[2][out[2].len() - 40..]);
    assert_eq!(out[3..], ["bad \u{fffd} byte", "no end"]);
    assert_eq!(on(flowrun_core::outcome::Stream::Stderr), ["three"]);
}

#[tokio::test]
async fn a_command_ends_with_its_code() {
    // WASI 0.2 has no codes but good and bad: `exit(3)` arrives as 1.
    assert_eq!(Bench::probe("exit").failure().await.message, "exited with 1");
    let (ended, said) = Bench::probe("panic").run().await;
    assert!(ended.expect_err("it crashes").message.starts_with("the plugin crashed"));
    assert!(lines(&said).contains(&"the probe panics"), "{said:?}");
    let failure = Bench::probe("values").failure().await;
    assert_eq!(failure.message, "the values in `/out/values.json` are JSON but not an object");
    let mut bench = Bench::probe("look");
    bench.job.outputs.push(Place::new("values", "out/values.json"));
    assert_eq!(bench.failure().await.kind, FailureKind::Output);
}

#[tokio::test]
async fn outputs_have_a_limit() {
    let mut bench = Bench::probe("fill");
    bench.job.limits.output = 20 << 20;
    assert_eq!(bench.failure().await.message, "it wrote more than 20 MiB to its outputs");
    let written = std::fs::metadata(bench.job.dir.join("out/big")).expect("it began").len();
    assert!(written <= 20 << 20, "{written}");
}

#[tokio::test]
async fn a_guest_cannot_take_every_descriptor() {
    let values = Bench::probe("hold").run().await.0.expect("it succeeds");
    assert_eq!(values["held"], 100);
}

#[test]
fn byte_counts_read_well() {
    assert_eq!([12, 1 << 10, 3 << 19, 2 << 30].map(bytes), ["12 bytes", "1 KiB", "1.5 MiB", "2 GiB"]);
}

/// The plugins of this repository on its sample: real components, real pictures, real folders.
mod built {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() { copy(&from, &to) } else { std::fs::copy(&from, &to).map(drop).expect("copied") }
        }
    }

    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                all.extend(
                    contents(&path).into_iter().map(|(name, bytes)| (Path::new(&entry.file_name()).join(name), bytes)),
                );
            } else {
                all.insert(entry.file_name().into(), std::fs::read(&path).expect("a file"));
            }
        }
        all
    }

    fn check(config: &str) -> Bench {
        let component = std::fs::read(Path::new(ROOT).join("plugins/built/boxes-check.wasm")).expect("it is built");
        let mut bench = Bench::new(&component);
        copy(&Path::new(ROOT).join("pipelines/data/plantdoc-sample"), &bench.job.dir.join("in/dataset"));
        std::fs::create_dir(bench.job.dir.join("out/dataset")).expect("a folder");
        bench.job.config = config.to_owned();
        bench.job.outputs = vec![Place::new("dataset", "out/dataset"), Place::new("report", "out/findings.json")];
        bench
    }

    #[tokio::test]
    async fn the_sample_is_checked_and_twice_the_same() {
        let (one, two) = (check("{}"), check("{}"));
        let values = one.run().await.0.expect("it succeeds");
        assert_eq!(values["images"], 208, "{values:?}");
        assert_eq!(two.run().await.0.expect("it succeeds"), values);
        let made = contents(&one.job.dir.join("out"));
        assert!(made.contains_key(Path::new("findings.json")) && made.len() > 208, "{:?}", made.keys());
        assert!(made == contents(&two.job.dir.join("out")), "the same step made something else");
    }

    /// Handed to another thread and waited for, each write of 4 KiB takes several times as long.
    #[test]
    fn files_are_read_and_written_on_the_guests_own_thread() {
        let (mut first, again) = (check("{}"), check("{}"));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).max_blocking_threads(1).enable_all().build().expect("a runtime");
        // Compiles it.
        runtime.block_on(first.run()).0.expect("it succeeds");
        first.job = again.job;
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || held.recv());
        let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), first.run()).await });
        drop(let_go);
        ended.expect("nothing waits for the one thread that is taken").0.expect("it succeeds");
    }

    #[tokio::test]
    async fn a_wrong_setting_is_named() {
        let failure = check(r#"{"min_sides": 4}"#).failure().await;
        assert!(failure.message.starts_with("with") && failure.message.contains("min_side"), "{failure:?}");
    }
}
