//! From a planned step to its key, and from the key to its stored result or the reasons why there is none.
//!
//! Runs on a blocking thread: it hashes sources. Decides nothing about order and starts nothing.

mod question;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use flowrun_core::artifact::{Artifact, Mode, Tree};
use flowrun_core::digest::Digest;
use flowrun_core::event::Reason;
use flowrun_core::expr::{self, BadTemplate, Quote, Scope};
use flowrun_core::key::{Content, Input, Job, Manifest, PythonLeaf, Work};
use flowrun_core::lang::reference::{Reference, Target};
use flowrun_core::lang::written::Switch;
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::plan::{self, Instance};
use flowrun_core::plugin::Capability;
use flowrun_core::stored::entry::Unread;
use flowrun_core::stored::memo::Stat;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::resume::Kept;
use super::session::Session;
use crate::store::{Lookup, Sandbox, StoreError, StoredOutput, StoredResult};
use question::Given;
pub(crate) use question::{Before, Question, StepResult, Upstream};

/// A file or folder of the workspace, and what it held when it was looked at.
pub(crate) type Origin = (PathBuf, Artifact);

/// What looking found.
pub(crate) enum Looked {
    /// The result is there.
    Hit(Box<Hit>),
    /// It must run.
    Miss(Box<Missed>),
    /// The same, for who only asks for that.
    Would(Digest, Vec<Reason>),
    /// Its condition is false.
    Skip(String),
    /// It is a gate, and open.
    Pass,
    /// It is a fan-out over these.
    Fan(Vec<Instance>),
    /// A plan cannot know: steps before it would run.
    After(Vec<String>),
    /// It cannot be made ready, or is a gate that is closed.
    Fail(Failure),
}

/// A step whose result is there.
pub(crate) struct Hit {
    pub(crate) entry: StoredResult,
    /// Where it is asked for.
    pub(crate) manifest: Option<Manifest>,
    /// The state of the file that the entry was read from, where it was read from one.
    pub(crate) state: Option<Stat>,
    /// How it differs from what it was in the run that is taken up, where it does.
    pub(crate) since: Option<Vec<Reason>>,
}

/// A step that must run.
pub(crate) struct Missed {
    pub(crate) key: Digest,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) job: Arc<Job>,
    /// Files of the workspace whose bytes the store may not hold yet.
    pub(crate) origins: Vec<Origin>,
    pub(crate) reasons: Vec<Reason>,
    /// How it differs from what it was in the run that is taken up, where it does.
    pub(crate) since: Option<Vec<Reason>>,
    /// Whether a result that another run makes would do.
    pub(crate) may_be_shared: bool,
}

impl Session {
    /// Finds a step's key and whether its result is there.
    pub(crate) fn look(&self, question: &Question) -> Looked {
        match self.try_look(question) {
            Ok(looked) => looked,
            Err(failure) => Looked::Fail(failure),
        }
    }

    fn try_look(&self, question: &Question) -> Result<Looked, Failure> {
        if !question.pending.is_empty() {
            return Ok(Looked::After(question.pending.clone()));
        }
        if let Some(parts) = &question.parts {
            return Ok(self.look_up(question, self.gathering(question, parts)?, Vec::new()));
        }
        let planned = &question.planned;
        let context = self.context(question);
        if planned.is_fan_out() && question.instance.is_none() {
            let instances = plan::instances(&planned.step, &context).map_err(bad_template)?;
            let begin = self.tag(&format!("{}[", question.label));
            let unseen = self.store.has_no_history(&begin, instances.len());
            let _ = question.before.unseen.set(unseen);
            return Ok(Looked::Fan(instances));
        }
        let admitted = plan::admits(&planned.step, &context).map_err(bad_template)?;
        match (&planned.step.fail, admitted) {
            (Some(_), false) => return Ok(Looked::Pass),
            (Some(message), true) => {
                let message = expr::render(message, &context, Quote::Plain).map_err(bad_template)?;
                return Ok(Looked::Fail(Failure::new(FailureKind::Step, message)));
            }
            (None, false) => {
                let expression = planned.step.r#if.as_ref().map(|condition| condition.text()).unwrap_or_default();
                return Ok(Looked::Skip(expression));
            }
            (None, true) => {}
        }
        if let (Some(count), None) = (planned.parts(), &question.instance) {
            return Ok(Looked::Fan(self.divide(question, count)?));
        }
        let (job, origins) = self.job(question)?;
        Ok(self.look_up(question, job, origins))
    }

    /// What the step's templates see, but for paths.
    fn context(&self, question: &Question) -> Scope {
        let mut context = question.before.names(&self.params);
        question.add_item_to(&mut context);
        context
    }

    /// The rendered step, and the workspace files whose bytes it will need.
    pub(crate) fn job(&self, question: &Question) -> Result<(Job, Vec<Origin>), Failure> {
        let step = &question.planned.step;
        let given = self.given(question)?;
        let (mut inputs, mut origins, mut names) = (given.inputs.clone(), given.origins.clone(), given.names.clone());
        let part = question.instance.as_ref().and_then(|instance| instance.part.as_ref());
        if let Some(part) = part {
            inputs.insert(part.input.clone(), Input { content: Content::Known(part.folder), file: None });
            names = plan::with_paths(names, &inputs, step);
        }
        question.add_item_to(&mut names);
        let part = part.map(|part| (part.index, part.count));
        let work = self.work(question, &names, &mut origins)?;
        Ok((Job { work, inputs, outputs: step.outputs.clone(), values: step.values.clone(), part }, origins))
    }

    /// Found out once for all instances; not kept where it cannot be had, since it may be there later.
    fn given<'a>(&self, question: &'a Question) -> Result<&'a Given, Failure> {
        let before = &question.before;
        if let Some(given) = before.given.get() {
            return Ok(given);
        }
        let step = &question.planned.step;
        let (mut inputs, mut origins) = (IndexMap::new(), Vec::new());
        for (name, text) in &step.inputs {
            let reference = Reference::parse(text).map_err(|message| Failure::new(FailureKind::Step, message))?;
            inputs.insert(name.clone(), self.input(&reference, &before.upstream, &mut origins)?);
        }
        let names = plan::with_paths(before.names(&self.params), &inputs, step);
        Ok(before.given.get_or_init(|| Given { inputs, origins, names }))
    }

    fn work(&self, question: &Question, context: &Scope, origins: &mut Vec<Origin>) -> Result<Work, Failure> {
        let step = &question.planned.step;
        if let Some(name) = &step.uses {
            let config = expr::render_json(&Json::Object(step.with.clone()), context).map_err(bad_template)?;
            let config = config.as_object().cloned().unwrap_or_default();
            self.fits(name, &config)?;
            let allow: BTreeSet<Capability> = step.allow.iter().copied().collect();
            // `defaults` may put an `env` on every step; it reaches a plugin that may have one.
            let (env, secrets) = match allow.contains(&Capability::Environment) {
                true => plan::environment(step, context).map_err(bad_template)?,
                false => Default::default(),
            };
            let digest = self.plugin(name)?.digest;
            return Ok(Work::Plugin { name: name.clone(), digest, config, allow, env, secrets });
        }
        if step.onnx.is_some() {
            let settings = plan::onnx_settings(step, context).map_err(bad_template)?;
            let (runtime, libraries) = self.runtime_leaves(step)?;
            return Ok(Work::Onnx { settings, runtime, libraries, platform: self.platform.to_string() });
        }
        let script =
            expr::render(step.run.as_deref().unwrap_or_default(), context, Quote::Shell).map_err(bad_template)?;
        let (env, secrets) = plan::environment(step, context).map_err(bad_template)?;
        let mut code = BTreeMap::new();
        let mut files = Vec::new();
        for written in &step.code {
            let path = self.project.path(written);
            let artifact = self.hash(&path)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.push((path, artifact));
            code.insert(name, artifact);
        }
        let python = step.python.as_ref().map(|python| self.python_leaf(python)).transpose()?;
        let tools = self.tools_for(question, &script, &files)?;
        origins.extend(files);
        Ok(Work::Process {
            script,
            env,
            secrets,
            code,
            python,
            tools,
            system: self.system.clone(),
            network: step.network.unwrap_or(true),
            sandbox: step.sandbox != Some(Switch::Off),
            platform: self.platform.to_string(),
        })
    }

    /// Whether a rendered `with` is what the plugin's schema asks for: what templates gave was not known when the file was checked.
    fn fits(&self, plugin: &str, config: &Map<String, Json>) -> Result<(), Failure> {
        let Some(described) = self.project.program.manifests.get(plugin) else { return Ok(()) };
        match described.settings.misfits(config, true).into_iter().next() {
            None => Ok(()),
            Some(misfit) => {
                let message = format!("{} of plugin `{}`", misfit.message, described.manifest.name);
                let hint = misfit.hint.unwrap_or(misfit.expected);
                let failure = Failure::new(FailureKind::Step, message);
                Err(if hint.is_empty() { failure } else { failure.hint(hint) })
            }
        }
    }

    fn python_leaf(&self, python: &flowrun_core::lang::written::Python) -> Result<PythonLeaf, Failure> {
        let lock = self.python_lock(python)?;
        let interpreter = self.interpreter(python)?.identity();
        Ok(PythonLeaf { requirements: lock.lines().join("\n"), interpreter })
    }

    /// What a reference holds.
    pub(crate) fn input(
        &self,
        reference: &Reference,
        upstream: &IndexMap<String, Upstream>,
        origins: &mut Vec<Origin>,
    ) -> Result<Input, Failure> {
        let (artifact, file) = match &reference.target {
            Target::Source(name) => match self.source(name)? {
                Sourced::Pinned { pin, file } => return Ok(Input { content: Content::Pinned(pin), file: Some(file) }),
                Sourced::Path { path, artifact } => {
                    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    origins.push((path, artifact));
                    (artifact, file)
                }
            },
            Target::Output { step, output, .. } => self.upstream_output(step, output, upstream)?,
        };
        self.inside(reference, artifact, file)
    }

    fn inside(&self, reference: &Reference, artifact: Artifact, file: String) -> Result<Input, Failure> {
        let (artifact, file) = match reference.path.last() {
            None => (artifact, file),
            Some(last) => {
                let found = self.store.subpath(&artifact, &reference.path.join("/")).map_err(store_failure)?;
                let found = found.ok_or_else(|| {
                    Failure::new(FailureKind::Output, format!("`{reference}` does not exist"))
                        .hint("the folder that the reference goes into has no such entry")
                })?;
                (found, last.clone())
            }
        };
        let file = (artifact.mode != Mode::Folder).then_some(file);
        Ok(Input { content: Content::Known(artifact), file })
    }

    fn upstream_output(
        &self,
        step: &str,
        output: &str,
        upstream: &IndexMap<String, Upstream>,
    ) -> Result<(Artifact, String), Failure> {
        let missing = || Failure::new(FailureKind::Output, format!("step `{step}` made no `{output}`"));
        match upstream.get(step) {
            Some(Upstream::One(result)) => {
                let output = result.outputs.get(output).ok_or_else(missing)?;
                Ok((output.artifact, output.name.clone()))
            }
            Some(Upstream::Many(results)) => Ok((self.join(output, results)?, output.to_owned())),
            _ => Err(missing()),
        }
    }

    /// All instances' outputs as one folder: the output itself for folders, a folder with the file for files.
    fn join(&self, output: &str, results: &[(String, Arc<StepResult>)]) -> Result<Artifact, Failure> {
        let mut joined = Tree::default();
        for (label, result) in results {
            let Some(output) = result.outputs.get(output) else { continue };
            let artifact = match output.artifact.mode {
                Mode::Folder => output.artifact,
                _ => {
                    let one = Tree { entries: BTreeMap::from([(output.name.clone(), output.artifact)]) };
                    self.store.put_bytes(&one.to_bytes()).map_err(store_failure)?;
                    one.artifact()
                }
            };
            joined.entries.insert(label.clone(), artifact);
        }
        self.store.put_bytes(&joined.to_bytes()).map_err(store_failure)?;
        Ok(joined.artifact())
    }

    fn look_up(&self, question: &Question, job: Job, origins: Vec<Origin>) -> Looked {
        let leaves = job.leaves();
        let key = leaves.key();
        let made = OnceCell::new();
        let manifest = || made.get_or_init(|| leaves.manifest());
        let resumed = question.resumed.as_ref();
        let since = resumed.filter(|kept| kept.key != key).map(|kept| self.since(kept, manifest(), &origins));
        let reasons = match self.found_or_why(question, key, &manifest, &origins) {
            Ok((entry, state)) => {
                let manifest = question.recalled.then(|| made.into_inner().unwrap_or_else(|| leaves.manifest()));
                return Looked::Hit(Box::new(Hit { entry, manifest, state, since }));
            }
            Err(reasons) => reasons,
        };
        if question.brief && since.is_none() {
            return Looked::Would(key, reasons);
        }
        let manifest = Arc::new(made.into_inner().unwrap_or_else(|| leaves.manifest()));
        let may_be_shared = question.is_cached() && !question.forced;
        Looked::Miss(Box::new(Missed { key, manifest, job: Arc::new(job), origins, reasons, since, may_be_shared }))
    }

    /// The result under a key, and the state of the file that it was read from; or why there is none that would do.
    fn found_or_why<'a>(
        &self,
        question: &Question,
        key: Digest,
        manifest: &dyn Fn() -> &'a Manifest,
        origins: &[Origin],
    ) -> Result<(StoredResult, Option<Stat>), Vec<Reason>> {
        if question.forced {
            return Err(vec![Reason::Forced]);
        }
        let mut reasons = Vec::new();
        match question.resumed.as_ref().filter(|kept| kept.key == key).map(|kept| self.keep(kept)) {
            Some(Ok(entry)) => return Ok((entry, None)),
            Some(Err(problem)) => reasons.push(Reason::Damaged { problem }),
            None if !question.is_cached() => reasons.push(Reason::Uncached),
            None => {}
        }
        if question.is_cached() {
            match self.store.find_entry(&key) {
                Ok((Lookup::Hit(entry), state)) => return Ok((entry, state)),
                Ok((Lookup::Damaged(problem), _)) => reasons.push(Reason::Damaged { problem }),
                Ok((Lookup::Absent, _)) if reasons.is_empty() => reasons = self.why(question, manifest, origins),
                Ok((Lookup::Absent, _)) => {}
                Err(error) => reasons.push(Reason::Damaged { problem: error.to_string() }),
            }
        }
        Err(reasons)
    }

    /// What a step had in the run that is taken up, as that run had it; or why it cannot be had.
    fn keep(&self, kept: &Kept) -> Result<StoredResult, String> {
        let outputs = kept.outputs.iter().map(|(name, output)| (name.clone(), StoredOutput::of(output))).collect();
        // What is stored may be another run's by now. That it was used counts all the same, for gc.
        if let Ok(Lookup::Hit(entry)) = self.store.load_entry(&kept.key)
            && (&entry.outputs, &entry.values) == (&outputs, &kept.values)
        {
            return Ok(entry);
        }
        for (name, output) in &kept.outputs {
            if !self.store.has_all(&output.artifact).unwrap_or(false) {
                return Err(format!("what run {} made as `{name}` is gone or damaged", kept.from));
            }
        }
        Ok(StoredResult {
            key: kept.key,
            manifest: Unread,
            outputs,
            values: kept.values.clone(),
            run: kept.from.clone(),
            took_ms: kept.took_ms,
            created_unix_ms: super::now_ms(),
            // Handed on and never stored.
            sandbox: Sandbox::None,
        })
    }

    /// How a step differs from what it was in the run that is taken up; nothing where that is not known any more.
    fn since(&self, kept: &Kept, manifest: &Manifest, origins: &[Origin]) -> Vec<Reason> {
        let earlier = self.store.peek_entry(&kept.key).ok().flatten();
        let earlier = earlier.and_then(|entry| serde_json::from_value::<Manifest>(entry.manifest).ok());
        earlier.map(|earlier| self.differences(manifest, &earlier, origins)).unwrap_or_default()
    }
}

/// A source, resolved.
pub(crate) enum Sourced {
    /// A file or folder of the machine.
    Path { path: PathBuf, artifact: Artifact },
    /// A download, by its hash.
    Pinned { pin: String, file: String },
}

pub(crate) fn bad_template(bad: BadTemplate) -> Failure {
    Failure::new(FailureKind::Step, format!("a template cannot be rendered: {}", bad.message))
}

/// Trouble with the disk that a failure tells of.
pub(crate) trait Trouble: std::fmt::Display {
    /// What to do about it, where that is known.
    fn advice(&self) -> Option<&'static str> {
        None
    }
}

impl Trouble for StoreError {
    fn advice(&self) -> Option<&'static str> {
        self.hint()
    }
}

impl Trouble for String {}

pub(crate) fn store_failure(error: impl Trouble) -> Failure {
    let failure = Failure::new(FailureKind::Infrastructure, error.to_string());
    match error.advice() {
        Some(advice) => failure.hint(advice),
        None => failure,
    }
}
