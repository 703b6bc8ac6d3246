//! A WASI command that does what a bad plugin might: its `with.do` says what. For the tests in `main.rs`.
//!
//! Built, and kept beside its source, by
//! `rustc --edition 2024 --target wasm32-wasip2 -C opt-level=s -C lto -C panic=abort -C strip=debuginfo -o hostile.wasm hostile.rs`.
//!
//! Those that are to be contained go on until they are ended; those that are to be refused leave what they were given in their values:
//! `got` is the list of what should not have worked.

use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let request = fs::read_to_string("/step/request.json").expect("the request");
    match text(&request, "do") {
        "loop" => spin(),
        "memory" => memory(),
        "disk" => disk(),
        "files" => files(),
        "deep" => deep(),
        "escape" => got(&escapes(text(&request, "host"))),
        "clock" => clock(),
        "sleep" => std::thread::sleep(Duration::from_secs(3600)),
        "flood" => flood(50_000),
        "endless flood" => flood(u64::MAX),
        "descriptors" => descriptors(),
        "large values" => fs::write("/out/values.json", format!("{{\"all\":\"{}\"}}", "x".repeat(2 << 20))).expect("written"),
        "endless values" => disk_at("/out/values.json"),
        "deep values" => fs::write("/out/values.json", format!("{{\"a\":{}", "[".repeat(500_000))).expect("written"),
        "secret" => secret(),
        "nothing" => {}
        other => panic!("`{other}` is nothing it does"),
    }
}

/// A text of the step's `with`, by its name.
fn text<'a>(request: &'a str, name: &str) -> &'a str {
    let key = format!("\"{name}\":\"");
    let start = request.find(&key).map_or(request.len(), |at| at + key.len());
    request[start..].split('"').next().unwrap_or_default()
}

fn got(what: &[String]) {
    fs::write("/out/values.json", format!("{{\"got\":{what:?}}}")).expect("the values");
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn memory() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
        black_box(&all);
    }
}

fn disk() {
    disk_at("/out/big");
}

fn disk_at(path: &str) {
    let mut file = File::create(path).expect("created");
    let block = vec![7; 1 << 20];
    loop {
        file.write_all(&block).expect("written");
    }
}

fn files() {
    for number in 0_u64.. {
        File::create(format!("/out/{number}")).expect("created");
    }
}

/// A folder in a folder in a folder: deeper than any path can say.
fn deep() {
    const FOLDER: c_int = 0x0400_0000 | (2 << 12); // `O_RDONLY | O_DIRECTORY` of WASI
    // SAFETY: names are C strings, and the descriptors are this function's own.
    unsafe {
        let mut folder = openat(-1, c"/out/deep".as_ptr(), FOLDER);
        assert!(folder >= 0, "no folder");
        for _ in 0..5_000 {
            assert_eq!(mkdirat(folder, c"d".as_ptr(), 0o755), 0, "not made");
            let next = openat(folder, c"d".as_ptr(), FOLDER);
            assert!(next >= 0, "not opened");
            close(folder);
            folder = next;
        }
    }
}

unsafe extern "C" {
    fn openat(folder: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn mkdirat(folder: c_int, path: *const c_char, mode: u32) -> c_int;
    fn close(folder: c_int) -> c_int;
    fn symlink(target: *const c_char, link: *const c_char) -> c_int;
}

/// Ways out of `/in` and `/out`, to `host`, a file of the machine that it has no business with.
fn escapes(host: &str) -> Vec<String> {
    let up = "../".repeat(40);
    let mut found = Vec::new();
    for start in ["", "/in/", "/out/", "/in/dataset/", "/step/"] {
        for file in [host, "/etc/passwd", "/proc/self/environ"] {
            for path in [file.to_owned(), format!("{start}{up}{}", &file[1..]), format!("{start}..{file}"), format!("{start}{file}")] {
                if fs::read(&path).is_ok() || fs::metadata(&path).is_ok() {
                    found.push(format!("saw {path}"));
                }
                if file == host && fs::write(format!("{path}.new"), "x").is_ok() {
                    found.push(format!("wrote {path}.new"));
                }
            }
        }
    }
    for (target, link) in [(host, "/out/link"), ("../../..", "/out/up"), ("/", "/out/root")] {
        let (target, from) = (CString::new(target).expect("no NUL"), CString::new(link).expect("no NUL"));
        // SAFETY: both are C strings that live as long as the call.
        if unsafe { symlink(target.as_ptr(), from.as_ptr()) } == 0 {
            found.push(format!("linked {link}"));
        }
    }
    for (from, to) in [("/in/dataset/a.txt", "/out/moved"), ("/out/moved", "/in/dataset/b.txt")] {
        if fs::rename(from, to).is_ok() || fs::hard_link(from, to).is_ok() {
            found.push(format!("moved {from}"));
        }
    }
    if fs::write("/in/dataset/a.txt", "changed").is_ok() || fs::remove_file("/in/dataset/a.txt").is_ok() {
        found.push("changed its input".to_owned());
    }
    found
}

fn clock() {
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(30));
    let slept = start.elapsed().as_millis();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let random = RandomState::new().hash_one(1);
    fs::write("/out/values.json", format!("{{\"now\":{now},\"slept\":{slept},\"random\":\"{random}\"}}")).expect("the values");
}

fn flood(lines: u64) {
    for number in 0..lines {
        println!("line {number}");
    }
}

fn descriptors() {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/in/dataset/a.txt") {
        held.push(file);
    }
    let count = held.len();
    drop(held);
    fs::write("/out/values.json", format!("{{\"held\":{count}}}")).expect("the values");
}

/// Says what it must not say, in every way there is.
fn secret() {
    let token = std::env::var("TOKEN").expect("a token");
    let plain = std::env::var("PLAIN").expect("a variable");
    println!("{plain}: {token} and {token}");
    eprintln!("{}{token}", "x".repeat((16 << 10) - 3));
    let length = token.len();
    fs::write("/out/values.json", format!("{{\"length\":{length}}}")).expect("the values");
}
