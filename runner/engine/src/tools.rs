//! The programs that steps may call: found on flowrun's own `PATH`, known by content, shown to a step as a folder of links.
//!
//! ```text
//! words of the script, of shell files, `tools:` ────► Toolbox::find ──► tool.NAME in the key
//!                                                                  └──► a folder NAME → program, alone in the step's PATH
//! ```
//! A program that is a script brings what its first line names: `#!/bin/bash` as `tool.NAME#!bash`, and what `env` looks for as a tool like
//! any other. Libraries that a program loads are not looked at: those of the system go by the distribution's release.
//!
//! A `shims` folder (pyenv, asdf, mise) is passed over: what it calls depends on files that no key holds.
//! Knows nothing of steps: whose words they are is the caller's matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flowrun_core::artifact::Artifact;
use flowrun_core::outcome::Failure;
use flowrun_core::script;

use crate::looks::Looks;
use crate::process::which;
use crate::store::LEFT_OUT;

/// A program of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Where it was found, links not followed.
    pub(crate) file: PathBuf,
    /// Its bytes.
    pub(crate) artifact: Artifact,
    /// What runs it, where it is a script.
    starter: Option<FirstLine>,
}

/// Programs by name. A name that begins with `/` or holds `#!` is none for a `PATH`.
pub(crate) type Tools = BTreeMap<String, Tool>;

/// Where programs are looked for, and those that were found.
pub(crate) struct Toolbox {
    folders: Vec<PathBuf>,
    looks: Looks,
    known: Mutex<HashMap<String, Option<Tool>>>,
}

/// Where programs are where nothing else is said.
const STANDARD: &str = "/usr/local/bin:/usr/bin:/bin";

/// First lines longer than this are none: Linux cuts them at 256 bytes.
const LONGEST_FIRST_LINE: u64 = 256;

/// Shell files larger than this are not looked through for programs: they hold data.
const LARGEST_SHELL_FILE: u64 = 1 << 20;

/// Files and folders of a step's code that are looked through; in more, programs are declared.
const MOST_CODE_FILES: usize = 20_000;

/// Scripts that are run by scripts that are run by …: the kernel gives up after four.
const DEEPEST: usize = 4;

impl Toolbox {
    /// The programs that whoever started flowrun would find.
    pub(crate) fn of_user(looks: Looks) -> Self {
        Self::new(&std::env::var_os("PATH").unwrap_or_else(|| STANDARD.into()), looks)
    }

    fn new(path: &OsStr, looks: Looks) -> Self {
        let is_kept = |folder: &PathBuf| folder.is_absolute() && !folder.ends_with("shims");
        let folders: Vec<PathBuf> = std::env::split_paths(path).filter(is_kept).collect();
        // A name that is in none of them may be in one next time.
        folders.iter().for_each(|folder| looks.glance(folder));
        Self { folders, looks, known: Mutex::default() }
    }

    /// The folders of the `PATH`, for a step that has no sandbox.
    pub(crate) fn path(&self) -> String {
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        folders.join(":")
    }

    /// Adds the program of this name, and what it is run by; whether there is one. Looked for once a run.
    ///
    /// # Errors
    /// What `hash` says when a program cannot be read.
    pub(crate) fn add(&self, name: &str, tools: &mut Tools, hash: &Hash<'_>) -> Result<bool, Failure> {
        // All or nothing: a script without what runs it is no program.
        let mut found = Tools::new();
        let there = self.add_as(name, name, &mut found, hash, 0)?;
        tools.extend(found);
        Ok(there)
    }

    fn add_as(&self, key: &str, name: &str, tools: &mut Tools, hash: &Hash<'_>, depth: usize) -> Result<bool, Failure> {
        if tools.contains_key(key) || depth > DEEPEST {
            return Ok(true);
        }
        let Some(tool) = self.find(name, hash)? else { return Ok(false) };
        let starter = tool.starter.clone();
        tools.insert(key.to_owned(), tool);
        if let Some(FirstLine { program, looked_for }) = starter {
            let last = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.add_as(&format!("{key}#!{last}"), &program, tools, hash, depth + 1)?;
            if let Some(name) = looked_for {
                self.add_as(&name, &name, tools, hash, depth + 1)?;
            }
        }
        Ok(true)
    }

    fn find(&self, name: &str, hash: &Hash<'_>) -> Result<Option<Tool>, Failure> {
        if let Some(known) = self.lock().get(name) {
            return Ok(known.clone());
        }
        let tool = |file: PathBuf| Ok(Tool { artifact: hash(&file)?, starter: first_line(&file), file });
        let program = self.program(name);
        self.look_for(name, program.as_deref());
        let found = program.map(tool).transpose()?;
        self.lock().insert(name.to_owned(), found.clone());
        Ok(found)
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::join_paths(&self.folders).unwrap_or_default();
        which(name.as_ref(), &path, Path::new("/"))
    }

    /// Takes down what was passed over on the way to a program: what has its name and is none may become one, and its folder would not tell.
    fn look_for(&self, name: &str, program: Option<&Path>) {
        if !self.looks.are_wanted() {
            return;
        }
        if name.contains('/') {
            return self.looks.glance(&Path::new("/").join(name));
        }
        let places = self.folders.iter().map(|folder| folder.join(name));
        for place in places.take_while(|place| Some(place.as_path()) != program) {
            if std::fs::symlink_metadata(&place).is_ok() {
                self.looks.glance(&place);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<Tool>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a program's bytes become known.
pub(crate) type Hash<'a> = dyn Fn(&Path) -> Result<Artifact, Failure> + 'a;

/// What the first line of a script says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FirstLine {
    /// What runs it, absolute.
    program: String,
    /// What that looks for on the `PATH`, where it is `env`.
    looked_for: Option<String>,
}

fn first_line(file: &Path) -> Option<FirstLine> {
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(LONGEST_FIRST_LINE).read_to_end(&mut bytes).ok()?;
    parse_first_line(&bytes)
}

fn parse_first_line(bytes: &[u8]) -> Option<FirstLine> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let program = words.next().filter(|program| program.starts_with('/'))?.to_owned();
    let is_env = Path::new(&program).file_name() == Some(OsStr::from_bytes(b"env"));
    let looked_for = words.find(|word| !word.starts_with('-') && !word.contains('=')).filter(|_| is_env);
    Some(FirstLine { program, looked_for: looked_for.map(str::to_owned) })
}

/// The words of a file, or of all files of a folder, that may be programs: a script's interpreter, and every word of a shell's.
pub(crate) fn words_below(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![path.to_owned()];
    for _ in 0..MOST_CODE_FILES {
        let Some(next) = pending.pop() else { break };
        match children(&next) {
            Some(children) => pending.extend(children),
            None => found.extend(words_in(&next)),
        }
    }
    found
}

/// What a folder holds that a step sees, in order, links left out; nothing for a file.
fn children(folder: &Path) -> Option<Vec<PathBuf>> {
    let kept = |entry: &std::fs::DirEntry| {
        let hidden = LEFT_OUT.iter().any(|name| entry.file_name() == *name);
        !hidden && entry.file_type().is_ok_and(|kind| !kind.is_symlink())
    };
    let entries = std::fs::read_dir(folder).ok()?;
    let mut paths: Vec<PathBuf> = entries.flatten().filter(kept).map(|entry| entry.path()).collect();
    paths.sort();
    Some(paths)
}

fn words_in(file: &Path) -> BTreeSet<String> {
    let is_shell = |name: &str| name.ends_with("sh");
    let starter = first_line(file);
    let mut found = BTreeSet::new();
    let mut shell = file.extension().is_some_and(|kind| kind == "sh" || kind == "bash");
    for program in starter.into_iter().flat_map(|line| [Some(line.program), line.looked_for]).flatten() {
        shell |= is_shell(&program);
        found.insert(program);
    }
    let small = std::fs::metadata(file).is_ok_and(|found| found.len() <= LARGEST_SHELL_FILE);
    if shell && small {
        let text = std::fs::read(file).unwrap_or_default();
        found.extend(script::words(&String::from_utf8_lossy(&text)).into_iter().map(str::to_owned));
    }
    found
}

/// Makes a folder of links to the tools, by name.
pub(crate) fn link_all(tools: &Tools, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, tool) in tools.iter().filter(|(name, _)| !name.contains(['/', '#'])) {
        std::os::unix::fs::symlink(&tool.file, folder.join(name))?;
    }
    Ok(())
}

/// What must be executable for the tools to run: they themselves, and libraries that were installed beside them. Those are in no key, so a
/// script, which reads what it likes, gets none, nor does a program of the project: what lies there is declared.
pub(crate) fn shown_for<'a>(programs: impl Iterator<Item = &'a Path>, project: &Path) -> Vec<PathBuf> {
    let mut shown = Vec::new();
    for program in programs {
        let real = std::fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
        // Those of the system are shown to every step.
        let prefix = real
            .parent()
            .and_then(Path::parent)
            .filter(|prefix| !["/", "/usr", "/usr/local"].contains(&prefix.to_str().unwrap_or("/")))
            .filter(|prefix| !prefix.starts_with(project) && first_line(&real).is_none());
        if let Some(prefix) = prefix {
            shown.extend(["lib", "lib64", "libexec"].map(|name| prefix.join(name)));
        }
        shown.push(real);
    }
    shown.sort();
    shown.dedup();
    shown
}

/// Where the distribution's release is told: the first that is there counts.
pub(crate) const RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The distribution and its release, from `os-release(5)`: `debian 12`. Empty where there is no such file.
pub(crate) fn system() -> String {
    let text = RELEASE.iter().find_map(|file| std::fs::read_to_string(file).ok());
    system_of(&text.unwrap_or_default())
}

fn system_of(text: &str) -> String {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned())
    };
    let parts: Vec<String> = ["ID", "VERSION_ID"].into_iter().filter_map(value).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowrun_core::artifact::Mode;
    use flowrun_core::digest::Digest;
    use std::os::unix::fs::PermissionsExt;

    fn hash(path: &Path) -> Result<Artifact, Failure> {
        let bytes = std::fs::read(path).expect("read");
        Ok(Artifact { mode: Mode::Executable, digest: Digest::of(&bytes), size: bytes.len() as u64 })
    }

    fn program(folder: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(folder).expect("mkdir");
        std::fs::write(folder.join(name), text).expect("write");
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    #[test]
    fn a_tool_brings_what_runs_it() {
        let root = tempfile::tempdir().expect("tempdir");
        let (first, second, shims) = (root.path().join("a"), root.path().join("b"), root.path().join("shims"));
        program(&shims, "mine", "#!/bin/sh\n");
        program(&first, "mine", "#!/usr/bin/env -S helper -x\n");
        program(&second, "mine", "#!/bin/sh\necho second\n");
        program(&second, "helper", "#!/bin/sh\n");
        let path = std::env::join_paths([&shims, &first, &second]).expect("path");
        let toolbox = Toolbox::new(&path, Looks::default());
        let mut tools = Tools::new();
        assert!(toolbox.add("mine", &mut tools, &hash).expect("found"));
        assert_eq!(tools.keys().collect::<Vec<_>>(), ["helper", "helper#!sh", "mine", "mine#!env"]);
        assert_eq!(tools["mine"].file, first.join("mine"), "the first of the PATH, but for shims");
        assert!(!toolbox.add("nothing", &mut tools, &hash).expect("looked"));
        assert!(toolbox.add("/bin/sh", &mut tools, &hash).expect("found"));
        let farm = root.path().join("farm");
        link_all(&tools, &farm).expect("links");
        let mut names: Vec<_> = std::fs::read_dir(&farm).expect("farm").flatten().map(|one| one.file_name()).collect();
        names.sort();
        assert_eq!(names, ["helper", "mine"]);
    }

    /// A program that may be run and not read is none for a key; nor is a script whose interpreter is one.
    #[test]
    fn what_cannot_be_read_adds_nothing() {
        let root = tempfile::tempdir().expect("tempdir");
        let inner = root.path().join("inner");
        program(root.path(), "inner", "secret");
        program(root.path(), "outer", &format!("#!{}\n", inner.display()));
        let closed = |path: &Path| match path == inner {
            true => Err(Failure::new(flowrun_core::outcome::FailureKind::Step, "cannot read")),
            false => hash(path),
        };
        let toolbox = Toolbox::new(root.path().as_os_str(), Looks::default());
        let mut tools = Tools::new();
        assert!(toolbox.add("inner", &mut tools, &closed).is_err());
        assert!(toolbox.add("outer", &mut tools, &closed).is_err());
        assert!(tools.is_empty(), "{tools:?}");
    }

    /// Libraries beside a program are in no key, so a script and a program of the project are shown none.
    #[test]
    fn libraries_beside_a_program_are_shown_for_programs_alone() {
        let root = tempfile::tempdir().expect("tempdir");
        let real = std::fs::canonicalize(root.path()).expect("real");
        program(&real.join("x/bin"), "built", "\x7fELF");
        program(&real.join("x/bin"), "script", "#!/bin/sh\n");
        let shown = |name: &str, project: &Path| {
            let file = real.join("x/bin").join(name);
            shown_for([file.as_path()].into_iter(), project).contains(&real.join("x/lib"))
        };
        let elsewhere = Path::new("/nowhere");
        assert!(shown("built", elsewhere) && !shown("script", elsewhere) && !shown("built", &real));
    }

    #[test]
    fn first_lines_and_releases_are_read() {
        let first = |line: &str| parse_first_line(line.as_bytes()).map(|line| (line.program, line.looked_for));
        assert_eq!(first("#!/bin/sh -e\nx"), Some(("/bin/sh".into(), None)));
        assert_eq!(first("#! /usr/bin/env python3\n"), Some(("/usr/bin/env".into(), Some("python3".into()))));
        assert_eq!(first("#!/usr/bin/env -S A=1 node -x\n"), Some(("/usr/bin/env".into(), Some("node".into()))));
        assert_eq!(first("\x7fELF"), None);
        assert_eq!(system_of("NAME=x\nID=debian\nVERSION_ID=\"12\"\n"), "debian 12");
        assert_eq!(system_of("ID=arch\n"), "arch");
        assert_eq!(system_of(""), "");
    }
}
