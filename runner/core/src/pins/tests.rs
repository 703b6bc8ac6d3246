//! What is carried over, what is missing, what is refused and what is told.

use super::*;
use crate::stored::lock::{FilePin, PackagePin, Pins};

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
    PackagePin { name: name.into(), version: version.into(), file: file(name, 'a') }
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
            Missing::Wheel(wheel, platform) => {
                pins.wheels.entry(wheel).or_default().insert(platform, file("w", 'w'));
            }
        }
    }
    pins
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
