//! Locks, with the real binary and an index of hand-made packages: what is pinned stays, whoever asks; what is not what was pinned is refused
//! by name.

#![allow(clippy::allow_attributes, clippy::unwrap_used, missing_docs, reason = "a test may")]

mod bench;
mod build;
mod cuda;
mod drift;
mod export;
mod index;
mod offline;
#[path = "../support/mod.rs"]
mod support;
mod tamper;
mod tidy;
mod variants;

use bench::{Bench, here, other};

const ONE: &str = "flowrun: 1
steps:
  say:
    run: python -c 'import a; print(a.says())' > {{ outputs.said }}
    PYTHON [a]
    outputs: { said: said.txt }
";

#[test]
fn an_unchanged_pipeline_asks_nobody() {
    let bench = Bench::new(ONE);
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok().says("say: Python ").says("with 1 package").says("p.lock written");
    let lock = bench.lock();
    assert!(lock.contains("name = \"a\"\nversion = \"1.0\"\n"), "{lock}");
    assert!(!lock.contains("links") && !lock.contains("://"), "no place is named:\n{lock}");
    // Without a cache, an index or uv.
    let nowhere = bench.bed.path("nowhere");
    for args in [&["lock"][..], &["lock", "--check"], &["lock", "p.yaml", "--json"]] {
        let mut command = bench.command(args);
        command.env("FLOWRUN_CACHE", &nowhere).env("UV_FIND_LINKS", "/none").env("PATH", "");
        let said = support::said(command.output().expect("flowrun starts")).ok();
        assert!(said.stdout.contains("p.lock is up to date") || said.json()["changed"] == false, "{}", said.stdout);
        assert_eq!(said.stderr, "");
    }
    assert_eq!(bench.lock(), lock);
    let brought = std::fs::read_dir(nowhere.join("v1")).map_or(0, |entries| entries.count());
    assert_eq!(brought, 0, "nothing was brought");
    assert_eq!(bench.run(&[]).0, ["say"]);
    assert_eq!(bench.lock(), lock, "a run has nothing to add");
}

#[test]
fn one_requirement_more_moves_nothing_else() {
    let bench = Bench::new(ONE);
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok();
    bench.package("a-1.1-py3-none-any.whl", &[]);
    bench.package("b-2.0-py3-none-any.whl", &["a"]);
    bench.package("c-3.0-py3-none-any.whl", &[]);
    bench.pipeline(&ONE.replace("[a]", "[a, b]"));
    bench.flowrun(&["lock", "--check"]).fails(5).says("say: +1 package (b 2.0)").says("not up to date");
    assert!(!bench.lock().contains("\"b\""), "a check writes nothing");
    let said = bench.flowrun(&["lock"]).ok().says("say: +1 package (b 2.0)");
    assert!(!said.stdout.contains("1.1"), "{}", said.stdout);
    bench.line("a-1.0-py3-none-any.whl");
    bench.flowrun(&["lock", "--upgrade", "b"]).ok().says("up to date");
    bench.flowrun(&["lock", "--upgrade", "a"]).ok().says("say: a 1.0 → 1.1");
    bench.package("a-1.2-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok().says("up to date");
    bench.flowrun(&["lock", "--upgrade", "p.yaml"]).ok().says("say: a 1.1 → 1.2");
    bench
        .flowrun(&["lock", "--upgrade", "bb"])
        .fails(2)
        .says("no package and no plugin `bb`")
        .says("did you mean `b`?");
    // A run adds what is missing in the same way, and says so.
    bench.package("a-1.3-py3-none-any.whl", &[]);
    bench.pipeline(&ONE.replace("[a]", "[a, b, c]"));
    bench.flowrun(&["run"]).ok().says("p.lock: say: +1 package (c 3.0)");
    bench.flowrun(&["lock", "--check"]).ok();
    bench.line("a-1.2-py3-none-any.whl");
    bench.pipeline(ONE);
    bench.flowrun(&["lock"]).ok().says("say: -2 packages (b, c)");
}

#[test]
fn another_platform_adds_its_files_and_changes_no_key() {
    let bench = Bench::new(&ONE.replace("[a]", "[a, n]"));
    bench.package("a-1.0-py3-none-any.whl", &[]);
    let arch = |platform: &str| platform.split_once('-').expect("a platform").1.to_owned();
    let file = |platform: &str| format!("n-1.0-py3-none-manylinux_2_17_{}.whl", arch(platform));
    let wanted = here().starts_with("linux");
    if !wanted {
        return support::skip("another platform", "its packages are made for Linux");
    }
    bench.package(&file(&here()), &[]);
    bench.package(&file(other()), &[]);
    bench.pipeline(&format!("{}platforms: [{}]\n", ONE.replace("[a]", "[a, n]"), here()));
    bench.flowrun(&["lock"]).ok();
    assert!(!bench.lock().contains(&file(other())));
    assert_eq!(bench.run(&[]).0, ["say"]);
    let declared = format!("{}platforms: [{}, {}]\n", ONE.replace("[a]", "[a, n]"), here(), other());
    bench.pipeline(&declared);
    bench
        .flowrun(&["lock"])
        .ok()
        .says(&format!("platforms: also {}", other()))
        .says(&format!("say: also for {}", other()));
    assert!(bench.line(&file(other())).contains(&format!("platforms = [\"{}\"]", other())));
    assert!(bench.line(&file(&here())).contains(&format!("platforms = [\"{}\"]", here())));
    assert!(!bench.line("a-1.0-py3-none-any.whl").contains("platforms"), "it is for all");
    assert_eq!(bench.run(&["--locked"]), (vec![], vec!["say".to_owned()]), "only what this machine uses is in the key");
    // One that has no wheel is told, with its line, and nothing is written.
    let lock = bench.lock();
    let said = bench.flowrun(&["lock", "--platform", "macos-aarch64"]).fails(2);
    let said = said.says("error: `n` has no wheel for macos-aarch64").says("--> p.yaml:5:50").says("manylinux_2_17_");
    assert!(!said.stderr.contains("no_binary"), "there is no source: {}", said.stderr);
    assert!(said.stdout.is_empty() && bench.lock() == lock);
    bench.pipeline(&format!("{}platforms: [{}]\n", ONE.replace("[a]", "[a, n]"), here()));
    bench.flowrun(&["lock"]).ok().says(&format!("no longer for {}", other()));
}

#[test]
fn a_package_without_a_wheel_is_told_with_who_needs_it_and_built_only_when_asked() {
    let bench = Bench::new(&ONE.replace("[a]", "[top]"));
    bench.package("top-1.0-py3-none-any.whl", &["middle"]);
    bench.package("middle-1.0-py3-none-any.whl", &["built"]);
    bench.package("built-2.0.tar.gz", &[]);
    let said = bench
        .flowrun(&["lock"])
        .fails(2)
        .says("error: `built==2.0` has no wheel for any Python since 3.8")
        .says("--> p.yaml:5:47")
        .says("only its source");
    said.says("built is needed by middle, needed by `top`").says("`no_binary: [built]`");
    assert_eq!(bench.lock(), "");
    let text = bench.bed.read("p.yaml").replace("requirements: [top] }", "requirements: [top], no_binary: [built] }");
    bench.bed.write("p.yaml", &text);
    bench.flowrun(&["lock"]).ok().says("with 3 packages");
    bench.line("built-2.0.tar.gz");
    assert!(bench.lock().contains("no-binary = [\n  \"built\",\n]"), "{}", bench.lock());
}

#[test]
fn wheels_for_other_pythons_are_told_beside_the_step_that_asks() {
    let text = format!("{ONE}  old:\n    run: echo x\n    python: {{ version: \"3.99\", requirements: [a, n] }}\n");
    let bench = Bench::new(&text.replace("PYTHON [a]", "PYTHON [a, n]"));
    let minor = support::wheels::version().replace("3.", "");
    let file = format!("n-1.0-cp3{minor}-cp3{minor}-manylinux_2_17_{}.whl", std::env::consts::ARCH);
    if !here().starts_with("linux") {
        return support::skip("wheels of other Pythons", "its packages are made for Linux");
    }
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.package(&file, &[]);
    // Beside a source, uv says of all of them that they are not usable.
    bench.package("n-1.0.tar.gz", &[]);
    let platforms = format!("platforms: [{}]\n", here());
    bench.bed.write("p.yaml", &format!("{}{platforms}", bench.bed.read("p.yaml")));
    bench
        .flowrun(&["lock"])
        .fails(2)
        .says(&format!(
            "`n` has no wheel for Python 3.99 on {}; there are some for Python 3.{minor} on {}",
            here(),
            here()
        ))
        .says("--> p.yaml:9:")
        .says("take a version that has one, or one of those Pythons, or `no_binary: [n]`");
}

#[test]
fn two_homes_write_the_same_bytes() {
    let pipeline = ONE.replace("[a]", "[b, a]");
    let bench = Bench::new(&pipeline);
    for file in ["a-1.0-py3-none-any.whl", "a-0.9-py3-none-any.whl", "c-1.0-py3-none-any.whl"] {
        bench.package(file, &[]);
    }
    bench.package("b-1.0-py2.py3-none-any.whl", &["a<1", "c"]);
    bench.flowrun(&["lock", "--platform", "macos-aarch64"]).ok();
    let first = bench.lock();
    std::fs::remove_file(bench.bed.path("p.lock")).expect("remove");
    let bench = bench.elsewhere("other");
    bench.pipeline(&ONE.replace("[a]", "[a, b]"));
    bench.flowrun(&["lock", "--platform", "macos-aarch64"]).ok();
    assert_eq!(bench.lock(), first, "nor does the order of requirements matter");
    // And what is installed from the same lock is the same.
    bench.flowrun(&["fetch", "--locked"]).ok();
    let content = bench.contents();
    let bench = bench.elsewhere("third");
    bench.flowrun(&["fetch", "--locked"]).ok();
    assert_eq!((bench.contents(), content.len()), (content, 1));
    bench.pipeline(&ONE.replace("[a]", "[b, \"a==0.9\"]"));
    bench.flowrun(&["fetch"]).ok();
    let two = bench.contents();
    assert_eq!(two.len(), 1, "the same packages, so the same environment: {two:?}");
    bench.pipeline(&ONE.replace("[a]", "[c]"));
    bench.flowrun(&["fetch"]).ok();
    assert_eq!(bench.contents().len(), 2, "another one has another content");
}

#[test]
fn the_first_format_is_taken_over() {
    let bench = Bench::new(ONE);
    let file = bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.package("a-1.1-py3-none-any.whl", &[]);
    let old = |hash: &str| {
        let (here, version) = (here(), support::wheels::version());
        format!(
            r#"{{"flowrun_lock": 1, "wheels": {{}}, "python": {{"{0}@{here}": {{"python": "{version}", "platform": "{here}",
            "requirements_txt": ["a==1.0 --hash=sha256:{1} --hash=sha256:{hash}"], "spec_digest": "{0}"}}}}}}"#,
            "0".repeat(64),
            "1".repeat(64)
        )
    };
    let sum = std::process::Command::new("sha256sum").arg(&file).output().expect("sha256sum").stdout;
    let sum = String::from_utf8(sum).expect("text")[..64].to_owned();
    bench.bed.write("p.lock", &old(&"2".repeat(64)));
    bench
        .flowrun(&["lock"])
        .fails(2)
        .says("`a-1.0-py3-none-any.whl` of `a==1.0`")
        .says("not one of the files that the lock has");
    bench.bed.write("p.lock", &old(&sum));
    bench.flowrun(&["run", "--locked"]).fails(5).says("p.lock is of an earlier format").says("run `flowrun lock`");
    bench.flowrun(&["lock"]).ok();
    assert!(bench.line("a-1.0-py3-none-any.whl").contains(&sum), "its version is kept");
    assert!(bench.lock().contains("flowrun-lock = 2"));
}

#[test]
fn profiles_are_locked_too() {
    let bench = Bench::new(&format!(
        "{ONE}profiles:\n  more:\n    steps:\n      say:\n        PYTHON [a, b]\n  same: {{ help: nothing else }}\n"
    ));
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.package("b-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).ok();
    let lock = bench.lock();
    assert!(lock.contains("[profiles.more.steps.say]\nenvironment = \"say-more\"\n"), "{lock}");
    assert!(!lock.contains("profiles.same"), "{lock}");
    for profile in [&[][..], &["--profile", "more"], &["--profile", "same"]] {
        bench.run(&[&["--locked"], profile].concat());
    }
    assert_eq!(bench.lock(), lock);
}

#[test]
fn a_lock_is_compared_with_what_git_has() {
    let bench = Bench::new(ONE);
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(args).current_dir(bench.bed.root());
        let done = git.output().expect("git starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock", "--diff"]).fails(2).says("git has no");
    git(&["init", "-q"]);
    git(&["add", "p.yaml"]);
    git(&["commit", "-qm", "one"]);
    bench.flowrun(&["lock"]).ok();
    bench.flowrun(&["lock", "--diff"]).ok().says("say: Python ").says("p.lock differs from HEAD");
    git(&["add", "p.lock"]);
    git(&["commit", "-qm", "two"]);
    bench.flowrun(&["lock", "--diff"]).ok().says("p.lock is as it is at HEAD");
    bench.package("a-1.1-py3-none-any.whl", &[]);
    bench.flowrun(&["lock", "--upgrade", "a"]).ok();
    let said = bench.flowrun(&["lock", "--diff", "--json"]).ok().json();
    assert_eq!(said["changes"], serde_json::json!([{"about": "say", "change": "a 1.0 → 1.1"}]));
}

#[test]
fn requirements_may_lie_in_a_file_of_pythons_own_tools() {
    let bench = Bench::new(&ONE.replace("[a]", "requirements.txt"));
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.package("b-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["lock"]).fails(2).says("`requirements: requirements.txt` does not exist").says("p.yaml:5");
    bench.bed.write("requirements.txt", "-e .\n");
    bench.flowrun(&["check"]).fails(2).says("the option `-e` in line 1");
    bench.bed.write("requirements.txt", "a==1.0  # what it says\n");
    bench.flowrun(&["lock"]).ok().says("with 1 package");
    let lock = bench.lock();
    bench.pipeline(&ONE.replace("[a]", "[a==1.0]"));
    bench.flowrun(&["lock", "--check"]).ok();
    assert_eq!(bench.run(&["--locked"]).0, ["say"]);
    bench.pipeline(&ONE.replace("[a]", "requirements.txt"));
    assert_eq!(bench.run(&["--locked"]).1, ["say"], "where they are written is in no key");
    bench.bed.write("requirements.txt", "# what it says\na==1.0\ngone>=3  # not there\n");
    for command in ["lock", "run"] {
        let said = bench.flowrun(&[command]).fails(2).says("--> requirements.txt:3:1");
        said.says("3 | gone>=3  # not there\n  | ^^^^^^^ asked for here");
    }
    bench.bed.write("requirements.txt", "a==1.0\nb\n");
    bench.flowrun(&["run", "--locked"]).fails(5).says("step `say` asks for `b`, which is not locked");
    bench.bed.write("pyproject.toml", "[project]\nname = 'x'\ndependencies = ['a==1.0']\n");
    bench.pipeline(&format!(
        "{}profiles:\n  p:\n    steps:\n      say:\n        PYTHON requirements.txt\n",
        ONE.replace("[a]", "pyproject.toml")
    ));
    bench.flowrun(&["lock"]).ok().says("say (p): environment say-p");
    assert!(
        bench.lock().starts_with(lock.split("[environments").next().expect("there").trim_end()),
        "{}",
        bench.lock()
    );
}

#[test]
fn a_uv_project_is_locked_in_its_own_versions() {
    let bench = Bench::new(&ONE.replace("[a]", "uv.lock"));
    for file in ["a-1.0-py3-none-any.whl", "a-1.1-py3-none-any.whl", "b-1.0-py3-none-any.whl", "b-2.0-py3-none-any.whl"]
    {
        bench.package(file, if file.starts_with('a') { &["b"] } else { &[] });
    }
    let of_index = |name: &str, version: &str, rest: &str| {
        format!(
            "[[package]]\nname = '{name}'\nversion = '{version}'\nsource = {{ registry = 'https://index.test' }}\n{rest}\n"
        )
    };
    let old = "{ name = 'b', version = '1.0', marker = \"python_full_version >= '3.4'\" }";
    let new = "{ name = 'b', version = '2.0', marker = \"python_full_version < '3.4'\" }, { name = 'w', marker = \"sys_platform == 'win32'\" }";
    let project = "version = 1\nrevision = 3\n[[package]]\nname = 'p'\nversion = '0'\nsource = { editable = '.' }\ndependencies = [{ name = 'a' }]\n";
    let lock = of_index("a", "1.0", &format!("dependencies = [{old}, {new}]"))
        + &of_index("b", "1.0", "")
        + &of_index("b", "2.0", "")
        + &of_index("w", "1.0", "");
    bench.bed.write("uv.lock", &format!("{project}{lock}"));
    bench.flowrun(&["lock"]).ok().says("with 2 packages");
    bench.line("a-1.0-py3-none-any.whl");
    bench.line("b-1.0-py3-none-any.whl");
    assert_eq!(bench.run(&["--locked"]).0, ["say"]);
    let git = "[[package]]\nname = 'b'\nversion = '3'\nsource = { git = 'https://ann:s3cret@host/b' }\n";
    bench.bed.write("uv.lock", &format!("{project}{}{git}", of_index("a", "1.0", "dependencies = [{ name = 'b' }]")));
    let said = bench.flowrun(&["run", "--locked"]).fails(2).says("`requirements: uv.lock` has `b`, which is from git");
    assert!(said.says("`uv export`").stderr.contains("p.yaml:5") && !bench.lock().contains("s3cret"));
    std::fs::File::create(bench.bed.path("uv.lock")).and_then(|file| file.set_len(9 << 20)).expect("sparse");
    bench.flowrun(&["lock"]).fails(2).says("it is larger than a list of packages may be");
}

#[test]
fn environments_that_nobody_uses_are_removed() {
    let bench = Bench::new(ONE);
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.flowrun(&["run"]).ok();
    let environments = bench.cache().join("environments");
    let only = || std::fs::read_dir(&environments).expect("there").flatten().next().map(|entry| entry.path());
    let root = only().expect("one");
    let age = |root: &std::path::Path| {
        let marker = std::fs::File::open(root.join("flowrun-environment.json")).expect("whole");
        marker.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(86_400 * 40)).expect("set");
    };
    bench.flowrun(&["gc", "--older-than", "30d"]).ok();
    assert!(root.is_dir(), "used just now");
    age(&root);
    bench.flowrun(&["run", "--force", "say"]).ok();
    bench.flowrun(&["gc", "--older-than", "30d"]).ok();
    assert!(root.is_dir(), "used again");
    age(&root);
    let name = root.file_name().expect("a name").to_string_lossy().into_owned();
    let lock = std::fs::File::open(bench.cache().join(format!("locks/environment-{name}.lock"))).expect("there");
    lock.lock_shared().expect("locks");
    bench.flowrun(&["gc", "--older-than", "30d"]).ok();
    assert!(root.is_dir(), "a step runs in it");
    drop(lock);
    bench.flowrun(&["gc", "--older-than", "30d", "--dry-run"]).ok().says("would remove 1 Python environment");
    assert!(root.is_dir());
    bench.flowrun(&["gc", "--older-than", "30d"]).ok().says("removed 1 Python environment");
    assert_eq!(only(), None);
    bench.flowrun(&["run", "--force", "say"]).ok().says("building a Python environment of 1 package");
}
