//! Whom flowrun is measured beside: where they are, how they are called, which version they are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value as Json};

/// A program that brings a project up to date.
#[derive(Clone)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The program and its arguments; none where it is not there.
    words: Option<Vec<OsString>>,
    variables: Vec<(&'static str, OsString)>,
}

impl Tool {
    /// The same by another name.
    pub(crate) fn named(&self, name: &'static str) -> Self {
        Self { name, ..self.clone() }
    }

    /// Whether it can be measured.
    pub(crate) fn is_there(&self) -> bool {
        self.words.is_some()
    }

    /// Brings the project in a folder up to date.
    ///
    /// # Panics
    /// When it is not there.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let words = self.words.as_deref().expect("a tool that is there");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder).envs(self.variables.iter().cloned());
        command.env_remove("FLOWRUN_HOME").env_remove("CI").env_remove("MAKEFLAGS");
        let said = std::fs::File::create(folder.join("said")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        command
    }

    fn version(&self) -> Option<String> {
        let words = self.words.as_deref()?;
        let mut command = Command::new(&words[0]);
        // `python3 -m doit` is three words, the others are one.
        let module = words.iter().take(3).skip(1).filter(|_| self.name == "doit");
        let output = command.args(module).arg("--version").envs(self.variables.iter().cloned()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
    }
}

/// Where what was installed for this lies.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

/// Brings ninja, doit and b3sum from their registries.
pub(crate) fn install() {
    let (python, b3sum) = (home().join("python"), home().join("b3sum"));
    let pip = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
    well(Command::new("python3").args(pip).arg(python).args(["ninja", "doit"]));
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let mut command = Command::new(cargo);
    command.args(["install", "--quiet", "b3sum", "--root"]).arg(&b3sum).env("CARGO_TARGET_DIR", b3sum.join("build"));
    well(&mut command);
}

/// A folder with these Python packages for `PYTHONPATH`, where it is there or can be brought.
pub(crate) fn python_with(packages: &[&str]) -> Option<PathBuf> {
    let folder = home().join("python-onnx");
    let pip = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
    let brought = folder.join("onnxruntime").is_dir()
        || Command::new("python3").args(pip).arg(&folder).args(packages).status().is_ok_and(|status| status.success());
    brought.then_some(folder)
}

fn well(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}

/// b3sum, if it is there.
pub(crate) fn b3sum() -> Option<PathBuf> {
    found(&[home().join("b3sum/bin/b3sum")], "b3sum")
}

/// The first of these files that is there, else the program on the `PATH`.
fn found(places: &[PathBuf], name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).filter(|folder| !folder.ends_with("shims")).map(|folder| folder.join(name));
    places.iter().cloned().chain(on_path).find(|file| file.is_file())
}

/// flowrun, then the others.
pub(crate) fn tools(folder: &Path, jobs: usize) -> Vec<Tool> {
    let jobs = jobs.to_string();
    let tool = |name, program: Option<PathBuf>, args: &[&str]| Tool {
        name,
        words: program.map(|program| std::iter::once(program.into()).chain(args.iter().map(OsString::from)).collect()),
        // As the steps of flowrun have it: programs read what belongs to their language.
        variables: vec![("LANG", "C.UTF-8".into())],
    };
    let own = Some(PathBuf::from(env!("CARGO_BIN_EXE_flowrun")));
    let mut flowrun = tool("flowrun", own, &["run", "p.yaml", "--jobs", &jobs]);
    flowrun.variables.push(("FLOWRUN_CACHE", folder.join("cache").into()));
    let ninja = found(&[home().join("python/bin/ninja")], "ninja");
    let make = found(&[], "make");
    let doit = home().join("python/doit").is_dir().then(|| found(&[], "python3")).flatten();
    let mut doit = tool("doit", doit, &["-m", "doit", "--verbosity", "0"]);
    doit.variables.push(("PYTHONPATH", home().join("python").into()));
    let n2 = std::env::var_os("FLOWRUN_BENCH_N2").map(PathBuf::from);
    let many = ["-j", &jobs];
    vec![flowrun, tool("ninja", ninja, &many), tool("make", make, &many), doit, tool("n2", n2, &many)]
}

/// Who they are; says who is missing.
pub(crate) fn versions(tools: &[Tool]) -> Map<String, Json> {
    let mut versions: Map<String, Json> =
        tools.iter().map(|tool| (tool.name.to_owned(), tool.version().into())).collect();
    let b3sum = b3sum().and_then(|program| Command::new(program).arg("--version").output().ok());
    let b3sum = b3sum.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    versions.insert("b3sum".to_owned(), b3sum.into());
    for (name, _) in versions.iter().filter(|(_, version)| version.is_null()) {
        let remedy = if name == "n2" { "FLOWRUN_BENCH_N2 names its binary" } else { "`-- --install` brings it" };
        println!("{name} is not here, its column is empty: {remedy}");
    }
    versions
}
