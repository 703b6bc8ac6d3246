//! One small plugin in four languages: made, built, tried, and the same bytes from all of them through one pipeline.
//!
//! The compilers come from the registries, so this takes a minute the first time. Rust's is the user's own; where none has the target
//! `wasm32-wasip2`, `plugins/toolchain.sh` makes one.

mod support;

use std::path::Path;
use std::process::Command;

use support::Bed;

const LANGUAGES: [(&str, &str); 4] = [("python", "Python"), ("js", "JavaScript"), ("c", "C"), ("rust", "Rust")];

/// A step in every language over the same names.
fn pipeline(languages: &[(&str, &str)]) -> String {
    let mut text = "flowrun: 1\nname: languages\nsources:\n  names: { path: names.txt }\nsteps:\n".to_owned();
    for (lang, _) in languages {
        text += &format!(
            "  greet_{lang}:\n    uses: ./{lang}/greet.wasm\n    inputs: {{ names: sources.names }}\n    \
             with: {{ greeting: 'Grüß Gott, \"é\\\"' }}\n    outputs: {{ greetings: greetings.txt }}\n    values: [count]\n"
        );
    }
    text
}

#[test]
fn the_same_plugin_in_four_languages_makes_the_same_bytes() {
    let languages: Vec<(&str, &str)> = LANGUAGES.into_iter().filter(|(lang, _)| can_be_built(lang)).collect();
    let bed = Bed::new(&pipeline(&languages));
    // What languages do not agree on by themselves: blanks, line ends, letters beyond ASCII, quotes, a last line without an end.
    bed.write("names.txt", "  Ada\r\nGrace Ünïcode 🌿\n\n   \nwith \"quotes\" and \\ and %s\nlast");
    for (lang, language) in &languages {
        bed.flowrun(&["plugin", "new", "acme/greet", "--lang", lang, "--dir", lang]).ok();
        bed.flowrun(&["plugin", "build", lang]).ok();
        // The same source is the same file: what uses it stays cached.
        let built = std::fs::read(bed.path(&format!("{lang}/greet.wasm"))).expect("built");
        bed.flowrun(&["plugin", "build", lang]).ok();
        assert!(built == std::fs::read(bed.path(&format!("{lang}/greet.wasm"))).expect("built"), "{lang}");
        let tried = bed.flowrun(&["plugin", "test", lang]).ok();
        assert!(tried.stderr.contains("1 case: all as expected"), "{lang}: {}", tried.stderr);
        let checked = bed.flowrun(&["plugin", "check", lang]).ok();
        assert!(checked.stdout.contains(&format!("acme/greet 0.1.0, a plugin in {language}, 0 problems")));
        // A case that expects something else fails, and says what differs.
        let expected = format!("{lang}/tests/greets/out/greetings.txt");
        bed.write(&expected, "good morning Ada\ngood evening Grace\n");
        let tried = bed.flowrun(&["plugin", "test", lang]);
        assert_eq!(tried.code, 1, "{lang}");
        assert!(tried.stdout.contains("-good evening Grace"), "{lang}: {}", tried.stdout);
    }
    bed.flowrun(&["run", "p.yaml"]).ok();
    let made = bed.made(&bed.store());
    let of = |lang: &str, what: &str| made[&format!("greet_{lang}.{what}")].clone();
    for (lang, _) in &languages {
        assert_eq!(of(lang, "greetings"), of("python", "greetings"), "{lang}");
        assert_eq!(of(lang, "values"), "{\"count\":4}");
    }
    // What they do not understand, each says in its own way, but none ends well.
    bed.write("names.txt", "\n\n");
    for (lang, _) in &languages {
        let said = bed.flowrun(&["run", "p.yaml", "--only", &format!("greet_{lang}")]);
        assert_eq!(said.code, 1, "{lang}: {}", said.stderr);
        assert!(said.stderr.contains("no names in the file"), "{lang}: {}", said.stderr);
    }
}

/// Whether what a language needs of the user's own is there: npm, and a Rust compiler for plugins, which is made as `plugins/build.sh` does.
/// The others bring all they need.
fn can_be_built(lang: &str) -> bool {
    let (mut command, what) = match lang {
        "js" => (Command::new("npm"), "npm is not there"),
        "rust" => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/build.sh");
            (Command::new(script), "no compiler has the target wasm32-wasip2")
        }
        _ => return true,
    };
    command.arg(if lang == "js" { "--version" } else { "--compiler" });
    let there = command.output().is_ok_and(|output| output.status.success());
    if !there {
        support::skip(&format!("a plugin in {lang}"), what);
    }
    there
}
