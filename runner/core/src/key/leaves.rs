//! The walk over everything that a job can see. The key is made of it, and so is the manifest that explains the key: they cannot drift apart.
//! Most looks need the key alone, so names and texts are the job's own here, wherever they can be.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{Content, Job, Leaf, Manifest, Work, canonical};
use crate::artifact::{Artifact, Mode};
use crate::digest::Digest;
use crate::plugin::shard;

/// Changes when the meaning of leaves changes, so that no old entry is taken for a new one.
const FORMAT: &str = "1";

/// Most jobs have fewer leaves.
const USUAL: usize = 16;

/// What a leaf holds.
#[derive(Clone, Debug)]
enum Value<'a> {
    Text(Cow<'a, str>),
    Content(Artifact),
}

/// What of a leaf is hashed.
pub(super) enum Hashed<'a> {
    Text(&'a str),
    Content(&'a Artifact),
}

impl<'a> From<&'a Leaf> for Hashed<'a> {
    fn from(leaf: &'a Leaf) -> Self {
        match leaf {
            Leaf::Text(text) => Self::Text(text),
            Leaf::Content(artifact) => Self::Content(artifact),
        }
    }
}

impl<'a> From<&'a Value<'_>> for Hashed<'a> {
    fn from(value: &'a Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::Content(artifact) => Self::Content(artifact),
        }
    }
}

/// The key of leaves in the order of their names: blake3 over each as length-prefixed name, kind and value, so that no two manifests share
/// bytes.
pub(super) fn key<'a>(leaves: impl Iterator<Item = (&'a str, Hashed<'a>)>) -> Digest {
    // Most have some ten short leaves and a script.
    let mut bytes = Vec::with_capacity(1024);
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    for (name, value) in leaves {
        put(name.as_bytes());
        match value {
            Hashed::Text(text) => {
                put(b"text");
                put(text.as_bytes());
            }
            Hashed::Content(artifact) => {
                put(match artifact.mode {
                    Mode::File => b"file".as_slice(),
                    Mode::Executable => b"exec",
                    Mode::Symlink => b"link",
                    Mode::Folder => b"tree",
                });
                put(artifact.digest.as_bytes());
            }
        }
    }
    Digest::of(&bytes)
}

/// The leaves of a job, in the order of their names.
#[derive(Debug)]
pub struct Leaves<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl Leaves<'_> {
    /// The key.
    pub fn key(&self) -> Digest {
        key(self.0.iter().map(|(name, value)| (&**name, Hashed::from(value))))
    }

    /// The same to be kept.
    pub fn manifest(&self) -> Manifest {
        let leaf = |value: &Value<'_>| match value {
            Value::Text(text) => Leaf::Text(text.clone().into_owned()),
            Value::Content(artifact) => Leaf::Content(*artifact),
        };
        Manifest { leaves: self.0.iter().map(|(name, value)| (name.clone().into_owned(), leaf(value))).collect() }
    }
}

impl Job {
    /// Everything this job can see.
    pub fn leaves(&self) -> Leaves<'_> {
        let mut walk = Walk(Vec::with_capacity(USUAL));
        walk.text("format", FORMAT);
        walk.work(&self.work);
        for (name, input) in &self.inputs {
            match &input.content {
                Content::Known(artifact) => walk.content(format!("input.{name}"), artifact),
                Content::Pinned(pin) => walk.text(format!("input.{name}"), pin),
            }
            if let Some(file) = &input.file {
                walk.text(format!("file.{name}"), file);
            }
        }
        self.outputs.iter().for_each(|(name, kind)| walk.text(["output.", name].concat(), kind));
        if !self.values.is_empty() {
            let mut values = self.values.clone();
            values.sort();
            walk.text("values", values.join(" "));
        }
        if let Some((index, count)) = self.part {
            walk.text("part", shard::label(index, count));
        }
        walk.sorted()
    }

    /// The manifest of everything this job can see.
    pub fn manifest(&self) -> Manifest {
        self.leaves().manifest()
    }
}

struct Walk<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Walk<'a> {
    /// In the order of names; of two with one name the later, as in a map.
    fn sorted(mut self) -> Leaves<'a> {
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.0.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Leaves(self.0)
    }

    fn text(&mut self, name: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) {
        self.0.push((name.into(), Value::Text(text.into())));
    }

    fn content(&mut self, name: String, artifact: &Artifact) {
        self.0.push((name.into(), Value::Content(*artifact)));
    }

    fn work(&mut self, work: &'a Work) {
        match work {
            Work::Plugin { digest, config, allow, env, secrets, .. } => {
                self.text("kind", "plugin");
                self.text("plugin", digest.to_string());
                self.json("with", config);
                if !allow.is_empty() {
                    self.text("allow", allow.iter().map(|one| one.name()).collect::<Vec<_>>().join(" "));
                }
                self.variables(env, secrets);
            }
            Work::Process { script, env, secrets, code, python, tools, system, network, sandbox, platform } => {
                self.text("kind", "process");
                self.text("run", script);
                self.text("platform", platform);
                self.variables(env, secrets);
                code.iter().for_each(|(name, artifact)| self.content(["code.", name].concat(), artifact));
                tools.iter().for_each(|(name, artifact)| self.content(["tool.", name].concat(), artifact));
                // Said only where they are not as they are everywhere else, so that what is new here changes no old key.
                let odd = [("network", *network), ("sandbox", *sandbox)].into_iter().filter(|(_, on)| !on);
                odd.for_each(|(name, _)| self.text(name, "off"));
                if !system.is_empty() {
                    self.text("system", system);
                }
                if let Some(python) = python {
                    self.text("python", &python.requirements);
                    self.text("interpreter", &python.interpreter);
                }
            }
            Work::Onnx { settings, runtime, libraries, platform } => {
                self.text("kind", "onnx");
                self.text("runtime", runtime);
                libraries.iter().for_each(|(name, pin)| self.text(format!("library.{name}"), pin));
                self.text("platform", platform);
                self.json("onnx", settings);
            }
            Work::Gather { parts, outputs, values } => {
                self.text("kind", "gather");
                for (label, made) in parts {
                    let made_by = |name: &str| format!("part.{label}.{name}");
                    made.outputs.iter().for_each(|(name, artifact)| self.content(made_by(name), artifact));
                    self.text(made_by("values"), canonical(&Json::Object(made.values.clone())));
                }
                outputs.iter().for_each(|(name, rule)| self.text(format!("merge.{name}"), json!(rule).to_string()));
                values
                    .iter()
                    .for_each(|(name, rule)| self.text(format!("merge.values.{name}"), json!(rule).to_string()));
            }
            Work::Gate { message } => {
                self.text("kind", "gate");
                self.text("fail", message);
            }
        }
    }

    fn variables(&mut self, env: &'a BTreeMap<String, String>, secrets: &'a BTreeMap<String, String>) {
        env.iter().for_each(|(name, value)| self.text(["env.", name].concat(), value));
        secrets.iter().for_each(|(name, from)| self.text(["secret.", name].concat(), from));
    }

    fn json(&mut self, prefix: &str, config: &Map<String, Json>) {
        config.iter().for_each(|(name, value)| self.text(format!("{prefix}.{name}"), canonical(value)));
    }
}
