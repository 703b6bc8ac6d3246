//! Steps to try on a plugin, and what must come of them: `tests/CASE/case.yaml` with its inputs in `in/` and what is expected in `out/`.
//!
//! ```yaml
//! with: { greeting: good morning }
//! inputs: { names: names.txt }         # a file or folder below in/
//! outputs: { greetings: greetings.txt } # `dir`, or a file's name; compared with out/ byte for byte
//! values: { count: 2 }
//! error: no names                       # instead of values and out/: a part of the message it must fail with
//! ```
//! A case runs in the host that runs steps, with what the plugin asks for granted. Knows nothing of how a component is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flowrun_core::digest::Digest;
use flowrun_core::key::canonical;
use flowrun_core::lang::yaml;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use flowrun_core::plugin::{Capability, Manifest};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;

use super::{component_path, described, refused, trouble};
use crate::fetch::Cache;
use crate::wasm;

/// A step to try.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    with: Map<String, Json>,
    inputs: IndexMap<String, String>,
    outputs: IndexMap<String, String>,
    values: Option<Map<String, Json>>,
    error: Option<String>,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What was expected.
    Passed,
    /// Something else: what differs, a line each.
    Failed(Vec<String>),
    /// What is expected was written anew.
    Blessed,
}

/// A case that was tried.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The case's name: its folder's.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What the plugin said.
    pub said: Vec<String>,
}

/// Tries every case of the plugin in a folder on its component; `bless` writes what came out as what is expected.
///
/// # Errors
/// When there are no cases, one cannot be read, or there is no component.
pub async fn try_cases(cache: &Cache, dir: &Path, bless: bool) -> Result<Vec<Tried>, Failure> {
    let (described, _) = described(dir)?;
    let file = component_path(dir)?;
    let bytes = wasm::component_bytes(&file).map_err(|error| {
        let hint = format!("build it first: `flowrun plugin build {}`", dir.display());
        refused(format!("`{}` {error}", file.display())).hint(hint)
    })?;
    let bench = Bench {
        host: wasm::WasmHost::new(&cache.folder("wasm")?).map_err(|error| refused(error.to_string()))?,
        component: file,
        digest: Digest::of(&bytes),
        manifest: &described.manifest,
    };
    let mut tried = Vec::new();
    for folder in folders(&dir.join("tests"))? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let case = read(&folder.join("case.yaml"))?;
        let scratch = cache.scratch()?;
        let (made, said) = bench.run(&case, &folder, scratch.path()).await?;
        let out = scratch.path().join("out");
        let verdict = match (bless, &made) {
            // A failure that nobody expected is no expectation: it may be a bug of just now.
            (true, Err(failure)) if case.error.is_none() => Verdict::Failed(vec![
                format!("it failed: {}", failure.message),
                format!(
                    "nothing was written; if it is to fail, write `error:` into {}",
                    folder.join("case.yaml").display()
                ),
            ]),
            (true, _) => self::bless(&case, &folder, &out, &made)?,
            (false, _) => judge(&case, &folder, &out, &made)?,
        };
        tried.push(Tried { name, verdict, said });
    }
    if tried.is_empty() {
        return Err(refused(format!("no cases below `{}`", dir.join("tests").display())).hint(
            "a case is a folder `tests/NAME` with a `case.yaml`; `flowrun plugin new` writes one to start from",
        ));
    }
    Ok(tried)
}

fn folders(tests: &Path) -> Result<Vec<PathBuf>, Failure> {
    let Ok(entries) = std::fs::read_dir(tests) else { return Ok(Vec::new()) };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths.filter(|path| path.join("case.yaml").is_file()).collect();
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Case, Failure> {
    let text = std::fs::read_to_string(path).map_err(trouble(path))?;
    let bad = |why: String| refused(format!("`{}`: {why}", path.display()));
    let (node, findings) = yaml::read(&text).map_err(|finding| bad(finding.message))?;
    if let Some(finding) = findings.first() {
        return Err(bad(finding.message.clone()));
    }
    serde_json::from_value(node.to_json()).map_err(|error| bad(error.to_string()))
}

struct Bench<'a> {
    host: wasm::WasmHost,
    component: PathBuf,
    digest: Digest,
    manifest: &'a Manifest,
}

type Made = Result<Map<String, Json>, Failure>;

impl Bench<'_> {
    async fn run(&self, case: &Case, folder: &Path, scratch: &Path) -> Result<(Made, Vec<String>), Failure> {
        let inputs = self.inputs(case, folder, scratch)?;
        let outputs = outputs(case, scratch)?;
        let allow = Capability::ALL.into_iter().filter(|one| self.manifest.capabilities.reason(*one).is_some());
        let job = wasm::Job {
            component: self.component.clone(),
            digest: self.digest,
            config: canonical(&Json::Object(case.with.clone())),
            inputs,
            outputs,
            part: None,
            dir: scratch.to_owned(),
            granted: wasm::Granted { allow: allow.collect(), ..Default::default() },
            limits: wasm::Limits::default(),
            seed: 0,
        };
        let (say, mut heard) = mpsc::channel(256);
        let listener = tokio::spawn(async move {
            let mut said = Vec::new();
            while let Some(say) = heard.recv().await {
                if let Say::Line { text, .. } = say {
                    said.push(text);
                }
            }
            said
        });
        let made = self.attempt(&job, case, &say).await;
        drop(say);
        Ok((made, listener.await.unwrap_or_default()))
    }

    async fn attempt(&self, job: &wasm::Job, case: &Case, say: &Sender<Say>) -> Made {
        let settings = flowrun_core::plugin::settings::Settings::new(&self.manifest.with).map_err(refused)?;
        if let Some(misfit) = settings.misfits(&case.with, true).into_iter().next() {
            return Err(refused(misfit.message));
        }
        self.host.run(job, say, &CancellationToken::new()).await
    }

    fn inputs(&self, case: &Case, folder: &Path, scratch: &Path) -> Result<Vec<wasm::Place>, Failure> {
        let mut places = Vec::new();
        for (name, written) in &case.inputs {
            let from = folder.join("in").join(written);
            let place = match from.is_dir() {
                true => format!("in/{name}"),
                false => format!("in/{name}/{}", from.file_name().unwrap_or_default().to_string_lossy()),
            };
            if from.symlink_metadata().is_err() {
                let missing = format!("`{}` is not there, which input `{name}` of a case names", from.display());
                return Err(refused(missing).hint("git keeps no empty folders: put a file like `.keep` into one"));
            }
            copy(&from, &scratch.join(&place)).map_err(trouble(&from))?;
            places.push(wasm::Place::new(name, place));
        }
        Ok(places)
    }
}

fn outputs(case: &Case, scratch: &Path) -> Result<Vec<wasm::Place>, Failure> {
    let mut places = Vec::new();
    std::fs::create_dir_all(scratch.join("out")).map_err(trouble(scratch))?;
    for (name, kind) in &case.outputs {
        let place = flowrun_core::plan::output_path(name, kind);
        if kind == "dir" {
            let folder = scratch.join(&place);
            std::fs::create_dir_all(&folder).map_err(trouble(&folder))?;
        }
        places.push(wasm::Place::new(name, place));
    }
    Ok(places)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    std::fs::create_dir_all(to.parent().unwrap_or(to))?;
    std::fs::copy(from, to).map(drop)
}

fn judge(case: &Case, folder: &Path, out: &Path, made: &Made) -> Result<Verdict, Failure> {
    let mut problems = Vec::new();
    match (made, &case.error) {
        (Err(failure), Some(wanted)) if failure.message.contains(wanted) => return Ok(Verdict::Passed),
        (Err(failure), Some(wanted)) => {
            problems.push(format!("it failed with `{}`, not with `{wanted}`", failure.message))
        }
        (Err(failure), None) => problems.push(format!("it failed: {}", failure.message)),
        (Ok(_), Some(wanted)) => problems.push(format!("it ended well, and should have failed with `{wanted}`")),
        (Ok(values), None) => {
            for (name, wanted) in case.values.iter().flatten() {
                let found = values.get(name);
                if found != Some(wanted) {
                    let found = found.map_or_else(|| "not given".to_owned(), Json::to_string);
                    problems.push(format!("value `{name}` is {found}, not {wanted}"));
                }
            }
            let (wanted, found) = (contents(&folder.join("out"))?, contents(out)?);
            for name in wanted.keys().chain(found.keys().filter(|name| !wanted.contains_key(*name))) {
                problems.extend(differs(name, wanted.get(name), found.get(name)));
            }
        }
    }
    Ok(if problems.is_empty() { Verdict::Passed } else { Verdict::Failed(problems) })
}

fn differs(name: &str, wanted: Option<&Vec<u8>>, found: Option<&Vec<u8>>) -> Option<String> {
    match (wanted, found) {
        (Some(wanted), Some(found)) if wanted == found => None,
        (Some(wanted), Some(found)) => Some(match (str::from_utf8(wanted), str::from_utf8(found)) {
            (Ok(wanted), Ok(found)) => {
                format!("`{name}` differs (- expected, + made):\n{}", crate::diff::unified(wanted, found).join("\n"))
            }
            _ => format!("`{name}` differs: {} bytes are expected, {} were made", wanted.len(), found.len()),
        }),
        (Some(_), None) => Some(format!("`{name}` is expected in out/, and was not made")),
        (None, _) => Some(format!("`{name}` was made, and is not in out/: `--bless` puts it there")),
    }
}

/// The files below a folder by path; none where there is no folder.
fn contents(root: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), found)?;
            } else {
                found.insert(name, std::fs::read(entry.path())?);
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    if root.is_dir() {
        walk(root, "", &mut found).map_err(trouble(root))?;
    }
    Ok(found)
}

/// Writes what came out as what is expected: `out/`, and the values or the error in `case.yaml`.
fn bless(case: &Case, folder: &Path, out: &Path, made: &Made) -> Result<Verdict, Failure> {
    let expected = folder.join("out");
    if expected.is_dir() {
        std::fs::remove_dir_all(&expected).map_err(trouble(&expected))?;
    }
    let mut text = String::new();
    let mut put = |key: &str, value: &Json| text.push_str(&format!("{key}: {value}\n"));
    if !case.with.is_empty() {
        put("with", &Json::Object(case.with.clone()));
    }
    put("inputs", &json!(case.inputs));
    put("outputs", &json!(case.outputs));
    match made {
        Ok(values) => {
            put("values", &Json::Object(values.clone()));
            copy(out, &expected).map_err(trouble(&expected))?;
        }
        Err(failure) if failure.kind == FailureKind::Infrastructure => return Err(failure.clone()),
        Err(failure) => put("error", &json!(failure.message)),
    }
    let path = folder.join("case.yaml");
    std::fs::write(&path, text).map_err(trouble(&path))?;
    Ok(Verdict::Blessed)
}
