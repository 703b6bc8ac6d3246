//! What a new plugin begins with: it builds, its case passes, and it greets.

use super::{Language, STEP_WIT};

/// A file of a new plugin.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its path in the plugin's folder.
    pub path: &'static str,
    /// Its text.
    pub text: String,
}

macro_rules! plugins {
    ($path:literal) => {
        include_str!(concat!("../../../../plugins/", $path))
    };
}

const MANIFEST: &str = plugins!("templates/plugin.yaml");
const CASE: [(&str, &str); 3] = [
    ("tests/greets/case.yaml", plugins!("templates/case/case.yaml")),
    ("tests/greets/in/names.txt", plugins!("templates/case/in/names.txt")),
    ("tests/greets/out/greetings.txt", plugins!("templates/case/out/greetings.txt")),
];
const PYTHON: [(&str, &str); 2] = [
    ("plugin.py", plugins!("templates/python/plugin.py")),
    ("flowrun_plugin.py", plugins!("templates/python/flowrun_plugin.py")),
];
const JAVASCRIPT: [(&str, &str); 2] =
    [("plugin.js", plugins!("templates/js/plugin.js")), ("flowrun.js", plugins!("templates/js/flowrun.js"))];
const C: [(&str, &str); 2] =
    [("plugin.c", plugins!("templates/c/plugin.c")), ("flowrun.h", plugins!("templates/c/flowrun.h"))];
const RUST: [(&str, &str); 7] = [
    ("Cargo.toml", plugins!("templates/rust/Cargo.toml.txt")),
    ("src/lib.rs", plugins!("templates/rust/plugin.rs")),
    ("sdk/Cargo.toml", plugins!("templates/rust/sdk.Cargo.toml.txt")),
    ("sdk/src/lib.rs", plugins!("sdk/src/lib.rs")),
    ("sdk/src/host.rs", plugins!("sdk/src/host.rs")),
    ("sdk/src/task.rs", plugins!("sdk/src/task.rs")),
    ("sdk/src/native.rs", plugins!("sdk/src/native.rs")),
];

/// The files of a new plugin called `OWNER/NAME`.
pub fn template(language: Language, name: &str) -> Vec<NewFile> {
    let word = name.rsplit('/').next().unwrap_or(name);
    let fill = |text: &str| {
        text.replace("{{name}}", name).replace("{{word}}", word).replace("{{summary}}", "Greets everyone by name")
    };
    let source: &[(&'static str, &'static str)] = match language {
        Language::Python => &PYTHON,
        Language::JavaScript => &JAVASCRIPT,
        Language::C => &C,
        Language::Rust => &RUST,
    };
    let mut files: Vec<NewFile> = [("plugin.yaml", MANIFEST)]
        .iter()
        .chain(source)
        .chain(&CASE)
        .map(|(path, text)| NewFile { path, text: fill(text) })
        .collect();
    if language == Language::Rust {
        // The interface lies in the crate's own folder there.
        let bindings = plugins!("sdk/src/bindings.rs").replace("\"../wit/v1\"", "\"wit\"");
        files.push(NewFile { path: "sdk/src/bindings.rs", text: bindings });
        files.push(NewFile { path: "sdk/wit/step.wit", text: STEP_WIT.to_owned() });
    }
    files.push(NewFile { path: ".gitignore", text: "*.wasm\n/target\n__pycache__/\n".to_owned() });
    files
}
