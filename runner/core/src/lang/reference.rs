//! References: `sources.sample`, `check.dataset`, `check.dataset/test`, `train.*.model`. A reference is a dependency.

use std::fmt;

/// What an input or a result points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// A source, or a step's output.
    pub target: Target,
    /// Components of a path inside a folder; empty for the whole.
    pub path: Vec<String>,
}

/// The whole that a reference points at or into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `sources.NAME`.
    Source(String),
    /// `STEP.OUTPUT`, or `STEP.*.OUTPUT` where `join`.
    Output {
        /// The step's id.
        step: String,
        /// The output's name.
        output: String,
        /// Whether every instance of a fan-out is meant.
        join: bool,
    },
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// Says what is wrong with it, as a lower-case fragment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (head, tail) = text.split_once('/').map_or((text, None), |(head, tail)| (head, Some(tail)));
        let path: Vec<String> = tail.map(|tail| tail.split('/').map(str::to_owned).collect()).unwrap_or_default();
        if path.iter().any(|part| !crate::artifact::is_component(part)) {
            return Err(format!("`{text}` has a path with an empty part, `.` or `..`"));
        }
        let words: Vec<&str> = head.split('.').collect();
        if words.iter().any(|word| *word != "*" && !is_word(word)) {
            return Err(format!("`{text}` is not a reference"));
        }
        let output = |step: &str, output: &str, join| Target::Output { step: step.into(), output: output.into(), join };
        let target = match words.as_slice() {
            ["sources", name] => Target::Source((*name).to_owned()),
            [step, name] if *step != "*" && *name != "*" => output(step, name, false),
            [step, "*", name] if *step != "*" && *name != "*" => output(step, name, true),
            _ => return Err(format!("`{text}` is not a reference")),
        };
        Ok(Self { target, path })
    }

    /// The step it depends on, where it is not a source.
    pub fn step(&self) -> Option<&str> {
        match &self.target {
            Target::Source(_) => None,
            Target::Output { step, .. } => Some(step),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Source(name) => write!(f, "sources.{name}")?,
            Target::Output { step, output, join: false } => write!(f, "{step}.{output}")?,
            Target::Output { step, output, join: true } => write!(f, "{step}.*.{output}")?,
        }
        self.path.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

/// Whether `text` is an id: a letter or `_`, then letters, digits and `_`.
pub fn is_word(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Words that templates and references use themselves, or that the template language owns.
pub const RESERVED: &[&str] = &[
    "params",
    "sources",
    "inputs",
    "outputs",
    "values",
    "matrix",
    "item",
    "steps",
    "env",
    "true",
    "false",
    "none",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "endfor",
    "endif",
    "set",
    "loop",
    "self",
    "range",
    "dict",
    "namespace",
    "debug",
    "True",
    "False",
    "None",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_survive_their_text() {
        for text in ["sources.sample", "check.dataset", "check.dataset/test/a b.jpg", "train.*.model"] {
            assert_eq!(Reference::parse(text).expect(text).to_string(), text);
        }
        for bad in ["", "a", "a.b.c", "*.b", "a.*", "a.b/", "a.b/../c", "a-b.c", "a.b c", "sources.*.x.y"] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
