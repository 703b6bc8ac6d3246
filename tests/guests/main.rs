//! Plugins that mean no good, each in a pipeline with a neighbour: contained, told by name and limit, and of no consequence to the others.
//!
//! Those of Rust are `hostile.rs`, built into `hostile.wasm`; what Rust cannot say is WAT.

mod guest;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use guest::{Ended, Guest, HOSTILE, knocked, wat, weigh};

/// What the runner and the neighbour take beside a guest: a machine under load is slow to start processes.
const BESIDE: Duration = Duration::from_secs(8);

fn within(limit: Duration, run: impl FnOnce() -> Ended) -> Ended {
    let start = Instant::now();
    let ended = run();
    assert!(start.elapsed() < limit + BESIDE, "it took {:?}", start.elapsed());
    ended
}

#[test]
fn an_endless_loop_ends_with_its_time() {
    let guest = Guest::doing("loop", &["timeout: 1s"]);
    within(Duration::from_secs(1), || guest.run()).fails("ran past its timeout of 1s", "`timeout:`");
}

#[test]
fn a_sleeper_with_a_clock_ends_with_its_time() {
    let guest = Guest::doing("sleep", &["timeout: 1s", "allow: [clock]"]).asking("clock: it waits");
    within(Duration::from_secs(1), || guest.run()).fails("ran past its timeout of 1s", "`timeout:`");
}

#[test]
fn a_memory_bomb_meets_its_limit() {
    let guest = Guest::doing("memory", &["limits: { memory: 64MiB }"]);
    guest.run().fails("ran out of memory: it wanted more than 64 MiB", "`limits.memory`");
}

#[test]
fn a_table_that_grows_meets_its_limit() {
    let guest = Guest::new(&wat(include_str!("table.wat")), &[]);
    guest.run().fails("ran out of table: it wanted more than 200000 entries", "cannot be raised");
}

#[test]
fn endless_recursion_is_a_crash() {
    let guest = Guest::new(&wat(include_str!("stack.wat")), &[]);
    guest.run().fails("the plugin crashed: wasm trap: call stack exhausted", "a bug in the plugin");
}

#[test]
fn a_disk_filler_meets_its_limit_and_leaves_nothing() {
    let guest = Guest::doing("disk", &["limits: { output: 20MiB }"]);
    guest.run().fails("it wrote more than 20 MiB to its outputs", "`limits.output`");
    let (_, bytes) = weigh(&guest.bed.path(".flowrun"));
    assert!(bytes < 5 << 20, "{bytes} bytes are left");
}

#[test]
fn a_maker_of_files_meets_its_limit_and_leaves_nothing() {
    let guest = Guest::doing("files", &["limits: { files: 2000 }"]);
    guest.run().fails("it made more than 2000 files and folders", "`limits.files`");
    let (files, _) = weigh(&guest.bed.path(".flowrun"));
    assert!(files < 200, "{files} files are left");
}

#[test]
fn folders_too_deep_for_a_path_are_refused_and_go_away() {
    let guest = Guest::doing("deep", &["outputs: { deep: dir }"]);
    guest.run().fails("it lies more than 200 folders deep", "");
    let (files, _) = weigh(&guest.bed.path(".flowrun"));
    assert!(files < 200, "{files} files are left");
}

#[cfg(unix)]
#[test]
fn no_path_leads_out() {
    let guest = Guest::doing("escape", &["values: [got]"]);
    // What the neighbour reads; files of the machine it knows of itself.
    let host = guest.bed.path("other/secret.txt");
    let text = guest.bed.read("p.yaml").replace("do: escape", &format!("do: escape, host: {}", host.display()));
    guest.bed.write("p.yaml", &text);
    assert_eq!(guest.run().values()["got"], serde_json::json!([]));
    assert_eq!(guest.bed.read("other/secret.txt"), "a neighbour's secret");
    assert_eq!(guest.bed.read("data/a.txt"), "a");
    assert!(!guest.bed.path("other/secret.txt.new").exists());
}

#[test]
fn time_stands_still_and_chance_is_the_keys() {
    let keys = ["values: [now, slept, random]", "cache: false"];
    let guest = Guest::doing("clock", &keys);
    let (first, second) = (guest.run().values().clone(), guest.run().values().clone());
    assert_eq!(first, second, "it can tell two runs apart");
    assert_eq!((&first["now"], &first["slept"]), (&946_684_800.into(), &30.into()));
}

#[test]
fn with_a_clock_and_chance_granted_they_are_real() {
    let keys = ["values: [now, slept, random]", "cache: false", "allow: [clock, random]"];
    let guest = Guest::doing("clock", &keys).asking("clock: to know the day, random: to be surprised");
    let (first, second) = (guest.run().values().clone(), guest.run().values().clone());
    assert_ne!(first["random"], second["random"]);
    let now = |values: &serde_json::Value| values["now"].as_u64().expect("a time");
    assert!(now(&first) > 1_700_000_000 && now(&second) >= now(&first), "{first} {second}");
    assert!(first["slept"].as_u64().is_some_and(|slept| slept >= 30), "{first}");
}

#[test]
fn a_flood_of_lines_is_thinned_and_counted() {
    let ended = Guest::doing("flood", &[]).run();
    ended.values();
    let lines = ended.lines();
    assert!((5_000..=45_000).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().any(|line| line.contains("lines were dropped: the step says more than 1000 a second")));
}

#[test]
fn a_log_has_a_length() {
    let ended = Guest::doing("flood", &["limits: { log: 100 }"]).run();
    let lines = ended.lines();
    assert!(lines.len() <= 103, "{} lines", lines.len());
    assert!(lines.iter().any(|line| line.ends_with("the 100 of `limits.log`")), "{lines:?}");
}

#[test]
fn an_endless_flood_ends_with_its_time() {
    let guest = Guest::doing("endless flood", &["timeout: 1s"]);
    within(Duration::from_secs(1), || guest.run()).fails("ran past its timeout of 1s", "`timeout:`");
}

#[test]
fn a_flood_in_one_call_ends_with_its_time() {
    let guest = Guest::new(&wat(include_str!("newlines.wat")), &["timeout: 1s"]);
    within(Duration::from_secs(1), || guest.run()).fails("ran past its timeout of 1s", "`timeout:`");
}

#[test]
fn nobody_takes_all_descriptors() {
    let ended = Guest::doing("descriptors", &["values: [held]"]).run();
    assert_eq!(ended.values()["held"], 100);
}

#[test]
fn pollables_have_a_number() {
    let guest = Guest::new(&wat(include_str!("pollables.wat")), &[]);
    guest.run().fails("it holds more than 4000 files, streams and other handles", "close what is done with");
}

#[test]
fn a_text_of_hundreds_of_megabytes_is_not_copied() {
    let guest = Guest::new(&wat(include_str!("string.wat")), &[]);
    guest.run().fails("it handed over more than 128 MiB in one call", "bulk in files");
}

#[test]
fn values_are_small_and_end() {
    let large = Guest::doing("large values", &[]).run();
    large.fails("the values in `/out/values.json` are more than 1 MiB", "write bulk into an output");
    let endless = Guest::doing("endless values", &["limits: { output: 20MiB }"]).run();
    endless.fails("it wrote more than 20 MiB", "`limits.output`");
    let deep = Guest::doing("deep values", &[]).run();
    deep.fails("the values in `/out/values.json` are not JSON: recursion limit exceeded", "");
}

#[test]
fn what_is_damaged_is_refused_before_it_runs() {
    let mut scrambled = HOSTILE.to_vec();
    scrambled[20_000..20_400].fill(0xff);
    let half = &HOSTILE[..HOSTILE.len() / 2];
    for component in [half, b"\0asm\x0d\0\x01\0\xff\xff\xff\xff", b"MZ", b""] {
        let said = Guest::new(component, &[]).bed.flowrun(&["run"]);
        said.fails(2).says("plugin `./bad.wasm` cannot be used: it is not WebAssembly");
    }
    let ended = Guest::new(&scrambled, &[]).run();
    ended.fails("the plugin cannot be compiled", "it is damaged");
    let ended = Guest::new(b"\0asm\x0d\0\x01\0", &[]).run();
    ended.fails("the component is not a flowrun plugin", "build it against the world");
}

#[test]
fn a_manifest_that_lies_gives_nothing() {
    // It asks for nothing, so nothing can be granted, and what it does all the same stands still.
    let quiet = Guest::doing("clock", &["values: [now, slept, random]"]).asking("").run();
    assert_eq!(quiet.values()["now"], 946_684_800);
    let granted = Guest::doing("clock", &["values: [now]", "allow: [clock]"]).asking("");
    granted.bed.flowrun(&["run"]).fails(2).says("plugin `test/bad` does not ask for `clock`");
    // It promises a value, which does not come.
    let promised = Guest::doing("nothing", &["values: [now]"]).asking("").run();
    promised.fails("value `now` was declared but not given", "");
}

fn network(port: u16, keys: &[&str]) -> Guest {
    Guest::new(&wat(&include_str!("network.wat").replace("i32.const PORT", &format!("i32.const {port}"))), keys)
}

#[test]
fn nobody_is_reached_without_a_grant() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let ended = network(port, &["values: [tcp, dns]"]).run();
    // `access-denied`, and what wasmtime says where names are not looked up: `permanent-resolver-failure`.
    assert_eq!(*ended.values(), serde_json::json!({"tcp": "01", "dns": "20"}));
    assert!(!knocked(&listener), "it connected");
}

#[test]
fn with_the_network_granted_it_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let answer = std::thread::spawn(move || listener.accept().expect("a caller").0.write_all(b"hello"));
    let guest = network(port, &["values: [tcp, dns]", "allow: [network]"]).asking("network: to ask somebody");
    assert_eq!(*guest.run().values(), serde_json::json!({"tcp": "99", "dns": "99"}));
    answer.join().expect("it answers").expect("written");
}

#[test]
fn who_waits_for_an_answer_ends_with_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let keys = ["values: [tcp]", "allow: [network]", "timeout: 1s"];
    let ended = within(Duration::from_secs(1), || network(port, &keys).asking("network: to ask somebody").run());
    ended.fails("ran past its timeout of 1s", "`timeout:`");
    assert_eq!(ended.lines(), ["localhost"], "it was connected");
    assert!(knocked(&listener));
}

#[test]
fn secrets_are_in_no_log_and_in_no_key() {
    let keys = ["values: [length]", "allow: [environment]", "env: { PLAIN: plain, TOKEN: { secret: HOST_TOKEN } }"];
    let guest = Guest::doing("secret", &keys).asking("environment: to tell it");
    let token = "hunter2-and-more";
    let ended = guest.run_with(|command| _ = command.env("HOST_TOKEN", token));
    assert_eq!(ended.values()["length"], token.len());
    assert!(ended.lines().contains(&"plain: *** and ***"), "{:?}", ended.lines());
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    let again = guest.run_with(|command| _ = command.env("HOST_TOKEN", "another"));
    assert!(again.events.iter().any(|event| event["event"] == "cached" && event["step"] == "bad"), "{again:?}");
    let kept = std::process::Command::new("grep").args(["-rl", "hunter2"]).arg(guest.bed.path(".flowrun")).output();
    assert_eq!(String::from_utf8_lossy(&kept.expect("grep").stdout), "", "it is kept");
}
