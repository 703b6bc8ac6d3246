//! The programs of one step: which it may call, and the folder in which it finds them.
//!
//! Words of its script and of its shell files are guesses, and so is what such programs are known to call; what `tools` declares must be there.
//! Knows nothing of how programs are looked for: see [`crate::tools`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowrun_core::artifact::Artifact;
use flowrun_core::digest::Digest;
use flowrun_core::key::Work;
use flowrun_core::lang::written::Step;
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::script;

use super::look::{Origin, Question, store_failure};
use super::session::{Session, lock};
use crate::tools::{self, Tools};

/// Programs of steps, ready to be called.
pub(crate) struct Farm {
    /// Links to them, by name.
    pub(crate) folder: PathBuf,
    /// What must be executable for them to run. Where one was replaced since it was asked for, the new one is refused to a step: it is not the one in
    /// the step's key either.
    pub(crate) shown: Vec<PathBuf>,
}

impl Session {
    /// The programs that a step may call, for its key.
    pub(super) fn tools_for(
        &self,
        question: &Question,
        script: &str,
        code: &[Origin],
    ) -> Result<Arc<BTreeMap<String, Artifact>>, Failure> {
        let step = &question.planned.step;
        let words = script::words(script);
        // Instances of a fan-out mostly differ in what no program is named by.
        let alike = code.is_empty().then(|| words.join(" "));
        let known = alike.as_ref().and_then(|words| lock(&question.before.tools).get(words).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let asked = (step.tools.clone(), self.words_of(step, words, code));
        let known = lock(&self.tools_known).get(&asked).cloned();
        // Most steps of a pipeline call the same few programs.
        let found = match known {
            Some(known) => known,
            None => {
                let found = Arc::new(self.find_tools(&asked.0, &asked.1)?);
                lock(&self.tools_known).insert(asked, found.clone());
                found
            }
        };
        if let Some(words) = alike {
            lock(&question.before.tools).insert(words, found.clone());
        }
        Ok(found)
    }

    fn find_tools(&self, declared: &[String], words: &BTreeSet<String>) -> Result<BTreeMap<String, Artifact>, Failure> {
        let hash = |path: &Path| self.hash(path);
        let mut found = Tools::new();
        for tool in declared.iter().map(String::as_str).chain(["sh"]) {
            if !self.toolbox.add(tool, &mut found, &hash)? {
                return Err(no_such_tool(tool));
            }
        }
        // A program that cannot be read is none to guess at, and is missed by the step if it was meant.
        for word in words {
            let _ = self.toolbox.add(word, &mut found, &hash);
        }
        let companions: BTreeSet<&str> = found.keys().flat_map(|name| script::companions(name)).collect();
        for companion in companions {
            let _ = self.toolbox.add(companion, &mut found, &hash);
        }
        Ok(found.into_iter().map(|(name, tool)| (name, tool.artifact)).collect())
    }

    /// Words that may be programs, but for those that a Python environment has itself.
    fn words_of(&self, step: &Step, script: Vec<&str>, code: &[Origin]) -> BTreeSet<String> {
        let mut words: BTreeSet<String> = script.into_iter().map(str::to_owned).collect();
        for (path, artifact) in code {
            let mut known = lock(&self.tool_words);
            words.extend(known.entry(artifact.digest).or_insert_with(|| tools::words_below(path)).iter().cloned());
        }
        words.retain(|word| step.python.is_none() || !is_python(word));
        words
    }

    /// A step's programs and where they are; found already when its key was made.
    pub(crate) fn tools_of(&self, work: &Work) -> Result<Tools, Failure> {
        let Work::Process { tools, .. } = work else { return Ok(Tools::new()) };
        let hash = |path: &Path| self.hash(path);
        let mut found = Tools::new();
        for name in tools.keys().filter(|name| !name.contains('#')) {
            self.toolbox.add(name, &mut found, &hash)?;
        }
        Ok(found)
    }

    /// The folder of links to a step's programs, and what they need. Steps of a run that have the same share it.
    pub(crate) fn tools_farm(&self, run: &str, tools: &Tools) -> Result<Arc<Farm>, Failure> {
        let names: Vec<String> = tools.iter().map(|(name, tool)| format!("{name}={}", tool.file.display())).collect();
        let digest = Digest::of(names.join("\n").as_bytes());
        let mut farms = lock(&self.tool_farms);
        if let Some(farm) = farms.get(&digest) {
            return Ok(farm.clone());
        }
        // No label of a step holds a `-` before its first bracket.
        let folder = self.store.step_folder(run, &format!("bin-{}", digest.short())).map_err(store_failure)?;
        tools::link_all(tools, &folder).map_err(|error| store_failure(format!("{}: {error}", folder.display())))?;
        let shown = tools::shown_for(tools.values().map(|tool| tool.file.as_path()), &self.project.root);
        let farm = Arc::new(Farm { folder, shown });
        farms.insert(digest, farm.clone());
        Ok(farm)
    }

    /// A program that was replaced while the step ran is not the one in its key.
    ///
    /// # Errors
    /// When one was.
    pub(crate) fn tools_are_the_same(&self, tools: &Tools) -> Result<(), Failure> {
        for (name, tool) in tools {
            if self.hash(&tool.file)?.digest != tool.artifact.digest {
                let text = format!("the program `{name}` was replaced while the step ran");
                return Err(Failure::new(FailureKind::Infrastructure, text).hint("run again: what it made is not kept"));
            }
        }
        Ok(())
    }
}

fn no_such_tool(tool: &str) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("there is no program `{tool}` on the PATH"))
        .hint("the step needs it (`tools`): install it, or put its folder on the PATH of the shell that starts flowrun")
}

/// Whether a Python environment has a program of this name: `python`, `python3.11`, `pip3`.
fn is_python(word: &str) -> bool {
    let version = word.strip_prefix("python").or_else(|| word.strip_prefix("pip"));
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}
