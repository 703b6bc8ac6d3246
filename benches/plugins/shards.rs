//! A step that is divided over the cores against the same step undivided, by the real binary: the plugin that the tests of `shard` have, over texts.
//!
//! Time on the clock is what dividing is for, so this wants a machine that nobody else uses; what it costs in processors holds on any.

use std::path::Path;

use crate::Setting;
use crate::measure::{Cost, Row, median};
use crate::steps::flowrun;

/// Texts, and bytes of each: some seconds of work.
const TEXTS: usize = 800;
const BYTES: usize = 200_000;

/// A project with a pipeline over texts; `shard` is a line of the step, or none.
fn project(folder: &Path, shard: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shard");
    std::fs::create_dir_all(folder.join("texts")).expect("a folder");
    std::fs::create_dir_all(folder.join(".flowrun")).expect("a folder");
    for file in ["upper.wasm", "upper.plugin.yaml"] {
        std::fs::copy(tests.join(file), folder.join(file)).expect("copied");
    }
    for number in 0..TEXTS {
        let line = format!("text number {number}, of many that are alike in most of what they say\n");
        let text = line.repeat(BYTES / line.len());
        std::fs::write(folder.join(format!("texts/{number}.md")), text).expect("written");
    }
    let pipeline = format!(
        "flowrun: 1\nname: texts\nsources: {{ texts: {{ path: texts }} }}\nsteps:\n  upper:\n    uses: ./upper.wasm\n{shard}    \
         inputs: {{ texts: sources.texts }}\n    outputs: {{ texts: dir, table: table.csv }}\n    values: [bytes]\n"
    );
    std::fs::write(folder.join("p.yaml"), pipeline).expect("written");
}

/// Measures it.
pub(crate) fn measure(setting: &Setting) -> Vec<Row> {
    let cache = setting.folder.join("cache");
    let mut costs: [Vec<Cost>; 2] = Default::default();
    let folders = [("whole", ""), ("parts", "    shard: true\n")].map(|(name, shard)| {
        let folder = setting.folder.join(name);
        project(&folder, shard);
        // The first brings the texts into the store, and compiles the plugin: neither is divided.
        flowrun(&folder, &cache, &[]);
        folder
    });
    // In turns: what else the machine does meets both.
    for _ in 0..setting.rounds {
        for (folder, costs) in folders.iter().zip(&mut costs) {
            costs.push(flowrun(folder, &cache, &["--force", "upper"]));
        }
    }
    let of = |kind: usize, of: fn(&Cost) -> f64| median(costs[kind].iter().map(of));
    let (whole, parts) = (of(0, |cost| cost.wall), of(1, |cost| cost.wall));
    vec![
        Row::new(format!("{TEXTS} texts in one step"), whole, "s"),
        Row::new("  with `shard: true`", parts, "s"),
        Row::new("  times as fast", whole / parts, "x").at_least(1.7),
        Row::new("  processors, to those of the undivided step", of(1, |cost| cost.cpu) / of(0, |cost| cost.cpu), "x"),
    ]
}
