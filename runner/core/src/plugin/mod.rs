//! A plugin's manifest: what it says of itself, so that a pipeline can be checked against it before anything runs.
//!
//! ```text
//! plugin.yaml ─► section `flowrun:plugin` of the component ─► Manifest ─► check of each `uses` step
//!                (or NAME.plugin.yaml beside NAME.wasm)
//! ```
//! The file is read by the same strict, budgeted reader as a pipeline, and its types give the schema for editors. It is a stranger's text:
//! what it says is believed only against the plugin, never for it. A plugin that asks for nothing gets nothing, whatever it does.
//!
//! What is left out of a manifest is not there: without `with` a plugin has no settings, without `inputs` no inputs.
//!
//! Knows nothing of components: the engine finds the text in one.

pub mod editor;
pub mod settings;
pub mod shard;

use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::lang::finding::{Finding, Rule};
use crate::lang::{shape, yaml};
use settings::Settings;

/// The section of a component, or of a core module in it, that holds the manifest.
pub const SECTION: &str = "flowrun:plugin";

/// The most bytes a manifest may have: a hundred settings with their help are a tenth of it.
pub const LARGEST: usize = 64 << 10;

/// The manifest's version that this flowrun reads.
const VERSION: u32 = 1;

/// What a plugin says of itself: `plugin.yaml`, part of its component.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The manifest's version: 1.
    pub flowrun_plugin: u32,
    /// Who made it and what it is called: `acme/blur`, in small letters, digits, `-` and `_`.
    pub name: String,
    /// Its version, as semver.org has it: `1.2.0`.
    pub version: String,
    /// What it does, in a line.
    pub summary: String,
    /// The licence, as an SPDX expression: `Apache-2.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where to read more: an `https` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// The JSON Schema (2020-12) of the step's `with`. Where it does not say so itself, it is of type `object` and has no other properties.
    #[serde(default)]
    pub with: Map<String, Json>,
    /// What it reads, by the names that the step's `inputs` must have.
    #[serde(default)]
    pub inputs: IndexMap<String, Input>,
    /// What it makes, by the names that the step's `outputs` may have.
    #[serde(default)]
    pub outputs: IndexMap<String, Output>,
    /// The values it returns, by the names that the step's `values` may have.
    #[serde(default)]
    pub values: IndexMap<String, Value>,
    /// What it asks for beyond its inputs and outputs, each with the reason. The pipeline must grant it with `allow`.
    #[serde(default)]
    pub capabilities: Asked,
    /// That the step may be divided into parts that run side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Divided>,
}

/// What an input or output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A folder.
    Dir,
    /// A file.
    File,
    /// Either.
    Any,
}

/// Something a plugin reads.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// A folder, a file, or either.
    pub r#type: Type,
    /// Whether a step may leave it out.
    #[serde(default)]
    pub optional: bool,
    /// What it is, for people.
    #[serde(default)]
    pub help: String,
}

/// Something a plugin makes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// A folder or a file.
    pub r#type: Type,
    /// Whether a step may leave it out.
    #[serde(default)]
    pub optional: bool,
    /// What it is, for people.
    #[serde(default)]
    pub help: String,
    /// How those of a sharded step's parts are put together: one rule, or for a folder one for each pattern of file names.
    #[serde(default)]
    pub merge: Merging,
}

/// How the outputs of a sharded step's parts become one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Merging {
    /// Every file in the same way.
    All(Merge),
    /// Files of a folder by patterns of their last names, with `*` and `?`: the first that fits. Those that fit none must be the same.
    Files(IndexMap<String, Merge>),
}

impl Default for Merging {
    fn default() -> Self {
        Self::All(Merge::Union)
    }
}

impl Merging {
    /// The rule for a file.
    pub fn rule(&self, name: &str) -> Merge {
        match self {
            Self::All(merge) => *merge,
            Self::Files(rules) => {
                let fitting = rules.iter().find(|(pattern, _)| fits(pattern.as_bytes(), name.as_bytes()));
                fitting.map_or(Merge::Union, |(_, merge)| *merge)
            }
        }
    }
}

/// How files of the same path, made by several parts of a sharded step, become one. Files of different paths lie beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// They must be the same.
    #[default]
    Union,
    /// They are CSV files with the same first line: the rows of one after those of the other, in the order of the parts.
    Rows,
    /// The lines of one after those of the other, in the order of the parts.
    Lines,
}

/// A value a plugin returns.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// What it is, for people.
    #[serde(default)]
    pub help: String,
    /// How those of a sharded step's parts become one.
    #[serde(default)]
    pub merge: Fold,
}

/// How the values of a sharded step's parts become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fold {
    /// They must be the same.
    #[default]
    Same,
    /// Numbers: their sum.
    Sum,
    /// Numbers: the least.
    Min,
    /// Numbers: the greatest.
    Max,
    /// Lists: one after the other, in the order of the parts; what is no list is a list of one.
    List,
}

/// What a plugin may ask for, beyond its inputs and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// To reach other machines.
    Network,
    /// Environment variables: those of the step's `env`.
    Environment,
    /// The real date and time; without it they stand still.
    Clock,
    /// True randomness; without it, it is a function of the step's key.
    Random,
}

impl Capability {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Network, Self::Environment, Self::Clock, Self::Random];

    /// Its name in manifests and in `allow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Environment => "environment",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }
}

/// Capabilities, each with the reason why it is needed.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Why it must reach other machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Why it needs environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Why it needs the real date and time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Why it needs true randomness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<String>,
}

impl Asked {
    /// The reason given for a capability; `None` where it is not asked for.
    pub fn reason(&self, capability: Capability) -> Option<&str> {
        match capability {
            Capability::Network => self.network.as_deref(),
            Capability::Environment => self.environment.as_deref(),
            Capability::Clock => self.clock.as_deref(),
            Capability::Random => self.random.as_deref(),
        }
    }
}

/// How a step may be divided.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Divided {
    /// The input whose files are divided: a folder.
    pub input: String,
    /// Which of its files: patterns of their last names, with `*` and `?`. The others are given to every part. All files where there is none.
    #[serde(default)]
    pub files: Vec<String>,
}

/// The schema of a manifest, for editors and for its check.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    schema["title"] = "flowrun plugin".into();
    schema
}

static SCHEMA: LazyLock<Json> = LazyLock::new(schema);

/// A manifest that has been read, with its schema made ready.
#[derive(Debug)]
pub struct Described {
    /// What the plugin says of itself.
    pub manifest: Manifest,
    /// What its `with` must be.
    pub settings: Settings,
}

impl Described {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the file's order.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        if text.len() > LARGEST {
            let message = format!("the manifest is larger than {} KiB", LARGEST >> 10);
            return Err(vec![Finding::new(Rule::Bomb, 0..0, message)]);
        }
        let (mut node, mut findings) = yaml::read(text).map_err(|finding| vec![*finding])?;
        shape::prune(&mut node, &SCHEMA, &shape::MANIFEST, &mut findings);
        if !findings.is_empty() {
            return Err(findings);
        }
        let manifest: Manifest = serde_json::from_value(node.to_json())
            .map_err(|error| vec![Finding::new(Rule::WrongType, node.span.clone(), error.to_string())])?;
        findings = manifest.findings(&node);
        match Settings::new(&manifest.with) {
            Ok(settings) if findings.is_empty() => return Ok(Self { manifest, settings }),
            Ok(_) => {}
            Err(problem) => {
                let span = node.at(&["with"]).span.clone();
                let finding = Finding::new(Rule::BadValue, span, format!("`with` is not a JSON Schema: {problem}"));
                findings.push(finding.expected("expected a JSON Schema of an object"));
            }
        }
        Err(findings)
    }
}

impl Manifest {
    fn findings(&self, node: &yaml::Node) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |path: &[&str], message: String, expected: &str| {
            findings.push(Finding::new(Rule::BadValue, node.at(path).span.clone(), message).expected(expected));
        };
        if self.flowrun_plugin != VERSION {
            let message = format!("manifest version {} is not one that this flowrun reads", self.flowrun_plugin);
            say(&["flowrun_plugin"], message, "expected `1`; a newer flowrun may read it");
        }
        if !is_name(&self.name) {
            say(
                &["name"],
                format!("`{}` is not a plugin's name", self.name),
                "expected `OWNER/NAME`, such as `acme/blur`",
            );
        }
        if !is_version(&self.version) {
            say(&["version"], format!("`{}` is not a version", self.version), "expected `1.2.0`");
        }
        for (part, names) in [
            ("inputs", self.inputs.keys().collect::<Vec<_>>()),
            ("outputs", self.outputs.keys().collect()),
            ("values", self.values.keys().collect()),
        ] {
            for name in names.into_iter().filter(|name| !crate::lang::reference::is_word(name)) {
                say(&[part, name], format!("`{name}` is not a word"), "letters, digits and `_`");
            }
        }
        if let Some(divided) = &self.shard {
            match self.inputs.get(&divided.input) {
                None => say(&["shard", "input"], format!("no input `{}`", divided.input), "expected one of `inputs`"),
                Some(input) if input.r#type != Type::Dir => {
                    say(
                        &["shard", "input"],
                        format!("`{}` is not a folder", divided.input),
                        "expected one of type `dir`",
                    );
                }
                Some(_) => {}
            }
        }
        findings
    }

    /// What a step asks to use it by, where it comes with flowrun: `flowrun/boxes-check@1`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version.split('.').next().unwrap_or_default())
    }
}

/// Whether a text is `OWNER/NAME` as a plugin's name must be.
pub fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        !part.is_empty()
            && part.len() <= 64
            && part.chars().all(plain)
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

fn is_version(text: &str) -> bool {
    let (numbers, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let number = |part: &str| !part.is_empty() && part.len() < 10 && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-+.".contains(c);
    numbers.split('.').count() == 3 && numbers.split('.').all(number) && rest.len() < 64 && rest.chars().all(plain)
}

impl Divided {
    /// Whether a file is one of those that are divided.
    pub fn takes(&self, name: &str) -> bool {
        self.files.is_empty() || self.files.iter().any(|pattern| fits(pattern.as_bytes(), name.as_bytes()))
    }
}

/// Whether a name fits a pattern of `*` (any run) and `?` (any one byte), without regard to case. Linear but for the last `*`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(one) if *one == b'?' || one.eq_ignore_ascii_case(&name[at]) => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((before, from)) => {
                    star = Some((before, from + 1));
                    at = from + 1;
                    of = before + 1;
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
