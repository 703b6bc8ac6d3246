//! What is wrong with a pipeline, for a person: where, what was expected, and what to do.
//!
//! Findings are data; the command line draws them with the line and a caret. Knows nothing of terminals.

use std::ops::Range;

/// Bytes of the pipeline file.
pub type Span = Range<usize>;

/// One thing wrong at one place of the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule it breaks, as named in the reference and in `tests/invalid/`.
    pub rule: Rule,
    /// Lower-case fragment, names in backticks.
    pub message: String,
    /// The bytes it is about.
    pub span: Span,
    /// What stands beside the caret: what was expected there.
    pub label: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding of `rule` at `span`.
    pub fn new(rule: Rule, span: Span, message: impl Into<String>) -> Self {
        Self { rule, message: message.into(), span, label: String::new(), hint: None }
    }

    /// The same finding with what was expected beside the caret.
    #[must_use]
    pub fn expected(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same finding with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same finding with advice, where there is some.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

macro_rules! rules {
    ($($name:ident $text:literal $doc:literal,)*) => {
        /// The rules a pipeline must keep. Each has a failing example in `tests/invalid/<rule>.yaml`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $doc] $name,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// Its name in the reference and in `tests/invalid/`.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$name => $text,)* }
            }

            /// What it asks.
            pub fn about(self) -> &'static str {
                match self { $(Rule::$name => $doc,)* }
            }
        }
    };
}

rules! {
    Syntax "syntax" "The file is one YAML document.",
    Bomb "bomb" "Aliases and nesting stay within the budget that a pipeline needs.",
    Braces "unquoted-braces" "A value that starts with `{{` is quoted; YAML would read it as a map.",
    UnknownKey "unknown-key" "Only keys of the language are used.",
    DuplicateKey "duplicate-key" "A key stands once in a map.",
    MissingKey "missing-key" "Required keys are there.",
    WrongType "wrong-type" "A value has the type its key asks for.",
    BadValue "bad-value" "A value is one that its key admits.",
    Version "version" "The language version is one that this flowrun reads.",
    BadId "bad-id" "An id is a word: letters, digits and `_`, not starting with a digit, not reserved.",
    StepKind "step-kind" "A step has one kind: `uses`, `run`, `onnx` or `fail`.",
    KindKey "kind-key" "A key fits the kind of step it is given to.",
    SourceKind "source-kind" "A source has one kind: `path`, `url` or `pypi`.",
    Unpinned "unpinned" "What is fetched is pinned: `url` by `sha256`, `pypi` by `==`.",
    UnknownReference "unknown-reference" "A reference names a source, or a step and one of its outputs.",
    UndeclaredOutput "undeclared-output" "A reference to a step's output or value names one that the step declares.",
    OutputClash "output-clash" "Two outputs of a step do not share a file name.",
    JoinNeeded "join-needed" "All instances of a fan-out are taken with `step.*.output`.",
    Cycle "cycle" "Steps do not wait for themselves.",
    UndefinedVariable "undefined-variable" "A template uses names that exist where it stands.",
    Template "template" "A template or expression is well-formed.",
    PathOutside "path-outside" "A path stays inside the project.",
    MissingPath "missing-path" "A path in the project exists.",
    ParamDefault "param-default" "A param's default has its type and keeps its bounds.",
    FanOut "fan-out" "A step fans out by `matrix` or `foreach`, over lists that are not empty.",
    UnknownPlugin "unknown-plugin" "`uses` names a plugin that comes with flowrun, or a file.",
    PluginManifest "plugin-manifest" "A plugin's manifest can be read.",
    PluginSetting "plugin-setting" "`with` is what the plugin's schema asks for.",
    PluginPort "plugin-port" "Inputs, outputs and values of a plugin step are those that the plugin has.",
    Capability "capability" "What a plugin asks for is granted with `allow`, and nothing else is.",
    Shard "shard" "A step is divided only where its plugin says that it may be.",
    UnknownProfile "unknown-profile" "A profile changes steps and params that exist.",
}

/// The closest of `known` to `word`, as a hint `did you mean ...?`, when it is close enough to be a slip.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(word, known).map(|name| format!("did you mean `{name}`?"))
}

fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&word.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, drop, replace, swap of neighbours) between two words: optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// `a`, `b` or `c`, for "expected one of".
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["inputs", "outputs", "needs"];
        assert_eq!(did_you_mean("input", known), Some("did you mean `inputs`?".into()));
        assert_eq!(did_you_mean("ouptuts", known), Some("did you mean `outputs`?".into()));
        assert_eq!(did_you_mean("resources", known), None);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
