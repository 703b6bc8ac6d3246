//! Graphs of small shell steps, beside make, ninja and doit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Setting;
use crate::dag::{Dag, edit, touch};
use crate::measure::{Cost, median, run};
use crate::peers::Tool;
use crate::table::{Goal, Line};

/// A file that was changed less than two seconds ago is read again whatever its times say, so projects rest before they are measured.
pub(crate) const REST: Duration = Duration::from_millis(2100);

/// Costs a tool, a round.
type Costs = Vec<(&'static str, Vec<Cost>)>;

/// Measures tools in turns, each round beginning with another one; `place` makes ready and says where.
///
/// What was written so far is written out before each, since flowrun waits at its end until all that is written is on the disk, and must not
/// wait for what others wrote.
fn turns(tools: &[Tool], rounds: usize, place: impl Fn(&Tool, usize) -> PathBuf) -> Costs {
    let mut costs: Costs = tools.iter().map(|tool| (tool.name, Vec::new())).collect();
    for round in 0..rounds {
        for at in (0..tools.len()).map(|at| (at + round) % tools.len()).filter(|at| tools[*at].is_there()) {
            let folder = place(&tools[at], round);
            let written_out = Command::new("sync").arg("--file-system").arg(&folder).status();
            assert!(written_out.is_ok_and(|status| status.success()), "`sync` failed");
            costs[at].1.push(run(&mut tools[at].command(&folder)));
        }
    }
    costs
}

/// A project a tool that is up to date, has rested and was looked at twice.
fn up_to_date(setting: &Setting, tools: &[Tool], dag: &Dag, name: &str) -> PathBuf {
    let folder = setting.folder.join(name);
    let present = || tools.iter().filter(|tool| tool.is_there()).map(|tool| (tool, folder.join(tool.name)));
    for (tool, folder) in present() {
        dag.write(&folder);
        run(&mut tool.command(&folder));
    }
    std::thread::sleep(REST);
    for (tool, folder) in present().chain(present()) {
        run(&mut tool.command(&folder));
    }
    folder
}

/// Processors and time on the clock, with goals by the ratio to `base`: the median of each round's.
fn told(what: &str, costs: &Costs, base: &str, cpu: Option<f64>, wall: Option<f64>) -> Vec<Line> {
    let line = |of: fn(&Cost) -> f64, unit, most: Option<f64>| {
        let each = |name: &str| {
            costs.iter().find(|(known, costs)| *known == name && !costs.is_empty()).map(|(_, costs)| costs)
        };
        let own = each("flowrun").expect("flowrun is there");
        let ratio = each(base).map(|base| median(own.iter().zip(base).map(|(own, base)| of(own) / of(base))));
        let begun = Line::new(what, median(own.iter().map(of)) * 1e3, unit);
        let others = costs.iter().filter(|(name, _)| *name != "flowrun");
        others
            .fold(begun, |line, (name, _)| line.beside(name, each(name).map(|all| median(all.iter().map(of)) * 1e3)))
            .ratio(ratio)
            .goal(most.map(Goal::AtMost))
    };
    vec![line(|cost| cost.cpu, "CPU ms", cpu), line(|cost| cost.wall, "wall ms", wall)]
}

/// Nothing to do, 1 -> 500 -> 1.
pub(crate) fn no_op(setting: &Setting) -> Vec<Line> {
    let wide = setting.sizes.wide;
    nothing_to_do(setting, &Dag::wide(wide), "no-op", &format!("no-op, 1 -> {wide} -> 1"), setting.rounds * 3)
}

/// Nothing to do, 5,000 steps that know nothing of each other.
pub(crate) fn flat(setting: &Setting) -> Vec<Line> {
    let flat = setting.sizes.flat;
    nothing_to_do(setting, &Dag::flat(flat), "flat", &format!("no-op, {flat} independent steps"), setting.rounds)
}

/// flowrun where it must look at every step by itself, as after any change: what it could say again is taken away.
const LOOKING: &str = "looking";

fn nothing_to_do(setting: &Setting, dag: &Dag, name: &str, what: &str, rounds: usize) -> Vec<Line> {
    let mut tools = setting.tools.clone();
    tools.push(tools[0].named(LOOKING));
    let folder = up_to_date(setting, &tools, dag, name);
    let mut costs = turns(&tools, rounds, |tool, _| {
        let folder = folder.join(tool.name);
        if tool.name == LOOKING {
            std::fs::remove_dir_all(folder.join(".flowrun/v1/repeats")).expect("what was left");
        }
        folder
    });
    [tools[0].name, LOOKING].iter().for_each(|name| assert_nothing_ran(&folder.join(name)));
    let (_, looking) = costs.pop().expect("the last tool's");
    let mut lines = told(what, &costs, "ninja", Some(1.5), None);
    costs[0].1 = looking;
    lines.extend(told(&format!("{what}, every step looked at"), &costs, "ninja", None, None));
    lines
}

/// Every input has a new time and the content that it had. Measured by flowrun's own no-op: others run all again.
pub(crate) fn touched(setting: &Setting) -> Vec<Line> {
    let wide = setting.sizes.wide;
    let mut tools = setting.tools.clone();
    tools.push(tools[0].named("own no-op"));
    let folder = up_to_date(setting, &tools, &Dag::wide(wide), "touched");
    let costs = turns(&tools, setting.rounds, |tool, _| {
        let folder = folder.join(tool.name);
        (0..=wide).filter(|_| tool.name != "own no-op").for_each(|source| touch(&folder, source));
        folder
    });
    assert_nothing_ran(&folder.join("flowrun"));
    told(&format!("{wide} inputs touched"), &costs, "own no-op", Some(2.0), None)
}

/// One input of 500 has a new content: its step and the last run.
pub(crate) fn edited(setting: &Setting) -> Vec<Line> {
    let wide = setting.sizes.wide;
    let folder = up_to_date(setting, &setting.tools, &Dag::wide(wide), "edited");
    let costs = turns(&setting.tools, setting.rounds * 2, |tool, round| {
        let folder = folder.join(tool.name);
        edit(&folder, 1 + round % wide, 1 + round);
        folder
    });
    told(&format!("1 of {wide} inputs edited"), &costs, "ninja", Some(1.5), None)
}

/// Everything has to run, in a project of its own each time: nothing is removed before the end, since that makes later files slow.
fn all_runs(setting: &Setting, name: &str, dag: &Dag) -> Costs {
    let place = |tool: &Tool, round: usize| -> PathBuf {
        let folder = setting.folder.join(format!("{name}-{}-{round}", tool.name));
        dag.write(&folder);
        folder
    };
    let costs = turns(&setting.tools, setting.rounds, place);
    (0..setting.rounds).for_each(|round| assert_all_ran(&setting.folder.join(format!("{name}-flowrun-{round}"))));
    costs
}

/// What flowrun said last: so many steps, and how they ended.
fn verdict(folder: &Path) -> String {
    let said = std::fs::read_to_string(folder.join("said")).expect("what flowrun said");
    said.lines().rfind(|line| line.starts_with("suite: ")).expect("a verdict").to_owned()
}

fn assert_all_ran(folder: &Path) {
    let verdict = verdict(folder);
    assert!(verdict.contains(" ran in ") && !verdict.contains("cached"), "{verdict}");
}

fn assert_nothing_ran(folder: &Path) {
    let verdict = verdict(folder);
    assert!(verdict.contains(" cached in ") && !verdict.contains(" ran"), "{verdict}");
}

/// The first run, 1 -> 500 -> 1.
pub(crate) fn first(setting: &Setting) -> Vec<Line> {
    let wide = setting.sizes.wide;
    let costs = all_runs(setting, "first", &Dag::wide(wide));
    told(&format!("first run, 1 -> {wide} -> 1"), &costs, "ninja", Some(1.3), Some(1.2))
}

/// The first run of steps that wait for each other.
pub(crate) fn chain(setting: &Setting) -> Vec<Line> {
    let chain = setting.sizes.chain;
    let costs = all_runs(setting, "chain", &Dag::chain(chain));
    told(&format!("first run, chain of {chain}"), &costs, "ninja", Some(1.3), None)
}
