//! `flowrun plugin info`: what a plugin is, needs and gives, and a step that uses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use flowrun_core::digest::Digest;
use flowrun_core::lang::finding::did_you_mean;
use flowrun_core::plugin::{Capability, Described, Manifest, Type};
use flowrun_engine::registry::{self, Reference};
use flowrun_engine::wasm::Kind;
use flowrun_engine::{builtin, craft, manifest, wasm};
use serde_json::{Map, Value as Json, json};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::amount::size;
use crate::show::line::{Line, Tone};
use crate::show::table::{Cell, cell, rows};

/// Show what a plugin is, needs and gives, and a step that uses it
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A plugin as `uses` writes it: `flowrun/table@1`, `./mine.wasm`, `oci://…`; or a plugin's folder that was built
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// Write a JSON document
    #[arg(long)]
    json: bool,
}

/// A plugin that was found.
struct Found {
    uses: String,
    digest: Digest,
    bytes: usize,
    kind: Kind,
    described: Option<Arc<Described>>,
}

impl Info {
    /// Shows it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let found = find(&self.plugin)?;
        match self.json {
            true => output::json(&found.document())?,
            false => output::whole_lines(&found.lines())?,
        }
        Ok(Exit::Ok)
    }
}

fn find(plugin: &str) -> Result<Found, Error> {
    if let Some(component) = builtin::find(plugin) {
        return look(plugin.to_owned(), component.bytes, None);
    }
    if plugin.starts_with("oci://") {
        let reference = Reference::parse(plugin).map_err(Error::failed)?;
        let cache = super::cache()?;
        let pulling = registry::pull(&cache, &reference, None);
        let path = super::super::runtime()?.block_on(pulling).map_err(Error::failed)?.path;
        return look(plugin.to_owned(), &std::fs::read(&path).map_err(Error::io("read", &path))?, None);
    }
    let path = Path::new(plugin);
    if !path.exists() {
        let names = builtin::names();
        let error = Error::usage(format!("no plugin `{plugin}`: it neither comes with flowrun nor is a file here"));
        let hint = did_you_mean(plugin, names.iter().map(String::as_str));
        return Err(
            error.hint(hint.unwrap_or_else(|| "`flowrun plugin list` lists those that come with flowrun".into()))
        );
    }
    let path = if path.is_dir() { craft::component_path(path).map_err(Error::failed)? } else { path.to_owned() };
    let bytes = wasm::component_bytes(&path).map_err(|error| {
        Error::usage(format!("`{}` {error}", path.display())).hint("`flowrun plugin build` makes a folder's component")
    })?;
    look(as_used(&path), &bytes, Some(&path))
}

/// A path as `uses` writes it: one that says it is a path.
fn as_used(path: &Path) -> String {
    let shown = path.strip_prefix(".").unwrap_or(path).display().to_string();
    if path.is_absolute() || shown.starts_with("..") { shown } else { format!("./{shown}") }
}

fn look(uses: String, bytes: &[u8], path: Option<&PathBuf>) -> Result<Found, Error> {
    let kind = wasm::inspect_bytes(bytes).map_err(Error::failed)?;
    let described = manifest::describe(bytes, path.map(PathBuf::as_path)).map_err(|error| {
        Error::usage(format!("`{uses}`: {error}")).hint("`flowrun plugin check` shows all that is wrong")
    })?;
    Ok(Found { uses, digest: Digest::of(bytes), bytes: bytes.len(), kind, described })
}

/// What a component speaks.
pub(super) fn interface(kind: Kind) -> &'static str {
    match kind {
        Kind::Step => "a component for flowrun:step",
        Kind::Command => "a WASI command",
    }
}

impl Found {
    fn document(&self) -> Json {
        let kind = match self.kind {
            Kind::Step => "step",
            Kind::Command => "command",
        };
        json!({
            "uses": self.uses, "digest": self.digest, "size": self.bytes, "kind": kind,
            "manifest": self.described.as_ref().map(|described| &described.manifest),
        })
    }

    fn lines(&self) -> Vec<Line> {
        let facts = format!("{}, {}, blake3 {}", interface(self.kind), size(self.bytes as u64), self.digest.short());
        let Some(described) = &self.described else {
            let none = "It has no manifest: its settings, inputs and outputs cannot be checked before it runs.";
            return vec![
                Line::new().with(Tone::Strong, &self.uses).dim(format!("  {facts}")),
                Line::new(),
                Line::new().plain(none),
            ];
        };
        let manifest = &described.manifest;
        let mut lines = vec![
            Line::new()
                .with(Tone::Strong, &manifest.name)
                .plain(format!(" {}  {}", manifest.version, manifest.summary)),
            Line::new().dim(facts),
        ];
        let licence = manifest.license.iter().map(|text| format!("licence {text}"));
        let docs = manifest.docs.iter().map(|text| format!("docs {text}"));
        lines.extend(licence.chain(docs).map(|text| Line::new().dim(text)));
        for (title, table) in sections(manifest) {
            if !table.is_empty() {
                lines.extend([Line::new(), Line::new().with(Tone::Strong, title)]);
                lines.extend(rows(table));
            }
        }
        lines.extend([Line::new(), Line::new().with(Tone::Strong, "A step")]);
        lines.extend(example(&self.uses, manifest).iter().map(|text| Line::new().plain(format!("  {text}"))));
        lines
    }
}

type Table = Vec<Vec<Cell>>;

fn row(name: &str, what: String, help: &str) -> Vec<Cell> {
    vec![cell(Tone::Plain, format!("  {name}")), cell(Tone::Dim, what), cell(Tone::Plain, help)]
}

/// A row of a table in which nothing has a type.
fn plain(name: &str, help: &str) -> Vec<Cell> {
    vec![cell(Tone::Plain, format!("  {name}")), cell(Tone::Plain, help)]
}

fn sections(manifest: &Manifest) -> [(&'static str, Table); 6] {
    let port = |kind: Type, optional: bool| {
        let kind = match kind {
            Type::Dir => "folder",
            Type::File => "file",
            Type::Any => "folder or file",
        };
        if optional { format!("{kind}, optional") } else { kind.to_owned() }
    };
    let inputs = manifest.inputs.iter().map(|(name, input)| row(name, port(input.r#type, input.optional), &input.help));
    let outputs =
        manifest.outputs.iter().map(|(name, output)| row(name, port(output.r#type, output.optional), &output.help));
    let values = manifest.values.iter().map(|(name, value)| plain(name, &value.help));
    let asked = Capability::ALL.into_iter().filter_map(|one| Some((one, manifest.capabilities.reason(one)?)));
    let asked = asked.map(|(one, reason)| plain(one.name(), reason));
    let divided = manifest.shard.iter().map(|shard| row(&shard.input, shard.files.join(" "), "its files are divided"));
    [
        ("Settings (with)", settings(&manifest.with)),
        ("Inputs", inputs.collect()),
        ("Outputs", outputs.collect()),
        ("Values", values.collect()),
        ("Asks for (allow)", asked.collect()),
        ("Divides (shard)", divided.collect()),
    ]
}

fn settings(with: &Map<String, Json>) -> Table {
    let properties = with.get("properties").and_then(Json::as_object).into_iter().flatten();
    let required: Vec<&str> =
        with.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let one = |(name, schema): (&String, &Json)| {
        let mut what = kind(schema);
        match schema.get("default") {
            Some(default) => what.push_str(&format!(" = {default}")),
            None if required.contains(&name.as_str()) => what.push_str(", required"),
            None => {}
        }
        row(name, what, schema.get("description").and_then(Json::as_str).unwrap_or_default())
    };
    properties.map(one).collect()
}

/// A setting's type in a few words, as far as its schema says it plainly.
fn kind(schema: &Json) -> String {
    let words = |values: &[Json]| {
        let plain = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        values.iter().filter(|value| !value.is_null() && *value != "null").map(plain).collect::<Vec<_>>().join(" | ")
    };
    let named = match (schema.get("enum"), schema.get("type")) {
        (Some(Json::Array(choices)), _) => words(choices),
        (_, Some(Json::String(one))) => one.clone(),
        (_, Some(Json::Array(many))) => words(many),
        _ => "any".to_owned(),
    };
    match schema.pointer("/items/type").and_then(Json::as_str) {
        Some(item) if named == "array" => format!("list of {item}"),
        _ => named,
    }
}

/// A step to paste: everything it must have, and what it asks for.
fn example(uses: &str, manifest: &Manifest) -> Vec<String> {
    let id: String = manifest.name.rsplit('/').next().unwrap_or_default().replace('-', "_");
    let mut lines = vec![format!("{id}:"), format!("  uses: {uses}")];
    let inputs = manifest.inputs.iter().filter(|(_, input)| !input.optional);
    let inputs: Vec<String> = inputs.map(|(name, _)| format!("{name}: STEP.OUTPUT")).collect();
    let required = manifest.with.get("required").and_then(Json::as_array).into_iter().flatten();
    let with: Vec<String> = required
        .filter_map(Json::as_str)
        .map(|name| {
            let schema = manifest.with.get("properties").and_then(|all| all.get(name));
            let choice = schema.and_then(|schema| schema.pointer("/enum/0").or_else(|| schema.pointer("/examples/0")));
            format!("{name}: {}", choice.map_or_else(|| "…".to_owned(), Json::to_string))
        })
        .collect();
    let outputs = manifest.outputs.iter().filter(|(_, output)| !output.optional);
    let outputs: Vec<String> = outputs
        .map(|(name, output)| match output.r#type {
            Type::Dir => format!("{name}: dir"),
            Type::File | Type::Any => format!("{name}: FILE"),
        })
        .collect();
    let allow = Capability::ALL.into_iter().filter(|one| manifest.capabilities.reason(*one).is_some());
    let allow: Vec<&str> = allow.map(Capability::name).collect();
    for (key, entries) in [("inputs", inputs), ("with", with), ("outputs", outputs)] {
        if !entries.is_empty() {
            lines.push(format!("  {key}: {{ {} }}", entries.join(", ")));
        }
    }
    if !allow.is_empty() {
        lines.push(format!("  allow: [{}]", allow.join(", ")));
    }
    lines
}
