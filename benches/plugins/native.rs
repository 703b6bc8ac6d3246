//! The same plugin as WebAssembly and as native code, on the same data: what the sandbox costs a step that computes.
//!
//! The native program is the plugin's `examples/NAME-native.rs`, called with `CONFIG IN_NAME=PATH... -- OUT_NAME=PATH...`. Its start counts for it, the
//! start of a guest for that.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flowrun_engine::wasm::{Place, WasmHost};
use tokio_util::sync::CancellationToken;

use crate::Setting;
use crate::calls::job;
use crate::measure::{Row, median, own_cpu, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How much longer than native code WebAssembly may take.
const GOAL: f64 = 1.6;

/// What one plugin is given.
struct Case {
    plugin: &'static str,
    config: &'static str,
    inputs: Vec<(&'static str, PathBuf)>,
    outputs: Vec<(&'static str, &'static str)>,
}

/// Measures every plugin that has a native program.
pub(crate) fn measure(setting: &Setting) -> Vec<Row> {
    let bench = Bench {
        host: WasmHost::new(&setting.folder.join("compiled")).expect("a host"),
        runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        setting,
    };
    let dataset = bench.checked();
    let (truth, detections) = detections(&setting.folder.join("detected"));
    let augment = Case {
        plugin: "boxes-augment",
        config: r#"{"copies": 2}"#,
        inputs: vec![("dataset", dataset)],
        outputs: vec![("dataset", "dir")],
    };
    let evaluate = Case {
        plugin: "coco-eval",
        config: "{}",
        inputs: vec![("dataset", truth), ("detections", detections)],
        outputs: vec![("report", "evaluation.json")],
    };
    [augment, evaluate].iter().flat_map(|case| bench.compare(case)).collect()
}

struct Bench<'a> {
    host: WasmHost,
    runtime: tokio::runtime::Runtime,
    setting: &'a Setting,
}

impl Bench<'_> {
    /// The sample of this repository, as `boxes-check` makes a data set of it.
    fn checked(&self) -> PathBuf {
        let sample = Path::new(ROOT).join("pipelines/data/plantdoc-sample");
        let case = Case {
            plugin: "boxes-check",
            config: "{}",
            inputs: vec![("dataset", sample)],
            outputs: vec![("dataset", "dir"), ("report", "findings.json")],
        };
        self.guest(&case, "checked").1.join("out/dataset")
    }

    /// Runs the component once. Seconds of processors, and the step's folder.
    fn guest(&self, case: &Case, name: &str) -> (f64, PathBuf) {
        let bytes = std::fs::read(Path::new(ROOT).join("plugins/built").join(format!("{}.wasm", case.plugin)));
        let folder = self.setting.folder.join(name);
        let mut job = job(&folder, &bytes.expect("it is built"));
        job.config = case.config.to_owned();
        for (input, path) in &case.inputs {
            let place = input_path(input, path);
            copy(path, &job.dir.join(&place));
            job.inputs.push(Place::new(*input, place));
        }
        std::fs::create_dir_all(job.dir.join("out")).expect("a folder");
        for (output, kind) in &case.outputs {
            let place = if *kind == "dir" { format!("out/{output}") } else { format!("out/{kind}") };
            if *kind == "dir" {
                std::fs::create_dir(job.dir.join(&place)).expect("a folder");
            }
            job.outputs.push(Place::new(*output, place));
        }
        let (say, mut heard) = tokio::sync::mpsc::channel(256);
        let began = own_cpu();
        self.runtime.block_on(async {
            let hear = async { while heard.recv().await.is_some() {} };
            let stop = CancellationToken::new();
            let work = async {
                let ended = self.host.run(&job, &say, &stop).await;
                drop(say);
                ended
            };
            tokio::join!(work, hear).0.unwrap_or_else(|failure| panic!("{}: {}", case.plugin, failure.message))
        });
        (own_cpu() - began, job.dir)
    }

    fn compare(&self, case: &Case) -> Vec<Row> {
        let program = program(case.plugin);
        // The first compiles it.
        self.guest(case, &format!("{}-first", case.plugin));
        let (mut wasm, mut native) = (Vec::new(), Vec::new());
        for round in 0..self.setting.rounds {
            let (cpu, dir) = self.guest(case, &format!("{}-wasm-{round}", case.plugin));
            wasm.push(cpu);
            native.push(self.native(case, &program, &dir));
        }
        let (wasm, native) = (median(wasm), median(native));
        vec![
            Row::new(format!("{}, WebAssembly: processors", case.plugin), wasm * 1e3, "ms"),
            Row::new("  native", native * 1e3, "ms"),
            Row::new("  WebAssembly to native", wasm / native, "x").at_most(GOAL),
        ]
    }

    /// Runs the native program on what the guest was given. Seconds of processors.
    fn native(&self, case: &Case, program: &Path, dir: &Path) -> f64 {
        let out = dir.join("native");
        std::fs::create_dir(&out).expect("a folder");
        let mut command = Command::new(program);
        command.arg(case.config).stdout(Stdio::null()).stderr(Stdio::null());
        command.args(case.inputs.iter().map(|(name, path)| {
            let path = dir.join(input_path(name, path));
            format!("{name}={}", path.display())
        }));
        command.arg("--").args(case.outputs.iter().map(|(name, kind)| {
            let path = out.join(if *kind == "dir" { name } else { kind });
            if *kind == "dir" {
                std::fs::create_dir(&path).expect("a folder");
            }
            format!("{name}={}", path.display())
        }));
        run(&mut command).cpu
    }
}

fn input_path(name: &str, path: &Path) -> String {
    match path.file_name().filter(|_| path.is_file()) {
        Some(file) => format!("in/{name}/{}", file.to_string_lossy()),
        None => format!("in/{name}"),
    }
}

/// The plugin's native program, built.
fn program(plugin: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("native");
    let name = format!("{plugin}-native");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet", "-p", plugin, "--example", &name, "--target-dir"]).arg(&target);
    run(cargo.current_dir(Path::new(ROOT).join("plugins")));
    target.join("release/examples").join(name)
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().expect("a folder above")).expect("a folder");
        std::fs::copy(from, to).expect("copied");
    }
}

/// As many as make some tenths of a second of work.
const PICTURES: usize = 3_000;

/// A data set without pictures, and what was found in it: for each picture five true boxes of eight classes, and a hundred found ones.
fn detections(folder: &Path) -> (PathBuf, PathBuf) {
    let dataset = folder.join("dataset");
    std::fs::create_dir_all(&dataset).expect("a folder");
    let mut state = 7u32;
    let mut random = move |below: u32| {
        // Numerical Recipes' generator: the upper bits are what is random.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut images = String::from("split,filename,width,height,source\n");
    let mut boxes = String::from("filename,width,height,class,xmin,ymin,xmax,ymax\n");
    let mut found = Vec::new();
    for number in 0..PICTURES {
        let file = format!("{number:04}.jpg");
        images.push_str(&format!("test,{file},320,320,{file}\n"));
        let mut drawn = Vec::new();
        for _ in 0..5 {
            let (class, x, y, size) = (random(8), random(200), random(200), 20 + random(100));
            boxes.push_str(&format!("{file},320,320,class {class},{x},{y},{},{}\n", x + size, y + size));
            drawn.push((class, x, y, size));
        }
        let guesses: Vec<serde_json::Value> = (0..100)
            .map(|guess| {
                let (class, x, y, size) = drawn[guess % 5];
                let (x, y) = (f64::from(x + random(20)), f64::from(y + random(20)));
                let score = f64::from(random(10_000)) / 10_000.0;
                serde_json::json!({"class": class, "score": score, "box": [x, y, x + f64::from(size), y + f64::from(size)]})
            })
            .collect();
        found.push(serde_json::json!({"file": file, "width": 320, "height": 320, "detections": guesses}));
    }
    let classes: Vec<String> = (0..8).map(|class| format!("class {class}")).collect();
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
    write(&dataset.join("images.csv"), &images);
    write(&dataset.join("test.csv"), &boxes);
    write(&dataset.join("classes.json"), &serde_json::json!(classes).to_string());
    let detections = folder.join("detections.json");
    write(&detections, &serde_json::json!({"format": 1, "classes": classes, "images": found}).to_string());
    (dataset, detections)
}
