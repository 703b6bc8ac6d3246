//! Plugins of registries, against a real one: what comes is what was pushed and pinned, or nothing.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::registry::{PASSWORD, Registry, STORED};
use support::{Bed, Said, said};

const PIPELINE: &str = r#"
flowrun: 1
sources: { data: { path: data.json } }
steps:
  count:
    uses: PLUGIN
    with: { filter: length }
    inputs: { data: sources.data }
    values: [value]
"#;

fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/built").join(name)
}

/// A project whose step uses this, with a cache of its own.
struct Project(Bed);

impl Project {
    fn new(uses: &str) -> Self {
        let bed = Bed::new("");
        bed.write("data.json", "[1, 2, 3]");
        std::fs::create_dir(bed.path("docker")).expect("mkdir");
        let project = Self(bed);
        project.uses(uses);
        // Compiled plugins are shared with other tests: they are found by the digest of the component.
        let shared = support::cache().join("v1/wasm");
        std::fs::create_dir_all(&shared).expect("mkdir");
        std::fs::create_dir_all(project.cache()).expect("mkdir");
        std::os::unix::fs::symlink(shared, project.cache().join("wasm")).expect("link");
        project
    }

    fn uses(&self, uses: &str) {
        self.0.write("p.yaml", &PIPELINE.replace("PLUGIN", uses));
    }

    fn cache(&self) -> PathBuf {
        self.0.path("cache/v1")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        command.env("FLOWRUN_CACHE", self.0.path("cache")).env("DOCKER_CONFIG", self.0.path("docker"));
        // The registry is on this machine, and no proxy leads there: it must not be asked.
        command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
        command.env_remove("NO_PROXY").env_remove("no_proxy");
        command
    }

    fn flowrun(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("flowrun starts"))
    }

    /// Pushes a component, and gives the digest of its manifest and its own sha256.
    #[track_caller]
    fn push(&self, file: &Path, name: &str) -> (String, String) {
        let said = self.flowrun(&["plugin", "push", &file.display().to_string(), name]).ok();
        let (pinned, component) = said.stdout.trim_end().split_once("\ncomponent sha256:").expect("two lines");
        (pinned.to_owned(), component.to_owned())
    }

    /// How many steps a run ran, and how many it took from the cache.
    #[track_caller]
    fn run(&self) -> (u64, u64) {
        let said = self.flowrun(&["run", "p.yaml", "--json"]).ok();
        let last: serde_json::Value = serde_json::from_str(said.stdout.lines().last().expect("events")).expect("JSON");
        let count = |what: &str| last["counts"][what].as_u64().unwrap_or_else(|| panic!("{last}"));
        (count("ran"), count("cached"))
    }

    /// What the lock says of a plugin, by key.
    fn pin(&self, uses: &str, key: &str) -> String {
        let lock = self.0.read("p.lock");
        let table = lock.split_once(&format!("[plugins.\"{uses}\"]\n")).map_or("", |(_, rest)| rest);
        let table = table.split("\n[").next().unwrap_or_default();
        let line = table.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap_or_default().trim_matches('"').to_owned()
    }

    fn pinned(&self, uses: &str) -> String {
        self.pin(uses, "sha256")
    }

    fn kept(&self, sha256: &str) -> PathBuf {
        self.cache().join("components").join(sha256).join("component.wasm")
    }

    fn nothing_kept(&self) -> bool {
        std::fs::read_dir(self.cache().join("components")).map_or(0, |entries| entries.count()) == 0
    }

    /// The plugin with a section more, which changes its bytes and nothing else.
    fn other(&self) -> PathBuf {
        let mut bytes = std::fs::read(built("json.wasm")).expect("read");
        bytes.extend([0, 2, 1, b'x']);
        let path = self.0.path("other.wasm");
        std::fs::write(&path, bytes).expect("write");
        path
    }
}

/// Other bytes of the same length.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).expect("write");
}

#[test]
fn what_is_pushed_comes_back_byte_for_byte() {
    let Some(registry) = Registry::open() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new(&name);
    let (pinned, sha256) = project.push(&built("json.wasm"), &name);
    assert_eq!(project.push(&built("json.wasm"), &name).0, pinned, "it is the same artifact each time");
    let out = project.0.path("out.wasm").display().to_string();
    for asked in [&name, &pinned] {
        let said = project.flowrun(&["plugin", "pull", asked, "--out", &out]).ok();
        assert_eq!(said.stdout, format!("{pinned}\ncomponent sha256:{sha256}\n"));
        assert_eq!(std::fs::read(&out).expect("read"), std::fs::read(built("json.wasm")).expect("read"));
    }
    let manifest = std::fs::read_to_string(registry.blob(pinned.rsplit("sha256:").next().expect("digest")));
    let manifest: serde_json::Value = serde_json::from_str(&manifest.expect("read")).expect("JSON");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], "flowrun/json");
    let none = registry.name("team/none:1");
    project.flowrun(&["plugin", "pull", &none]).fails(2).says("has no").says(&none);
}

#[test]
fn what_is_no_plugin_or_says_nothing_of_itself_is_not_pushed() {
    let Some(registry) = Registry::open() else { return };
    let name = registry.name("team/x:1");
    let project = Project::new(&name);
    let push =
        |file: &str, to: &str| project.flowrun(&["plugin", "push", &project.0.path(file).display().to_string(), to]);
    push("data.json", &name).fails(2).says("not WebAssembly");
    push("none.wasm", &name).fails(2).says("none.wasm");
    // A plain command: a plugin, but without a manifest.
    let bare = "(component (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))";
    std::fs::write(project.0.path("bare.wasm"), wat::parse_str(bare).expect("WAT")).expect("write");
    push("bare.wasm", &name).fails(2).says("no manifest").says("plugin.yaml");
    let digest = registry.name(&format!("team/x@sha256:{}", "0".repeat(64)));
    std::fs::copy(built("json.wasm"), project.0.path("json.wasm")).expect("copy");
    push("json.wasm", &digest).fails(2).says("names a digest");
    project.flowrun(&["plugin", "pull", &name]).fails(2).says("has no");
}

#[test]
fn a_pipeline_is_pinned_at_its_first_run_and_needs_no_network_after() {
    let Some(mut registry) = Registry::open() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new("./json.wasm");
    std::fs::copy(built("json.wasm"), project.0.path("json.wasm")).expect("copy");
    assert_eq!(project.run(), (1, 0));
    let (_, sha256) = project.push(&built("json.wasm"), &name);
    let before = project.0.read("p.lock");
    project.uses(&name);
    project.flowrun(&["run", "p.yaml", "--locked"]).fails(5).says("`count`").says(&name).says("not in the lock");
    project.flowrun(&["check", "p.yaml"]).ok();
    project.flowrun(&["plan", "p.yaml"]).ok();
    assert_eq!(project.0.read("p.lock"), before, "neither looks nor plans pin anything");
    assert_eq!(project.run(), (0, 1), "the same component has the same key, wherever it is from");
    assert_eq!((project.pin(&name, "name"), project.pinned(&name)), ("flowrun/json".to_owned(), sha256));
    registry.stop();
    project.0.write("data.json", "[1, 2]");
    project.flowrun(&["check", "p.yaml"]).ok();
    assert_eq!(project.run(), (1, 0), "from the lock and the cache");
    // A step is checked against the plugin's manifest, as any other.
    project.0.write("p.yaml", &PIPELINE.replace("PLUGIN", &name).replace("filter:", "filtre:"));
    project.flowrun(&["check", "p.yaml"]).fails(2).says("filtre");
    // Without the cache it is said what is missing, where, and what helps.
    project.uses(&name);
    std::fs::remove_dir_all(project.cache().join("components")).expect("remove");
    project.flowrun(&["run", "p.yaml"]).fails(3).says("p.yaml").says("`count`").says("cannot reach").says("hint");
    // A pin that no step uses is dropped.
    project.uses("./json.wasm");
    project.run();
    assert_eq!(project.pinned(&name), "");
}

#[test]
fn a_tag_that_moved_changes_nothing_until_it_is_asked_for() {
    let Some(registry) = Registry::open() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new(&name);
    let (_, first) = project.push(&built("json.wasm"), &name);
    assert_eq!(project.run(), (1, 0));
    let (_, second) = project.push(&project.other(), &name);
    assert_ne!(first, second);
    // Not even where it must be brought anew.
    std::fs::remove_dir_all(project.cache().join("components")).expect("remove");
    assert_eq!((project.run(), project.pinned(&name)), ((0, 1), first.clone()));
    assert!(project.kept(&first).is_file() && !project.kept(&second).exists());
    project.flowrun(&["lock"]).ok().says("up to date");
    project.flowrun(&["lock", "--upgrade", "flowrun/json"]).ok().says(&format!("{name}: other bytes"));
    assert_eq!((project.run(), project.pinned(&name)), ((1, 0), second));
}

#[test]
fn bytes_that_were_changed_are_refused_by_name() {
    let Some(registry) = Registry::open() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new(&name);
    let (pinned, sha256) = project.push(&built("json.wasm"), &name);
    damage(&registry.blob(&sha256));
    for args in [&["plugin", "pull", name.as_str()][..], &["run", "p.yaml"], &["check", "p.yaml"]] {
        project.flowrun(args).fails(2).says(&name).says("is not what was asked for");
        assert!(project.nothing_kept(), "{args:?}");
        assert_eq!(project.0.read("p.lock"), "");
    }
    // With a pin, and with the digest of a manifest.
    damage(&registry.blob(&sha256));
    project.run();
    std::fs::remove_dir_all(project.cache().join("components")).expect("remove");
    damage(&registry.blob(&sha256));
    project.flowrun(&["run", "p.yaml"]).fails(2).says(&name).says("is not what was asked for");
    assert!(project.nothing_kept());
    let digest = pinned.rsplit("sha256:").next().expect("digest");
    let manifest = registry.blob(digest);
    let text = std::fs::read_to_string(&manifest).expect("read");
    std::fs::write(&manifest, text.replace("flowrun/json", "flowrun/jsom")).expect("write");
    // The registry itself may find it out first; either way nothing comes of it.
    let said = project.flowrun(&["plugin", "pull", &pinned]);
    assert_ne!(said.code, 0, "{}", said.stdout);
    assert!(said.says(&registry.host()).stdout.is_empty() && project.nothing_kept());
}

#[test]
fn a_kept_component_that_was_changed_is_brought_again_or_refused() {
    let Some(mut registry) = Registry::open() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new(&name);
    let (_, sha256) = project.push(&built("json.wasm"), &name);
    project.run();
    let good = std::fs::read(project.kept(&sha256)).expect("read");
    // Unseen by size and time: it is the bytes that count.
    support::files::unseen(&project.kept(&sha256), damage);
    assert_eq!(project.run(), (0, 1));
    assert_eq!(std::fs::read(project.kept(&sha256)).expect("read"), good);
    support::files::unseen(&project.kept(&sha256), damage);
    registry.stop();
    project.flowrun(&["run", "p.yaml"]).fails(3).says(&name.replace("oci://", "")[..12]).says("cannot reach");
    registry.go_on();
    assert_eq!(project.run(), (0, 1));
}

#[test]
fn only_this_machine_is_spoken_to_without_protection() {
    let Some(registry) = Registry::open() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new(&name);
    project.push(&built("json.wasm"), &name);
    // The same registry by an address that is no loopback's.
    let elsewhere = name.replace("127.0.0.1", "0.0.0.0");
    project.flowrun(&["plugin", "pull", &elsewhere]).fails(3).says("0.0.0.0").says("TLS").says("this machine alone");
    assert!(project.nothing_kept());
    project.flowrun(&["plugin", "pull", &name.replace("oci://", "oci://http://")]).fails(2).says("not a reference");
}

#[test]
fn credentials_are_dockers_and_are_seen_nowhere() {
    let Some(registry) = Registry::closed() else { return };
    let name = registry.name("team/json:1");
    let project = Project::new(&name);
    let file = built("json.wasm").display().to_string();
    let mut outputs = vec![project.flowrun(&["plugin", "push", &file, &name]).fails(3).says("docker login")];
    let store = |stored: &str| {
        let auths = serde_json::json!({"auths": {registry.host(): {"auth": stored}}});
        project.0.write("docker/config.json", &auths.to_string());
    };
    store("YW5uOndyb25nLW90dGVyLTQz"); // ann:wrong-otter-43
    outputs.push(project.flowrun(&["plugin", "push", &file, &name]).fails(3).says("docker login"));
    store("not base64!");
    outputs.push(project.flowrun(&["plugin", "push", &file, &name]).fails(3).says("damaged").says("config.json"));
    store(STORED);
    outputs.push(project.flowrun(&["plugin", "push", &file, &name]).ok());
    outputs.push(project.flowrun(&["plugin", "pull", &name]).ok());
    outputs.push(project.flowrun(&["plugin", "pull", &registry.name("team/none:1")]).fails(2));
    outputs.push(project.flowrun(&["run", "p.yaml"]).ok());
    outputs.push(project.flowrun(&["run", "p.yaml", "--json"]).ok());
    let inline = name.replace("oci://", &format!("oci://ann:{PASSWORD}@"));
    outputs.push(project.flowrun(&["plugin", "pull", &inline]).fails(2).says("credentials"));
    std::fs::remove_dir_all(project.0.path("docker")).expect("remove");
    let secrets = [PASSWORD, STORED, "wrong-otter-43", "YW5uOndyb25nLW90dGVyLTQz"];
    for said in &outputs {
        for secret in secrets {
            assert!(!said.stdout.contains(secret) && !said.stderr.contains(secret), "{}{}", said.stdout, said.stderr);
        }
    }
    assert!(!project.pinned(&name).is_empty());
    let searched = search(project.0.root(), &secrets);
    assert!(searched > 5, "{searched} files");
}

/// Looks into every file below a folder, and says into how many.
fn search(folder: &Path, secrets: &[&str]) -> usize {
    let mut searched = 0;
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("kind");
        if kind.is_dir() {
            searched += search(&path, secrets);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).expect("read");
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
            searched += 1;
        }
    }
    searched
}
