//! The step key: what a result is stored under, and why it differs from another.
//!
//! A [`Manifest`] is the list of named leaves of everything a step can see. The key is blake3 over its bytes; the
//! manifest is stored with the entry, so "why did it run" is the difference of two manifests, written by the same walk.
//!
//! | what a step can see | leaf | uses | run | onnx |
//! |---|---|:-:|:-:|:-:|
//! | how keys are made | `format` | ✓ | ✓ | ✓ |
//! | the kind of step | `kind` | ✓ | ✓ | ✓ |
//! | the plugin's bytes | `plugin` | ✓ | | |
//! | its configuration, rendered | `with.NAME` | ✓ | | |
//! | what it may do beyond its inputs and outputs | `allow` | ✓ | | |
//! | which part of a divided step it does | `part` | ✓ | | |
//! | the script, rendered | `run` | | ✓ | |
//! | declared variables, rendered | `env.NAME` | ✓ | ✓ | |
//! | names of secrets, never their values | `secret.NAME` | ✓ | ✓ | |
//! | files beside the command | `code.NAME` | | ✓ | |
//! | the programs it may call, by content | `tool.NAME` | | ✓ | |
//! | the system whose libraries it uses | `system` | | ✓ | |
//! | that it has no network | `network` | | ✓ | |
//! | that it has no sandbox | `sandbox` | | ✓ | |
//! | the locked Python environment | `python` | | ✓ | |
//! | the interpreter it runs on | `interpreter` | | ✓ | |
//! | the detector's settings | `onnx.NAME` | | | ✓ |
//! | the ONNX Runtime's wheel | `runtime` | | | ✓ |
//! | the wheels of CUDA's libraries, where it runs on that | `library.NAME` | | | ✓ |
//! | content of inputs | `input.NAME` | ✓ | ✓ | ✓ |
//! | the names under which inputs lie | `file.NAME` | ✓ | ✓ | ✓ |
//! | names of outputs and values | `output.NAME`, `values` | ✓ | ✓ | ✓ |
//! | operating system and processor | `platform` | | ✓ | ✓ |
//!
//! Putting the parts of a divided step together is a step too. It sees what they made (`part.LABEL.OUTPUT`, `part.LABEL.values`) and how it
//! becomes one (`merge.NAME`).
//!
//! Never in it: step names, absolute paths, times, run ids, `resources`, `retry`, `timeout`, `needs`, `help`: they do not change
//! what is made. A plugin sees no platform: its component, configuration and inputs are all there is.

mod leaves;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::artifact::{Artifact, Mode};
use crate::digest::Digest;
use crate::plugin::{Capability, Fold, Merging};
pub use leaves::Leaves;

/// One thing a step can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leaf {
    /// A text as it is.
    Text(String),
    /// A file or folder by content.
    Content(Artifact),
}

impl Leaf {
    /// For people: the text, or what kind of content it is.
    pub fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Content(Artifact { mode: Mode::Folder, digest, .. }) => format!("folder {}", digest.short()),
            Self::Content(Artifact { digest, .. }) => format!("file {}", digest.short()),
        }
    }
}

/// The named leaves of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest {
    leaves: BTreeMap<String, Leaf>,
}

/// A leaf that differs between two manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The leaf's name.
    pub leaf: String,
    /// What it was; nothing where it is new.
    pub old: Option<Leaf>,
    /// What it is; nothing where it is gone.
    pub new: Option<Leaf>,
}

impl Manifest {
    /// The leaves by name.
    pub fn leaves(&self) -> &BTreeMap<String, Leaf> {
        &self.leaves
    }

    /// The key: see [`leaves`].
    pub fn key(&self) -> Digest {
        leaves::key(self.leaves.iter().map(|(name, leaf)| (name.as_str(), leaves::Hashed::from(leaf))))
    }

    /// What differs from an older manifest.
    pub fn differences(&self, old: &Manifest) -> Vec<Difference> {
        let names: std::collections::BTreeSet<&String> = self.leaves.keys().chain(old.leaves.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.leaves.get(*name) != old.leaves.get(*name))
            .map(|name| Difference {
                leaf: name.clone(),
                old: old.leaves.get(name).cloned(),
                new: self.leaves.get(name).cloned(),
            })
            .collect()
    }
}

/// What an input holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file or folder by content.
    Known(Artifact),
    /// A download that is pinned by another hash and fetched only when a step runs: `sha256:...`.
    Pinned(String),
}

/// An input of a step, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it holds.
    pub content: Content,
    /// The name of the file inside `in/NAME/`; nothing for a folder, which is `in/NAME` itself.
    pub file: Option<String>,
}

/// Everything of a step that its result depends on, rendered. The engine runs it; the key is made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What to do.
    pub work: Work,
    /// What it reads, by name.
    pub inputs: IndexMap<String, Input>,
    /// What it makes: name to `dir` or the file's name, as written.
    pub outputs: IndexMap<String, String>,
    /// The values it gives.
    pub values: Vec<String>,
    /// The part that it does of a divided step: which, counted from 0, of how many.
    pub part: Option<(u32, u32)>,
}

/// The rendered work of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A WebAssembly plugin.
    Plugin {
        /// As written: `flowrun/NAME@MAJOR` or a path.
        name: String,
        /// The component's digest.
        digest: Digest,
        /// `with`, rendered.
        config: Map<String, Json>,
        /// What it may do beyond its inputs and outputs.
        allow: BTreeSet<Capability>,
        /// Declared variables, rendered.
        env: BTreeMap<String, String>,
        /// Variable to the name of the secret it takes.
        secrets: BTreeMap<String, String>,
    },
    /// A process.
    Process {
        /// The shell script, rendered.
        script: String,
        /// Declared variables, rendered.
        env: BTreeMap<String, String>,
        /// Variable to the name of the secret it takes.
        secrets: BTreeMap<String, String>,
        /// Files and folders beside the command, by last name.
        code: BTreeMap<String, Artifact>,
        /// The locked environment and its interpreter.
        python: Option<PythonLeaf>,
        /// Programs it may call, by name: the same for most steps.
        tools: Arc<BTreeMap<String, Artifact>>,
        /// The distribution and its release: `debian 12`; empty where there is none.
        system: String,
        /// Whether it may reach the network.
        network: bool,
        /// Whether it sees only what it declared.
        sandbox: bool,
        /// Operating system and processor: `linux-x86_64`.
        platform: String,
    },
    /// An ONNX detector.
    Onnx {
        /// The settings, rendered, as JSON.
        settings: Map<String, Json>,
        /// The wheel of ONNX Runtime: `onnxruntime==1.2.3 sha256:...`.
        runtime: String,
        /// The wheels with the libraries it loads, by package: `1.2.3 sha256:...`.
        libraries: BTreeMap<String, String>,
        /// Operating system and processor.
        platform: String,
    },
    /// The parts of a divided step, put together.
    Gather {
        /// What they made, by label, in order.
        parts: Vec<(String, Made)>,
        /// How outputs become one, by name.
        outputs: BTreeMap<String, Merging>,
        /// How values become one, by name.
        values: BTreeMap<String, Fold>,
    },
    /// A gate that is closed: it fails with this message. Never cached.
    Gate {
        /// The message, rendered.
        message: String,
    },
}

/// What a part of a divided step made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// Outputs by name.
    pub outputs: BTreeMap<String, Artifact>,
    /// Values by name.
    pub values: Map<String, Json>,
}

/// A locked Python environment, for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonLeaf {
    /// Every wheel with its hashes, a line each.
    pub requirements: String,
    /// The interpreter: implementation, full version, platform.
    pub interpreter: String,
}

/// JSON with the keys of maps in order, so that two ways to write one value are one leaf.
pub fn canonical(value: &Json) -> String {
    fn sorted(value: &Json) -> Json {
        match value {
            Json::Object(entries) => {
                let ordered: BTreeMap<&String, Json> =
                    entries.iter().map(|(name, item)| (name, sorted(item))).collect();
                Json::Object(ordered.into_iter().map(|(name, item)| (name.clone(), item)).collect())
            }
            Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(bytes: &[u8]) -> Artifact {
        Artifact { mode: Mode::File, digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    fn process() -> Job {
        let work = Work::Process {
            script: "python t.py".into(),
            env: BTreeMap::from([("A".into(), "1".into())]),
            secrets: BTreeMap::from([("TOKEN".into(), "HF_TOKEN".into())]),
            code: BTreeMap::from([("t.py".into(), file(b"code"))]),
            python: Some(PythonLeaf { requirements: "six==1".into(), interpreter: "cpython 3.11.7".into() }),
            tools: Arc::new(BTreeMap::from([("sh".into(), file(b"shell"))])),
            system: "debian 12".into(),
            network: true,
            sandbox: true,
            platform: "linux-x86_64".into(),
        };
        let input = Input { content: Content::Known(file(b"in")), file: Some("a.csv".into()) };
        Job {
            work,
            inputs: IndexMap::from([("data".to_owned(), input)]),
            outputs: IndexMap::from([("model".to_owned(), "m.onnx".to_owned())]),
            values: vec!["b".into(), "a".into()],
            part: None,
        }
    }

    /// Every change that a step can see changes the key, and the difference names the leaf.
    #[test]
    fn each_leaf_changes_the_key_and_is_named() {
        type Change = fn(&mut Job);
        /// A change of one part of the work.
        macro_rules! work {
            ($part:ident, $change:expr) => {
                |job| match &mut job.work {
                    Work::Process { $part, .. } => {
                        let change: fn(&mut _) = $change;
                        change($part);
                    }
                    _ => unreachable!("built above"),
                }
            };
        }
        let changes: [(&str, Change); 16] = [
            ("run", work!(script, |script: &mut String| script.push('x'))),
            ("env.A", work!(env, |env: &mut BTreeMap<_, _>| drop(env.insert("A".into(), "2".into())))),
            ("env.B", work!(env, |env: &mut BTreeMap<_, _>| drop(env.insert("B".into(), String::new())))),
            ("secret.TOKEN", work!(secrets, |all: &mut BTreeMap<_, _>| drop(all.insert("TOKEN".into(), "O".into())))),
            (
                "code.t.py",
                work!(code, |code: &mut BTreeMap<_, _>| {
                    code.insert("t.py".into(), file(b"code2"));
                }),
            ),
            (
                "tool.sh",
                work!(tools, |tools: &mut Arc<BTreeMap<_, _>>| {
                    Arc::make_mut(tools).insert("sh".into(), file(b"other"));
                }),
            ),
            ("system", work!(system, |system: &mut String| system.push('x'))),
            ("network", work!(network, |network: &mut bool| *network = false)),
            ("sandbox", work!(sandbox, |sandbox: &mut bool| *sandbox = false)),
            ("python", work!(python, |one: &mut Option<PythonLeaf>| one.as_mut().expect("is").requirements.push('1'))),
            (
                "interpreter",
                work!(python, |one: &mut Option<PythonLeaf>| one.as_mut().expect("is").interpreter.push('1')),
            ),
            ("platform", work!(platform, |platform: &mut String| platform.push('x'))),
            ("input.data", |job| job.inputs[0].content = Content::Known(file(b"in2"))),
            ("file.data", |job| job.inputs[0].file = Some("b.csv".into())),
            ("output.model", |job| job.outputs[0].push('x')),
            ("values", |job| job.values.push("c".into())),
        ];
        let before = process().manifest();
        for (leaf, change) in changes {
            let mut job = process();
            change(&mut job);
            let after = job.manifest();
            assert_ne!(after.key(), before.key(), "{leaf}");
            assert_eq!(job.leaves().key(), after.key(), "{leaf}");
            let names: Vec<String> = after.differences(&before).into_iter().map(|difference| difference.leaf).collect();
            assert_eq!(names, [leaf]);
        }
    }

    #[test]
    fn order_of_maps_and_lists_of_names_is_noise() {
        let mut job = process();
        job.values.reverse();
        assert_eq!(job.manifest().key(), process().manifest().key());
        assert_eq!(
            canonical(&json!({"b": {"d": 1, "c": [2]}, "a": 0})),
            canonical(&json!({"a": 0, "b": {"c": [2], "d": 1}}))
        );
        let key = |work| Job { work, ..process() }.manifest().key();
        assert_eq!(key(plugin("x@1", &[])), key(plugin("./x.wasm", &[])));
    }

    fn plugin(name: &str, allow: &[Capability]) -> Work {
        Work::Plugin {
            name: name.into(),
            digest: Digest::of(b"p"),
            config: Map::new(),
            allow: allow.iter().copied().collect(),
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    #[test]
    fn what_a_plugin_may_do_is_a_leaf_where_it_is_something() {
        let manifest = |allow: &[Capability]| Job { work: plugin("x@1", allow), ..process() }.manifest();
        assert!(!manifest(&[]).leaves().contains_key("allow"), "what is new here changes no old key");
        let asked = [Capability::Random, Capability::Clock];
        let changes = manifest(&asked).differences(&manifest(&[]));
        assert_eq!(changes.iter().map(|change| change.leaf.as_str()).collect::<Vec<_>>(), ["allow"]);
        assert_eq!(changes[0].new, Some(Leaf::Text("clock random".into())));
        let turned = [Capability::Clock, Capability::Random];
        assert_eq!(manifest(&asked).key(), manifest(&turned).key(), "the order is noise");
        let mut work = plugin("x@1", &[Capability::Environment]);
        let Work::Plugin { env, secrets, .. } = &mut work else { unreachable!("it is one") };
        env.insert("A".into(), "1".into());
        secrets.insert("TOKEN".into(), "HF_TOKEN".into());
        let seen = Job { work, ..process() }.manifest();
        assert_eq!(seen.leaves().get("env.A"), Some(&Leaf::Text("1".into())));
        assert_eq!(seen.leaves().get("secret.TOKEN"), Some(&Leaf::Text("HF_TOKEN".into())));
    }

    #[test]
    fn each_library_of_a_detector_is_a_leaf_and_one_without_has_none() {
        let manifest = |libraries: &[(&str, &str)]| {
            let pin = |(name, pin): &(&str, &str)| ((*name).to_owned(), (*pin).to_owned());
            let work = Work::Onnx {
                settings: Map::from_iter([("score".to_owned(), json!(0.1))]),
                runtime: "onnxruntime==1 sha256:a".into(),
                libraries: libraries.iter().map(pin).collect(),
                platform: "linux-x86_64".into(),
            };
            Job { work, ..process() }.manifest()
        };
        let cpu: Vec<String> = manifest(&[]).leaves().keys().cloned().collect();
        let known = [
            "file.data",
            "format",
            "input.data",
            "kind",
            "onnx.score",
            "output.model",
            "platform",
            "runtime",
            "values",
        ];
        assert_eq!(cpu, known, "what is new here changes no old key");
        let before = manifest(&[("nvidia-a", "1 sha256:b"), ("nvidia-c", "2 sha256:d")]);
        let after = manifest(&[("nvidia-a", "1 sha256:b"), ("nvidia-c", "2 sha256:e")]);
        assert_ne!(before.key(), after.key());
        let names: Vec<String> = after.differences(&before).into_iter().map(|difference| difference.leaf).collect();
        assert_eq!(names, ["library.nvidia-c"]);
    }

    #[test]
    fn a_manifest_survives_its_json() {
        let manifest = process().manifest();
        let text = serde_json::to_string(&manifest).expect("json");
        assert_eq!(serde_json::from_str::<Manifest>(&text).expect("json").key(), manifest.key());
    }
}
