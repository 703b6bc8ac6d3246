//! Where the requirement stands that could not be locked: in the pipeline, or in the file that holds its requirements.
//!
//! Which requirement that is, whoever resolves says; how it is shown, the command line.

use std::cmp::Reverse;
use std::fmt;
use std::path::Path;

use flowrun_core::lang::finding::Span;
use flowrun_core::lang::yaml::{self, Node, Value};
use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::PythonWish;

use crate::fetch::{checked_name, redact};
use crate::project::Project;
use crate::python::Unresolved;

/// What cannot be locked, and where it was asked for, where one requirement is why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default(), failure.message)]
pub struct Unlockable {
    /// What is wrong.
    pub failure: Failure,
    /// Where.
    pub place: Option<Place>,
}

/// A place in a file. Shown as `p.yaml:4:7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as a person reads it.
    pub shown: String,
    /// Its text.
    pub text: String,
    /// The bytes it is about.
    pub span: Span,
}

impl From<Failure> for Unlockable {
    fn from(failure: Failure) -> Self {
        Self { failure, place: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = &self.text[..self.text.floor_char_boundary(self.span.start)];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        write!(f, "{}:{}:{}", self.shown, 1 + before.matches('\n').count(), 1 + before[start..].chars().count())
    }
}

impl Place {
    /// Whether its line may be shown: it may hold a password.
    pub fn is_plain(&self) -> bool {
        let start = self.text[..self.text.floor_char_boundary(self.span.start)].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        redact(line) == line
    }
}

/// The failure with the place of the requirement that it is about, of the environment that `wish` asks for.
pub(super) fn placed(unresolved: Unresolved, wish: &PythonWish, project: &Project) -> Unlockable {
    let Unresolved { failure, about } = unresolved;
    Unlockable { failure, place: about.and_then(|requirement| place(&requirement, wish, project)) }
}

fn place(requirement: &str, wish: &PythonWish, project: &Project) -> Option<Place> {
    let (node, _) = yaml::read(&project.text).ok()?;
    let mut all = Vec::new();
    written(&node, &mut all);
    let read = |file: &str| std::fs::read_to_string(project.path(file)).ok();
    // Several steps may ask for the same: it is shown where the rest is the same too, or at least the Python.
    all.sort_by_key(|one| Reverse(one.likeness(wish, read)));
    all.iter().find_map(|one| {
        let (shown, text, span) = match one {
            Written { requirements: Requirements::Here(list), .. } => {
                let (_, span) = list.iter().find(|(text, _)| text.trim() == requirement)?;
                (project.shown.clone(), project.text.clone(), span.clone())
            }
            Written { requirements: Requirements::In(file), .. } => {
                let text = read(file)?;
                let span = within(&text, requirement)?;
                (Path::new(&project.shown).with_file_name(file).display().to_string(), text, span)
            }
        };
        Some(Place { shown, text, span })
    })
}

/// Requirements as they stand in a pipeline, and the Python beside them.
struct Written {
    python: Option<String>,
    requirements: Requirements,
}

enum Requirements {
    /// A list, each with its place.
    Here(Vec<(String, Span)>),
    /// A file that has them.
    In(String),
}

impl Written {
    /// How much of a wish it is: the more, the more.
    fn likeness(&self, wish: &PythonWish, read: impl Fn(&str) -> Option<String>) -> (bool, u8) {
        let all = match &self.requirements {
            Requirements::Here(list) => {
                let same = |asked: &String| list.iter().any(|(text, _)| text.trim() == asked);
                list.len() == wish.requirements.len() && wish.requirements.iter().all(same)
            }
            Requirements::In(file) => {
                read(file).is_some_and(|text| wish.requirements.iter().all(|asked| within(&text, asked).is_some()))
            }
        };
        // One that says nothing has it of the defaults.
        let python = self.python.as_ref().map_or(1, |python| if *python == wish.python { 2 } else { 0 });
        (all, python)
    }
}

/// All requirements of a pipeline file, wherever they stand in it.
fn written(node: &Node, found: &mut Vec<Written>) {
    let text = |node: &Node| match &node.value {
        Value::Text(text) => Some((text.clone(), node.span.clone())),
        _ => None,
    };
    let python =
        || node.entries().iter().find(|(key, _)| key.name == "version").and_then(|(_, node)| Some(text(node)?.0));
    for (key, below) in node.entries() {
        let requirements = match &below.value {
            _ if key.name != "requirements" => None,
            Value::List(items) => Some(Requirements::Here(items.iter().filter_map(text).collect())),
            _ => text(below).map(|(file, _)| Requirements::In(file)),
        };
        match requirements {
            Some(requirements) => found.push(Written { python: python(), requirements }),
            None => written(below, found),
        }
    }
}

/// Where a file of Python's own tools has a requirement: at the start of a line, quoted, or as the table of the package.
fn within(text: &str, requirement: &str) -> Option<Span> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start + line.len() - line.trim_start().len();
        let rest = text[at..].strip_prefix(requirement);
        if rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))) {
            return Some(at..at + requirement.len());
        }
        start += line.len();
    }
    let quoted = ['"', '\''].iter().find_map(|quote| text.find(&format!("{quote}{requirement}{quote}")));
    if let Some(at) = quoted {
        return Some(at + 1..at + 1 + requirement.len());
    }
    let table = format!("name = \"{}\"", package(requirement)?);
    text.find(&table).map(|at| at..at + table.len())
}

/// The package of a requirement, in its normal form.
fn package(requirement: &str) -> Option<String> {
    let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    checked_name(&requirement[..end.unwrap_or(requirement.len())]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_found_in_each_kind_of_file() {
        let found =
            |text: &str, requirement: &str| within(text, requirement).map(|span| (span.start, text[span].to_owned()));
        let lines = "# a==1\naa==1\n  a==1 --hash=x\n";
        assert_eq!(found(lines, "a==1"), Some((15, "a==1".to_owned())));
        assert_eq!(found("a==1.5\n", "a==1"), None, "another version");
        assert_eq!(found("dependencies = ['b', \"a==1\"]", "a==1"), Some((22, "a==1".to_owned())));
        assert_eq!(
            found("[[package]]\nname = \"a-b\"\n", "A_b==1 ; os_name == 'x'"),
            Some((12, "name = \"a-b\"".to_owned()))
        );
        assert_eq!(found("é\n[[package]]\n", "-r x"), None);
    }

    #[test]
    fn a_line_with_a_password_is_not_shown() {
        let of = |text: &str| Place { shown: "p.yaml".into(), text: text.into(), span: 6..7 };
        assert!(of("a: 1\nb: six\n").is_plain());
        assert!(!of("a: 1\nb: six @ https://ann:s3cret@host/six.whl\n").is_plain());
        assert_eq!(of("a: 1\nb: six").to_string(), "p.yaml:2:2");
    }
}
