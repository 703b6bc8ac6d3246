//! What is carried over, what is missing, what is refused and what is told.

use super::*;
use crate::stored::lock::{BuiltPin, FilePin, PackagePin, Pins, ToolPin};

const LINUX: &str = "linux-x86_64";
const MAC: &str = "macos-aarch64";

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn wish(requirements: &[&str]) -> PythonWish {
    PythonWish::new("3.11", &requirements.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &[])
}

fn plugin(byte: char) -> PluginPin {
    PluginPin { name: "flowrun/x".into(), version: "1.0.0".into(), sha256: byte.to_string().repeat(64), size: 3 }
}

fn python(requirements: &[&str]) -> StepWants {
    StepWants { python: Some(wish(requirements)), ..StepWants::default() }
}

fn wants(profile: Option<&str>, steps: &[(&str, StepWants)]) -> Wants {
    let mut wants = Wants {
        profile: profile.map(str::to_owned),
        steps: steps.iter().map(|(id, step)| ((*id).to_owned(), step.clone())).collect(),
        ..Wants::default()
    };
    for step in wants.steps.values().filter_map(|step| step.plugin.clone()) {
        wants.plugins.insert(step, plugin('a'));
    }
    wants
}

fn uses(allow: &[&str]) -> StepWants {
    StepWants { plugin: Some("flowrun/x@1".into()), allow: set(allow), ..StepWants::default() }
}

fn file(name: &str, byte: char) -> FilePin {
    FilePin { file: format!("{name}.whl"), sha256: byte.to_string().repeat(64), size: None }
}

fn package(name: &str, version: &str) -> PackagePin {
    PackagePin::new(name, version, file(name, 'a'))
}

/// The lock of these wants, with every environment resolved to these packages.
fn locked(all: &[Wants], platforms: &[&str], packages: &[(&str, &str)]) -> Pins {
    let mut pins = carry(&Pins::default(), all, &set(platforms), true);
    let packages: Vec<PackagePin> = packages.iter().map(|(name, version)| package(name, version)).collect();
    for lack in missing(&pins, all, &set(platforms)) {
        match lack {
            Missing::Environment(name, platform) => {
                pins.environments.get_mut(&name).expect("there").resolved.insert(platform, packages.clone());
            }
            Missing::Built(..) => panic!("nothing is built here"),
            Missing::Wheel(wheel, platform) => {
                pins.wheels.entry(wheel).or_default().insert(platform, file("w", 'w'));
            }
            Missing::Runtime(runtime, platform) => {
                assert!(take_runtime(&mut pins, &runtime, &platform, resolved("1", "2")));
            }
        }
    }
    pins
}

/// What a runtime on CUDA is resolved to, with two libraries in these versions, and what only Python needs.
fn resolved(cublas: &str, cudnn: &str) -> Vec<PackagePin> {
    let libraries = [package("nvidia-cublas", cublas), package("nvidia-cudnn-cu13", cudnn)];
    [package("numpy", "2.4"), package("onnxruntime-gpu", "1.31.1")].into_iter().chain(libraries).collect()
}

fn on_cuda() -> StepWants {
    StepWants { runtime: Some("onnxruntime-gpu==1.31.1".into()), ..StepWants::default() }
}

fn told(old: &Pins, new: &Pins) -> Vec<String> {
    changes(old, new).into_iter().map(|Change { about, change }| format!("{about}: {change}")).collect()
}

#[test]
fn what_is_locked_is_carried_and_nothing_else() {
    let all = [wants(None, &[("b", python(&["a"])), ("a", python(&["a"])), ("u", uses(&[]))])];
    let pins = locked(&all, &[LINUX], &[("a", "1")]);
    assert_eq!(pins.steps["a"].environment.as_deref(), Some("b"), "it is called what the first step is");
    assert_eq!(carry(&pins, &all, &set(&[LINUX]), true), pins, "nothing changed");
    assert!(missing(&pins, &all, &set(&[LINUX])).is_empty());
    assert_eq!(
        missing(&pins, &all, &set(&[LINUX, MAC])),
        [Missing::Environment("b".into(), MAC.into())],
        "a platform more"
    );
    let renamed = [wants(None, &[("c", python(&["a"]))])];
    let next = carry(&pins, &renamed, &set(&[LINUX]), true);
    assert_eq!(next.environments["c"].resolved, pins.environments["b"].resolved, "a name is only a name");
    assert!(next.plugins.is_empty() && next.environments.len() == 1, "what nobody asks for goes");
}

#[test]
fn profiles_have_what_differs_and_a_run_leaves_others_alone() {
    let base = wants(None, &[("t", python(&["a"])), ("u", uses(&[]))]);
    let other = wants(Some("q"), &[("t", python(&["b"])), ("u", uses(&[]))]);
    let all = [base.clone(), other.clone()];
    let pins = locked(&all, &[LINUX], &[("a", "1")]);
    assert_eq!(pins.profiles["q"].keys().collect::<Vec<_>>(), ["t"]);
    assert_eq!(pins.step(Some("q"), "t").and_then(|step| step.environment.as_deref()), Some("t-q"));
    assert_eq!(pins.step(Some("q"), "u"), pins.steps.get("u"));
    for one in &all {
        assert!(drift(&pins, one, LINUX).is_empty(), "{:?}", drift(&pins, one, LINUX));
    }
    let newer = wants(None, &[("t", python(&["c"])), ("u", uses(&[]))]);
    let next = carry(&pins, std::slice::from_ref(&newer), &set(&[LINUX]), false);
    assert!(drift(&next, &other, LINUX).is_empty(), "the other profile has what it had");
    assert_eq!(drift(&next, &newer, LINUX), ["Python environment `t` is not locked for linux-x86_64"]);
    assert_eq!(next.environments.keys().collect::<Vec<_>>(), ["t", "t-q"]);
    let gone = carry(&pins, std::slice::from_ref(&base), &set(&[LINUX]), true);
    assert!(gone.profiles.is_empty() && !gone.environments.contains_key("t-q"));
}

#[test]
fn a_source_is_missing_its_wheel_until_that_is_built() {
    let wants = wants(None, &[("t", python(&["x"]))]);
    let mut pins = locked(std::slice::from_ref(&wants), &[LINUX, MAC], &[("x", "1")]);
    let packages = |pins: &mut Pins, platform: &str, change: &dyn Fn(&mut PackagePin)| {
        let resolved = &mut pins.environments.get_mut("t").expect("there").resolved;
        resolved.get_mut(platform).expect("there").iter_mut().for_each(change);
    };
    for platform in [LINUX, MAC] {
        packages(&mut pins, platform, &|package| package.file.file = "x-1.tar.gz".into());
    }
    let before = pins.clone();
    assert_eq!(drift(&pins, &wants, MAC), ["`x` of the Python environment `t` is not built for macos-aarch64 yet"]);
    let tool = |version: &str| ToolPin { name: "hammer".into(), version: version.into(), file: file("hammer", 'h') };
    let built = |byte: char, version: &str| BuiltPin { wheel: file("x-1", byte), tools: vec![tool(version)] };
    packages(&mut pins, MAC, &|package| package.built = Some(built('b', "1")));
    assert!(drift(&pins, &wants, MAC).is_empty() && !drift(&pins, &wants, LINUX).is_empty());
    assert_eq!(told(&before, &pins), ["t: x 1: built from its source for macos-aarch64"]);
    let change = |byte: char, version: &str| {
        let mut next = pins.clone();
        packages(&mut next, MAC, &|package| package.built = Some(built(byte, version)));
        told(&pins, &next)
    };
    assert_eq!(change('c', "1"), ["t: x 1: built anew, with other bytes for macos-aarch64"]);
    assert_eq!(change('b', "2"), ["t: x 1: built with other tools, the same bytes for macos-aarch64"]);
    assert!(change('b', "1").is_empty());
}

#[test]
fn two_environments_may_change_names() {
    let pins = locked(&[wants(None, &[("a", python(&["x"])), ("b", python(&["y"]))])], &[LINUX], &[("x", "1")]);
    let swapped = [wants(None, &[("a", python(&["y"])), ("b", python(&["x"]))])];
    for whole in [true, false] {
        let next = carry(&pins, &swapped, &set(&[LINUX]), whole);
        assert_eq!(next.environments["a"].wish, wish(&["y"]), "{whole}");
        assert_eq!(next.environments["b"].wish, wish(&["x"]), "{whole}");
        assert!(missing(&next, &swapped, &set(&[LINUX])).is_empty());
    }
}

#[test]
fn versions_are_kept_where_a_requirement_is_added() {
    let pins = locked(&[wants(None, &[("t", python(&["a"]))])], &[LINUX, MAC], &[("a", "1"), ("b", "2")]);
    let more = [wants(None, &[("t", python(&["a", "c"]))])];
    let next = carry(&pins, &more, &set(&[LINUX, MAC]), true);
    let kept = preferences(&pins, &next, "t", MAC);
    assert_eq!(kept, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));
    // What was just resolved for one platform is what the next should have.
    let mut half = next.clone();
    let newer = vec![package("a", "3")];
    half.environments.get_mut("t").expect("there").resolved.insert(LINUX.into(), newer);
    assert_eq!(preferences(&pins, &half, "t", MAC)["a"], "3");
}

#[test]
fn all_that_drifted_is_told() {
    let base = wants(None, &[("t", python(&["a"])), ("u", uses(&["clock"]))]);
    let pins = locked(std::slice::from_ref(&base), &[LINUX], &[("a", "1")]);
    let mut now = wants(None, &[("t", python(&["a", "b"])), ("u", uses(&["network"])), ("v", python(&[]))]);
    now.plugins.insert("flowrun/x@1".into(), plugin('b'));
    now.sources.insert("s".into(), SourcePin::Url("c".repeat(64)));
    assert_eq!(
        drift(&pins, &now, LINUX),
        [
            "step `t` asks for `b`, which is not locked",
            "step `u` may now use network, may no longer use clock",
            "step `v` is not in the lock",
            "plugin `flowrun/x@1` is 1.0.0 (sha256:bbbbbbbbbbbb…), and 1.0.0 (sha256:aaaaaaaaaaaa…) is locked",
            "source `s` is not in the lock",
        ]
    );
    assert_eq!(drift(&pins, &base, MAC), ["Python environment `t` is not locked for macos-aarch64"]);
    let onnx = |pin: &str| StepWants { runtime: Some(pin.into()), ..StepWants::default() };
    let pins = locked(&[wants(None, &[("p", onnx("onnxruntime==1"))])], &[LINUX], &[]);
    assert_eq!(
        drift(&pins, &wants(None, &[("p", onnx("onnxruntime==2"))]), LINUX),
        [
            "step `p` runs with `onnxruntime==2`, and `onnxruntime==1` is locked",
            "`onnxruntime==2` is not locked for linux-x86_64"
        ]
    );
}

#[test]
fn a_change_reads_like_a_review() {
    let base = wants(None, &[("t", python(&["a"])), ("u", uses(&[]))]);
    let old = locked(std::slice::from_ref(&base), &[LINUX], &[("a", "1"), ("gone", "1")]);
    assert_eq!(
        told(&Pins::default(), &old),
        [
            "platforms: also linux-x86_64",
            "t: environment t",
            "u: plugin flowrun/x@1",
            "flowrun/x@1: 1.0.0 (sha256 aaaaaaaaaaaa…)",
            "t: Python 3.11 with 2 packages for linux-x86_64"
        ]
    );
    let now = wants(None, &[("t", python(&["a"])), ("u", uses(&["network"]))]);
    let mut new = locked(std::slice::from_ref(&now), &[LINUX], &[("a", "2"), ("b", "1"), ("c", "1")]);
    new.plugins.insert("flowrun/x@1".into(), plugin('b'));
    assert_eq!(
        told(&old, &new),
        [
            "u: now may use network",
            "flowrun/x@1: other bytes: sha256 aaaaaaaaaaaa… → bbbbbbbbbbbb…",
            "t: a 1 → 2, +2 packages (b 1, c 1), -1 package (gone)"
        ]
    );
    let mut other = old.clone();
    other.environments.get_mut("t").expect("there").resolved.get_mut(LINUX).expect("there")[0].file = file("a", 'b');
    assert_eq!(told(&old, &other), ["t: a 1: other bytes → a.whl"]);
    assert!(told(&old, &old).is_empty());
}

#[test]
fn a_step_runs_with_the_runtime_of_its_provider() {
    let onnx = |text: &str| serde_json::from_str::<crate::lang::written::Onnx>(text).expect("settings");
    assert_eq!(runtime_of(&onnx("{}"), "1.2"), "onnxruntime==1.2");
    assert_eq!(runtime_of(&onnx(r#"{"provider": "cpu", "runtime": "1.1"}"#), "1.2"), "onnxruntime==1.1");
    let cuda = runtime_of(&onnx(r#"{"provider": "cuda"}"#), "1.2");
    assert_eq!(cuda, "onnxruntime-gpu==1.2");
    assert_eq!(requirement(&cuda).as_deref(), Some("onnxruntime-gpu[cuda,cudnn]==1.2"));
    assert_eq!(requirement("onnxruntime==1.2"), None);
}

#[test]
fn cuda_is_locked_with_its_libraries_where_it_is_to_be_had() {
    let all = [
        wants(None, &[("p", StepWants { runtime: Some("onnxruntime==1".into()), ..StepWants::default() })]),
        wants(Some("gpu"), &[("p", on_cuda())]),
    ];
    let both = set(&[LINUX, MAC]);
    let lacks = missing(&carry(&Pins::default(), &all, &both, true), &all, &both);
    assert_eq!(
        lacks,
        [
            Missing::Wheel("onnxruntime==1".into(), LINUX.into()),
            Missing::Wheel("onnxruntime==1".into(), MAC.into()),
            Missing::Runtime("onnxruntime-gpu==1.31.1".into(), LINUX.into()),
        ],
        "no Mac has CUDA, and that is no reason not to lock"
    );
    let pins = locked(&all, &[LINUX, MAC], &[]);
    assert_eq!(pins.libraries["onnxruntime-gpu==1.31.1"], set(&["nvidia-cublas==1", "nvidia-cudnn-cu13==2"]));
    assert!(!pins.wheels.contains_key("numpy==2.4"), "what only Python needs is not locked");
    assert_eq!(carry(&pins, &all, &both, true), pins, "nothing changed");
    assert!(missing(&pins, &all, &both).is_empty());
    assert!(all.iter().all(|wants| drift(&pins, wants, LINUX).is_empty()));
    let run = carry(&pins, &all[..1], &both, false);
    assert_eq!(run, pins, "a run under no profile leaves the libraries of another alone");
    let gone = carry(&pins, &all[..1], &both, true);
    assert!(gone.libraries.is_empty() && gone.wheels.keys().eq(["onnxruntime==1"]), "{gone:?}");
    let mut torn = pins.clone();
    torn.wheels.get_mut("nvidia-cublas==1").expect("there").clear();
    assert_eq!(
        drift(&torn, &all[1], LINUX),
        ["`onnxruntime-gpu==1.31.1` with the libraries it needs is not locked for linux-x86_64"]
    );
    assert_eq!(without_cuda(&all, &both), None);
    assert_eq!(without_cuda(&all, &set(&[MAC])), Some("p"));
    assert_eq!(without_cuda(&all[..1], &set(&[MAC])), None);
}

#[test]
fn libraries_are_kept_upgraded_and_told_with_their_runtime() {
    let all = [wants(None, &[("p", on_cuda())])];
    let runtime = "onnxruntime-gpu==1.31.1";
    let old = locked(&all, &[LINUX], &[]);
    assert_eq!(
        told(&Pins::default(), &old),
        [
            "platforms: also linux-x86_64",
            "p: runtime onnxruntime-gpu==1.31.1",
            "onnxruntime-gpu==1.31.1: for linux-x86_64, +2 libraries (nvidia-cublas 1, nvidia-cudnn-cu13 2)",
        ]
    );
    let kept = known_libraries(&old, "onnxruntime-gpu==1.32.0");
    assert_eq!(kept, BTreeMap::from([("nvidia-cublas".into(), "1".into()), ("nvidia-cudnn-cu13".into(), "2".into())]));
    let mut new = old.clone();
    assert!(take_runtime(&mut new, runtime, LINUX, resolved("1", "3")));
    assert!(!new.wheels.contains_key("nvidia-cudnn-cu13==2"), "a lock must not only grow");
    assert_eq!(told(&old, &new), ["onnxruntime-gpu==1.31.1: nvidia-cudnn-cu13 2 → 3"]);
    let mut other = old.clone();
    other.wheels.get_mut("nvidia-cublas==1").expect("there").insert(LINUX.into(), file("nvidia-cublas", 'b'));
    assert_eq!(told(&old, &other), ["onnxruntime-gpu==1.31.1: nvidia-cublas 1: other bytes → nvidia-cublas.whl"]);
    let mut none = old.clone();
    let alone = vec![package("onnxruntime-gpu", "1.31.1")];
    assert!(!take_runtime(&mut none, runtime, LINUX, alone) && none == old, "a runtime that names no library");
}
