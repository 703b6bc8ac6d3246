//! What is made of a lock, word for word.

use std::collections::{BTreeMap, BTreeSet};

use super::image::BadBase;
use super::*;
use crate::lang::written::Pipeline;
use crate::stored::lock::{EnvironmentPin, PluginPin, PythonWish, SourcePin, StepPin};

const LINUX: &str = "linux-x86_64";
const MAC: &str = "macos-aarch64";

fn package(name: &str, version: &str, file: &str, byte: char, size: Option<u64>) -> PackagePin {
    let file = FilePin { file: file.into(), sha256: byte.to_string().repeat(64), size };
    PackagePin::new(name, version, file)
}

fn pins() -> Pins {
    let pure = package("six", "1.16.0", "six-1.16.0-py2.py3-none-any.whl", 'a', Some(11053));
    let linux = package("torch", "2.1+cpu", "torch-2.1+cpu-cp311-cp311-linux_x86_64.whl", 'b', None);
    let mac = package("torch", "2.1", "torch-2.1-cp311-none-macosx_11_0_arm64.whl", 'c', Some(9));
    let built = package("promise", "2.3", "promise-2.3.tar.gz", 'd', Some(7));
    let environment = EnvironmentPin {
        wish: PythonWish::new("3.11", &["torch".into()], &["promise".into()]),
        interpreters: BTreeMap::from([(LINUX.into(), "cpython 3.11.7".into())]),
        resolved: BTreeMap::from([(LINUX.into(), vec![built, pure.clone(), linux]), (MAC.into(), vec![pure, mac])]),
    };
    let python = |name: &str| StepPin { environment: Some(name.into()), ..StepPin::default() };
    let runtime = package("", "", "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl", 'e', None).file;
    let plugin = PluginPin { name: "acme/blur".into(), version: "1.0.0".into(), sha256: "f".repeat(64), size: 3 };
    let local = PluginPin { name: "my own".into(), version: String::new(), sha256: "1".repeat(64), size: 3 };
    let uses = |uses: &str, allow: &[&str]| StepPin {
        plugin: Some(uses.into()),
        allow: allow.iter().map(|what| (*what).to_owned()).collect(),
        ..StepPin::default()
    };
    Pins {
        platforms: BTreeSet::from([LINUX.into(), MAC.into()]),
        steps: BTreeMap::from([
            ("train".into(), python("train")),
            ("blur".into(), uses("oci://host/acme/blur:1", &["clock", "network"])),
            ("mine".into(), uses("./my own.wasm", &[])),
            ("see".into(), StepPin { runtime: Some("onnxruntime==1.31.1".into()), ..StepPin::default() }),
        ]),
        profiles: BTreeMap::from([("bare".into(), BTreeMap::from([("train".into(), StepPin::default())]))]),
        plugins: BTreeMap::from([("oci://host/acme/blur:1".into(), plugin), ("./my own.wasm".into(), local)]),
        environments: BTreeMap::from([("train".into(), environment)]),
        wheels: BTreeMap::from([("onnxruntime==1.31.1".into(), BTreeMap::from([(LINUX.into(), runtime)]))]),
        libraries: BTreeMap::new(),
        sources: BTreeMap::from([("far".into(), SourcePin::Url("2".repeat(64)))]),
        old: Vec::new(),
    }
}

fn of<'a>(pins: &'a Pins, platform: &'a str) -> Environment<'a> {
    Environment::of(pins, "p.lock", None, "train", platform).expect("it is locked")
}

#[test]
fn an_environment_is_that_of_the_step_its_profile_and_the_platform() {
    let pins = pins();
    assert_eq!(of(&pins, LINUX).packages.len(), 3);
    assert_eq!(of(&pins, MAC).packages.len(), 2);
    assert!(Environment::of(&pins, "p.lock", None, "train", "linux-aarch64").is_none());
    assert!(Environment::of(&pins, "p.lock", None, "blur", LINUX).is_none(), "it has no Python");
    assert!(Environment::of(&pins, "p.lock", Some("bare"), "train", LINUX).is_none());
    assert!(Environment::of(&pins, "p.lock", Some("other"), "train", LINUX).is_some());
    let odd = Environment { lock: "p\n--index-url x", ..of(&pins, LINUX) };
    assert!(!requirements(&odd).contains("\n--index-url"), "a name stays a comment");
}

#[test]
fn requirements_have_one_hash_a_package() {
    let (a, b, d) = ("a".repeat(64), "b".repeat(64), "d".repeat(64));
    let expected = format!(
        "# Python 3.11 of step `train` for linux-x86_64, as p.lock has it, locked on cpython 3.11.7.
# Made by `flowrun export requirements`: do not edit it. To install just that, and nothing else:
#   uv pip sync --require-hashes requirements.txt
#   pip install --require-hashes --no-deps -r requirements.txt
--only-binary :all:
--no-binary promise

promise==2.3 --hash=sha256:{d}
six==1.16.0 --hash=sha256:{a}
torch==2.1+cpu --hash=sha256:{b}
"
    );
    assert_eq!(requirements(&of(&pins(), LINUX)), expected);
    let mac = requirements(&of(&pins(), MAC));
    assert!(mac.starts_with("# Python 3.11 of step `train` for macos-aarch64, as p.lock has it.\n"), "{mac}");
    assert!(!mac.contains("--no-binary"), "{mac}");
}

#[test]
fn a_pylock_says_where_each_file_lies() {
    let (a, b, d) = ("a".repeat(64), "b".repeat(64), "d".repeat(64));
    let expected = format!(
        r#"# Python 3.11 of step `train` for linux-x86_64, as p.lock has it, locked on cpython 3.11.7.
# Made by `flowrun export pylock`: do not edit it.
lock-version = "1.0"
environments = ["sys_platform == 'linux' and platform_machine == 'x86_64'"]
requires-python = "==3.11.*"
created-by = "flowrun"

[[packages]]
name = "promise"
version = "2.3"
sdist = {{ name = "promise-2.3.tar.gz", path = "w/promise-2.3.tar.gz", size = 7, hashes = {{ sha256 = "{d}" }} }}

[[packages]]
name = "six"
version = "1.16.0"
wheels = [{{ name = "six-1.16.0-py2.py3-none-any.whl", url = "https://host/\"six", size = 11053, hashes = {{ sha256 = "{a}" }} }}]

[[packages]]
name = "torch"
version = "2.1+cpu"
wheels = [{{ name = "torch-2.1+cpu-cp311-cp311-linux_x86_64.whl", path = "torch-2.1+cpu-cp311-cp311-linux_x86_64.whl", hashes = {{ sha256 = "{b}" }} }}]
"#
    );
    let folder = |name: &str| Place::Folder(name.to_owned());
    let places = [folder("w/"), Place::Url("https://host/\"six".to_owned()), folder("")];
    let pins = pins();
    assert_eq!(pylock(&of(&pins, LINUX), &places), expected);
    let exact = Environment { python: "3.11.7", packages: &[], ..of(&pins, MAC) };
    let text = pylock(&exact, &[]);
    assert!(text.contains("requires-python = \"==3.11.7\"\n") && text.ends_with("packages = []\n"), "{text}");
    assert!(text.contains("sys_platform == 'darwin' and platform_machine == 'arm64'"), "{text}");
}

#[test]
fn an_image_stands_on_a_digest_and_holds_no_secret() {
    let base: Base = format!("python:3.11-slim@sha256:{}", "0".repeat(64)).parse().expect("good");
    let pins = pins();
    let files = image(&of(&pins, LINUX), "demo", &base).expect("Linux");
    let names = files.each_ref().map(|(name, _)| *name);
    assert_eq!(names, ["Dockerfile", ".dockerignore", "requirements.txt"]);
    let [(_, dockerfile), (_, ignore), (_, list)] = &files;
    assert_eq!(ignore, "*\n!requirements.txt\n");
    assert_eq!(*list, requirements(&of(&pins, LINUX)));
    let expected = format!(
        r#"# Made by `flowrun image`: do not edit it, make it anew.
# demo: Python 3.11 of step `train` for linux-x86_64, as p.lock has it, locked on cpython 3.11.7.
#
#   docker build .
# with a pip.conf, where the index is another one or wants a password:
#   docker build --secret id=pip.conf,src=pip.conf .
# with the times in its layers fixed too, by BuildKit 0.13 or newer:
#   docker buildx build --build-arg SOURCE_DATE_EPOCH=315532800 --output type=docker,rewrite-timestamp=true .
FROM --platform=linux/amd64 {base}
USER 0:0

RUN ["python3", "-c", "import sys; sys.version_info[:2] == (3, 11) or sys.exit('the lock is for Python 3.11, and the base has ' + sys.version)"]

# 1980, before which zip files know no time. With it Python marks bytecode by a hash of its source, and not by a time.
ARG SOURCE_DATE_EPOCH=315532800
COPY requirements.txt /opt/flowrun/requirements.txt
RUN --mount=type=secret,id=pip.conf \
    python3 -m venv --without-pip /opt/flowrun/python \
    && PIP_CONFIG_FILE=/run/secrets/pip.conf PYTHONHASHSEED=0 python3 -m pip --python /opt/flowrun/python/bin/python install \
        --require-hashes --no-deps --no-cache-dir --disable-pip-version-check -r /opt/flowrun/requirements.txt

ENV PATH="/opt/flowrun/python/bin:$PATH" HOME=/tmp
WORKDIR /work
USER 65532:65532
"#
    );
    assert_eq!(*dockerfile, expected);
    assert!(is_ours(dockerfile) && !is_ours("FROM x\n") && !is_ours(""));
    assert!(image(&of(&pins, MAC), "demo", &base).is_none(), "no image runs macOS");
    let exact = Environment { python: "3.11.7", ..of(&pins, LINUX) };
    let [(_, dockerfile), ..] = image(&exact, "a\nRUN b", &base).expect("Linux");
    assert!(dockerfile.contains("sys.version_info[:3] == (3, 11, 7) or"), "{dockerfile}");
    assert!(!dockerfile.contains("\nRUN b"), "a name stays a comment");
}

#[test]
fn a_base_is_named_by_digest() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    for good in ["python", "python:3.11-slim", "host:5000/a/b_c.d:1", "library/python"] {
        let text = format!("{good}@{digest}");
        assert_eq!(text.parse::<Base>().map(|base| base.to_string()), Ok(text));
    }
    let moves = "python:3.11".parse::<Base>().expect_err("a tag moves");
    assert!(moves.to_string().contains("write `python:3.11@sha256:…`"), "{moves}");
    let odd = ["", "@", "a b", "--x", "a\nRUN b", "a@sha256:0", "a@md5:0"].map(str::to_owned);
    for odd in odd.into_iter().chain([format!("a\n@{digest}"), format!("@{digest}"), format!("a@{digest}\nRUN b")]) {
        assert_eq!(odd.parse::<Base>(), Err(BadBase::Odd), "{odd:?}");
    }
}

fn bill(platforms: &[&str], profile: Option<&str>) -> String {
    let pipeline: Pipeline = serde_json::from_value(serde_json::json!({"flowrun": 1,
        "sources": {"far": {"url": "https://ann:s3cret@host/x?token=t0ken", "sha256": "2".repeat(64)}},
        "steps": {
            "train": {"run": "x", "python": {"version": "3.11"}, "inputs": {"a": "sources.far/in/it", "b": "blur.o"}},
            "blur": {"uses": "oci://host/acme/blur:1", "inputs": {"a": "sources.near"}},
            "mine": {"uses": "./my own.wasm"},
            "see": {"onnx": {}},
            "gate": {"fail": "no"}}}))
    .expect("pipeline");
    let pins = pins();
    let platforms = platforms.iter().map(|platform| (*platform).to_owned()).collect();
    cyclonedx(&Bill { name: "demo", pipeline: &pipeline, pins: &pins, profile, platforms: &platforms })
}

#[test]
fn a_bill_of_materials_has_the_libraries_of_a_runtime() {
    let mut pins = pins();
    let library = package("", "", "nvidia_x-2-py3-none-any.whl", '3', None).file;
    pins.wheels.insert("nvidia-x==2".into(), BTreeMap::from([(LINUX.into(), library)]));
    pins.libraries.insert("onnxruntime==1.31.1".into(), BTreeSet::from(["nvidia-x==2".into()]));
    let pipeline = serde_json::json!({"flowrun": 1, "steps": {"see": {"onnx": {}}}});
    let pipeline = serde_json::from_value(pipeline).expect("pipeline");
    let platforms = pins.platforms.clone();
    let bill = Bill { name: "demo", pipeline: &pipeline, pins: &pins, profile: None, platforms: &platforms };
    let text = cyclonedx(&bill);
    let bill: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let used = &bill["dependencies"][1]["dependsOn"];
    assert!(
        used[0].as_str().is_some_and(|used| used.starts_with("pkg:pypi/nvidia-x@2?checksum=sha256:3333")),
        "{used}"
    );
    assert!(used[1].as_str().is_some_and(|used| used.starts_with("pkg:pypi/onnxruntime@1.31.1?")), "{used}");
}

#[test]
fn a_bill_of_materials_names_every_file_and_who_uses_it() {
    let version = env!("CARGO_PKG_VERSION");
    let expected = include_str!("tests.cdx.json").replace("VERSION", version);
    let text = bill(&[LINUX, MAC], None);
    // The number is a digest of the rest, and with it of flowrun's version.
    let number =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON")["serialNumber"].to_string();
    assert_eq!(text.replace(&number(&text), "NUMBER"), expected);
    assert_eq!(number(&text).len(), "\"urn:uuid:00000000-0000-8000-8000-000000000000\"".len());
    assert_eq!(number(&text).chars().nth(24), Some('8'), "it is of version 8");
    assert_eq!(bill(&[MAC, LINUX], None), text);
    for secret in ["s3cret", "t0ken", "://"] {
        let told = text.replace("http://cyclonedx.org/", "").replace("oci://host/acme/blur:1", "");
        assert!(!told.contains(secret), "`{secret}` is in\n{text}");
    }
    let one = bill(&[LINUX], None);
    assert_ne!(number(&one), number(&text));
    assert!(one.contains("torch-2.1%2Bcpu") && !one.contains("macos"), "{one}");
    let bare = bill(&[LINUX], Some("bare"));
    assert!(!bare.contains("torch"), "under this profile nothing uses it: {bare}");
}
