//! A detector over a folder of pictures, beside the same in Python: onnxruntime, Pillow and numpy.
//!
//! The model is PlantDoc's, trained here as briefly as its profile `quick` does; the pictures are those of its test, each many times under other
//! names. Both have the same version of ONNX Runtime, batches and threads. flowrun's figure has all in it that a run does around the step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flowrun_engine::fetch::ONNXRUNTIME;
use serde_json::Value;

use crate::Setting;
use crate::measure::{median, run};
use crate::peers;
use crate::single::flowrun;
use crate::table::{Goal, Line};

/// Pictures at a time: flowrun's own default.
const BATCH: usize = 16;

/// Pictures a second, and the session's seconds.
pub(crate) fn measure(setting: &Setting) -> Vec<Line> {
    let folder = setting.folder.join("predict");
    let count = prepare(setting, &folder);
    let step = ["run", "p.yaml", "--force", "predict"];
    flowrun(setting, &folder, &["run", "p.yaml"]);
    let python = peers::python_with(&[&format!("onnxruntime=={ONNXRUNTIME}"), "pillow", "numpy"]);
    let (mut own, mut theirs, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.rounds.min(5) {
        own.push(count as f64 / flowrun(setting, &folder, &step).wall);
        let Some(python) = &python else { continue };
        theirs.push(count as f64 / run(peer(python, setting, &folder).stdout(Stdio::null())).wall);
        let said = peer(python, setting, &folder).arg("session").output().expect("python3 starts");
        sessions.push(serde_json::from_slice::<Value>(&said.stdout).expect("seconds"));
    }
    let beside = (!theirs.is_empty()).then(|| median(theirs.iter().copied()));
    let ratio = beside.map(|_| median(own.iter().zip(&theirs).map(|(own, other)| own / other)));
    let first = Line::new(format!("a detector over {count} pictures"), median(own), "pictures/s");
    let mut lines = vec![first.beside("python", beside).ratio(ratio).goal(Some(Goal::AtLeast(2.0)))];
    if python.is_some() {
        same_work(&folder, python.as_deref(), setting);
        let of = |name: &str| median(sessions.iter().map(|one| one[name].as_f64().expect("seconds")));
        let line = Line::new("its session alone, with flowrun's options", of("flowrun"), "s");
        let ratio = of("flowrun") / of("default");
        lines.push(line.beside("python", Some(of("default"))).ratio(Some(ratio)).goal(Some(Goal::AtMost(1.03))));
    }
    lines
}

fn peer(python: &Path, setting: &Setting, folder: &Path) -> Command {
    let mut command = Command::new("python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/suite/predict.py");
    command.arg(script).args(["model.onnx", "images"]).arg(setting.jobs.to_string()).arg(BATCH.to_string());
    command.current_dir(folder).env("PYTHONPATH", python).stdin(Stdio::null());
    command
}

/// A project with the model and pictures; how many there are.
fn prepare(setting: &Setting, folder: &Path) -> usize {
    let trained = setting.folder.join("plantdoc");
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")), &trained);
    fs::create_dir_all(folder.join("images")).expect("a folder");
    for words in [
        &["run", "plantdoc.yaml", "--profile", "quick"][..],
        &["get", "@latest", "train.model", "--output", "../predict/model.onnx"],
    ] {
        flowrun(setting, &trained, words);
    }
    let test = trained.join("data/plantdoc-sample/test");
    let mut pictures: Vec<PathBuf> = fs::read_dir(test).expect("there").flatten().map(|entry| entry.path()).collect();
    pictures.retain(|path| path.extension().is_some_and(|kind| kind == "jpg"));
    pictures.sort();
    for at in 0..setting.sizes.pictures {
        let from = &pictures[at % pictures.len()];
        fs::copy(from, folder.join(format!("images/{at:05}.jpg"))).expect("copied");
    }
    let text = format!(
        "flowrun: 1\nname: predict\nsources: {{ model: {{ path: model.onnx }}, images: {{ path: images }} }}\nsteps:\n  predict:\n    \
         onnx: {{ score: 0.01, iou: 0.5, max: 100, batch: {BATCH} }}\n    inputs: {{ model: sources.model, images: sources.images }}\n    \
         outputs: {{ detections: detections.json }}\n    resources: {{ cpu: {} }}\n",
        setting.jobs
    );
    fs::write(folder.join("p.yaml"), text).expect("written");
    setting.sizes.pictures
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("there").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("known").is_dir() {
            true if entry.file_name() == ".flowrun" => {}
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// Both must have found as much, but for what two decoders of JPEG differ in.
fn same_work(folder: &Path, python: Option<&Path>, setting: &Setting) {
    let said = peer(python.expect("there"), setting, folder).output().expect("python3 starts");
    let theirs =
        serde_json::from_slice::<Value>(&said.stdout).expect("a number")["detections"].as_f64().expect("a number");
    flowrun(setting, folder, &["get", "@latest", "predict.detections", "--output", "own.json"]);
    let own: Value = serde_json::from_slice(&fs::read(folder.join("own.json")).expect("there")).expect("JSON");
    let images = own["images"].as_array().expect("a list").iter();
    let own: usize = images.map(|image| image["detections"].as_array().expect("a list").len()).sum();
    println!("detections: flowrun {own}, python {theirs}");
    assert!((own as f64 - theirs).abs() <= 0.02 * theirs, "they did not do the same");
}
