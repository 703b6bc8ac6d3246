//! A lock survives its text, says where it is damaged, and one of format 1 is still read.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn file(name: &str, byte: char) -> FilePin {
    FilePin { file: format!("{name}-1.0-py3-none-any.whl"), sha256: byte.to_string().repeat(64), size: Some(7) }
}

fn package(name: &str, version: &str, byte: char) -> PackagePin {
    PackagePin::new(name, version, file(name, byte))
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pins() -> Pins {
    let wish = PythonWish::new("3.11", &["b==1 ; python_version < \"4\"".into(), " a".into()], &["c".into()]);
    let resolved = BTreeMap::from([
        ("linux-x86_64".to_owned(), vec![package("a", "1", 'a'), package("b", "1", 'b')]),
        ("macos-aarch64".to_owned(), vec![package("a", "1", 'a'), package("b", "1", 'c'), package("d", "2", 'd')]),
    ]);
    let environment = EnvironmentPin {
        wish,
        interpreters: BTreeMap::from([("linux-x86_64".into(), "cpython 3.11.7".into())]),
        resolved,
    };
    let plugin = PluginPin { name: "flowrun/x".into(), version: "1.0.0".into(), sha256: "e".repeat(64), size: 3 };
    let step = |environment: Option<&str>, plugin: Option<&str>| StepPin {
        environment: environment.map(str::to_owned),
        plugin: plugin.map(str::to_owned),
        allow: plugin.map(|_| set(&["network"])).unwrap_or_default(),
        runtime: None,
    };
    Pins {
        platforms: set(&["linux-x86_64", "macos-aarch64"]),
        steps: BTreeMap::from([("t".into(), step(Some("t"), None)), ("u".into(), step(None, Some("flowrun/x@1")))]),
        profiles: BTreeMap::from([("q".into(), BTreeMap::from([("t".into(), StepPin::default())]))]),
        plugins: BTreeMap::from([("flowrun/x@1".into(), plugin)]),
        environments: BTreeMap::from([("t".into(), environment)]),
        wheels: ["w==1", "nvidia-x==2"]
            .map(|name| (name.to_owned(), BTreeMap::from([("linux-x86_64".into(), file("w", 'f'))])))
            .into(),
        libraries: BTreeMap::from([("w==1".into(), set(&["nvidia-x==2"]))]),
        sources: BTreeMap::from([
            ("s".into(), SourcePin::Pypi("w==1".into())),
            ("v".into(), SourcePin::Url("0".repeat(64))),
        ]),
        old: Vec::new(),
    }
}

#[test]
fn a_lock_survives_its_text_and_says_a_fact_a_line() {
    let pins = pins();
    let text = pins.to_text();
    assert_eq!(Pins::parse(&text), Ok(pins.clone()), "{text}");
    assert_eq!(Pins::parse(&text).map(|pins| pins.to_text()), Ok(text.clone()));
    let pure = "  { file = \"a-1.0-py3-none-any.whl\", sha256 = \"aaaa";
    let line = text.lines().find(|line| line.starts_with(pure)).expect("there");
    assert!(line.ends_with("size = 7 },"), "the same file everywhere needs no platforms: {line}");
    assert!(text.contains("sha256 = \"cccccccc") && text.contains("platforms = [\"macos-aarch64\"] },"), "{text}");
    assert_eq!(Pins::parse(&Pins::default().to_text()), Ok(Pins::default()));
    let mut fewer = pins;
    fewer.environments.get_mut("t").expect("there").resolved.remove("linux-x86_64");
    assert_eq!(Pins::parse(&fewer.to_text()), Ok(fewer));
}

#[test]
fn what_was_built_of_a_source_is_told_beside_it() {
    let mut pins = pins();
    let source = FilePin { file: "s-1.tar.gz".into(), ..file("s", 'a') };
    let tool = |name: &str, byte: char| ToolPin { name: name.into(), version: "3".into(), file: file(name, byte) };
    let built = |tools: Vec<ToolPin>| Some(BuiltPin { wheel: file("s", 'b'), tools });
    let environment = pins.environments.get_mut("t").expect("there");
    environment.wish.no_binary = vec!["S".into()];
    let resolved = &mut environment.resolved;
    let mut add = |platform: &str, built: Option<BuiltPin>| {
        let all = resolved.get_mut(platform).expect("there");
        all.push(PackagePin { built, ..PackagePin::new("s", "1", source.clone()) });
        all.sort();
    };
    add("linux-x86_64", built(vec![tool("hammer", 'c'), tool("saw", 'd')]));
    add("macos-aarch64", built(vec![tool("hammer", 'c')]));
    let text = pins.to_text();
    assert_eq!(Pins::parse(&text), Ok(pins.clone()), "{text}");
    let told = text.split("name = \"s\"").nth(1).expect("there");
    let told: Vec<&str> = told
        .lines()
        .take_while(|line| !line.starts_with('['))
        .map(|line| line.split(" file").next().unwrap_or_default())
        .collect();
    let hammer = "  { name = \"hammer\", version = \"3\",";
    let saw = "  { name = \"saw\", version = \"3\",";
    assert_eq!(
        told,
        ["", "version = \"1\"", "files = [", "  {", "]", "built = [", "  {", "]", "tools = [", hammer, saw, "]", ""]
    );
    let why = |from: &str, to: &str| match Pins::parse(&text.replace(from, to)) {
        Err(BadLock::Damaged { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    assert!(
        why("no-binary = [\n  \"S\",", "no-binary = [\n  \"t\",")
            .contains("`s` of environment `t` is a source, and not in")
    );
    assert!(why("s-1.tar.gz", "s-1.whl").contains("`s` of environment `t` is a wheel, and cannot be built"));
    assert!(
        why("built = [\n  { file = \"s-1.0-py3-none-any.whl\"", "built = [\n  { file = \"s-1.zip\"")
            .contains("no wheel: `s-1.zip`")
    );
    let last = text.split("built = [\n").nth(1).and_then(|rest| rest.lines().next()).expect("there");
    assert!(why(&format!("{last}\n"), "").contains("`s` has tools for linux-x86_64, and is not built there"));
    assert!(why(&format!("{last}\n"), &format!("{last}\n{last}\n")).contains("`s` is built twice for linux-x86_64"));
}

#[test]
fn the_wheels_of_a_runtime_are_its_own_and_its_libraries() {
    let pins = pins();
    let text = pins.to_text();
    assert!(text.contains("[wheels.\"w==1\"]\nlibraries = [\n  \"nvidia-x==2\",\n]\nfiles = [\n"), "{text}");
    assert!(!text.contains("[wheels.\"nvidia-x==2\"]\nlibraries"), "{text}");
    let names = |runtime: &str, platform: &str| -> Option<Vec<String>> {
        Some(pins.runtime(runtime, platform)?.into_iter().map(|(pin, _)| pin.to_owned()).collect())
    };
    assert_eq!(names("w==1", "linux-x86_64"), Some(vec!["w==1".into(), "nvidia-x==2".into()]));
    assert_eq!(names("nvidia-x==2", "linux-x86_64"), Some(vec!["nvidia-x==2".into()]));
    assert_eq!(names("w==1", "macos-aarch64"), None);
    assert_eq!(names("v==1", "linux-x86_64"), None);
}

#[test]
fn a_wish_has_one_form() {
    let wish =
        |all: &[&str]| PythonWish::new("3.11", &all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &[]);
    assert_eq!(wish(&["b", "a", "a "]), wish(&["a", "b"]));
    assert_ne!(wish(&["a"]), wish(&["b"]));
}

#[test]
fn damage_is_told_by_its_line() {
    let text = pins().to_text();
    let problem = |change: &dyn Fn(&str) -> String| match Pins::parse(&change(&text)) {
        Err(BadLock::Damaged { line, problem }) => {
            (change(&text).lines().nth(line - 1).unwrap_or_default().to_owned(), problem)
        }
        other => panic!("{other:?}"),
    };
    let (line, why) = problem(&|text| text.replace(&"e".repeat(64), "eeee"));
    assert!(line.starts_with("sha256 = \"eeee\"") && why.contains("not a sha256"), "{line}: {why}");
    let (line, why) = problem(&|text| text.replace("file = \"w-1.0", "file = \"../w-1.0"));
    assert!(line.contains("../w-1.0") && why.contains("not the name"), "{line}: {why}");
    let (line, why) = problem(&|text| text.replace("[sources.v]\n", "[sources.v]\nurl = \"x\"\n"));
    assert!(line.starts_with("url") && why.contains("unknown field"), "{line}: {why}");
    let (line, _) = problem(&|text| format!("{text}<<<<<<< ours\n"));
    assert_eq!(line, "<<<<<<< ours");
    let (line, why) = problem(&|text| text.replace("name = \"d\"", "name = \"b\""));
    assert_eq!(line, "[environments.t]");
    assert!(why.contains("two files of `b` for macos-aarch64"), "{why}");
    let (line, why) = problem(&|text| text.replace("  \"nvidia-x==2\",", "  \"nvidia-x==3\","));
    assert_eq!(line, "[wheels.\"w==1\"]");
    assert!(why.contains("`nvidia-x==3`, a library of `w==1`, is not among the wheels"), "{why}");
    let (_, why) = problem(&|_| String::new());
    assert!(why.contains("flowrun-lock"), "{why}");
    assert_eq!(Pins::parse("flowrun-lock = 3\nwheels = 7\n"), Err(BadLock::Newer(3)));
    assert_eq!(BadLock::Damaged { line: 3, problem: "x".into() }.to_string(), ":3: the lock is damaged: x");
}

#[test]
fn the_first_format_is_read() {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let text = format!(
        r#"{{"flowrun_lock": 1,
        "wheels": {{"w==1@linux-x86_64": {{"name": "w", "version": "1", "file": "w-1-py3-none-any.whl", "sha256": "{a}", "size": 7}}}},
        "python": {{"dig@linux-x86_64": {{"python": "3.11", "platform": "linux-x86_64", "spec_digest": "dig",
            "requirements_txt": ["six==1.16.0 --hash=sha256:{a} --hash=sha256:{b}", "x[y]==2 ; a < 'b' --hash=sha256:{b}"]}}}},
        "plugins": {{"oci://h/p:1": {{"name": "p", "version": "", "sha256": "{b}", "size": 9}}}}}}"#
    );
    let pins = Pins::parse(&text).expect("read");
    assert_eq!(pins.wheel("w==1", "linux-x86_64").map(|file| file.sha256.as_str()), Some(a.as_str()));
    assert_eq!(pins.plugins["oci://h/p:1"].size, 9);
    assert_eq!(pins.platforms, set(&["linux-x86_64"]));
    let packages = &pins.old[0].packages;
    assert_eq!(packages["six"], ("1.16.0".to_owned(), set(&[&a, &b])));
    assert_eq!(packages["x"], ("2".to_owned(), set(&[&b])));
    let again = Pins::parse(&pins.to_text()).expect("read");
    assert_eq!(again, Pins { old: Vec::new(), ..pins });
    assert_eq!(Pins::parse(r#"{"flowrun_lock": 2, "wheels": 7}"#), Err(BadLock::Newer(3)));
    assert!(matches!(Pins::parse("{"), Err(BadLock::Damaged { line: 1, .. })));
    let spoilt = text.replace("w-1-py3", "../w");
    assert!(matches!(Pins::parse(&spoilt), Err(BadLock::Damaged { line: 2, .. })), "{:?}", Pins::parse(&spoilt));
}

proptest! {
    /// Whatever is believed is written so that it is believed again.
    #[test]
    fn a_spoilt_lock_is_refused_or_is_another_lock(
        at in any::<prop::sample::Index>(), how in 0_u8..3, byte in 32_u8..127,
    ) {
        let mut bytes = pins().to_text().into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
        let text = String::from_utf8(bytes).expect("ASCII");
        if let Ok(read) = Pins::parse(&text) {
            prop_assert_eq!(Pins::parse(&read.to_text()), Ok(read));
        }
    }

    #[test]
    fn any_words_survive(name in "\\PC{0,12}|[\\x00-\\x7f]{0,12}") {
        let mut pins = Pins::default();
        pins.steps.insert(name.clone(), StepPin { plugin: Some(name.clone()), ..StepPin::default() });
        pins.wheels.insert(name.clone(), BTreeMap::new());
        prop_assert_eq!(Pins::parse(&pins.to_text()), Ok(pins));
    }
}
