//! The real binary on a pipeline of many light steps: from an empty store, and when all is there.
//!
//! The plugin is as small as one can be, so what is measured is what flowrun does around it: key, look-up, claim, entry, history, record, events. It is
//! compiled before, as it is after the first run of any pipeline. The stores of all rounds stay until the end.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Setting;
use crate::measure::{Cost, Row, median, run};

/// The component whose `run` gives `{"ok":1}`.
pub(crate) fn component() -> Vec<u8> {
    let text = include_str!("../../runner/engine/src/wasm/testdata/step.wat");
    let body = "(call $ok (i32.const 1024) (i32.const 8))";
    wat::parse_str(text.replace("VERSION", "1.0.0").replace("BODY", body)).expect("sound WAT")
}

/// A pipeline that runs the component for each item of `list`.
fn pipeline(list: &str) -> String {
    format!(
        "flowrun: 1\nname: many\nparams:\n  items: {{ type: list, default: [0] }}\nsteps:\n  light:\n    foreach: \"{list}\"\n    \
         uses: ./step.wasm\n    with: {{ item: \"{{{{ item }}}}\" }}\n    values: [ok]\n"
    )
}

fn project(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder.join(".flowrun")).expect("a folder");
    std::fs::write(folder.join("step.wasm"), component()).expect("written");
    std::fs::write(folder.join("p.yaml"), text).expect("written");
}

/// Runs the pipeline of a project.
pub(crate) fn flowrun(folder: &Path, cache: &Path, more: &[&str]) -> Cost {
    let said = File::create(folder.join("said")).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowrun"));
    command
        .args(["run", "p.yaml"])
        .args(more)
        .current_dir(folder)
        .env("FLOWRUN_CACHE", cache)
        .env_remove("FLOWRUN_HOME")
        .env_remove("CI");
    run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said))
}

/// Measures it.
pub(crate) fn measure(setting: &Setting) -> Vec<Row> {
    let Setting { folder, rounds, steps } = setting;
    let cache = folder.join("cache");
    let first = folder.join("first");
    project(&first, &pipeline("{{ [0] }}"));
    let (compiling, one) = (flowrun(&first, &cache, &[]), flowrun(&first, &cache, &[]));
    let mut rows = vec![
        Row::new("a first step, its component not compiled", compiling.wall * 1e3, "ms"),
        Row::new("the same again", one.wall * 1e3, "ms"),
    ];
    let items: Vec<String> = (0..*steps).map(|item| item.to_string()).collect();
    let lists = [
        ("a range", pipeline(&format!("{{{{ range({steps}) | list }}}}"))),
        ("a param", pipeline("{{ params.items }}").replace("[0]", &format!("[{}]", items.join(", ")))),
    ];
    for (from, text) in lists {
        let mut costs = Vec::new();
        for round in 0..*rounds {
            let project_folder = folder.join(format!("{from}-{round}"));
            project(&project_folder, &text);
            costs.push((flowrun(&project_folder, &cache, &[]), flowrun(&project_folder, &cache, &[])));
        }
        rows.extend(told(*steps, from, &costs));
    }
    rows
}

fn told(steps: usize, from: &str, costs: &[(Cost, Cost)]) -> Vec<Row> {
    let cold = |of: fn(&Cost) -> f64| median(costs.iter().map(|(cold, _)| of(cold)));
    let again = |of: fn(&Cost) -> f64| median(costs.iter().map(|(_, again)| of(again)));
    let each = 1e6 / steps as f64;
    vec![
        Row::new(format!("{steps} steps over {from}, empty store"), cold(|cost| cost.wall), "s").at_most(3.0),
        Row::new("  processors, a step", cold(|cost| cost.cpu) * each, "us").at_most(600.0),
        Row::new("  memory at its fullest", cold(|cost| cost.peak) / 1e6, "MB").at_most(150.0),
        Row::new("  again, nothing to do", again(|cost| cost.wall), "s").at_most(1.0),
        Row::new("  processors, a step", again(|cost| cost.cpu) * each, "us"),
        Row::new("  memory at its fullest", again(|cost| cost.peak) / 1e6, "MB").at_most(150.0),
    ]
}
