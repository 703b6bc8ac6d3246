//! Every rule of the language has a pipeline that breaks it, and exactly what flowrun says about it.
//!
//! `BLESS=1 cargo test --release --test invalid` writes the `.err` files anew; read the difference before it is committed.

use std::path::PathBuf;
use std::process::Command;

use flowrun_core::lang::finding::Rule;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/invalid")
}

fn said_about(rule: Rule) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_flowrun"))
        .args(["check", &format!("{}.yaml", rule.name())])
        .current_dir(folder())
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
        .output()
        .expect("flowrun starts");
    assert_eq!(output.status.code(), Some(2), "{} is not refused", rule.name());
    assert!(output.stdout.is_empty(), "{}: findings belong on stderr", rule.name());
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn each_rule_says_what_its_example_expects() {
    let mut wrong = Vec::new();
    for rule in Rule::ALL {
        let said = said_about(*rule);
        assert!(
            said.contains(&format!("[{}]", rule.name())),
            "{} is not found by its own example:\n{said}",
            rule.name()
        );
        let path = folder().join(format!("{}.err", rule.name()));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &said).expect("write");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if said != expected {
            wrong.push(format!("--- {}: expected\n{expected}\n--- said\n{said}", rule.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_is_no_example_without_a_rule() {
    for entry in std::fs::read_dir(folder()).expect("folder") {
        let path = entry.expect("entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("name").to_owned();
        if path.extension().is_some_and(|extension| extension == "wasm") || stem.ends_with(".plugin") {
            continue; // plugins that examples use
        }
        assert!(Rule::ALL.iter().any(|rule| rule.name() == stem), "{} belongs to no rule", path.display());
    }
}
