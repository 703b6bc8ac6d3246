//! What keeps the house in order: generated files are what the types say, and arrows point down.

mod support;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
    found
}

/// `BLESS=1 cargo test --release --test house` writes generated files anew.
fn is_generated(path: &str, text: &str) {
    let path = root().join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("write");
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        text,
        "{} is not what the types say",
        path.display()
    );
}

#[test]
fn the_schemas_are_generated_from_the_types() {
    let said = support::Bed::new("").flowrun(&["schema"]).ok();
    is_generated("schemas/pipeline.schema.json", &said.stdout);
    let said = support::Bed::new("").flowrun(&["schema", "--plugin"]).ok();
    is_generated("schemas/plugin.schema.json", &said.stdout);
    let said = support::Bed::new("").flowrun(&["schema", "--lock"]).ok();
    is_generated("schemas/lock.schema.json", &said.stdout);
}

#[test]
fn the_reference_and_the_exit_codes_are_generated_too() {
    let said = support::Bed::new("").flowrun(&["schema", "--markdown"]).ok();
    is_generated("docs/reference.md", &said.stdout);
    let said = support::Bed::new("").flowrun(&["exit-codes"]).ok();
    is_generated("docs/exit-codes.md", &format!("# Exit codes\n\n```text\n{}\n```\n", said.stdout.trim_end()));
}

/// Else the first command of the README would pin other plugins than were reviewed, and refuse to run where `CI` is set.
#[test]
fn the_lock_of_plantdoc_has_the_plugins_that_flowrun_brings() {
    let lock = std::fs::read_to_string(root().join("pipelines/plantdoc.lock")).expect("a lock");
    let pins = flowrun_core::stored::lock::Pins::parse(&lock).expect("it is sound");
    let index = std::fs::read_to_string(root().join("plugins/built/index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let brought = |name: &str| index["plugins"].as_array()?.iter().find(|plugin| plugin["name"] == name);
    assert!(pins.plugins.len() >= 4, "{:?}", pins.plugins);
    for pin in pins.plugins.values() {
        let plugin = brought(&pin.name).unwrap_or_else(|| panic!("{} comes with flowrun", pin.name));
        assert_eq!(plugin["sha256"], *pin.sha256, "{}: `flowrun lock pipelines/plantdoc.yaml` is due", pin.name);
    }
}

#[test]
fn core_decides_and_does_nothing() {
    for path in sources(&root().join("runner/core/src")) {
        let text = std::fs::read_to_string(&path).expect("read");
        for word in [
            "std::fs",
            "std::process",
            "std::net",
            "std::thread",
            "tokio",
            "SystemTime::now",
            "Instant::now",
            "println!",
        ] {
            assert!(
                !text.contains(word),
                "{} holds `{word}`: that is the engine's or the command line's",
                path.display()
            );
        }
    }
}

#[test]
fn the_engine_never_prints() {
    for path in sources(&root().join("runner/engine/src")) {
        // The detector's child speaks to its parent over its own streams; guests in test data are other programs.
        let text = path.display().to_string();
        if text.contains("/onnx/") || text.contains("/testdata/") || text.contains("/process/") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("read");
        let body = source.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["println!", "eprintln!", "print!("] {
            assert!(!body.contains(word), "{} holds `{word}`: reporters read events", path.display());
        }
    }
}
