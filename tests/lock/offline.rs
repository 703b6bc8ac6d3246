//! Without a network: a pipeline that was fetched, and a bundle on a machine that has nothing. A namespace of its own has no network but its
//! loopback, which is down.

use std::path::Path;
use std::process::Command;

use crate::bench::{Bench, content_of, other};
use crate::support::{Said, said};

const ALL: &str = "flowrun: 1
name: all
params: { data: { type: path, default: data } }
sources:
  some: { path: \"{{ params.data }}\" }
  wheel: { pypi: w==1.0 }
steps:
  count:
    uses: flowrun/json@1
    with: { filter: length }
    inputs: { data: sources.some/list.json }
    values: [value]
  say:
    run: python say.py {{ count.values.value }} {{ inputs.some }} > {{ outputs.said }}
    code: [code/say.py]
    PYTHON [a]
    inputs: { some: sources.some, wheel: sources.wheel }
    outputs: { said: said.txt }
results: { said: say.said }
";

/// Without any network.
fn alone(command: &Command) -> Command {
    let mut alone = Command::new("unshare");
    alone.args(["--user", "--map-root-user", "--net", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    alone.current_dir(command.get_current_dir().expect("a folder"));
    alone
}

fn run_alone(command: &Command) -> Said {
    said(alone(command).output().expect("`unshare` starts: it is of util-linux"))
}

fn bench() -> Bench {
    let bench = Bench::new(ALL);
    bench.package("a-1.0-py3-none-any.whl", &[]);
    bench.package("w-1.0-py3-none-any.whl", &[]);
    bench
        .bed
        .write("code/say.py", "import a, os, sys\nprint(a.says(), sys.argv[1], sorted(os.listdir(sys.argv[2])))\n");
    bench.bed.write("data/list.json", "[1, 2, 3]");
    bench.bed.write("data/deep/x.txt", "x");
    std::os::unix::fs::symlink("list.json", bench.bed.path("data/link.json")).expect("link");
    bench
}

const SAID: &str = "a-1.0-py3-none-any.whl 3 ['deep', 'link.json', 'list.json']\n";

fn unreachable(bench: &Bench) {
    std::fs::remove_dir_all(bench.bed.path("links")).expect("remove");
}

#[test]
fn what_was_fetched_runs() {
    let bench = bench();
    bench.flowrun(&["fetch", "--locked"]).fails(5).says("there is no p.lock");
    bench.flowrun(&["fetch"]).ok().says("wrote").says("all: everything that it needs is here");
    unreachable(&bench);
    run_alone(&bench.command(&["run", "--locked"])).ok();
    assert_eq!(bench.bed.read("results/all/said.txt"), SAID);
    // The namespace is no name for one with a network: what was not fetched cannot be had there.
    let bench = bench_without_fetching();
    run_alone(&bench.command(&["run", "--locked"])).fails(3).says("cannot build the Python");
}

fn bench_without_fetching() -> Bench {
    let bench = bench();
    bench.flowrun(&["lock"]).ok();
    unreachable(&bench);
    bench
}

/// A bundle of [`bench`] in a folder that has nothing else, and a cache that has only compiled plugins.
fn packed(name: &str) -> (Bench, Bare) {
    let bench = bench();
    bench.flowrun(&["bundle"]).fails(5).says("p.lock").says("flowrun lock");
    bench.flowrun(&["lock"]).ok();
    bench.flowrun(&["bundle", "-o", name]).ok().says("file").says(&format!("flowrun run {name}"));
    let folder = tempfile::tempdir().expect("tempdir");
    std::fs::rename(bench.bed.path(name), folder.path().join(name)).expect("rename");
    (bench, Bare { folder })
}

struct Bare {
    folder: tempfile::TempDir,
}

impl Bare {
    fn command(&self, bench: &Bench, args: &[&str]) -> Command {
        let mut command = bench.command(args);
        let path = self.folder.path();
        command.current_dir(path).env("FLOWRUN_CACHE", path.join("cache")).env("HOME", path.join("home"));
        command.env("UV_FIND_LINKS", "/none");
        command
    }

    fn flowrun(&self, bench: &Bench, args: &[&str]) -> Said {
        run_alone(&self.command(bench, args))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn a_bundle_runs_on_a_machine_that_has_nothing() {
    let (bench, bare) = packed("all.flow");
    bare.flowrun(&bench, &["run", "all.flow"]).ok().says("done  say").says("results/all/said.txt");
    assert_eq!(std::fs::read_to_string(bare.path("results/all/said.txt")).expect("there"), SAID);
    bare.flowrun(&bench, &["run", "all.flow"]).ok().says("2 cached");
    // What was lost of it since is taken out of it again.
    let content = content_of(&bare.path("cache/v1"));
    for kind in ["wheels", "environments", "uv"] {
        std::fs::remove_dir_all(bare.path("cache/v1").join(kind)).expect("remove");
    }
    bare.flowrun(&bench, &["run", "all.flow", "--force", "say"]).ok().says("done  say");
    bench.run(&[]);
    let both = [content, bench.contents()];
    assert_eq!(both[0], both[1], "from wheels or from an index, it is the same environment");
    bare.flowrun(&bench, &["runs"]).ok().says("all");
    bare.flowrun(&bench, &["plan", "all.flow"]).ok();
    // It is the very pipeline: what was made of it there is a hit here.
    let home = bare.path(".flowrun");
    let mut here = bench.command(&["run", "p.yaml"]);
    here.env("FLOWRUN_HOME", &home);
    said(here.output().expect("flowrun starts")).ok().says("2 cached");
    // Data that a person has beside it may take the place of its own.
    std::fs::create_dir(bare.path("mine")).expect("mkdir");
    std::fs::write(bare.path("mine/list.json"), "[7]").expect("write");
    bare.flowrun(&bench, &["run", "all.flow", "--set", "data=mine"]).ok().says("2 ran");
    assert!(std::fs::read_to_string(bare.path("results/all/said.txt")).expect("there").contains("whl 1 ['list.json']"));
}

#[test]
fn the_same_project_is_the_same_bundle() {
    let bench = bench();
    bench.flowrun(&["lock"]).ok();
    let pack = |name: &str| {
        bench.flowrun(&["bundle", "--output", name]).ok();
        std::fs::read(bench.bed.path(name)).expect("read")
    };
    let one = pack("one.flow");
    let list = bench.bed.path("data/list.json");
    std::fs::File::open(&list).and_then(|file| file.set_modified(std::time::UNIX_EPOCH)).expect("touch");
    assert!(one == pack("two.flow"), "only times differ");
    bench.bed.write("data/__pycache__/x.pyc", "x");
    bench.bed.write("data/.git/config", "a token");
    assert!(one == pack("two.flow"), "what no step sees is not in it");
    bench.bed.write("data/list.json", "[4]");
    assert!(one != pack("two.flow"));
    std::os::unix::fs::symlink("/etc/hostname", bench.bed.path("data/out.json")).expect("link");
    bench.flowrun(&["bundle"]).fails(2).says("`data/out.json` is a link that leads out of the project");
    std::fs::remove_file(bench.bed.path("data/out.json")).expect("remove");
    bench.flowrun(&["bundle", "-o", "x.zip"]).fails(2).says("does not end with `.flow`");
    std::fs::create_dir(bench.bed.path("out")).expect("mkdir");
    bench.pipeline(&ALL.replace("default: data", "default: /etc/hostname"));
    bench.flowrun(&["bundle"]).fails(2).says("lies outside the project");
}

/// A pipeline whose data is the whole project, and which has a profile.
const WHOLE: &str = "flowrun: 1
name: whole
params: { n: { type: integer, default: 1 } }
profiles: { big: { params: { n: 99 } } }
sources: { all: { path: . } }
steps:
  say:
    run: echo {{ params.n }} > {{ outputs.said }}; ls {{ inputs.all }} >> {{ outputs.said }}
    inputs: { all: sources.all }
    outputs: { said: said.txt }
results: { said: say.said }
";

#[test]
fn a_bundle_of_a_whole_project_has_its_profile_and_not_itself() {
    let bench = Bench::new(WHOLE);
    // The cache of a bench lies in its project, where no user's does.
    let cache = tempfile::tempdir().expect("tempdir");
    std::fs::remove_dir_all(bench.bed.path("cache")).expect("remove");
    let pack = || {
        let mut command = bench.command(&["bundle", "--profile", "big"]);
        said(command.env("FLOWRUN_CACHE", cache.path()).output().expect("flowrun starts")).ok();
    };
    pack();
    let size = || std::fs::metadata(bench.bed.path("whole.flow")).expect("there").len();
    let first = size();
    pack();
    assert_eq!(size(), first, "the one before is not in it");
    let folder = tempfile::tempdir().expect("tempdir");
    std::fs::rename(bench.bed.path("whole.flow"), folder.path().join("whole.flow")).expect("rename");
    let bare = Bare { folder };
    bare.flowrun(&bench, &["run", "whole.flow"]).ok();
    assert_eq!(std::fs::read_to_string(bare.path("results/whole/said.txt")).expect("there"), "99\np.yaml\n");
    bare.flowrun(&bench, &["lock", "whole.flow"]).fails(2).says("its lock is the one that it was packed with");
}

#[test]
fn a_bundle_that_was_changed_is_refused_by_name() {
    let (bench, bare) = packed("all.flow");
    let path = bare.path("all.flow");
    let whole = std::fs::read(&path).expect("read");
    let spoil = |from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|window| window == from).expect("there");
        bytes[at..at + from.len()].copy_from_slice(to);
        std::fs::write(&path, bytes).expect("write");
    };
    let refused = |why: &str| {
        bare.flowrun(&bench, &["run", "all.flow"]).fails(2).says("all.flow: the bundle is damaged").says(why);
        assert!(!bare.path("results").exists() && !bare.path("cache/v1/bundles").exists(), "{why}");
        // What is whole may be kept before: not for the next.
        std::fs::remove_dir_all(bare.path("cache")).expect("remove");
    };
    spoil(b"[1, 2, 3]", b"[1, 2, 4]");
    refused("`project/data/list.json`");
    spoil(b"import a, os", b"import a, so");
    refused("`project/code/say.py`");
    // The module in the wheel, which is stored as it is.
    spoil(b"return 'a-1.0-py3", b"return 'a-1.1-py3");
    refused("`wheels/");
    spoil(b"\"data/link.json\": {", b"\"../a/link.json\": {");
    refused("");
    std::fs::write(&path, &whole[..whole.len() - 100]).expect("write");
    refused("");
    std::fs::write(&path, &whole).expect("write");
    bare.flowrun(&bench, &["run", "all.flow"]).ok();
}

#[test]
fn a_bundle_is_for_the_machines_that_it_was_packed_for() {
    let bench = bench();
    bench.flowrun(&["lock"]).ok();
    let far = "macos-x86_64";
    bench.flowrun(&["bundle", "--platform", far]).fails(5).says(&format!("`flowrun lock --platform {far}`"));
    bench.flowrun(&["lock", "--platform", other()]).ok();
    bench.flowrun(&["bundle", "--platform", other()]).ok().says(&format!("for {}", other()));
    bench.flowrun(&["run", "all.flow"]).fails(2).says("and this machine is").says("flowrun bundle --platform");
    bench.flowrun(&["run", "none.flow"]).fails(2).says("none.flow");
    assert!(!Path::new(&bench.bed.path("results")).exists());
}
