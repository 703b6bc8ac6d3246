//! The options of verbs that work on a pipeline: which file, which profile, which params.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_core::lang::params::{self, Set};
use flowrun_core::lang::written::ParamType;
use flowrun_core::lang::yaml;
use flowrun_engine::bundle::is_bundle;
use flowrun_engine::project::{Location, OpenError, Project};
use flowrun_engine::run::Asked;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use crate::error::Error;

/// A pipeline and its params.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PipelineArgs {
    /// The pipeline file, or a bundle of one; where it is not given, the only one here or in `pipelines/`
    pub(crate) file: Option<PathBuf>,
    /// Set a param
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    pub(crate) set: Vec<(String, String)>,
    /// Set params from a YAML or JSON file; `--set` wins over it
    #[arg(long, value_name = "FILE")]
    pub(crate) params_file: Option<PathBuf>,
    /// Lay a profile over the pipeline
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

/// Which steps a run is about.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StepArgs {
    /// Run this step although its result is there; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) force: Vec<String>,
    /// Run only this step and what it needs; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) only: Vec<String>,
    /// Run this step and everything after it anew; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) from: Vec<String>,
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl PipelineArgs {
    /// The checked pipeline.
    pub(crate) fn open(&self) -> Result<Project, Error> {
        Ok(Project::open(self.file.as_deref(), self.profile.as_deref())?)
    }

    /// The same, where nothing is used that the lock does not hold.
    pub(crate) fn open_locked(&self) -> Result<Project, Error> {
        Ok(Project::open_locked(self.file.as_deref(), self.profile.as_deref())?)
    }

    /// Either, for a run: what is looked at is taken down.
    pub(crate) fn open_watched(&self, at: &Location, locked: bool, asked: Option<&Asked>) -> Result<Project, Error> {
        Ok(Project::open_watched(at, self.profile.as_deref(), locked, asked)?)
    }

    /// Whether it is a pipeline packed with all it needs.
    pub(crate) fn is_bundle(&self) -> bool {
        self.file.as_deref().is_some_and(is_bundle)
    }

    /// Every param's value.
    pub(crate) fn params(&self, project: &Project) -> Result<Map<String, Json>, Error> {
        let sets = self.sets()?;
        let pipeline = &project.program.pipeline;
        let mut values = params::resolve(pipeline, project.program.profile.as_deref(), &sets).map_err(Error::Params)?;
        for (name, value) in &mut values {
            let is_path = pipeline.params.get(name).is_some_and(|param| param.r#type == ParamType::Path);
            if is_path && sets.contains_key(name) {
                make_absolute(name, value)?;
            }
        }
        Ok(values)
    }

    fn sets(&self) -> Result<IndexMap<String, Set>, Error> {
        let mut sets = match &self.params_file {
            Some(file) => read_params(file)?,
            None => IndexMap::new(),
        };
        sets.extend(self.set.iter().map(|(name, value)| (name.clone(), Set::Text(value.clone()))));
        Ok(sets)
    }

    /// The options as words, to be typed again.
    pub(crate) fn words(&self, project: &Project) -> Vec<String> {
        let mut words = vec![project.shown.clone()];
        if let Some(profile) = &self.profile {
            words.extend(["--profile".to_owned(), profile.clone()]);
        }
        words
    }
}

/// A path that a person sets is meant from where the person is.
fn make_absolute(name: &str, value: &mut Json) -> Result<(), Error> {
    let Some(text) = value.as_str() else { return Ok(()) };
    if text.is_empty() {
        return Err(Error::usage(format!("param `{name}` is an empty path")));
    }
    let path = std::path::absolute(text).map_err(Error::io("find", text))?;
    let text = path.to_str().ok_or_else(|| {
        Error::usage(format!("param `{name}`: `{}` is not UTF-8", path.display()))
            .hint("give the absolute path of a folder whose name is")
    })?;
    *value = Json::String(text.to_owned());
    Ok(())
}

fn read_params(file: &Path) -> Result<IndexMap<String, Set>, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    let shown = file.display().to_string();
    let value = if file.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).map_err(|error| Error::usage(format!("{shown} is not JSON: {error}")))?
    } else {
        read_yaml(shown.clone(), &text)?
    };
    match value {
        Json::Object(entries) => Ok(entries.into_iter().map(|(name, value)| (name, Set::Data(value))).collect()),
        _ => Err(Error::usage(format!("{shown} is not a map of params")).hint("write one `name: value` a line")),
    }
}

fn read_yaml(shown: String, text: &str) -> Result<Json, Error> {
    let findings = match yaml::read(text) {
        Ok((node, findings)) if findings.is_empty() => return Ok(node.to_json()),
        Ok((_, findings)) => findings,
        Err(finding) => vec![*finding],
    };
    Err(OpenError::Findings { shown, text: text.to_owned(), findings }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: &str = "flowrun: 1
params:
  data: { type: path, default: x }
  other: { type: path, default: . }
  n: { type: integer, default: 1 }
steps: { a: { run: 'true' } }
";

    #[test]
    fn set_wins_over_the_params_file_and_set_paths_are_absolute() {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("p.yaml");
        std::fs::write(&file, PIPELINE).expect("write");
        let params = folder.path().join("params.yaml");
        std::fs::write(&params, "n: 5\ndata: there\n").expect("write");
        let args = PipelineArgs {
            file: Some(file),
            set: vec![("n".into(), "7".into())],
            params_file: Some(params.clone()),
            profile: None,
        };
        let project = args.open().expect("opens");
        let values = args.params(&project).expect("fits");
        assert_eq!(values["n"], 7);
        assert_eq!(values["other"], ".");
        assert!(Path::new(values["data"].as_str().expect("text")).is_absolute());
        std::fs::write(&params, "n: 5\nn: 6\n").expect("write");
        assert!(matches!(args.params(&project), Err(Error::Open(OpenError::Findings { .. }))));
        std::fs::write(&params, "[1]").expect("write");
        assert!(matches!(args.params(&project), Err(Error::Usage { .. })));
    }
}
