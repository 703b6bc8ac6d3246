//! A lock as text: sorted, one fact a line, so that a change reads well and two branches rarely meet.

use std::collections::{BTreeMap, BTreeSet};

use super::{EnvironmentPin, FORMAT, FilePin, PackagePin, Pins, SourcePin, StepPin, ToolPin};

const HEAD: &str =
    "# What `flowrun run` uses, exactly. Made by `flowrun lock`: review it and commit it, do not edit it.\n";

pub(super) fn text(pins: &Pins) -> String {
    let mut out = String::from(HEAD);
    out.push_str(&format!("flowrun-lock = {FORMAT}\nplatforms = {}\n", list(&pins.platforms)));
    steps(&mut out, "steps", &pins.steps);
    for (profile, own) in &pins.profiles {
        steps(&mut out, &format!("profiles.{}.steps", key(profile)), own);
    }
    for (uses, plugin) in &pins.plugins {
        table(&mut out, &format!("plugins.{}", key(uses)));
        out.push_str(&format!("name = {}\nversion = {}\n", string(&plugin.name), string(&plugin.version)));
        out.push_str(&format!("sha256 = {}\nsize = {}\n", string(&plugin.sha256), plugin.size));
    }
    for (name, environment) in &pins.environments {
        self::environment(&mut out, name, environment, &pins.platforms);
    }
    for (name, wheel) in &pins.wheels {
        table(&mut out, &format!("wheels.{}", key(name)));
        lines(&mut out, "libraries", pins.libraries.get(name).into_iter().flatten());
        let mut by_file: BTreeMap<&FilePin, BTreeSet<String>> = BTreeMap::new();
        for (platform, file) in wheel {
            by_file.entry(file).or_default().insert(platform.clone());
        }
        files(&mut out, "files", by_file.iter().map(|(file, its)| (String::new(), *file, its)), &pins.platforms);
    }
    for (name, source) in &pins.sources {
        table(&mut out, &format!("sources.{}", key(name)));
        out.push_str(&match source {
            SourcePin::Pypi(wheel) => format!("pypi = {}\n", string(wheel)),
            SourcePin::Url(sha256) => format!("sha256 = {}\n", string(sha256)),
        });
    }
    out
}

fn table(out: &mut String, name: &str) {
    out.push_str(&format!("\n[{name}]\n"));
}

fn steps(out: &mut String, place: &str, steps: &BTreeMap<String, StepPin>) {
    for (id, step) in steps {
        table(out, &format!("{place}.{}", key(id)));
        if let Some(plugin) = &step.plugin {
            out.push_str(&format!("plugin = {}\n", string(plugin)));
        }
        if step.plugin.is_some() || !step.allow.is_empty() {
            out.push_str(&format!("allow = {}\n", list(&step.allow)));
        }
        if let Some(environment) = &step.environment {
            out.push_str(&format!("environment = {}\n", string(environment)));
        }
        if let Some(runtime) = &step.runtime {
            out.push_str(&format!("runtime = {}\n", string(runtime)));
        }
    }
}

fn environment(out: &mut String, name: &str, environment: &EnvironmentPin, all: &BTreeSet<String>) {
    table(out, &format!("environments.{}", key(name)));
    out.push_str(&format!("python = {}\n", string(&environment.wish.python)));
    for (platform, interpreter) in &environment.interpreters {
        out.push_str(&format!("interpreters.{} = {}\n", key(platform), string(interpreter)));
    }
    lines(out, "requirements", &environment.wish.requirements);
    lines(out, "no-binary", &environment.wish.no_binary);
    if let Some(glibc) = &environment.wish.glibc {
        out.push_str(&format!("glibc = {}\n", string(glibc)));
    }
    let platforms: BTreeSet<String> = environment.resolved.keys().cloned().collect();
    if platforms != *all {
        out.push_str(&format!("platforms = {}\n", list(&platforms)));
    }
    let mut packages: BTreeMap<(&str, &str), Files<'_>> = BTreeMap::new();
    for (platform, package) in
        environment.resolved.iter().flat_map(|(platform, all)| all.iter().map(move |one| (platform, one)))
    {
        packages.entry((&package.name, &package.version)).or_default().add(platform, package);
    }
    for ((package, version), files) in packages {
        out.push_str(&format!("\n[[environments.{}.packages]]\n", key(name)));
        out.push_str(&format!("name = {}\nversion = {}\n", string(package), string(version)));
        files.write(out, &platforms);
    }
}

/// The files of a package, each with the platforms it is for.
#[derive(Default)]
struct Files<'a> {
    index: BTreeMap<&'a FilePin, BTreeSet<String>>,
    built: BTreeMap<&'a FilePin, BTreeSet<String>>,
    tools: BTreeMap<&'a ToolPin, BTreeSet<String>>,
}

impl<'a> Files<'a> {
    fn add(&mut self, platform: &str, package: &'a PackagePin) {
        self.index.entry(&package.file).or_default().insert(platform.to_owned());
        if let Some(built) = &package.built {
            self.built.entry(&built.wheel).or_default().insert(platform.to_owned());
            for tool in &built.tools {
                self.tools.entry(tool).or_default().insert(platform.to_owned());
            }
        }
    }

    fn write(&self, out: &mut String, all: &BTreeSet<String>) {
        files(out, "files", self.index.iter().map(|(file, its)| (String::new(), *file, its)), all);
        files(out, "built", self.built.iter().map(|(file, its)| (String::new(), *file, its)), all);
        let tool = |tool: &ToolPin| format!("name = {}, version = {}, ", string(&tool.name), string(&tool.version));
        files(out, "tools", self.tools.iter().map(|(one, its)| (tool(one), &one.file, its)), all);
    }
}

/// A list of files, a line each: what stands before it, the file, and its platforms where those are not all. Nothing where there are none.
fn files<'a>(
    out: &mut String,
    list_name: &str,
    items: impl Iterator<Item = (String, &'a FilePin, &'a BTreeSet<String>)>,
    all: &BTreeSet<String>,
) {
    let mut items = items.peekable();
    if items.peek().is_none() && list_name != "files" {
        return;
    }
    out.push_str(&format!("{list_name} = [\n"));
    for (before, file, platforms) in items {
        out.push_str(&format!("  {{ {before}file = {}, sha256 = {}", string(&file.file), string(&file.sha256)));
        if let Some(size) = file.size {
            out.push_str(&format!(", size = {size}"));
        }
        if platforms != all {
            out.push_str(&format!(", platforms = {}", list(platforms)));
        }
        out.push_str(" },\n");
    }
    out.push_str("]\n");
}

fn list<'a>(items: impl IntoIterator<Item = &'a String>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| string(item)).collect();
    format!("[{}]", items.join(", "))
}

fn lines<'a>(out: &mut String, name: &str, items: impl IntoIterator<Item = &'a String>) {
    let mut items = items.into_iter().peekable();
    if items.peek().is_none() {
        return;
    }
    out.push_str(&format!("{name} = [\n"));
    items.for_each(|item| out.push_str(&format!("  {},\n", string(item))));
    out.push_str("]\n");
}

/// A key, bare where TOML lets it be.
fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { string(text) }
}

/// A basic string of TOML.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
