//! A step on CUDA, with the real index: what is locked for it, and what is told where it cannot run. Nothing here needs a card, and nothing large
//! is fetched.

use std::path::Path;

use crate::support::{Bed, Said, said, skip};

const ON_CUDA: &str = "flowrun: 1
platforms: [linux-x86_64, macos-aarch64]
sources: { model: { path: model.onnx }, pictures: { path: pictures } }
steps:
  predict:
    onnx: { provider: cuda }
    inputs: { model: sources.model, images: sources.pictures }
    outputs: { detections: detections.json }
profiles:
  plain: { steps: { predict: { onnx: { provider: cpu } } } }
";

struct Bench {
    bed: Bed,
}

impl Bench {
    fn new() -> Self {
        let bed = Bed::new(ON_CUDA);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let copy = |from: &str, to: &str| std::fs::copy(root.join(from), bed.path(to)).expect("copy");
        std::fs::create_dir(bed.path("pictures")).expect("mkdir");
        copy("runner/engine/src/onnx/testdata/quadrants.onnx", "model.onnx");
        let pictures = std::fs::read_dir(root.join("pipelines/data/plantdoc-sample/test")).expect("the sample");
        let picture = pictures.flatten().find(|entry| entry.path().extension().is_some_and(|end| end == "jpg"));
        std::fs::copy(picture.expect("a picture").path(), bed.path("pictures/a.jpg")).expect("copy");
        Self { bed }
    }

    fn flowrun(&self, args: &[&str]) -> Said {
        said(self.bed.command(args).output().expect("flowrun starts"))
    }

    /// Bytes of the wheels in the cache of all tests that only CUDA needs.
    fn fetched() -> u64 {
        let wheels = std::fs::read_dir(crate::support::cache().join("v1/wheels")).into_iter().flatten().flatten();
        let files = wheels.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
        let cuda = files.filter(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            name.starts_with("nvidia_") || name.starts_with("onnxruntime_gpu")
        });
        cuda.map(|file| file.metadata().map_or(0, |found| found.len())).sum()
    }
}

#[test]
fn a_runtime_on_cuda_is_locked_with_the_libraries_that_it_asks_for() {
    let bench = Bench::new();
    let said =
        bench.flowrun(&["lock"]).ok().says("predict: runtime onnxruntime-gpu==").says("+7 libraries (nvidia-cublas ");
    assert!(!said.stdout.contains("\nnvidia-"), "they are told with the runtime: {}", said.stdout);
    let lock = bench.bed.read("p.lock");
    let libraries: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("  \"nvidia-")?.split('=').next()).collect();
    let known = ["cublas", "cuda-nvrtc", "cuda-runtime", "cudnn-cu13", "cufft", "curand", "nvjitlink"];
    assert_eq!(libraries, known, "what the extras of the wheel say:\n{lock}");
    let mut count = 0;
    for line in
        lock.lines().filter(|line| line.contains("{ file = \"nvidia_") || line.contains("{ file = \"onnxruntime_gpu-"))
    {
        assert!(line.contains("x86_64.whl\"") && line.contains("size = "), "{line}");
        assert!(line.ends_with("platforms = [\"linux-x86_64\"] },"), "no Mac has CUDA: {line}");
        count += 1;
    }
    assert_eq!(count, 1 + known.len(), "{lock}");
    assert!(!lock.contains("numpy"), "what only Python needs is not locked:\n{lock}");
    let mac = lock.lines().find(|line| line.contains("macosx") && line.contains("\"onnxruntime-1"));
    assert!(mac.is_some(), "the profile without CUDA is for the Mac too:\n{lock}");
    bench.flowrun(&["lock"]).ok().says("up to date");
    bench.flowrun(&["lock", "--upgrade", "nvidia-cufft"]).ok().says("up to date");
    assert_eq!(bench.bed.read("p.lock"), lock);
    assert_eq!(Bench::fetched(), 0, "only what packages say of themselves is fetched");

    let other = lock.replace("nvidia-cufft==", "nvidia-cuff==");
    bench.bed.write("p.lock", &other.replace("  \"nvidia-cuff==", "  \"nvidia-cufft=="));
    bench
        .flowrun(&["run", "--locked"])
        .fails(2)
        .says("a library of `onnxruntime-gpu==")
        .says("is not among the wheels");
    let table =
        lock.split("[wheels.\"nvidia-cufft==").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("there");
    let file = table.lines().find(|line| line.contains("{ file =")).expect("a file");
    bench.bed.write("p.lock", &lock.replace(&format!("{file}\n"), ""));
    bench.flowrun(&["run", "--locked"]).fails(5).says("with the libraries it needs is not locked for linux-x86_64");
    bench.flowrun(&["lock"]).ok();
    assert_eq!(bench.bed.read("p.lock"), lock, "what is missing is found again, and nothing else moves");

    let nowhere = ON_CUDA.replace("linux-x86_64, ", "");
    bench.bed.write("p.yaml", &nowhere);
    bench.flowrun(&["lock"]).fails(2).says("step `predict` runs on CUDA").says("add linux-x86_64 to `platforms`");
    let old = ON_CUDA.replace("provider: cuda", "provider: cuda, runtime: 1.20.0");
    bench.bed.write("p.yaml", &old);
    bench.flowrun(&["lock"]).fails(2).says("does not say which libraries of CUDA it needs");
    assert_eq!(bench.bed.read("p.lock"), lock, "nothing is written");
}

#[test]
fn a_step_on_cuda_where_it_cannot_run_is_told_so_before_anything_large_is_fetched() {
    let bench = Bench::new();
    if std::env::consts::OS != "linux" || std::env::consts::ARCH != "x86_64" {
        // Before anything runs, and before the lock is completed.
        bench.flowrun(&["run"]).fails(2).says("step `predict`: `provider: cuda` cannot run here").says("in a profile");
        assert_eq!(bench.bed.read("p.lock"), "");
        bench.flowrun(&["run", "--profile", "plain"]).ok();
        return;
    }
    if Path::new("/proc/driver/nvidia").exists() {
        return skip("a step on CUDA without a driver", "this machine has one");
    }
    let without = "`provider: cuda` needs NVIDIA's driver, and `libcuda.so.1` cannot be loaded";
    let said = bench.flowrun(&["run"]).fails(3).says(&format!("warning: step `predict`: {without}"));
    said.says(&format!("predict failed: {without}: cannot open shared object file")).says("set `provider: cpu`");
    assert_eq!(Bench::fetched(), 0, "nothing large is fetched");
    let said = bench.flowrun(&["run", "--profile", "plain"]).ok();
    assert!(!said.stderr.contains("libcuda"), "{}", said.stderr);
}
