//! Requirements that lie in a file of Python's own tools: `requirements: requirements.txt`. Brought into the tree before it is checked, so that
//! everything after sees a list, wherever it was written.
//!
//! | file | taken from it |
//! |---|---|
//! | `*.txt` | its lines; hashes are left to the lock, other options are an error |
//! | `pyproject.toml` | `project.dependencies` |
//! | `pylock.toml`, `pylock.NAME.toml` | every package in its version, with its marker |
//! | `uv.lock` | every package that the project's own dependencies come to, in its version, with its markers: [`uv_lock`] |
//!
//! Knows nothing of what a requirement means.

mod uv_lock;

use serde::Deserialize;

use super::check::World;
use super::finding::{Finding, Rule};
use super::yaml::{Node, Value};

/// Puts lists in the place of files, in the pipeline and its profiles.
pub(super) fn bring_in(pipeline: &mut Node, world: &dyn World, findings: &mut Vec<Finding>) {
    bring_into(pipeline, world, findings);
    for profile in children(pipeline, "profiles") {
        bring_into(profile, world, findings);
    }
}

/// What has `defaults` and `steps`.
fn bring_into(part: &mut Node, world: &dyn World, findings: &mut Vec<Finding>) {
    if let Some(defaults) = child(part, "defaults") {
        expand(defaults, world, findings);
    }
    for step in children(part, "steps") {
        expand(step, world, findings);
    }
}

fn expand(owner: &mut Node, world: &dyn World, findings: &mut Vec<Finding>) {
    let Some(requirements) = child(owner, "python").and_then(|python| child(python, "requirements")) else { return };
    let Value::Text(path) = &requirements.value else { return };
    let items = match read(path, world) {
        Ok(items) => items,
        Err((rule, why)) => {
            let finding = Finding::new(rule, requirements.span.clone(), format!("`requirements: {path}` {why}"));
            findings.push(finding.expected("expected a list, or a file of requirements"));
            Vec::new()
        }
    };
    let node = |text: String| Node { value: Value::Text(text), span: requirements.span.clone() };
    requirements.value = Value::List(items.into_iter().map(node).collect());
}

fn read(path: &str, world: &dyn World) -> Result<Vec<String>, (Rule, String)> {
    let parse = parser(path).ok_or_else(|| {
        (
            Rule::WrongType,
            "is neither a list nor a `.txt` file, `pyproject.toml`, `pylock.toml` or `uv.lock`".to_owned(),
        )
    })?;
    match world.exists(path) {
        Some(true) => {}
        Some(false) => {
            return Err((Rule::MissingPath, "does not exist: paths are relative to the pipeline file".to_owned()));
        }
        None => return Err((Rule::PathOutside, "leaves the project".to_owned())),
    }
    let text = world.read(path).map_err(|why| (Rule::BadValue, format!("cannot be read: {why}")))?;
    parse(&text).map_err(|why| (Rule::BadValue, why))
}

type Parse = fn(&str) -> Result<Vec<String>, String>;

fn parser(path: &str) -> Option<Parse> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "pyproject.toml" => Some(of_project),
        "uv.lock" => Some(uv_lock::requirements),
        name if name == "pylock.toml" || name.starts_with("pylock.") && name.ends_with(".toml") => Some(of_pylock),
        name if name.ends_with(".txt") && !name.contains(char::is_whitespace) => Some(of_lines),
        _ => None,
    }
}

/// A requirements file, line by line.
fn of_lines(text: &str) -> Result<Vec<String>, String> {
    let mut items = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut line = first.to_owned();
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, next)| next));
        }
        let line = if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        let item = line.split(" --hash=").next().unwrap_or_default().trim();
        if item.starts_with('-') || item.contains(" --") {
            let word = item.split_whitespace().find(|word| word.starts_with('-')).unwrap_or(item);
            return Err(format!(
                "has the option `{word}` in line {}: only requirements are taken, which name a package",
                index + 1
            ));
        }
        if !item.is_empty() {
            items.push(item.to_owned());
        }
    }
    Ok(items)
}

#[derive(Deserialize)]
struct PyProject {
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    #[serde(default)]
    dependencies: Vec<String>,
}

fn of_project(text: &str) -> Result<Vec<String>, String> {
    let file: PyProject = toml::from_str(text).map_err(|error| format!("cannot be read: {}", error.message()))?;
    file.project.map(|project| project.dependencies).ok_or_else(|| "has no `[project]`".to_owned())
}

#[derive(Deserialize)]
struct Pylock {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    marker: Option<String>,
}

fn of_pylock(text: &str) -> Result<Vec<String>, String> {
    let file: Pylock = toml::from_str(text).map_err(|error| format!("cannot be read: {}", error.message()))?;
    let one = |Package { name, version, marker }: Package| match (version, marker) {
        (Some(version), Some(marker)) => Ok(format!("{name}=={version} ; {marker}")),
        (Some(version), None) => Ok(format!("{name}=={version}")),
        (None, _) => Err(format!("has `{name}` without a version: it is no package of an index")),
    };
    file.packages.into_iter().map(one).collect()
}

fn child<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|(key, _)| key.name == name).map(|(_, node)| node)
}

/// Every entry of the map `name`.
fn children<'a>(node: &'a mut Node, name: &str) -> impl Iterator<Item = &'a mut Node> {
    let entries = match child(node, name).map(|node| &mut node.value) {
        Some(Value::Map(entries)) => &mut entries[..],
        _ => &mut [],
    };
    entries.iter_mut().map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_pythons_tools_are_lists() {
        let text = "# all\njax==0.10.2 # why\n\nnumpy==2.4.6 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nx[a]>=1 ; python_version < '4'\n";
        let lines = of_lines(text).expect("lines");
        assert_eq!(lines, ["jax==0.10.2", "numpy==2.4.6", "x[a]>=1 ; python_version < '4'"]);
        let refused = of_lines("a==1\n-r other.txt\n");
        assert!(refused.as_ref().is_err_and(|why| why.contains("`-r` in line 2")), "{refused:?}");
        assert!(of_lines("a==1 --config-settings=x").is_err());
        let project = "[project]\nname = 'x'\ndependencies = ['jax==0.10.2', 'numpy']\n[tool.uv]\n";
        assert_eq!(of_project(project), Ok(vec!["jax==0.10.2".to_owned(), "numpy".to_owned()]));
        assert!(of_project("[tool.uv]\n").is_err() && of_project("[").is_err());
        let pylock = "lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = '1'\nmarker = \"sys_platform == 'linux'\"\n[[packages]]\nname = 'b'\nversion = '2'\n";
        assert_eq!(of_pylock(pylock), Ok(vec!["a==1 ; sys_platform == 'linux'".to_owned(), "b==2".to_owned()]));
        assert!(of_pylock("[[packages]]\nname = 'here'\n").is_err());
        let kinds = [
            "requirements.txt",
            "env/requirements-dev.txt",
            "pyproject.toml",
            "pylock.toml",
            "pylock.gpu.toml",
            "uv.lock",
        ];
        assert!(kinds.iter().all(|path| parser(path).is_some()));
        assert!(["poetry.lock", "jax==0.10.2", "setup.py", "a b.txt"].iter().all(|path| parser(path).is_none()));
    }
}
