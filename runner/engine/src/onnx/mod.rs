//! ONNX steps: a detector over a folder of pictures, natively, in a child process of flowrun itself.
//!
//! A process can load one ONNX Runtime, a model may bring it down, and its memory should go back to the system: so each
//! step is a child. It is this program under a hidden subcommand that calls [`child_main`]:
//!
//! | | |
//! |---|---|
//! | standard input | an [`OnnxJob`] as JSON |
//! | standard output | lines that [`parse_child_line`] reads: progress, log |
//! | standard error | ONNX Runtime's own warnings |
//! | the file `result` | how it ended, which [`OnnxJob::ended`] reads |
//! | the file `output` | `detections.json`, written beside and renamed |
//! | exit | 0: it succeeded; 1: it failed, `result` says why; 2: it was not given a job |
//!
//! With the argument [`DRIVER_QUESTION`] it is given no job: it says on standard output whether NVIDIA's driver can be loaded, which
//! [`driver_answer`] reads.
//!
//! | file | knows |
//! |---|---|
//! | `settings` | what a pipeline may say |
//! | `picture` | files and pixels |
//! | `prepare` | from pixels to the model's input, and boxes back |
//! | `model` | ONNX Runtime, and the detector contract |
//! | `cuda` | NVIDIA's driver and libraries |
//! | `nms` | from scores to detections |
//! | `detect` | threads and batches |
//!
//! Knows nothing of the store, of where the runtime and the model come from, or of how processes are watched over.

mod cuda;
mod detect;
mod model;
mod nms;
mod picture;
mod prepare;
mod settings;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flowrun_core::outcome::{Failure, FailureKind, Say};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use detect::{Detections, Found};
pub use nms::Detection;
pub use settings::{Provider, Resize, Settings};

/// A job is a few paths and numbers: more than this is not one.
const JOB: u64 = 1 << 20;

/// What the child is to do. Paths are absolute, or relative to the child's working folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxJob {
    /// ONNX Runtime: `libonnxruntime.so.X`, `.dylib` or `.dll`.
    pub library: PathBuf,
    /// Libraries to load before it, in any order: CUDA's, for `provider: cuda`.
    #[serde(default)]
    pub preload: Vec<PathBuf>,
    /// The model.
    pub model: PathBuf,
    /// The folder of pictures.
    pub images: PathBuf,
    /// Where `detections.json` goes.
    pub output: PathBuf,
    /// Where the child says how it ended.
    pub result: PathBuf,
    /// How to run it.
    pub settings: Settings,
    /// Cores it may use.
    pub threads: usize,
}

/// How a child ended: the content of `result`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ended {
    Values(Map<String, Value>),
    Failure(Failure),
}

impl OnnxJob {
    /// How the child that was given this job ended: its values, or why it failed. A child that said nothing broke down.
    pub fn ended(&self) -> Result<Map<String, Value>, Failure> {
        let ended = fs::read(&self.result).ok().and_then(|text| serde_json::from_slice(&text).ok());
        match ended {
            Some(Ended::Values(values)) => Ok(values),
            Some(Ended::Failure(failure)) => Err(failure),
            None => Err(Failure::new(FailureKind::Step, "ONNX Runtime broke down and did not say why")
                .hint("its last lines are in the step's log; a model that needs too much memory ends like this")),
        }
    }
}

/// The argument by which the child is asked for the driver alone.
pub(crate) const DRIVER_QUESTION: &str = "driver";

/// What the child says to [`DRIVER_QUESTION`] on its standard output.
pub(crate) fn driver_answer(text: &[u8]) -> Result<(), Failure> {
    match serde_json::from_slice(text) {
        Ok(Ended::Values(_)) => Ok(()),
        Ok(Ended::Failure(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            FailureKind::Infrastructure,
            "NVIDIA's driver broke down when it was loaded, and did not say why",
        )),
    }
}

/// A line of the child's standard output, where it is one that the child meant for its parent.
pub fn parse_child_line(line: &str) -> Option<Say> {
    serde_json::from_str(line).ok()
}

/// The child: reads a job, does it, says how it ended, and returns the exit code.
pub fn child_main() -> i32 {
    if std::env::args_os().nth(2).is_some_and(|word| word == DRIVER_QUESTION) {
        return answer_for_driver();
    }
    let mut text = String::new();
    let read = io::stdin().take(JOB).read_to_string(&mut text).map_err(|error| error.to_string());
    let job: OnnxJob = match read.and_then(|_| serde_json::from_str(&text).map_err(|error| error.to_string())) {
        Ok(job) => job,
        Err(error) => {
            eprintln!("flowrun: no ONNX job on standard input: {error}");
            return 2;
        }
    };
    let ended = run(&job, &mut tell);
    let code = i32::from(ended.is_err());
    let ended = ended.map_or_else(Ended::Failure, Ended::Values);
    let written = serde_json::to_vec(&ended).map_err(io::Error::other).and_then(|text| write(&job.result, &text));
    match written {
        Ok(()) => code,
        Err(error) => {
            eprintln!("flowrun: cannot write `{}`: {error}", job.result.display());
            1
        }
    }
}

fn answer_for_driver() -> i32 {
    let ended = cuda::driver().map_or_else(Ended::Failure, |()| Ended::Values(Map::new()));
    let written = serde_json::to_writer(io::stdout(), &ended);
    i32::from(written.is_err())
}

/// Says something to the parent. Whether the parent still listens is its affair.
fn tell(say: Say) {
    if let Ok(line) = serde_json::to_string(&say) {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).ok();
    }
}

/// Does a job in this process, which can do jobs of one library only. Returns the step's values: `images`, `detections`.
pub fn run(job: &OnnxJob, say: &mut dyn FnMut(Say)) -> Result<Map<String, Value>, Failure> {
    if job.settings.provider == Provider::Cuda {
        cuda::driver()?;
    }
    // Before all else of it: see `model`.
    let runtime = model::runtime(&job.library, &job.preload)?;
    job.settings.check().map_err(|(name, why)| Failure::new(FailureKind::Step, format!("onnx.{name} {why}")))?;
    let threads = job.threads.clamp(1, 1024);
    let pictures = pictures(&job.images, say)?;
    let mut model = model::Model::load(&runtime, &job.model, &job.settings, threads)?;
    let start = Instant::now();
    let images = detect::detect(&mut model, &pictures, &job.settings, threads, say)?;
    let (count, seconds) = (images.len(), start.elapsed().as_secs_f64());
    let found: usize = images.iter().map(|image| image.detections.len()).sum();
    let rate = count as f64 / seconds.max(1e-9);
    say(Say::log(format!("{found} detections on {count} pictures in {seconds:.2} s ({rate:.0} pictures a second)")));
    let detections = Detections { format: 1, classes: model.classes, images };
    let text = serde_json::to_vec(&detections).map_err(io::Error::other);
    text.and_then(|text| write(&job.output, &text)).map_err(|error| {
        Failure::new(FailureKind::Infrastructure, format!("cannot write `{}`: {error}", job.output.display()))
    })?;
    let values = json!({ "images": count, "detections": found });
    Ok(values.as_object().cloned().unwrap_or_default())
}

fn pictures(folder: &Path, say: &mut dyn FnMut(Say)) -> Result<Vec<picture::Entry>, Failure> {
    let failed = |kind, why: String| Failure::new(kind, format!("the folder of pictures {why}"));
    let listing = picture::list(folder)
        .map_err(|error| failed(FailureKind::Infrastructure, format!("cannot be listed: {error}")))?;
    if listing.pictures.is_empty() {
        let others = listing.others + listing.folders;
        return Err(failed(FailureKind::Step, format!("holds no JPEG or PNG, but {others} other things"))
            .hint("`images` is a folder with the pictures directly in it"));
    }
    if listing.folders > 0 {
        say(Say::log(format!("warning: {} folders among the pictures are not looked into", listing.folders)));
    }
    Ok(listing.pictures)
}

/// Writes beside `path` and renames: there is never half a file of that name.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}
