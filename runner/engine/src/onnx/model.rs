//! ONNX Runtime and one detector in it: loading both, and holding the model to the contract.
//!
//! # The detector contract
//! | | name | type | shape |
//! |---|---|---|---|
//! | input | `images` | float32 | N, 3, S, S: red, green, blue planes; S fixed, N dynamic (or 1) |
//! | output | `boxes` | float32 | N, A, 4: xmin, ymin, xmax, ymax in pixels of the S × S input |
//! | output | `scores` | float32 | N, A, C: 0 to 1, after all activations |
//!
//! No suppression inside. Metadata (`metadata_props`): `classes` (JSON array of C names), `mean` and `std` (JSON arrays of
//! three, for x = (level - mean) / std), `resize` (`stretch` or `letterbox`).
//!
//! # One runtime a process
//! A process can load one ONNX Runtime: a second `init_from` is ignored silently, and any error built by `ort` before the
//! first loads a default library. So the library is loaded first of all, once, and asking for another is refused.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flowrun_core::outcome::{Failure, FailureKind};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::{TensorElementType, TensorRef, ValueType};
use serde::de::DeserializeOwned;

use super::cuda;
use super::settings::{Provider, Resize, Settings, check_mean, check_std};

/// What a batch of inputs may take, in bytes: beyond it the machine is more likely to die than to be faster.
const BATCH: usize = 1 << 30;

/// The runtime of this process, and where it came from.
static RUNTIME: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

fn unfit(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Step, message)
}

/// Loads ONNX Runtime from `library`, after `preload`, or gives the one that is loaded.
pub(super) fn runtime(library: &Path, preload: &[PathBuf]) -> Result<Environment, Failure> {
    let broken = |what: &Path, why: String| {
        Failure::new(FailureKind::Infrastructure, format!("cannot load `{}`: {why}", what.display()))
    };
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded, environment)) = &*runtime {
        let same = loaded == library;
        return if same { Ok(environment.clone()) } else { Err(broken(library, "another one is loaded".to_owned())) };
    }
    cuda::load(preload)?;
    let builder = ort::init_from(library).map_err(|error| broken(library, error.to_string()))?;
    let environment = builder.with_name("flowrun").with_telemetry(false).build();
    let environment = environment.map_err(|error| broken(library, error.to_string()))?;
    *runtime = Some((library.to_owned(), environment.clone()));
    Ok(environment)
}

/// A detector, ready to run.
pub(super) struct Model {
    session: Session,
    /// S of the contract.
    pub(super) side: u32,
    /// C names.
    pub(super) classes: Vec<String>,
    /// N of every run but the last.
    pub(super) batch: usize,
    /// How pictures are brought to it.
    pub(super) resize: Resize,
    /// What is subtracted from a level.
    pub(super) mean: [f32; 3],
    /// What the difference is divided by.
    pub(super) std: [f32; 3],
}

/// What a run gives for n pictures: n × anchors × 4 and n × anchors × classes numbers.
pub(super) struct Raw {
    pub(super) anchors: usize,
    pub(super) boxes: Vec<f32>,
    pub(super) scores: Vec<f32>,
}

impl Model {
    /// Loads the model at `path` and checks it against the contract and the settings.
    pub(super) fn load(
        environment: &Environment,
        path: &Path,
        settings: &Settings,
        threads: usize,
    ) -> Result<Self, Failure> {
        let session = session(environment, settings.provider, threads)?.commit_from_file(path);
        let session = session.map_err(|error| match error.to_string() {
            // A card that cannot be used is found out here: it is no fault of the model.
            words if cuda::is_meant(&words) => cuda::unusable(&words),
            words => unfit(format!("the model cannot be loaded: {words}")),
        })?;
        let (side, batch) = input(&session)?;
        let (_, count) = outputs(&session)?;
        let classes = match &settings.classes {
            Some(classes) => classes.clone(),
            None => property(&session, "classes")?.ok_or_else(|| {
                unfit("the model does not name its classes").hint("set `classes`, or its metadata property `classes`")
            })?,
        };
        if count.is_some_and(|count| count != classes.len()) || classes.is_empty() {
            let count = count.unwrap_or_default();
            return Err(unfit(format!("the model scores {count} classes, {} are named", classes.len())));
        }
        let mean = settings.mean.or(property(&session, "mean")?);
        let std = settings.std.or(property(&session, "std")?);
        check_mean(mean).map_err(|why| unfit(format!("the model's metadata property `mean` {why}")))?;
        check_std(std).map_err(|why| unfit(format!("the model's metadata property `std` {why}")))?;
        let resize = settings.resize.or(word(&session, "resize")?).unwrap_or(Resize::Stretch);
        let batch = batch.unwrap_or(settings.batch);
        let bytes = (side as usize).saturating_pow(2).saturating_mul(3 * size_of::<f32>()).saturating_mul(batch);
        if bytes > BATCH {
            return Err(unfit(format!(
                "{batch} pictures of {side}×{side} at once are {bytes} bytes, more than {BATCH}"
            ))
            .hint("lower `batch`"));
        }
        let (mean, std) = (mean.unwrap_or([0.0; 3]), std.unwrap_or([255.0; 3]));
        Ok(Self { session, side, classes, batch, resize, mean, std })
    }

    /// Runs it on `count` pictures, whose planes follow each other in `planes`.
    pub(super) fn run(&mut self, planes: &[f32], count: usize) -> Result<Raw, Failure> {
        let side = self.side as usize;
        let failed = |error: ort::Error| unfit(format!("the model failed: {}", cuda::said(&error.to_string())));
        let tensor = TensorRef::from_array_view(([count, 3, side, side], planes)).map_err(failed)?;
        let outputs = self.session.run(ort::inputs!["images" => tensor]).map_err(failed)?;
        let (boxes_shape, boxes) = outputs["boxes"].try_extract_tensor::<f32>().map_err(failed)?;
        let (scores_shape, scores) = outputs["scores"].try_extract_tensor::<f32>().map_err(failed)?;
        let anchors = boxes_shape.get(1).copied().unwrap_or_default();
        let expect = |name: &str, found: &[i64], last: usize| {
            let expected = [count as i64, anchors, last as i64];
            if found == expected {
                return Ok(());
            }
            Err(unfit(format!("the model's output `{name}` came as {}, expected {}", shape(found), shape(&expected))))
        };
        expect("boxes", boxes_shape, 4)?;
        expect("scores", scores_shape, self.classes.len())?;
        Ok(Raw { anchors: anchors as usize, boxes: boxes.to_vec(), scores: scores.to_vec() })
    }
}

fn session(
    environment: &Environment,
    provider: Provider,
    threads: usize,
) -> Result<ort::session::builder::SessionBuilder, Failure> {
    let failed = |error: String| Failure::new(FailureKind::Infrastructure, format!("ONNX Runtime: {error}"));
    let options = || -> ort::Result<_> {
        let builder = Session::builder(environment)?.with_intra_threads(threads)?;
        // Threads that sleep between two parts of a batch make the session a fifth slower; those that spin between batches take their cores from
        // the decoders.
        let builder = builder.with_config_entry("session.force_spinning_stop", "1")?;
        Ok(builder.with_deterministic_compute(true)?)
    };
    let builder = options().map_err(|error| failed(error.to_string()))?;
    match provider {
        Provider::Cpu => Ok(builder),
        Provider::Cuda => {
            // TF32 would round to ten bits: other detections than the processor's.
            let provider = ort::ep::CUDA::default().with_tf32(false).build().error_on_failure();
            builder.with_execution_providers([provider]).map_err(|error| cuda::unusable(&error.to_string()))
        }
    }
}

fn shape(dimensions: &[i64]) -> String {
    let dimensions: Vec<_> =
        dimensions.iter().map(|&it| if it < 0 { "?".to_owned() } else { it.to_string() }).collect();
    format!("[{}]", dimensions.join(", "))
}

fn kind(dtype: &ValueType) -> String {
    match dtype {
        ValueType::Tensor { ty, shape: dimensions, .. } => format!("{ty} {}", shape(dimensions)),
        other => format!("{other:?}"),
    }
}

fn named<'a>(what: &str, outlets: &'a [ort::value::Outlet], name: &str) -> Result<&'a ValueType, Failure> {
    let found = outlets.iter().find(|outlet| outlet.name() == name);
    found.map(ort::value::Outlet::dtype).ok_or_else(|| {
        let all: Vec<_> = outlets.iter().map(|it| format!("`{}` {}", it.name(), kind(it.dtype()))).collect();
        unfit(format!("the model has no {what} `{name}`; it has {}", all.join(", ")))
            .hint("export it by the detector contract: `images` in, `boxes` and `scores` out")
    })
}

fn floats<'a>(dtype: &'a ValueType, rank: usize, whole: &str) -> Result<&'a [i64], Failure> {
    match dtype {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } if shape.len() == rank => Ok(shape),
        other => Err(unfit(format!("{whole}, found {}", kind(other)))),
    }
}

/// S, and N where it is fixed.
fn input(session: &Session) -> Result<(u32, Option<usize>), Failure> {
    const WHOLE: &str = "the model's input `images` must be f32 [N, 3, S, S] with S fixed";
    let dtype = named("input", session.inputs(), "images")?;
    if session.inputs().len() != 1 {
        return Err(unfit(format!("the model has {} inputs, expected `images` alone", session.inputs().len())));
    }
    match *floats(dtype, 4, WHOLE)? {
        [count, 3, height, width] if height == width && (1..=8192).contains(&width) => match count {
            1 => Ok((width as u32, Some(1))),
            ..=-1 => Ok((width as u32, None)),
            _ => Err(unfit(format!("the model takes exactly {count} pictures at a time"))
                .hint("export it with a dynamic first dimension, or with 1")),
        },
        _ => Err(unfit(format!("{WHOLE}, found {}", kind(dtype)))),
    }
}

/// A and C, where they are fixed.
fn outputs(session: &Session) -> Result<(Option<usize>, Option<usize>), Failure> {
    const BOXES: &str = "the model's output `boxes` must be f32 [N, A, 4]";
    const SCORES: &str = "the model's output `scores` must be f32 [N, A, C]";
    let boxes_type = named("output", session.outputs(), "boxes")?;
    let scores_type = named("output", session.outputs(), "scores")?;
    let (boxes, scores) = (floats(boxes_type, 3, BOXES)?, floats(scores_type, 3, SCORES)?);
    if !matches!(boxes[2], 4 | ..0) {
        return Err(unfit(format!("{BOXES}, found {}", kind(boxes_type))));
    }
    if boxes[1] >= 0 && scores[1] >= 0 && boxes[1] != scores[1] {
        return Err(unfit(format!("the model has {} boxes a picture but scores for {}", boxes[1], scores[1])));
    }
    let fixed = |dimension: i64| usize::try_from(dimension).ok();
    Ok((fixed(boxes[1].max(scores[1])), fixed(scores[2])))
}

/// A metadata property that holds JSON.
fn property<T: DeserializeOwned>(session: &Session, key: &str) -> Result<Option<T>, Failure> {
    let Some(text) = text(session, key)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| unfit(format!("the model's metadata property `{key}` is not as expected: {error}")))
}

/// A metadata property that is a word of an enum.
fn word<T: DeserializeOwned>(session: &Session, key: &str) -> Result<Option<T>, Failure> {
    let Some(text) = text(session, key)? else { return Ok(None) };
    serde_json::from_value(serde_json::Value::String(text))
        .map(Some)
        .map_err(|error| unfit(format!("the model's metadata property `{key}` is not as expected: {error}")))
}

fn text(session: &Session, key: &str) -> Result<Option<String>, Failure> {
    let metadata =
        session.metadata().map_err(|error| unfit(format!("the model's metadata cannot be read: {error}")))?;
    Ok(metadata.custom(key))
}
