//! The pipeline as written: plain types that mirror the file. Their doc comments are the reference and the editor's help;
//! the JSON Schema, the shape check and the decoding all come from here.
//!
//! Knows nothing of whether what is written makes sense: that is `check`'s.

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json, json};

use super::glibc::Glibc;
use crate::plugin::Capability;

/// A flowrun pipeline: steps that read inputs and make outputs, cached under the content of everything they can see.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The language version: 1.
    pub flowrun: u32,
    /// What the pipeline is called in runs and results. The file's name where it is not given.
    #[serde(default)]
    pub name: Option<String>,
    /// What the pipeline is for, in a line.
    #[serde(default)]
    pub help: Option<String>,
    /// What a run may set: `--set name=value`, or `--params-file`.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    /// Data from outside: files and folders of the project, downloads, wheels. Each is known by its digest.
    #[serde(default)]
    pub sources: IndexMap<String, Source>,
    /// The machines that `flowrun lock` pins Python packages and ONNX Runtime for: `linux-x86_64` and the one it runs on, where none are named.
    #[serde(default)]
    pub platforms: Vec<PlatformName>,
    /// What every step gets where it does not say otherwise; maps are joined key by key.
    #[serde(default)]
    pub defaults: Defaults,
    /// The steps, by id. Their order in the file means nothing: references and `needs` do.
    #[serde(deserialize_with = "shared")]
    pub steps: IndexMap<String, Arc<Step>>,
    /// Named changes to params, defaults and steps, picked with `--profile`.
    #[serde(default)]
    pub profiles: IndexMap<String, Profile>,
    /// What to put beside the project under `results/PIPELINE/` when the run has made it: a name for each reference.
    #[serde(default)]
    pub results: IndexMap<String, String>,
}

/// Steps are read by many at once, and are not small.
fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IndexMap<String, Arc<Step>>, D::Error> {
    let steps = IndexMap::<String, Step>::deserialize(deserializer)?;
    Ok(steps.into_iter().map(|(id, step)| (id, Arc::new(step))).collect())
}

/// The type of a param.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A file or folder. A default is relative to the pipeline file, a set one to where the command is run.
    Path,
    /// A list of anything.
    List,
}

/// Something a run may set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Its type; a value of another type is refused before anything runs.
    pub r#type: ParamType,
    /// Its value where none is set. A param without a default must be set.
    #[serde(default)]
    pub default: Option<Json>,
    /// The least value of an `integer` or `number`.
    #[serde(default)]
    pub min: Option<f64>,
    /// The greatest value of an `integer` or `number`.
    #[serde(default)]
    pub max: Option<f64>,
    /// The only values there are.
    #[serde(default)]
    pub choices: Option<Vec<Json>>,
    /// What it does, for people.
    #[serde(default)]
    pub help: Option<String>,
}

/// Data from outside. One of `path`, `url` and `pypi`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A file or folder, relative to the pipeline file; may be `{{ params.NAME }}` of a param of type `path`.
    #[serde(default)]
    pub path: Option<String>,
    /// An `https` address; needs `sha256`.
    #[serde(default)]
    pub url: Option<String>,
    /// The sha256 that the download must have: 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// A wheel of the Python package index, pinned: `name==version`. The step gets the wheel, a zip file.
    #[serde(default)]
    pub pypi: Option<String>,
    /// What it is, for people.
    #[serde(default)]
    pub help: Option<String>,
}

/// A machine that steps run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum PlatformName {
    /// Linux on 64-bit Intel and AMD, with glibc 2.28 or newer.
    #[serde(rename = "linux-x86_64")]
    LinuxX86,
    /// Linux on 64-bit ARM, with glibc 2.28 or newer.
    #[serde(rename = "linux-aarch64")]
    LinuxArm,
    /// macOS 14 or newer on Intel.
    #[serde(rename = "macos-x86_64")]
    MacosX86,
    /// macOS 14 or newer on Apple silicon.
    #[serde(rename = "macos-aarch64")]
    MacosArm,
}

impl PlatformName {
    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinuxX86 => "linux-x86_64",
            Self::LinuxArm => "linux-aarch64",
            Self::MacosX86 => "macos-x86_64",
            Self::MacosArm => "macos-aarch64",
        }
    }
}

/// What every step gets where it does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// See a step's `env`.
    #[serde(default)]
    pub env: IndexMap<String, EnvValue>,
    /// See a step's `python`.
    #[serde(default)]
    pub python: Option<Python>,
    /// See a step's `resources`.
    #[serde(default)]
    pub resources: Option<Resources>,
    /// See a step's `retry`.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// See a step's `timeout`.
    #[serde(default)]
    pub timeout: Option<String>,
    /// See a step's `continue_on_error`.
    #[serde(default)]
    pub continue_on_error: Option<bool>,
    /// See a step's `cache`.
    #[serde(default)]
    pub cache: Option<bool>,
    /// See a step's `tools`.
    #[serde(default)]
    pub tools: Vec<String>,
    /// See a step's `network`.
    #[serde(default)]
    pub network: Option<bool>,
    /// See a step's `sandbox`.
    #[serde(default)]
    pub sandbox: Option<Switch>,
    /// See a step's `limits`.
    #[serde(default)]
    pub limits: Option<Limits>,
}

/// Named changes, laid over the pipeline when the profile is picked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is for, in a line.
    #[serde(default)]
    pub help: Option<String>,
    /// New values of params; `--set` still wins.
    #[serde(default)]
    pub params: IndexMap<String, Json>,
    /// Laid over `defaults`.
    #[serde(default)]
    pub defaults: Defaults,
    /// Laid over the steps of the same names, key by key.
    #[serde(default)]
    pub steps: IndexMap<String, Step>,
}

/// One step. It has one kind: `uses`, `run`, `onnx` or `fail`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What the step does, in a line.
    #[serde(default)]
    pub help: Option<String>,
    /// A WebAssembly plugin: `flowrun/NAME@MAJOR` of those that come with flowrun, `./file.wasm` beside the pipeline, or `oci://HOST/REPOSITORY:TAG` of a registry.
    #[serde(default)]
    pub uses: Option<String>,
    /// A shell script (`sh -eu`). Values of templates are quoted for the shell; `{{ value | raw }}` is not.
    #[serde(default)]
    pub run: Option<String>,
    /// An object detector run by native ONNX Runtime over the pictures of a folder: inputs `model` and `images`, output `detections`.
    #[serde(default)]
    pub onnx: Option<Onnx>,
    /// Fails the run with this message: a gate, with `if`.
    #[serde(default)]
    pub fail: Option<String>,
    /// What it reads, by name: `sources.NAME`, `STEP.OUTPUT`, `STEP.OUTPUT/path/inside`, or `STEP.*.OUTPUT` for every instance of a fan-out. A reference is the dependency.
    #[serde(default)]
    pub inputs: IndexMap<String, String>,
    /// What it makes, by name: `dir` for a folder, otherwise the file's name.
    #[serde(default)]
    pub outputs: IndexMap<String, String>,
    /// Names of the small JSON values it gives: a plugin returns them, a `run` step writes one JSON object to `$FLOWRUN_VALUES`.
    #[serde(default)]
    pub values: Vec<String>,
    /// Steps that must have ended well or been skipped before this one, where no data passes.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The plugin's configuration; strings may be templates, and a whole-string template keeps its type.
    #[serde(default)]
    pub with: Map<String, Json>,
    /// What the plugin may do beyond reading its inputs and writing its outputs; it must ask for it in its manifest. Part of the key.
    #[serde(default)]
    pub allow: Vec<Capability>,
    /// The most that the plugin may use; more fails the step. Time is limited by `timeout`.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// `true`: the files of the plugin's input folder are divided into parts, which run side by side and are cached each on its own; their outputs are put together. The plugin's manifest says which input, and how.
    #[serde(default)]
    pub shard: Option<Shard>,
    /// Environment variables of the process, which has no others but a fixed base. `{ secret: NAME }` takes one from flowrun's own environment and keeps it out of keys, logs and caches.
    #[serde(default)]
    pub env: IndexMap<String, EnvValue>,
    /// Files and folders put beside the command, by their last name; part of the key.
    #[serde(default)]
    pub code: Vec<String>,
    /// Programs that a `run` step calls besides those that its script names: a name on the `PATH`, or an absolute path. It finds no others, and what they are is part of the key.
    #[serde(default)]
    pub tools: Vec<String>,
    /// `false`: a `run` step reaches nothing but its own loopback. An error where the kernel cannot deny it.
    #[serde(default)]
    pub network: Option<bool>,
    /// `off`: a `run` step may read and write whatever flowrun may, and call every program. What it reads so is not in its key, so its result may be a stale one; a shared cache may refuse it.
    #[serde(default)]
    pub sandbox: Option<Switch>,
    /// The locked Python environment that a `run` step sees as `python`.
    #[serde(default)]
    pub python: Option<Python>,
    /// Runs the step once for each combination: names to lists (or a template that gives one). `{{ matrix.NAME }}` is the value.
    #[serde(default)]
    pub matrix: IndexMap<String, Json>,
    /// Runs the step once for each item of a list, which may be a value of an earlier step. `{{ item }}` is the item.
    #[serde(default)]
    pub foreach: Option<Json>,
    /// An expression; where it is false the step is skipped (a `fail` step passes).
    #[serde(default)]
    pub r#if: Option<Condition>,
    /// How often and when to try again.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// The longest one attempt may take: `90s`, `20m`, `2h`. A plugin has `1h` where it is not given; other steps may take as long as they do.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Whether the run goes on, and ends well, when this step fails; what reads its outputs is skipped.
    #[serde(default)]
    pub continue_on_error: Option<bool>,
    /// `false`: never taken from the cache (but kept by `--resume`).
    #[serde(default)]
    pub cache: Option<bool>,
    /// What it takes of the machine while it runs.
    #[serde(default)]
    pub resources: Option<Resources>,
}

/// A condition: an expression, or plainly `true` or `false`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Condition {
    /// Always or never.
    Plain(bool),
    /// An expression such as `evaluate.values.map50 < params.min_map50`.
    Expression(String),
}

impl Condition {
    /// The expression's text.
    pub fn text(&self) -> String {
        match self {
            Self::Plain(value) => value.to_string(),
            Self::Expression(text) => text.clone(),
        }
    }
}

/// The value of an environment variable.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// A text, which may be a template.
    Text(String),
    /// A number, as its text.
    Number(serde_json::Number),
    /// `true` or `false`, as its text.
    Boolean(bool),
    /// Taken from flowrun's own environment.
    Secret(Secret),
}

/// A secret of flowrun's own environment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// The variable's name there.
    pub secret: String,
}

/// A locked Python environment, built by uv and shared between steps that agree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// The interpreter's version: `3.11`.
    pub version: String,
    /// Packages, as in a requirements file: `numpy==2.3.5`. Or such a file beside the pipeline: `requirements.txt`, `pyproject.toml` for its dependencies, `pylock.toml`, `uv.lock`. What they need is locked with them, by hash.
    #[serde(default)]
    #[schemars(schema_with = "list_or_file")]
    pub requirements: Vec<String>,
    /// Packages that are built from source when they are locked, since they have no wheel.
    #[serde(default)]
    pub no_binary: Vec<String>,
    /// On Linux, the oldest glibc that its wheels must run on: `2.28` where nothing is said. A newer one leaves out older machines.
    pub glibc: Option<Glibc>,
}

/// Whether something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// The most that a plugin may use. What it does within them is the same whatever they are, so they are in no key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory: `2GiB` where it is not given, and never more than 4 GiB, which is all that WebAssembly can address.
    #[serde(default)]
    pub memory: Option<String>,
    /// Bytes written to its outputs, every write counted: `8GiB` where it is not given.
    #[serde(default)]
    pub output: Option<String>,
    /// Files and folders made: 1,000,000 where it is not given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub files: Option<u64>,
    /// Lines of log, and as many figures: 100,000 where it is not given. What goes beyond is counted and dropped.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub log: Option<u64>,
}

/// Whether, and how finely, a step is divided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Shard {
    /// Into 16 parts, or not at all.
    On(bool),
    /// Into so many.
    Into(Parts),
}

/// How finely a step is divided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// How many parts: 2 to 1,024. A part is cached on its own, so many small ones save more when little changes, and cost more each.
    #[schemars(range(min = 2, max = 1024))]
    pub parts: u32,
}

impl Shard {
    /// Parts where none are named: enough for the cores of a large machine, few enough to cost little on a small one. The same everywhere,
    /// since what a part holds is in its key.
    const PARTS: u32 = 16;

    /// How many parts; `None` where the step is not divided.
    pub fn parts(&self) -> Option<u32> {
        match self {
            Self::On(true) => Some(Self::PARTS),
            Self::On(false) => None,
            Self::Into(Parts { parts }) => Some(*parts),
        }
    }
}

/// How often and when a failed step is tried again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first one counted: 1 to 20.
    #[schemars(range(min = 1, max = 20))]
    pub attempts: u32,
    /// The pause before the second attempt, doubled for each further one: `5s` where it is not given.
    #[serde(default)]
    pub backoff: Option<String>,
    /// Kinds of failure that are tried again: `infrastructure` where it is not given.
    #[serde(default)]
    pub on: Vec<RetryOn>,
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetryOn {
    /// The machine or the network: could not start, killed for memory, a download that broke.
    Infrastructure,
    /// It ran past its `timeout`.
    Timeout,
    /// The step's own code failed.
    Step,
    /// A declared output or value was missing.
    Output,
}

/// What a step takes of the machine while it runs; steps wait until it is free.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Cores: 1 where it is not given.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub cpu: Option<f64>,
    /// Memory: `4GiB`, `500MB`.
    #[serde(default)]
    pub memory: Option<String>,
    /// Graphics processors.
    #[serde(default)]
    pub gpu: Option<u32>,
}

/// How an ONNX detector is run. Numbers may be templates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = allow_templates)]
pub struct Onnx {
    /// The version of ONNX Runtime, from the package index: the one this flowrun was tested with where it is not given. On CUDA 1.21 or newer.
    #[serde(default)]
    pub runtime: Option<String>,
    /// `cpu` or `cuda`. CUDA's libraries are in the lock, the machine brings NVIDIA's driver; CUDA that was asked for and is not there is an error.
    #[serde(default)]
    pub provider: Option<Provider>,
    /// `stretch` or `letterbox`: how a picture is brought to the model's size. The model's metadata `resize` where it is not given.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// Subtracted from each colour (0 to 255: red, green, blue). The model's metadata `mean` where it is not given.
    #[serde(default)]
    pub mean: Option<Json>,
    /// What each colour is divided by. The model's metadata `std` where it is not given.
    #[serde(default)]
    pub std: Option<Json>,
    /// Names of the classes in the model's order. The model's metadata `classes` where it is not given.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// Pictures a call of the model: 16 where it is not given.
    #[serde(default)]
    pub batch: Option<Json>,
    /// The least score of a detection: 0.05 where it is not given.
    #[serde(default)]
    pub score: Option<Json>,
    /// Boxes of one class that overlap more than this (intersection over union) are one: 0.5 where it is not given.
    #[serde(default)]
    pub iou: Option<Json>,
    /// The most detections a picture: 100 where it is not given.
    #[serde(default)]
    pub max: Option<Json>,
    /// Whether boxes of different classes suppress each other too.
    #[serde(default)]
    pub class_agnostic: Option<bool>,
}

impl Onnx {
    /// The settings that may be templates, by name.
    pub fn templated(&self) -> impl Iterator<Item = (&'static str, &Json)> {
        let all = [
            ("mean", &self.mean),
            ("std", &self.std),
            ("batch", &self.batch),
            ("score", &self.score),
            ("iou", &self.iou),
            ("max", &self.max),
        ];
        all.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
    }
}

/// Where an ONNX model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// An NVIDIA graphics processor.
    Cuda,
}

/// How a picture is brought to the model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides scaled on their own.
    Stretch,
    /// Scaled as a whole, the rest filled.
    Letterbox,
}

/// A file is brought in before the list is decoded.
fn list_or_file(_: &mut schemars::SchemaGenerator) -> Schema {
    schemars::json_schema!({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]})
}

fn allow_templates(schema: &mut Schema) {
    let template = json!({"type": "string", "pattern": "\\{\\{"});
    let kinds = [
        ("batch", json!({"type": "integer", "minimum": 1, "maximum": 4096})),
        ("score", json!({"type": "number", "minimum": 0, "maximum": 1})),
        ("iou", json!({"type": "number", "minimum": 0, "maximum": 1})),
        ("max", json!({"type": "integer", "minimum": 1, "maximum": 100_000})),
        ("mean", json!({"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3})),
        ("std", json!({"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3})),
    ];
    let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) else { return };
    for (name, kind) in kinds {
        if let Some(property) = properties.get_mut(name).and_then(Json::as_object_mut) {
            property.insert("anyOf".into(), json!([kind, template]));
        }
    }
}

/// The JSON Schema of a pipeline file, for editors and for the shape check.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(Pipeline).to_value();
    schema["title"] = json!("flowrun pipeline");
    // Keys that start with `x-` hold what anchors point at.
    schema["patternProperties"] = json!({"^x-": true});
    // `needs: one` is as good as `needs: [one]`.
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_explains_itself() {
        fn walk(schema: &Json, path: &str, bare: &mut Vec<String>) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if property.get("description").is_none() {
                    bare.push(format!("{path}.{name}"));
                }
            }
            for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
                walk(definition, name, bare);
            }
        }
        let mut bare = Vec::new();
        walk(&schema(), "", &mut bare);
        assert_eq!(bare, Vec::<String>::new());
    }
}
