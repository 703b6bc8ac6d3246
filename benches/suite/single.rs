//! Figures of flowrun alone: what is looked at at every keystroke, large plans, memory.

use std::path::Path;

use crate::Setting;
use crate::measure::{Cost, median, run};
use crate::table::{Goal, Line};

fn project(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder.join(".flowrun")).expect("a folder");
    std::fs::write(folder.join("p.yaml"), text).expect("written");
}

/// Runs flowrun with these words.
pub(crate) fn flowrun(setting: &Setting, folder: &Path, words: &[&str]) -> Cost {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flowrun"));
    command.args(words).current_dir(folder).env("FLOWRUN_CACHE", setting.folder.join("cache"));
    command.env_remove("FLOWRUN_HOME").env_remove("CI").stdin(std::process::Stdio::null());
    let said = |name| std::fs::File::create(folder.join(name)).expect("a file");
    run(command.stdout(said("stdout")).stderr(said("said")))
}

const THREE: &str = "flowrun: 1\nname: three\nparams: { column: { type: integer, default: 2, min: 1 } }\nsteps:\n  make:\n    \
    run: seq 100 > {{ outputs.table }}\n    outputs: { table: table.csv }\n  cut:\n    \
    run: cut -d, -f{{ params.column }} {{ inputs.table }} > {{ outputs.column }}\n    inputs: { table: make.table }\n    \
    outputs: { column: column.txt }\n  top:\n    run: sort {{ inputs.column }} | uniq -c > {{ outputs.top }}\n    \
    inputs: { column: cut.column }\n    outputs: { top: top.txt }\n";

/// `check` and `--version`.
pub(crate) fn small(setting: &Setting) -> Vec<Line> {
    let folder = setting.folder.join("small");
    project(&folder, THREE);
    let wall = |words: &[&str]| median((0..setting.rounds * 10).map(|_| flowrun(setting, &folder, words).wall * 1e3));
    vec![
        Line::new("check of 3 steps", wall(&["check", "p.yaml"]), "wall ms").goal(Some(Goal::AtMost(5.0))),
        Line::new("--version", wall(&["--version"]), "wall ms").goal(Some(Goal::AtMost(2.0))),
    ]
}

/// Plans of many steps, nothing of which was ever run.
pub(crate) fn plan(setting: &Setting) -> Vec<Line> {
    let steps = setting.sizes.plan;
    // Three lists, so long that as many steps come of them, or as few less as that comes.
    let side = (steps as f64 / 10.0).sqrt().max(1.0) as usize;
    let list = |length: usize| format!("[{}]", (0..length).map(|at| at.to_string()).collect::<Vec<_>>().join(", "));
    let (long, short) = (list(side), list(10));
    let script = "run: echo x > {{ outputs.made }}\n    outputs: { made: made.txt }\n";
    let head = "flowrun: 1\nname: many\nsteps:\n  light:\n    ";
    [
        (
            format!("plan of a matrix, {} steps", side * side * 10),
            format!("matrix: {{ a: {long}, b: {long}, c: {short} }}"),
        ),
        (format!("plan of a foreach, {steps} steps"), format!("foreach: \"{{{{ range({steps}) | list }}}}\"")),
    ]
    .into_iter()
    .enumerate()
    .flat_map(|(at, (what, fan_out))| {
        let folder = setting.folder.join(format!("plan-{at}"));
        project(&folder, &format!("{head}{fan_out}\n    {script}"));
        let costs: Vec<Cost> =
            (0..setting.rounds.min(3)).map(|_| flowrun(setting, &folder, &["plan", "p.yaml"])).collect();
        let of = |of: fn(&Cost) -> f64| median(costs.iter().map(of));
        [
            Line::new(&what, of(|cost| cost.wall), "wall s").goal(Some(Goal::AtMost(1.0))),
            Line::new(what, of(|cost| cost.peak) / 1e6, "MB").goal(Some(Goal::AtMost(500.0))),
        ]
    })
    .collect()
}

/// Memory over many shell steps, run once and found again.
pub(crate) fn memory(setting: &Setting) -> Vec<Line> {
    let steps = setting.sizes.steps;
    let folder = setting.folder.join("memory");
    let list = format!("\"{{{{ range({steps}) | list }}}}\"");
    let text = "run: echo {{ item }} > {{ outputs.made }}\n    outputs: { made: made.txt }";
    project(&folder, &format!("flowrun: 1\nname: many\nsteps:\n  light:\n    foreach: {list}\n    {text}\n"));
    let (first, again) = (flowrun(setting, &folder, &["run", "p.yaml"]), flowrun(setting, &folder, &["run", "p.yaml"]));
    let most = Some(Goal::AtMost(150.0));
    vec![
        Line::new(format!("memory, {steps} shell steps run"), first.peak / 1e6, "MB").goal(most),
        Line::new(format!("memory, {steps} shell steps found"), again.peak / 1e6, "MB").goal(most),
        Line::new(format!("{steps} shell steps run, each"), first.cpu * 1e3 / steps as f64, "CPU ms"),
        Line::new(format!("{steps} shell steps found, each"), again.cpu * 1e3 / steps as f64, "CPU ms"),
    ]
}
