//! What a lock is turned into is what was locked, also for pip and uv, which install it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bench::{Bench, here, other};
use crate::support::{Said, cache, said, wait_for};

const TWO: &str = "flowrun: 1
name: demo
sources: { far: { url: 'https://ann:s3cret@127.0.0.1:9/x?token=t0ken', sha256: SUM } }
steps:
  say:
    run: python -c 'import a; print(a.says())' > {{ outputs.said }}
    PYTHON [a]
    inputs: { far: sources.far }
    outputs: { said: said.txt }
  count:
    uses: flowrun/json@1
    with: { filter: length }
    inputs: { data: say.said }
    values: [value]
";

fn locked() -> Bench {
    let bench = Bench::new(&TWO.replace("SUM", &"1a".repeat(32)));
    bench.package("a-1.0-py3-none-any.whl", &["b"]);
    bench.package("b-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok();
    // A newer one is there by now, and is not what was locked.
    bench.package("a-2.0-py3-none-any.whl", &[]);
    bench
}

/// The uv that flowrun brought.
fn uv() -> PathBuf {
    fn find(folder: &Path) -> Option<PathBuf> {
        std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => find(&entry.path()),
            Ok(kind) if kind.is_file() && entry.file_name() == "uv" => Some(entry.path()),
            _ => None,
        })
    }
    find(&cache().join("v1/wheels")).expect("flowrun brought uv")
}

/// Runs a tool that knows no index but the hand-made packages, if those.
#[track_caller]
fn tool(bench: &Bench, program: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(args).current_dir(bench.bed.root()).env("UV_CACHE_DIR", bench.bed.path("uv-cache"));
    command.env("PIP_CONFIG_FILE", "/dev/null").env_remove("PIP_FIND_LINKS").env_remove("UV_FIND_LINKS");
    said(command.output().expect("it starts"))
}

/// What `a` and `b` of an environment in `folder` say.
#[track_caller]
fn says(bench: &Bench, python: &Path, folder: &str) -> String {
    let ask = format!("import sys; sys.path.insert(0, '{folder}'); import a, b; print(a.says(), b.says())");
    tool(bench, python, &["-I", "-c", &ask]).ok().stdout.trim().to_owned()
}

const LOCKED: &str = "a-1.0-py3-none-any.whl b-1.0-py3-none-any.whl";

#[test]
fn requirements_install_what_was_locked() {
    let bench = locked();
    let text = bench.flowrun(&["export", "requirements", "say"]).ok().stdout;
    assert!(text.contains(&format!("of step `say` for {}, as p.lock has it", here())), "{text}");
    assert_eq!(text, bench.flowrun(&["export", "requirements", "say", "p.yaml"]).ok().stdout);
    bench.flowrun(&["export", "requirements", "say", "--output", "requirements.txt"]).ok();
    assert_eq!(bench.bed.read("requirements.txt"), text);
    let links = ["--no-index", "--find-links", "links"];
    let uv = uv();
    tool(&bench, &uv, &["venv", "-q", "venv"]).ok();
    let sync = ["pip", "sync", "--python", "venv", "--require-hashes", "requirements.txt"];
    tool(&bench, &uv, &[&sync[..], &links].concat()).ok();
    assert_eq!(says(&bench, &bench.bed.path("venv/bin/python"), "."), LOCKED);
    let pip = ["-m", "pip", "install", "--require-hashes", "--no-deps", "--target", "target", "-r", "requirements.txt"];
    tool(&bench, Path::new("python3"), &[&pip[..], &links].concat()).ok();
    assert_eq!(says(&bench, Path::new("python3"), "target"), LOCKED);
}

/// An index that wants a password, as far as its address says: it takes whatever it is given.
struct Index(Child);

impl Index {
    fn of(bench: &Bench) -> (Self, String) {
        let serve = "import functools, http.server as h, sys
server = h.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(h.SimpleHTTPRequestHandler, directory='links'))
open('port.new', 'w').write(str(server.server_port)); import os; os.rename('port.new', 'port')
server.serve_forever()";
        let mut command = Command::new("python3");
        command.args(["-c", serve]).current_dir(bench.bed.root()).stderr(Stdio::null());
        let child = Self(command.spawn().expect("python3 starts"));
        wait_for("the index", || bench.bed.path("port").exists());
        (child, bench.bed.read("port"))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pylock_is_installed_by_address_or_from_a_folder() {
    let bench = locked();
    let (_index, port) = Index::of(&bench);
    let mut command = bench.command(&["export", "pylock", "say", "-o", "pylock.toml"]);
    command.env("UV_FIND_LINKS", format!("http://ann:s3cret@127.0.0.1:{port}/"));
    said(command.output().expect("flowrun starts")).ok();
    let text = bench.bed.read("pylock.toml");
    assert!(text.contains(&format!("url = \"http://127.0.0.1:{port}/a-1.0-py3-none-any.whl\"")), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("ann"), "{text}");
    // Whoever asks nobody needs neither an index nor uv.
    let mut command = bench.command(&["export", "pylock", "say", "--wheels", "links", "-o", "pylock.links.toml"]);
    command.env("FLOWRUN_CACHE", bench.bed.path("nowhere")).env("UV_FIND_LINKS", "/none").env("PATH", "");
    said(command.output().expect("flowrun starts")).ok();
    let uv = uv();
    for file in ["pylock.toml", "pylock.links.toml"] {
        tool(&bench, &uv, &["venv", "-q", "--clear", "venv"]).ok();
        let sync = ["pip", "sync", "--preview-features", "pylock", "--no-index", "--python", "venv", file];
        tool(&bench, &uv, &sync).ok();
        assert_eq!(says(&bench, &bench.bed.path("venv/bin/python"), "."), LOCKED, "{file}");
    }
    // Another file under the locked name is not what is asked for, and has no address.
    crate::support::wheels::package(&bench.bed.path("links"), "a-1.0-py3-none-any.whl", "other", &["b"]);
    let refused = bench.flowrun(&["export", "pylock", "say"]).fails(2);
    refused.says("no file of `a==1.0` with the locked sha256").says("--wheels DIR");
}

#[test]
fn a_bill_of_materials_has_all_of_it_and_no_secret() {
    let bench = locked();
    let text = bench.flowrun(&["export", "cyclonedx"]).ok().stdout;
    for secret in ["s3cret", "t0ken", "127.0.0.1"] {
        assert!(!text.contains(secret), "{text}");
    }
    let bill: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let of = |about: &str| {
        let all = bill["dependencies"].as_array().expect("a list").iter();
        let found = all.filter(|one| one["ref"] == about).flat_map(|one| one["dependsOn"].as_array().expect("a list"));
        found.map(|one| one.as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let said = of("step:say");
    for wanted in ["pkg:pypi/a@1.0?", "pkg:pypi/b@1.0?", "pkg:generic/cpython@", "source:far"] {
        assert!(said.iter().any(|one| one.starts_with(wanted)), "{wanted} is not in {said:?}");
    }
    assert!(of("step:count")[0].starts_with("pkg:generic/flowrun/json@1"), "{text}");
    assert_eq!(of("pipeline"), ["source:far", "step:count", "step:say"]);
    assert_eq!(bench.flowrun(&["export", "cyclonedx"]).ok().stdout, text);
}

#[test]
fn an_image_is_built_of_the_same_files_whenever_they_are_written() {
    let bench = locked();
    let base = format!("python:3.11-slim@sha256:{}", "0".repeat(64));
    let linux = here().replace("macos", "linux");
    let image =
        |more: &[&str]| bench.flowrun(&[&["image", "say", "--base", &base, "--platform", &linux], more].concat());
    let shown = image(&["--dry-run"]).ok().stdout;
    assert!(!bench.bed.path("demo-say-image").exists());
    image(&[]).ok().says("docker build demo-say-image");
    image(&["--output", "again"]).ok();
    for name in ["Dockerfile", ".dockerignore", "requirements.txt"] {
        let (one, other) =
            (bench.bed.read(&format!("demo-say-image/{name}")), bench.bed.read(&format!("again/{name}")));
        assert!(!one.is_empty() && one == other, "{name}");
    }
    assert_eq!(bench.bed.read("again/Dockerfile"), shown);
    bench.bed.write("again/notes.txt", "mine");
    image(&["--output", "again"]).fails(2).says("holds `notes.txt`").says("--output DIR");
    bench.flowrun(&["image", "say", "--base", "python:3.11"]).fails(2).says("write `python:3.11@sha256:…`");
    bench.flowrun(&["image", "say"]).fails(2).says("--base");
    image(&["--profile", "none"]).fails(2);
    let mac = ["image", "say", "--base", &base, "--platform", "macos-aarch64"];
    bench.flowrun(&["lock", "--platform", "macos-aarch64"]).ok();
    bench.flowrun(&mac).fails(2).says("no image runs macos-aarch64");
}

#[test]
fn what_is_not_locked_is_not_written() {
    let bench = locked();
    let all = [&["export", "requirements", "say"][..], &["export", "pylock", "say"], &["export", "cyclonedx"]];
    let refused = |what: &str, remedy: &str| {
        for args in all {
            let said = bench.flowrun(args).fails(5);
            assert_eq!(said.stdout, "");
            said.says(what).says(remedy);
        }
    };
    bench.flowrun(&["export", "requirements", "sya"]).fails(2).says("no step `sya`").says("did you mean `say`?");
    bench.flowrun(&["export", "requirements", "count"]).fails(2).says("has no Python environment").says("`say`");
    let strange = ["export", "requirements", "say", "--platform", "macos-x86_64"];
    bench.flowrun(&strange).fails(5).says("not for macos-x86_64").says("flowrun lock --platform macos-x86_64");
    let foreign = ["export", "requirements", "say", "--platform", "linux-x86_64"];
    bench.flowrun(&foreign).ok().says("for linux-x86_64");
    assert_ne!(other(), here());
    let text = bench.bed.read("p.yaml");
    bench.bed.write("p.yaml", &text.replace("[a]", "[a, c]"));
    refused("step `say` asks for `c`, which is not locked", "run `flowrun lock`");
    bench.bed.write("p.yaml", &text);
    std::fs::remove_file(bench.bed.path("p.lock")).expect("remove");
    refused("there is no p.lock", "run `flowrun lock`");
}
