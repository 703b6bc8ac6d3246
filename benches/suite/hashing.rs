//! Contents that are seen for the first time, beside b3sum, and seen again, beside looking at the files' times.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Setting;
use crate::builds::REST;
use crate::measure::{median, run};
use crate::peers;
use crate::single::flowrun;
use crate::table::{Goal, Line};

/// One large file, and many small ones.
pub(crate) fn measure(setting: &Setting) -> Vec<Line> {
    let (mib, files) = (setting.sizes.mib, setting.sizes.files);
    let (large, many, tiny) = (setting.folder.join("large"), setting.folder.join("many"), setting.folder.join("tiny"));
    fill(&large, 1, mib << 20);
    fill(&many, files, 16 << 10);
    fill(&tiny, 1, 1);
    std::thread::sleep(REST);
    let mut lines = vec![first(setting, &large, mib, format!("first hash of {mib} MiB in a file"))];
    lines.push(first(setting, &many, files / 64, format!("first hash of {files} files of 16 KiB")));
    flowrun(setting, &tiny, &PLAN);
    lines.extend(again(setting, &large, &many, &tiny));
    lines
}

const PLAN: [&str; 2] = ["plan", "p.yaml"];

/// A project with files of noise, which a step wants to read.
fn fill(folder: &Path, files: usize, bytes: usize) {
    std::fs::create_dir_all(folder.join("data")).expect("a folder");
    std::fs::create_dir_all(folder.join(".flowrun")).expect("a folder");
    let text = "flowrun: 1\nname: hashing\nsources: { all: { path: data } }\nsteps:\n  \
        read: { run: \"ls {{ inputs.all }} > {{ outputs.made }}\", inputs: { all: sources.all }, outputs: { made: made.txt } }\n";
    std::fs::write(folder.join("p.yaml"), text).expect("written");
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; bytes.min(1 << 20)];
    for at in 0..files {
        let mut file = File::create(folder.join(format!("data/{at:06}"))).expect("a file");
        for _ in 0..bytes / block.len() {
            block.chunks_mut(8).for_each(|chunk| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.copy_from_slice(&noise.to_le_bytes()[..chunk.len()]);
            });
            file.write_all(&block).expect("written");
        }
    }
}

/// MiB a second of flowrun, with an empty store each time, and of b3sum with as many threads.
fn first(setting: &Setting, folder: &Path, mib: usize, what: String) -> Line {
    let mut rates: (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let rate = |wall: f64| mib as f64 / wall;
    for _ in 0..setting.rounds {
        std::fs::remove_dir_all(folder.join(".flowrun")).expect("removed");
        std::fs::create_dir(folder.join(".flowrun")).expect("a folder");
        rates.0.push(rate(flowrun(setting, folder, &PLAN).wall));
        if let Some(program) = peers::b3sum() {
            rates.1.push(rate(b3sum(&program, setting.jobs, folder)));
        }
    }
    let to = (!rates.1.is_empty()).then(|| median(rates.0.iter().zip(&rates.1).map(|(own, other)| own / other)));
    let other = to.map(|_| median(rates.1));
    Line::new(what, median(rates.0), "MiB/s").beside("b3sum", other).ratio(to).goal(Some(Goal::AtLeast(0.9)))
}

fn b3sum(program: &Path, threads: usize, folder: &Path) -> f64 {
    let mut names: Vec<_> =
        folder.join("data").read_dir().expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut command = Command::new(program);
    command.arg("--num-threads").arg(threads.to_string()).args(names).current_dir(folder.join("data"));
    run(command.stdin(Stdio::null()).stdout(Stdio::null())).wall
}

/// Milliseconds to list a folder and look at each file's times.
fn looked_at(folder: &Path) -> f64 {
    let began = Instant::now();
    let sizes =
        folder.join("data").read_dir().expect("a folder").flatten().map(|entry| entry.metadata().expect("found").len());
    assert!(sizes.sum::<u64>() > 0);
    began.elapsed().as_secs_f64() * 1e3
}

/// What it takes to find all as it was, beyond what one tiny file takes.
fn again(setting: &Setting, large: &Path, many: &Path, tiny: &Path) -> Vec<Line> {
    let mut rows: Vec<[f64; 4]> = Vec::new();
    for _ in 0..setting.rounds * 3 {
        let plan = |folder| flowrun(setting, folder, &PLAN).cpu * 1e3;
        let (large, many_took, tiny) = (plan(large), plan(many), plan(tiny));
        rows.push([large, tiny, many_took - tiny, looked_at(many)]);
    }
    let column = |at: usize| median(rows.iter().map(|row| row[at]));
    let ratio = |at: usize| Some(median(rows.iter().map(|row| row[at] / row[at + 1])));
    let most = Some(Goal::AtMost(1.5));
    vec![
        Line::new("the large file again", column(0), "CPU ms")
            .beside("tiny file", Some(column(1)))
            .ratio(ratio(0))
            .goal(most),
        Line::new("the small files again", column(2), "CPU ms")
            .beside("stat", Some(column(3)))
            .ratio(ratio(2))
            .goal(most),
    ]
}
