//! A divided step: its input folder into parts, and what the parts made into one.
//!
//! ```text
//!            divide                                     gather
//! folder ──────────► 03of16: a folder with some files ─► outputs, values ─┐
//!            │       …                                                   ├─► the step's outputs, values
//!            └─────► 16of16                            ─► outputs, values ─┘
//! ```
//! Both work on listings of folders: no file is copied but those that the plugin's manifest has joined, line by line. Parts are steps with
//! keys of their own; so is the gathering, whose key holds what the parts made. Knows nothing of the order in which they run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::event::Output;
use flowrun_core::key::{Content, Job, Made, Work};
use flowrun_core::lang::reference::Reference;
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::plan::{Instance, Part};
use flowrun_core::plugin::shard::{fold, label, part_of};
use flowrun_core::plugin::{Divided, Fold, Manifest, Merge, Merging};
use indexmap::IndexMap;
use serde_json::Value as Json;

use super::look::{Question, StepResult, store_failure};
use super::session::Session;
use crate::store::{How, Store, Take};

impl Session {
    /// The parts of a step that have something to do; one where the folder has nothing to divide.
    pub(super) fn divide(&self, question: &Question, count: u32) -> Result<Vec<Instance>, Failure> {
        let step = &question.planned.step;
        let manifest = self.manifest_of(step.uses.as_deref().unwrap_or_default())?;
        let divided = manifest.shard.as_ref().ok_or_else(|| bug("a step is divided whose plugin cannot be"))?;
        let written = step.inputs.get(&divided.input).ok_or_else(|| bug("the divided input is not given"))?;
        let reference = Reference::parse(written).map_err(|message| Failure::new(FailureKind::Step, message))?;
        let input = self.input(&reference, &question.before.upstream, &mut Vec::new())?;
        let Content::Known(folder @ Artifact { mode: Mode::Folder, .. }) = input.content else {
            let message = format!("`{reference}` is not a folder, and only the files of a folder can be divided");
            return Err(Failure::new(FailureKind::Step, message).hint("take `shard` away"));
        };
        let parts = Division { store: &self.store, divided, count }.of(&folder, "")?;
        let busy = parts.iter().any(|part| part.own > 0);
        let parts = parts.into_iter().enumerate().filter(|(index, part)| part.own > 0 || (!busy && *index == 0));
        let instance = |(index, part): (usize, Share)| {
            let index = index as u32;
            let part = Part { index, count, input: divided.input.clone(), folder: part.folder };
            Instance { label: label(index, count), item: None, part: Some(part) }
        };
        Ok(parts.map(instance).collect())
    }

    /// The putting together of what the parts of a step made.
    pub(super) fn gathering(&self, question: &Question, parts: &[(String, Arc<StepResult>)]) -> Result<Job, Failure> {
        let step = &question.planned.step;
        let manifest = self.manifest_of(step.uses.as_deref().unwrap_or_default())?;
        let made = |result: &StepResult| Made {
            outputs: result.outputs.iter().map(|(name, output)| (name.clone(), output.artifact)).collect(),
            values: result.values.clone(),
        };
        let merging = |name: &String| manifest.outputs.get(name).map(|output| output.merge.clone()).unwrap_or_default();
        let folding = |name: &String| manifest.values.get(name).map(|value| value.merge).unwrap_or_default();
        let work = Work::Gather {
            parts: parts.iter().map(|(label, result)| (label.clone(), made(result))).collect(),
            outputs: step.outputs.keys().map(|name| (name.clone(), merging(name))).collect(),
            values: step.values.iter().map(|name| (name.clone(), folding(name))).collect(),
        };
        Ok(Job {
            work,
            inputs: IndexMap::new(),
            outputs: step.outputs.clone(),
            values: step.values.clone(),
            part: None,
        })
    }

    fn manifest_of(&self, uses: &str) -> Result<&Manifest, Failure> {
        let found = self.project.program.manifests.get(uses);
        found.map(|described| &described.manifest).ok_or_else(|| bug("a step is divided whose plugin has no manifest"))
    }
}

fn bug(what: &str) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{what}: a bug of flowrun's"))
}

/// One part's share of a folder.
struct Share {
    folder: Artifact,
    /// Files that are this part's alone.
    own: usize,
}

struct Division<'a> {
    store: &'a Store,
    divided: &'a Divided,
    count: u32,
}

impl Division<'_> {
    /// The shares of all parts, in order. Folders stay in every part, also where they are empty.
    fn of(&self, folder: &Artifact, prefix: &str) -> Result<Vec<Share>, Failure> {
        let mut trees: Vec<(Tree, usize)> = (0..self.count).map(|_| (Tree::default(), 0)).collect();
        for (name, entry) in self.store.tree(&folder.digest).map_err(store_failure)?.entries {
            let path = format!("{prefix}{name}");
            if entry.mode == Mode::Folder {
                for ((tree, own), share) in trees.iter_mut().zip(self.of(&entry, &format!("{path}/"))?) {
                    tree.entries.insert(name.clone(), share.folder);
                    *own += share.own;
                }
            } else if self.divided.takes(&name) {
                let (tree, own) = &mut trees[part_of(&path, self.count) as usize];
                tree.entries.insert(name, entry);
                *own += 1;
            } else {
                for (tree, _) in &mut trees {
                    tree.entries.insert(name.clone(), entry);
                }
            }
        }
        let share = |(tree, own): (Tree, usize)| Ok(Share { folder: keep(self.store, &tree)?, own });
        trees.into_iter().map(share).collect()
    }
}

fn keep(store: &Store, tree: &Tree) -> Result<Artifact, Failure> {
    store.put_bytes(&tree.to_bytes()).map_err(store_failure)?;
    Ok(tree.artifact())
}

/// Puts together what parts made; `scratch` is a folder of its own.
pub(super) fn gather(
    store: &Store,
    scratch: &Path,
    job: &Job,
    parts: &[(String, Made)],
    outputs: &BTreeMap<String, Merging>,
    values: &BTreeMap<String, Fold>,
) -> Result<StepResult, Failure> {
    let mut result = StepResult::default();
    let gathering = Gathering { store, scratch, labels: parts.iter().map(|(label, _)| label.as_str()).collect() };
    for (name, kind) in &job.outputs {
        let made: Vec<(usize, Artifact)> =
            parts.iter().enumerate().filter_map(|(index, (_, made))| Some((index, *made.outputs.get(name)?))).collect();
        let merging = outputs.get(name).cloned().unwrap_or_default();
        let file = if kind == "dir" { name } else { kind };
        let artifact = gathering.one(&made, file, &format!("output `{name}`"), &merging)?;
        result.outputs.insert(name.clone(), Output { artifact, name: file.clone() });
    }
    for name in &job.values {
        let made: Vec<Json> = parts.iter().filter_map(|(_, made)| made.values.get(name).cloned()).collect();
        let rule = values.get(name).copied().unwrap_or_default();
        let value = fold(rule, &made).map_err(|problem| {
            Failure::new(FailureKind::Output, format!("value `{name}` of the parts cannot become one: {problem}"))
        })?;
        result.values.insert(name.clone(), value);
    }
    Ok(result)
}

struct Gathering<'a> {
    store: &'a Store,
    scratch: &'a Path,
    labels: Vec<&'a str>,
}

impl Gathering<'_> {
    /// One of what several parts made at one place.
    fn one(&self, made: &[(usize, Artifact)], name: &str, what: &str, merging: &Merging) -> Result<Artifact, Failure> {
        let folders = made.iter().filter(|(_, artifact)| artifact.mode == Mode::Folder).count();
        match made {
            [] => Err(Failure::new(FailureKind::Output, format!("no part made {what}"))),
            [(_, only)] => Ok(*only),
            _ if folders == made.len() => self.folder(made, what, merging),
            _ if folders > 0 => Err(self.clash(made, what, "is a file to one and a folder to the other")),
            [(_, first), rest @ ..] => match merging.rule(name) {
                Merge::Union if rest.iter().all(|(_, other)| other == first) => Ok(*first),
                Merge::Union => Err(self.clash(made, what, "differs between them")),
                rule => self.join(made, what, rule),
            },
        }
    }

    fn folder(&self, made: &[(usize, Artifact)], what: &str, merging: &Merging) -> Result<Artifact, Failure> {
        let mut trees = Vec::new();
        for (index, artifact) in made {
            trees.push((*index, self.store.tree(&artifact.digest).map_err(store_failure)?));
        }
        let names: BTreeSet<&String> = trees.iter().flat_map(|(_, tree)| tree.entries.keys()).collect();
        let mut whole = Tree::default();
        for name in names {
            let entries: Vec<(usize, Artifact)> =
                trees.iter().filter_map(|(index, tree)| Some((*index, *tree.entries.get(name)?))).collect();
            let what = format!("`{name}` of {what}");
            whole.entries.insert(name.clone(), self.one(&entries, name, &what, merging)?);
        }
        keep(self.store, &whole)
    }

    fn clash(&self, made: &[(usize, Artifact)], what: &str, how: &str) -> Failure {
        let first = made.first().map(|(_, artifact)| *artifact);
        let other = made.iter().find(|(_, artifact)| Some(*artifact) != first).or(made.last());
        let label = |found: Option<&(usize, Artifact)>| found.map_or("?", |(index, _)| self.labels[*index]);
        let message = format!("{what}, made by parts {} and {}, {how}", label(made.first()), label(other));
        Failure::new(FailureKind::Output, message)
            .hint("the plugin's manifest says with `merge` how such files become one: `rows` or `lines`")
    }

    /// Lines of all parts, in their order; of tables, the first line only once.
    fn join(&self, made: &[(usize, Artifact)], what: &str, rule: Merge) -> Result<Artifact, Failure> {
        let whole = self.scratch.join("whole");
        let trouble = |error: std::io::Error| store_failure(format!("cannot put {what} together: {error}"));
        let mut to = BufWriter::new(File::create(&whole).map_err(trouble)?);
        let mut head: Option<Vec<u8>> = None;
        for (index, artifact) in made {
            let part = self.scratch.join("part");
            self.store.materialise(artifact, &part, How::Copy).map_err(store_failure)?;
            let mut lines = BufReader::new(File::open(&part).map_err(trouble)?);
            if rule == Merge::Rows {
                let mut line = Vec::new();
                lines.read_until(b'\n', &mut line).map_err(trouble)?;
                ended(&mut line);
                match &head {
                    None => to.write_all(&line).map_err(trouble)?,
                    Some(head) if *head == line => {}
                    Some(_) => {
                        let message = format!(
                            "the tables of {what} cannot be joined: that of part {} has another first line",
                            self.labels[*index]
                        );
                        return Err(Failure::new(FailureKind::Output, message));
                    }
                }
                head.get_or_insert(line);
            }
            append(&mut lines, &mut to).map_err(trouble)?;
            std::fs::remove_file(&part).map_err(trouble)?;
        }
        to.into_inner().map_err(|error| trouble(error.into_error()))?;
        self.store.ingest(&whole, Take::Move).map_err(store_failure)
    }
}

/// Copies what is left, and ends the last line.
fn append(from: &mut impl BufRead, to: &mut impl Write) -> std::io::Result<()> {
    let mut last = b'\n';
    loop {
        let buffer = from.fill_buf()?;
        let Some(end) = buffer.last() else { break };
        last = *end;
        to.write_all(buffer)?;
        let length = buffer.len();
        from.consume(length);
    }
    if last == b'\n' { Ok(()) } else { to.write_all(b"\n") }
}

fn ended(line: &mut Vec<u8>) {
    if !line.is_empty() && line.last() != Some(&b'\n') {
        line.push(b'\n');
    }
}
