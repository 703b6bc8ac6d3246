//! The verbs of `flowrun plugin` that need no compiler: what they show, what they refuse, and that nothing is written over.

mod support;

use std::path::{Path, PathBuf};

use support::Bed;

fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/built").join(name)
}

#[test]
fn those_that_come_with_flowrun_are_listed_and_shown_with_a_step_that_checks() {
    let bed = Bed::new("");
    let list = bed.flowrun(&["plugin", "list", "--json"]).ok().json();
    let uses: Vec<&str> = list.as_array().expect("list").iter().filter_map(|one| one["uses"].as_str()).collect();
    assert!(uses.contains(&"flowrun/table@1") && uses.len() >= 6, "{uses:?}");
    for uses in uses {
        let info = bed.flowrun(&["plugin", "info", uses, "--json"]).ok().json();
        assert_eq!(info["manifest"]["name"], uses.split('@').next().expect("name"));
        // The step that it shows is one that `check` takes, but for what only its author can know.
        let shown = bed.flowrun(&["plugin", "info", uses]).ok().stdout;
        let step = shown
            .split("A step\n")
            .nth(1)
            .expect("a step")
            .replace("STEP.OUTPUT", "sources.some")
            .replace("FILE", "made.csv");
        let step = step.replace(": …", ": {train: 0.8, test: 0.2}");
        bed.write("some", "");
        bed.write("p.yaml", &format!("flowrun: 1\nname: x\nsources: {{ some: {{ path: some }} }}\nsteps:\n{step}"));
        if !step.contains("filter: {") {
            bed.flowrun(&["check", "p.yaml"]).ok();
        }
    }
    bed.flowrun(&["plugin", "info", "flowrun/tabel@1"]).fails(2).says("did you mean `flowrun/table@1`?");
}

#[test]
fn a_new_plugin_is_whole_and_nothing_is_written_over() {
    let bed = Bed::new("");
    bed.flowrun(&["plugin", "new", "acme/blur"]).ok().says("flowrun plugin build blur");
    assert!(bed.read("blur/plugin.yaml").contains("name: acme/blur\n"));
    assert!(bed.path("blur/plugin.py").is_file());
    bed.flowrun(&["plugin", "check", "blur"]).ok();
    bed.flowrun(&["plugin", "new", "acme/blur"]).fails(2).says("`blur` is there already");
    bed.flowrun(&["plugin", "new", "Blur"]).fails(2).says("write OWNER/NAME");
    bed.flowrun(&["plugin", "test", "blur"]).fails(2).says("build it first: `flowrun plugin build blur`");
    bed.flowrun(&["plugin", "build", "."]).fails(2).says("it has no `plugin.yaml`");
    bed.write("blur/plugin.js", "");
    bed.flowrun(&["plugin", "check", "blur"]).fails(2).says("more than one source of a plugin: plugin.py, plugin.js");
}

#[test]
fn what_is_wrong_with_a_manifest_is_shown_at_its_line() {
    let bed = Bed::new("");
    bed.flowrun(&["plugin", "new", "acme/blur", "--lang", "c"]).ok();
    let text = bed.read("blur/plugin.yaml").replace("summary:", "sumary:").replace("type: string", "type: txt");
    bed.write("blur/plugin.yaml", &text);
    for words in [["check", "blur"], ["check", "blur/plugin.yaml"], ["build", "blur"], ["test", "blur"]] {
        let said = bed.flowrun(&["plugin", words[0], words[1]]).fails(2);
        said.says("blur/plugin.yaml:4:1").says("did you mean `summary`?");
    }
}

#[test]
fn a_component_of_another_tool_is_packed_with_its_manifest() {
    let bed = Bed::new("");
    bed.flowrun(&["plugin", "new", "acme/mine", "--lang", "c"]).ok();
    let upper = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shard/upper.wasm");
    std::fs::copy(&upper, bed.path("upper.wasm")).expect("copy");
    bed.flowrun(&["plugin", "check", "upper.wasm"]).fails(2).says("has no manifest").says("--from FILE");
    bed.flowrun(&["plugin", "build", "mine", "--from", "upper.wasm"]).ok();
    bed.flowrun(&["plugin", "check", "mine/mine.wasm"]).ok().says("acme/mine 0.1.0, a WASI command");
    bed.flowrun(&["plugin", "info", "mine"]).ok().says("uses: ./mine/mine.wasm").says("greeting");
    // It does something else than its case expects: that is a failure, and none that is written down as what is expected.
    let case = bed.read("mine/tests/greets/case.yaml");
    for args in [&["plugin", "test", "mine"][..], &["plugin", "test", "mine", "--bless"]] {
        bed.flowrun(args).fails(1).says("failed   greets").says("it failed: ");
    }
    assert_eq!(bed.read("mine/tests/greets/case.yaml"), case);
    assert!(bed.path("mine/tests/greets/out/greetings.txt").is_file());
    bed.write("mine/plugin.c", "int main() {}");
    bed.flowrun(&["plugin", "test", "mine"])
        .fails(1)
        .says("`mine/plugin.c` has changed since `mine/mine.wasm` was built");
    // One that has a manifest already is another's: it is not written over in silence.
    let table = built("table.wasm");
    let said = bed.flowrun(&["plugin", "build", "mine", "--from", &table.display().to_string()]).fails(2);
    said.says("flowrun/table");
    bed.write("text.wasm", "not one");
    bed.flowrun(&["plugin", "check", "text.wasm"]).fails(2).says("not WebAssembly");
    bed.flowrun(&["plugin", "info", "text.wasm"]).fails(2).says("not WebAssembly");
}
