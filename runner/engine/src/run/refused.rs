//! What the sandbox refused, by what the step itself said of it.
//!
//! The kernel tells a refusal only to the program that it refuses, as "permission denied"; programs tell it with the path in one of a few
//! customary ways. From those lines, and from what the sandbox shows, follows what to declare. A program that says nothing stays
//! unexplained: its failure is its own.
//!
//! | line | told |
//! |---|---|
//! | `cat: /data/x: Permission denied` | `/data/x` is not among its inputs |
//! | `PermissionError: [Errno 13] Permission denied: '/data/x'` | the same |
//! | `sh: 1: cannot create /out: Permission denied` | it may write in its own folder only |
//! | `sh: 1: jq: not found`, `No such file or directory: 'jq'` | `jq` is not among its tools, where there is one on the `PATH` |

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::Failure;
use flowrun_core::script::is_tool;

use crate::process::{Sandbox, which};

/// Paths and programs that are remembered; more tell nobody more.
const MOST: usize = 5;

/// Words of lines about something missing, one of which may be a program's name.
const MOST_WORDS: usize = 200;

/// What a step was told that it may not do.
pub(crate) struct Refusals {
    limits: Limits,
    paths: BTreeSet<PathBuf>,
    programs: BTreeSet<String>,
    /// Files of the project that it looked for where it is.
    undeclared: BTreeSet<String>,
    missed_network: bool,
}

/// What holds a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Nothing is refused without one.
    pub(crate) sandbox: Option<Sandbox>,
    /// Whether it has no network.
    pub(crate) offline: bool,
    /// Where relative paths start.
    pub(crate) dir: PathBuf,
    /// The pipeline's folder, in which a person may think that a step is.
    pub(crate) project: PathBuf,
    /// Where its inputs lie.
    pub(crate) inputs: PathBuf,
    /// The programs that it finds.
    pub(crate) tools: BTreeSet<String>,
}

/// How programs say that there is no network.
const NO_NETWORK: [&str; 4] =
    ["Network is unreachable", "name resolution", "ould not resolve host", "Name or service not known"];

impl Refusals {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            paths: BTreeSet::new(),
            programs: BTreeSet::new(),
            undeclared: BTreeSet::new(),
            missed_network: false,
        }
    }

    /// Hears a line.
    pub(crate) fn hear(&mut self, line: &str) {
        self.missed_network |= self.limits.offline && NO_NETWORK.iter().any(|said| line.contains(said));
        if line.contains("ermission denied") || line.contains("EACCES") {
            let quoted: Vec<&str> = quoted(line).filter(|word| word.contains('/')).collect();
            let plain: Vec<&str> = words(line).filter(|word| quoted.is_empty() && word.contains('/')).collect();
            plain.into_iter().chain(quoted).for_each(|path| self.refuse(Path::new(path)));
        } else if line.contains("not found") || line.contains("No such file") {
            self.miss_file(line);
            let line = line.replace("No such file or directory", "").replace("not found", "");
            let names = words(&line).filter(|word| !word.contains('/') && is_tool(word));
            let unknown = names.filter(|name| !self.limits.tools.contains(*name)).map(str::to_owned);
            self.programs.extend(unknown);
            while self.programs.len() > MOST_WORDS {
                self.programs.pop_last();
            }
        }
    }

    fn miss_file(&mut self, line: &str) {
        let relative = |word: &&str| !word.starts_with(['/', '-']) && !["", ".", ".."].contains(word);
        let known = quoted(line)
            .chain(words(line))
            .filter(relative)
            .filter(|word| self.limits.project.join(word).exists() && !self.limits.dir.join(word).exists());
        let known: Vec<String> = known.map(str::to_owned).collect();
        self.undeclared.extend(known);
    }

    fn refuse(&mut self, path: &Path) {
        let Some(sandbox) = &self.limits.sandbox else { return };
        let path = self.limits.dir.join(path);
        // Links are followed as far as there is something, as the kernel does.
        let known = path.ancestors().find_map(|above| {
            let rest = path.strip_prefix(above).ok()?;
            let real = std::fs::canonicalize(above).ok()?;
            Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
        });
        let path = known.unwrap_or(path);
        let refused = !sandbox.shows(&path) || path.starts_with(self.inputs());
        if refused && self.paths.len() < MOST {
            self.paths.insert(path);
        }
    }

    /// Where its inputs lie, all links followed, as in the paths that were refused. Most steps are refused nothing, so it is asked for then.
    fn inputs(&self) -> PathBuf {
        std::fs::canonicalize(&self.limits.inputs).unwrap_or_else(|_| self.limits.inputs.clone())
    }

    /// The failure, with what was refused and what to declare; `path` is the `PATH` that programs could be found on.
    pub(crate) fn explain(&self, failure: Failure, path: &str) -> Failure {
        let mut hints = self.hints(path);
        if self.missed_network {
            hints.push("`network: false` keeps it from the network".to_owned());
        }
        if hints.is_empty() { failure } else { failure.hint(hints.join("\n")) }
    }

    fn hints(&self, path: &str) -> Vec<String> {
        let mut hints: Vec<String> = self.paths.iter().map(|path| self.advice(path)).collect();
        hints.extend(self.undeclared.iter().take(MOST).map(|file| {
            format!("`{file}` lies beside the pipeline, and a step sees only what it declares: a source under `inputs`, or `code`")
        }));
        let there = |name: &&String| which(name.as_ref(), path.as_ref(), Path::new("/")).is_some();
        let programs: Vec<&str> = self.programs.iter().filter(there).map(String::as_str).collect();
        if let Some(first) = programs.first() {
            let all = programs.join(", ");
            hints.push(format!("`{first}` is on the PATH and not among the step's tools: add `tools: [{all}]`"));
        }
        hints
    }

    fn advice(&self, path: &Path) -> String {
        if let Ok(inside) = path.strip_prefix(self.inputs()) {
            if inside.as_os_str().is_empty() {
                return "its inputs are read-only: copy what must be changed into the step's folder".to_owned();
            }
            return format!(
                "its input `{}` is read-only: copy what must be changed into the step's folder",
                inside.display()
            );
        }
        let shown = path.display();
        let callable = which(path.as_os_str(), "".as_ref(), Path::new("/")).is_some();
        let declare = match (path.exists(), callable) {
            (true, true) => "declare it under `tools` to call it, under `inputs` or `code` to read it",
            (true, false) => "declare it under `inputs` (as a source) or `code`; a step writes only in its own folder",
            (false, _) => "a step writes only in its own folder, `$HOME` and `$TMPDIR`",
        };
        format!("the sandbox refused `{shown}`: {declare}")
    }

    /// What was refused to a step that ended well all the same, a line each.
    pub(crate) fn notes(&self, path: &str) -> Vec<String> {
        self.hints(path).into_iter().map(|hint| format!("it went on although {hint}")).collect()
    }
}

/// What stands between quotes; nothing where one is not closed: it is an apostrophe.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let pieces: Vec<&str> = line.split(['\'', '"', '`', '‘', '’']).collect();
    let closed = pieces.len() % 2 == 1;
    pieces.into_iter().skip(1).step_by(2).filter(move |_| closed)
}

/// Words between blanks, quotes and colons.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let plain = line.split([' ', '\'', '"', '`', '‘', '’', ':', ',', '(', ')', '[', ']']);
    plain.map(|word| word.trim_end_matches(['.', ','])).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowrun_core::outcome::FailureKind;

    fn heard(line: &str) -> Refusals {
        let sandbox = Sandbox { write: vec!["/attempt".into()], ..Sandbox::default() };
        let mut refusals = Refusals::new(Limits {
            sandbox: Some(sandbox),
            offline: true,
            dir: "/attempt/cwd".into(),
            project: "/etc".into(),
            inputs: "/attempt/in".into(),
            tools: ["cat", "sh", "xargs"].map(str::to_owned).into(),
        });
        refusals.hear(line);
        refusals
    }

    #[test]
    fn refused_paths_are_found_in_what_programs_say() {
        let told = [
            ("cat: /data/no such/x: Permission denied", vec!["/data/no"]),
            ("PermissionError: [Errno 13] Permission denied: '/data/no such/x'", vec!["/data/no such/x"]),
            ("sh: 1: cannot create /nowhere/out: Permission denied", vec!["/nowhere/out"]),
            ("cannot open `/other/x`, permission denied", vec!["/other/x"]),
            ("cat: /attempt/cwd/a: Permission denied", vec![]),
            ("cat: /usr/lib/x: Permission denied", vec![]),
            ("sed: couldn't open temporary file /data/sedX: Permission denied", vec!["/data/sedX"]),
            ("opened /data/x", vec![]),
        ];
        for (line, expected) in told {
            let found: Vec<PathBuf> = heard(line).paths.into_iter().collect();
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_hint_says_what_to_declare() {
        let failure = || Failure::new(FailureKind::Step, "exited with 2").hint("as it was");
        let hint = |line: &str, path: &str| heard(line).explain(failure(), path).hint.expect("hint");
        assert!(
            hint("cat: /etc/shadow: Permission denied", "/bin").contains("`/etc/shadow`: declare it under `inputs`")
        );
        assert!(hint("cannot create /attempt/in/a: Permission denied", "/bin").contains("its input `a` is read-only"));
        assert!(hint("curl: (6) Could not resolve host: x", "/bin").contains("`network: false`"));
        assert!(hint("cannot create /nowhere: Permission denied", "/bin").contains("only in its own folder"));
        assert!(hint("/bin/true: Permission denied", "/bin").contains("under `tools`"));
        assert!(hint("sh: 1: true: not found", "/bin").ends_with("add `tools: [true]`"));
        assert_eq!(hint("sh: 1: no_such_program: not found", "/bin"), "as it was");
        assert!(hint("xargs: true: No such file or directory", "/bin").ends_with("add `tools: [true]`"));
        assert_eq!(hint("cat: /x/y: No such file or directory", "/bin:/usr/bin"), "as it was");
        let missed = hint("head: cannot open 'passwd' for reading: No such file or directory", "/nowhere");
        assert!(missed.contains("`passwd` lies beside the pipeline"), "{missed}");
        assert_eq!(hint("all well", "/bin"), "as it was");
    }
}
