//! The whole child, in this process, on models whose answers are known (`testdata/make.py`).
//!
//! They need ONNX Runtime, which is fetched where `FLOWRUN_TEST_ORT` does not name its library file.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;

/// ONNX Runtime for tests: the file that `FLOWRUN_TEST_ORT` names, else the one that flowrun itself brings.
fn library() -> PathBuf {
    if let Some(path) = std::env::var_os("FLOWRUN_TEST_ORT") {
        return PathBuf::from(path);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cache = crate::fetch::Cache::of_user().expect("a cache");
    let found = runtime.block_on(crate::fetch::onnxruntime(&cache, crate::fetch::ONNXRUNTIME, None));
    found.expect("the package index brings ONNX Runtime").0
}

/// A folder with pictures, and a job on it.
struct Bench {
    folder: TempDir,
    job: OnnxJob,
}

impl Bench {
    fn new(model: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("images")).expect("a folder");
        let job = OnnxJob {
            library: library(),
            preload: Vec::new(),
            model: Path::new(env!("CARGO_MANIFEST_DIR")).join(TESTDATA).join(format!("{model}.onnx")),
            images: at("images"),
            output: at("detections.json"),
            result: at("result.json"),
            settings: Settings::default(),
            threads: 2,
        };
        Self { folder, job }
    }

    /// A PNG whose quadrants have these colours: left and right above, left and right below.
    fn picture(&self, name: &str, (width, height): (u32, u32), colours: [[u8; 3]; 4]) {
        let file = fs::File::create(self.job.images.join(name)).expect("a file");
        let mut encoder = png::Encoder::new(file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let pixel = |x, y| colours[usize::from(y >= height / 2) * 2 + usize::from(x >= width / 2)];
        let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
        encoder.write_header().expect("a header").write_image_data(&pixels).expect("pixels");
    }

    fn run(&self) -> (Result<Map<String, Value>, Failure>, Vec<Say>) {
        let mut said = Vec::new();
        let ended = run(&self.job, &mut |say| said.push(say));
        (ended, said)
    }

    fn failure(&self) -> Failure {
        self.run().0.expect_err("the step fails")
    }

    fn detections(&self) -> Detections {
        let (ended, said) = self.run();
        ended.unwrap_or_else(|failure| panic!("{failure:?} {said:?}"));
        serde_json::from_slice(&fs::read(&self.job.output).expect("it was written")).expect("it is sound")
    }
}

const TESTDATA: &str = "src/onnx/testdata";
const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const BLACK: [u8; 3] = [0, 0, 0];

fn class_at(found: &Found) -> BTreeMap<[u32; 4], (usize, f32)> {
    let whole = |it: &Detection| it.bounds.map(|at| at.round() as u32);
    // Best last, so that of several on one box the best is what the map holds.
    found.detections.iter().rev().map(|it| (whole(it), (it.class, it.score))).collect()
}

#[test]
fn what_is_on_a_picture_is_found_where_it_is() {
    let bench = Bench::new("quadrants");
    bench.picture("b%20+.png", (64, 128), [RED, GREEN, BLUE, BLACK]);
    bench.picture("a.png", (32, 32), [BLACK, BLACK, BLACK, RED]);
    let found = bench.detections();
    assert_eq!((found.format, found.classes.join(" ").as_str()), (1, "red green blue"));
    let names: Vec<_> = found.images.iter().map(|it| (it.file.as_str(), it.width, it.height)).collect();
    assert_eq!(names, [("a.png", 32, 32), ("b%20+.png", 64, 128)]);
    let four = class_at(&found.images[1]);
    assert!(
        four[&[0, 0, 32, 64]].0 == 0 && four[&[32, 0, 64, 64]].0 == 1 && four[&[0, 64, 32, 128]].0 == 2,
        "{four:?}"
    );
    assert!(four.values().all(|(_, score)| *score > 0.9) && four.len() == 3, "{four:?}");
    assert_eq!(class_at(&found.images[0]), BTreeMap::from([([16, 16, 32, 32], (0, 1.0))]));
}

#[test]
fn letterbox_mean_and_std_come_from_the_model_or_the_settings() {
    let mut bench = Bench::new("letterbox");
    // Twice as wide as high: it fills rows 8 to 24 of 32, so each quadrant of the square is half grey (114).
    bench.picture("wide.png", (64, 32), [RED, RED, BLACK, RED]);
    let found = bench.detections();
    let red = class_at(&found.images[0])[&[0, 0, 32, 16]];
    let expected = (255.0 + 114.0) / 2.0 / 510.0;
    assert!(red.0 == 0 && (red.1 - expected).abs() < 2e-2, "{red:?} {expected}");
    bench.job.settings.resize = Some(Resize::Stretch);
    bench.job.settings.std = Some([255.0; 3]);
    assert!(class_at(&bench.detections().images[0])[&[0, 0, 32, 16]].1 > 0.95);
}

#[test]
fn batches_and_threads_do_not_change_what_is_found() {
    let mut bench = Bench::new("quadrants");
    for index in 0..37_u8 {
        let colour = [index * 6, 255 - index * 6, index];
        bench.picture(&format!("{index:02}.png"), (20 + u32::from(index), 40), [colour, RED, GREEN, colour]);
    }
    let expected = bench.detections();
    let text = fs::read(&bench.job.output).expect("it was written");
    assert_eq!(expected.images.len(), 37);
    for (batch, threads) in [(1, 1), (5, 3), (37, 8), (1000, 2)] {
        (bench.job.settings.batch, bench.job.threads) = (batch, threads);
        bench.detections();
        assert_eq!(fs::read(&bench.job.output).expect("it was written"), text, "{batch} {threads}");
    }
    bench.job.model = Bench::new("one-at-a-time").job.model;
    bench.job.settings.batch = 16;
    assert_eq!(bench.detections(), expected);
}

#[test]
fn settings_are_kept_to() {
    let mut bench = Bench::new("quadrants");
    bench.picture("a.png", (32, 32), [RED, [200, 0, 0], [100, 0, 0], [10, 0, 0]]);
    let scores =
        |bench: &Bench| -> Vec<f32> { bench.detections().images[0].detections.iter().map(|it| it.score).collect() };
    assert_eq!(scores(&bench).len(), 3, "a score of 0.04 is below the default");
    assert!(scores(&bench).is_sorted_by(|a, b| a > b));
    bench.job.settings.max = 2;
    assert_eq!(scores(&bench).len(), 2);
    bench.job.settings.score = 0.9;
    assert_eq!(scores(&bench).len(), 1);
    bench.job.settings.classes = Some(["rot", "grün", "blau"].map(str::to_owned).to_vec());
    assert_eq!(bench.detections().classes[1], "grün");
    bench.job.settings.iou = 1.5;
    assert_eq!(bench.failure().message, "onnx.iou is 1.5, expected 0 to 1");
}

#[test]
fn every_unreadable_picture_is_named() {
    let bench = Bench::new("quadrants");
    for index in 0..40 {
        bench.picture(&format!("{index:02}.png"), (8, 8), [RED; 4]);
    }
    fs::write(bench.job.images.join("03.png"), "not a picture").expect("written");
    fs::write(bench.job.images.join("30.jpg"), "").expect("written");
    fs::write(bench.job.images.join("notes.txt"), "not meant to be one").expect("written");
    let (ended, said) = bench.run();
    let failure = ended.expect_err("it fails");
    assert_eq!(
        failure.message,
        "2 of 41 pictures cannot be read: `03.png` (it is neither JPEG nor PNG), `30.jpg` (it is empty)"
    );
    let lines = said.iter().filter(|say| matches!(say, Say::Line { text, .. } if text.starts_with("error:")));
    assert_eq!(lines.count(), 2);
    assert!(!bench.job.output.exists());
}

#[test]
fn a_folder_without_pictures_is_an_error() {
    let bench = Bench::new("quadrants");
    fs::create_dir(bench.job.images.join("train")).expect("a folder");
    assert!(bench.failure().message.contains("no JPEG or PNG, but 1 other"), "{:?}", bench.failure());
}

#[test]
fn a_model_that_breaks_the_contract_is_told_how() {
    let cases = [
        ("wrong-name", "the model has no input `images`; it has `pixels` f32 [?, 3, 32, 32]"),
        ("free-side", "must be f32 [N, 3, S, S] with S fixed, found f32 [?, 3, ?, ?]"),
        ("five-at-a-time", "exactly 5 pictures"),
        ("no-classes", "does not name its classes"),
        ("two-classes", "scores 3 classes, 2 are named"),
        ("bad-std", "property `std` is [255.0, 0.0, 255.0], expected three numbers above 0"),
        ("nothing-there", "the model cannot be loaded"),
    ];
    for (model, message) in cases {
        let bench = Bench::new(model);
        bench.picture("a.png", (8, 8), [RED; 4]);
        let failure = bench.failure();
        assert!(failure.message.contains(message), "{model}: {failure:?}");
    }
}

#[test]
fn a_score_that_is_no_number_is_an_error_with_the_picture() {
    let bench = Bench::new("nan");
    bench.picture("a.png", (8, 8), [[255; 3]; 4]);
    bench.picture("b.png", (8, 8), [BLACK; 4]);
    assert_eq!(
        bench.failure().message,
        "for the picture `b.png` the model gives the score NaN, expected 0 to 1 after all activations"
    );
}

#[test]
fn a_garbled_model_is_an_error_not_a_crash() {
    let mut bench = Bench::new("quadrants");
    bench.picture("a.png", (8, 8), [RED; 4]);
    let sound = fs::read(&bench.job.model).expect("the model");
    bench.job.model = bench.folder.path().join("garbled.onnx");
    for length in [0, 1, 100, sound.len() / 2] {
        fs::write(&bench.job.model, &sound[..length]).expect("written");
        assert!(bench.failure().message.starts_with("the model"), "{:?}", bench.failure());
    }
}

#[test]
fn cuda_that_is_not_there_is_an_error() {
    // This runtime is the processor's: whatever the machine has, it cannot use a card.
    let mut bench = Bench::new("quadrants");
    bench.picture("a.png", (8, 8), [RED; 4]);
    bench.job.settings.provider = Provider::Cuda;
    let failure = bench.failure();
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    let expected = match cuda::driver() {
        Ok(()) => "`provider: cuda` cannot be used here",
        Err(_) => "`provider: cuda` needs NVIDIA's driver, and `libcuda.so.1` cannot be loaded",
    };
    assert!(failure.message.contains(expected), "{failure:?}");
}

#[test]
fn a_library_that_does_not_load_is_named() {
    let folder = TempDir::new().expect("a folder");
    let torn = folder.path().join("libcublas.so.13");
    fs::write(&torn, "no library").expect("written");
    let failure = cuda::load(&[library(), torn]).expect_err("one is none");
    assert!(failure.message.starts_with("`provider: cuda`: the library `libcublas.so.13`"), "{failure:?}");
    assert!(failure.message.ends_with("cannot be loaded: file too short"), "{failure:?}");
    assert_eq!(cuda::load(&[library()]), Ok(()));
}

#[test]
fn another_runtime_in_one_process_is_refused() {
    let mut bench = Bench::new("quadrants");
    bench.picture("a.png", (8, 8), [RED; 4]);
    bench.detections();
    bench.job.library = PathBuf::from("/nowhere/libonnxruntime.so");
    assert!(bench.failure().message.contains("another one is loaded"));
}

#[test]
fn a_child_says_how_it_ended() {
    let bench = Bench::new("quadrants");
    assert!(bench.job.ended().expect_err("nothing was said").message.contains("broke down"));
    let failure = Failure::new(FailureKind::Step, "no").hint("yes");
    let text = serde_json::to_vec(&Ended::Failure(failure.clone())).expect("JSON");
    write(&bench.job.result, &text).expect("written");
    assert_eq!(bench.job.ended(), Err(failure));
    let line = serde_json::to_string(&Say::log("x")).expect("JSON");
    assert_eq!(parse_child_line(&line), Some(Say::log("x")));
    assert_eq!(parse_child_line("2026-11-23 some library says this"), None);
}

/// Real pictures: those of the PlantDoc sample, all of which decode to the size that its lists say.
#[test]
fn real_pictures_are_read() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE);
    let mut count = 0;
    for split in ["train", "test"] {
        let listing = picture::list(&sample.join(split)).expect("the sample is there");
        for entry in &listing.pictures {
            let pixels = picture::read(&entry.path).unwrap_or_else(|why| panic!("{}: {why}", entry.name));
            assert_eq!(pixels.rgb.len(), 3 * pixels.width as usize * pixels.height as usize);
            count += 1;
        }
    }
    assert_eq!(count, 208);
}

const SAMPLE: &str = "../../pipelines/data/plantdoc-sample";

#[test]
fn a_torn_picture_is_unreadable() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE);
    let whole = picture::list(&sample.join("test")).expect("the sample").pictures.remove(0);
    let bytes = fs::read(&whole.path).expect("a picture");
    let folder = TempDir::new().expect("a folder");
    for length in [3, 10, 200, bytes.len() / 2] {
        let torn = folder.path().join("torn.jpg");
        fs::write(&torn, &bytes[..length]).expect("written");
        assert!(picture::read(&torn).is_err(), "{length} of {} bytes", bytes.len());
    }
}
