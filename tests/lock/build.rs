//! A package that has only its source is built once, where it is locked, and is a wheel from then on: the same one, or none.

use crate::bench::{Bench, other};
use crate::support::{Bed, said, wait_for};

const BUILT: &str = "flowrun: 1
steps:
  say:
    run: python -c 'import built; print(built.says(), built.built())' > {{ outputs.said }}
    PYTHON [built]
    outputs: { said: said.txt }
";

/// A package that is built with a tool of the index, whose wheel is for `tag`.
fn bench(requires: &[&str]) -> Bench {
    let bench = Bench::new(BUILT);
    let text =
        bench.bed.read("p.yaml").replace("requirements: [built] }", "requirements: [built], no_binary: [built] }");
    bench.bed.write("p.yaml", &text);
    bench.package("hammer-1.0-py3-none-any.whl", &[]);
    bench.package("built-2.0.tar.gz", requires);
    bench
}

/// The lock's line of the wheel that was built.
fn wheel(bench: &Bench) -> String {
    let lock = bench.lock();
    let line = lock.lines().find(|line| line.contains("\"built-2.0-") && line.contains(".whl\""));
    line.unwrap_or_else(|| panic!("no wheel in\n{lock}")).to_owned()
}

#[test]
fn a_wheel_is_built_once_and_pinned_with_its_tools() {
    let bench = bench(&["build:hammer"]);
    let other = other();
    let locked = bench.flowrun(&["lock", "--platform", other]).ok();
    locked.says("building built==2.0 from its source").says("with 1 package");
    let lock = bench.lock();
    assert!(!wheel(&bench).contains("platforms"), "it is for every platform: {lock}");
    assert!(
        lock.contains("tools = [\n  { name = \"hammer\", version = \"1.0\", file = \"hammer-1.0-py3-none-any.whl\","),
        "{lock}"
    );
    bench.flowrun(&["lock"]).ok().says("up to date");
    assert_eq!(bench.run(&["--locked"]).0, ["say"]);
    bench.flowrun(&["get", "@latest", "say.said", "--output", "said.txt"]).ok();
    assert_eq!(bench.bed.read("said.txt"), "built-2.0.tar.gz hammer=hammer-1.0-py3-none-any.whl\n");
    // A newer tool changes nothing, and a mask of files neither, where it is built again.
    bench.package("hammer-2.0-py3-none-any.whl", &[]);
    let bench = bench.elsewhere("other");
    let masked = |bench: &Bench, args: &[&str]| {
        let plain = bench.command(args);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
        let set = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.current_dir(plain.get_current_dir().expect("one")).envs(set);
        said(command.output().expect("sh starts"))
    };
    masked(&bench, &["run", "--locked", "--force", "say"]).ok().says("building built==2.0 again").says("done  say");
    assert_eq!(bench.lock(), lock);
    bench.flowrun(&["lock", "--upgrade"]).ok().says("up to date");
    // Who wants the newer tool says so.
    let upgraded = bench.flowrun(&["lock", "--upgrade", "built"]).ok();
    upgraded.says("say: built 2.0: built anew, with other bytes for ").says(other);
    assert!(bench.lock().contains("hammer-2.0-py3-none-any.whl"), "{}", bench.lock());
}

#[test]
fn a_build_that_gives_other_bytes_is_refused_unless_its_wheel_is_brought() {
    let bench = bench(&["odd:"]);
    bench.flowrun(&["lock"]).ok();
    let lock = bench.lock();
    assert!(!lock.contains("tools ="), "it needs none: {lock}");
    bench.flowrun(&["bundle", "-o", "all.flow"]).ok();
    let wheels = bench.cache().join("wheels");
    let bench = bench.elsewhere("other");
    let refused = bench.flowrun(&["run", "--locked"]).fails(1);
    refused
        .says("the wheel `built-2.0-py3-none-any.whl` of `built==2.0` is in no cache and no index, and built again, it has other bytes")
        .says("`flowrun lock --upgrade built` pins what is built here");
    assert!(!bench.bed.path("said.txt").exists());
    // A bundle has it.
    bench.flowrun(&["run", "all.flow"]).ok().says("done  say");
    // And so may a folder that serves as an index.
    let bench = bench.elsewhere("third");
    let sha256 = wheel(&bench).split("sha256 = \"").nth(1).expect("one")[..64].to_owned();
    let file = "built-2.0-py3-none-any.whl";
    std::fs::copy(wheels.join(sha256).join(file), bench.bed.path("links").join(file)).expect("copy");
    bench.flowrun(&["run", "--locked", "--force", "say"]).ok().says("done  say");
    assert_eq!(bench.lock(), lock);
}

#[test]
fn a_wheel_for_one_platform_leaves_the_others_to_build_their_own() {
    let tag = match std::env::consts::OS {
        "macos" => {
            format!("tag:py3-none-macosx_11_0_{}", if std::env::consts::ARCH == "aarch64" { "arm64" } else { "x86_64" })
        }
        _ => format!("tag:py3-none-linux_{}", std::env::consts::ARCH),
    };
    let (bench, other) = (bench(&[&tag]), other());
    let said = bench.flowrun(&["lock", "--platform", other]).ok();
    said.says(&format!("`built` of `say` is not built for {other} yet: `flowrun lock` on such a machine builds it"));
    assert!(wheel(&bench).contains("platforms = ["), "{}", bench.lock());
    let again = bench.flowrun(&["lock"]).ok().says("up to date").says("is not built for");
    assert!(!again.stderr.contains("building"), "{}", again.stderr);
    bench.flowrun(&["run", "--locked"]).ok();
    bench.flowrun(&["bundle", "--platform", other, "-o", "other.flow"]).fails(5).says("is not built for");
}

#[test]
fn a_source_that_does_not_build_is_not_locked() {
    let bench = bench(&["build:anvil"]);
    let said = bench.flowrun(&["lock"]).fails(2).says("cannot lock `built`: cannot build built==2.0").says("anvil");
    assert!(said.stderr.contains("hint:"), "{}", said.stderr);
    assert_eq!(bench.lock(), "");
}

#[test]
fn a_lock_alone_has_nothing_built() {
    let bench = bench(&[]);
    bench.flowrun(&["lock"]).ok();
    // The pipeline does not name it any more, and neither does the lock; only the pins stay.
    let text = bench.bed.read("p.yaml").replace(", no_binary: [built]", "");
    bench.bed.write("p.yaml", &text);
    bench.edit("no-binary = [\n  \"built\",\n]\n", "");
    let bench = bench.elsewhere("other");
    for args in [&["run", "--locked"][..], &["run"], &["lock"], &["fetch"]] {
        let said =
            bench.flowrun(args).fails(2).says("`built` of environment `say` is a source, and not in its `no-binary`");
        assert!(!said.stderr.contains("building"), "{}", said.stderr);
    }
}

#[test]
fn each_platform_has_the_wheel_of_its_own_source() {
    let bench = bench(&[]);
    bench.package("built-1.0.tar.gz", &[]);
    let (arch, other) = (std::env::consts::ARCH, other());
    let arch = if arch == "aarch64" && std::env::consts::OS == "macos" { "arm64" } else { arch };
    let requirements =
        format!("[\"built==2.0 ; platform_machine == '{arch}'\", \"built==1.0 ; platform_machine != '{arch}'\"]");
    let text = bench.bed.read("p.yaml").replace("requirements: [built]", &format!("requirements: {requirements}"));
    bench.bed.write("p.yaml", &text);
    let said = bench.flowrun(&["lock", "--platform", other]).ok();
    assert!(!said.stderr.contains("is not built for"), "{}", said.stderr);
    bench.line("built-1.0-py3-none-any.whl");
    bench.line("built-2.0-py3-none-any.whl");
    bench.flowrun(&["run", "--locked"]).ok().says("done  say");
}

#[test]
fn a_build_ends_with_the_flowrun_that_wanted_it() {
    let signs = Bed::new("");
    let building = signs.path("building");
    let bench = self::bench(&[&format!("waits:{}", building.display())]);
    let mut locking = bench.command(&["lock"]).spawn().expect("flowrun starts");
    wait_for("a build", || building.exists());
    let builder = std::fs::read_to_string(&building).expect("a number");
    let goes_on = || {
        let asked =
            std::process::Command::new("kill").args(["-0", &builder]).stderr(std::process::Stdio::null()).status();
        asked.expect("kill starts").success()
    };
    assert!(goes_on(), "it builds");
    // To flowrun alone, as a CI runner or `timeout` does.
    let told = std::process::Command::new("kill").args(["-TERM", &locking.id().to_string()]).status().expect("kill");
    assert!(told.success() && !locking.wait().expect("ends").success());
    wait_for("the end of the build", || !goes_on());
    assert_eq!(bench.lock(), "");
}

#[test]
fn two_at_a_time_build_once() {
    let bench = bench(&["odd:"]);
    let text = bench.bed.read("p.yaml");
    for name in ["one.yaml", "two.yaml"] {
        bench.bed.write(name, &text);
    }
    let start = |name: &str| bench.command(&["lock", name]).spawn().expect("flowrun starts");
    let both = [start("one.yaml"), start("two.yaml")];
    both.into_iter().for_each(|mut locking| assert!(locking.wait().expect("ends").success()));
    // Built twice, it would have other bytes.
    assert_eq!(bench.bed.read("one.lock"), bench.bed.read("two.lock"));
}

#[test]
fn what_was_built_here_is_not_collected() {
    let bench = bench(&["odd:"]);
    bench.package("six-1.0-py3-none-any.whl", &[]);
    let text = bench.bed.read("p.yaml").replace("requirements: [built]", "requirements: [built, six]");
    bench.bed.write("p.yaml", &text);
    bench.flowrun(&["lock"]).ok();
    bench.flowrun(&["fetch"]).ok();
    bench.flowrun(&["bundle"]).ok();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400 * 40);
    let mut kept = Vec::new();
    for folder in std::fs::read_dir(bench.cache().join("wheels")).expect("there").flatten().map(|entry| entry.path()) {
        if folder.is_symlink() {
            continue;
        }
        let stamp = std::fs::File::open(folder.join("stamp.json")).and_then(|stamp| stamp.set_modified(long_ago));
        stamp.expect("a stamp");
        kept.push(folder);
    }
    assert_eq!(kept.len(), 2, "built and six: {kept:?}");
    bench.flowrun(&["gc", "--older-than", "30d"]).ok();
    kept.retain(|folder| folder.exists());
    assert_eq!(kept.len(), 1, "only what an index has is collected: {kept:?}");
    assert!(kept[0].join("built-2.0-py3-none-any.whl").exists());
}

#[test]
fn a_built_wheel_that_was_changed_in_the_lock_is_refused() {
    let bench = bench(&[]);
    bench.flowrun(&["lock"]).ok();
    let sha256 = wheel(&bench).split("sha256 = \"").nth(1).expect("one")[..64].to_owned();
    bench.edit(&sha256, &"0".repeat(64));
    let refused = bench.flowrun(&["run", "--locked"]).fails(1);
    refused.says("the wheel `built-2.0-py3-none-any.whl` of `built==2.0`").says("built again, it has other bytes");
    assert!(!bench.bed.path("said.txt").exists());
}
