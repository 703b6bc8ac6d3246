//! A WASI command that tries what a plugin might try, for the tests of the WebAssembly host. Its `config.do` says what.
//!
//! Rebuild (any toolchain with the target; the one of `plugins/toolchain.sh` made the committed one):
//! `rustc --edition 2024 --target wasm32-wasip2 -C opt-level=s -C lto -C panic=abort -C strip=debuginfo -o probe.wasm probe.rs`

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let request = fs::read_to_string("/step/request.json").unwrap();
    let has = |what: &str| request.contains(&format!(r#""do":"{what}""#));
    if has("look") {
        look(&request);
    } else if has("fill") {
        fill();
    } else if has("hold") {
        hold();
    } else if has("say") {
        say();
    } else if has("exit") {
        std::process::exit(3);
    } else if has("panic") {
        outer();
    } else if has("values") {
        fs::write("/out/values.json", "[1]").unwrap();
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn look(request: &str) {
    let names: Vec<String> =
        fs::read_dir("/in/dataset").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(3600));
    let slept = start.elapsed().as_secs();
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    let modified = seconds(fs::metadata("/in/dataset/b").unwrap().modified().unwrap());
    let refused = [
        File::create("/in/new").is_err(),
        fs::write("/in/dataset/a", "x").is_err(),
        fs::remove_file("/in/dataset/a").is_err(),
        fs::read("/etc/passwd").is_err(),
        fs::read("/in/../../out-of-here").is_err(),
        fs::read("/in/dataset/escape").is_err(),
        fs::hard_link("/out/one", "/out/two").is_err(),
        fs::write("/step/request.json", "x").is_err(),
    ];
    let text = format!(
        r#"{{"names": {names:?}, "slept": {slept}, "now": {}, "modified": {modified}, "random": "{}", "env": {}, "input": {}, "refused": {refused:?}, "request": {request}}}"#,
        seconds(SystemTime::now()),
        RandomState::new().hash_one(1),
        std::env::vars().count(),
        input.len(),
    );
    fs::write("/out/values.json", text).unwrap();
    fs::write("/out/report.txt", "fine").unwrap();
}

fn fill() {
    let mut file = File::create("/out/big").unwrap();
    let block = vec![7; 1 << 20];
    loop {
        file.write_all(&block).unwrap();
    }
}

fn hold() {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/in/dataset/a") {
        held.push(file);
        assert!(held.len() < 100_000);
    }
    let count = held.len();
    drop(held);
    File::open("/in/dataset/a").unwrap();
    fs::write("/out/values.json", format!(r#"{{"held": {count}}}"#)).unwrap();
}

fn say() {
    println!("one\r\ntwo");
    eprintln!("three");
    println!("{}", "x".repeat(100_000));
    std::io::stdout().write_all(b"bad \xff byte\nno end").unwrap();
}

#[inline(never)]
fn outer() {
    panic!("the probe panics");
}
