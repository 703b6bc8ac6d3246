//! A folder of pictures through a detector, on all cores.
//!
//! ```text
//!            numbers of pictures            planes
//!  this thread ────────────> decoders (one a core) ────────────> this thread: in order, batch by batch, through the model
//! ```
//! Decoders get [`AHEAD`] batches of work at most beyond what has gone through the model, so memory is bounded whatever the
//! folder. There is a decoder for every core and the model may use every core too: while a batch runs, the decoders fill
//! their lead and then sleep, so whichever of the two is slower gets the cores. Batches are made in the order of names:
//! the same pictures go through together every time, and give the same bits.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flowrun_core::outcome::{Failure, FailureKind, Say};
use serde::{Deserialize, Serialize};

use super::model::{Model, Raw};
use super::nms::{Detection, suppress};
use super::picture::{self, Entry};
use super::prepare::{Fit, Preparer};
use super::settings::Settings;

/// Batches that may be decoded before they are needed: one that waits, one in the making.
const AHEAD: usize = 2;

/// Unreadable pictures that are named in a failure; the log names every one.
const NAMED: usize = 10;

/// How far a score may be outside 0 to 1 for rounding.
const ROUNDING: f32 = 1e-3;

/// Progress is said this often at most.
const SAY: Duration = Duration::from_millis(100);

/// Everything found on one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The file's name in the folder.
    pub file: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Best first.
    pub detections: Vec<Detection>,
}

/// `detections.json`, format 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// The format's version.
    pub format: u32,
    /// Class names, by index.
    pub classes: Vec<String>,
    /// Every picture of the folder, by name.
    pub images: Vec<Found>,
}

/// One picture, ready for the model.
struct Ready {
    planes: Vec<f32>,
    fit: Fit,
    width: u32,
    height: u32,
}

type Decoded = (usize, Result<Ready, String>);

/// Runs `model` over `pictures`.
pub(super) fn detect(
    model: &mut Model,
    pictures: &[Entry],
    settings: &Settings,
    threads: usize,
    say: &mut dyn FnMut(Say),
) -> Result<Vec<Found>, Failure> {
    let (work, todo) = channel();
    let (done, ready) = channel();
    let todo = Mutex::new(todo);
    let preparer = || Preparer::new(model.side, model.resize, model.mean, model.std);
    let preparers: Vec<_> = (0..threads.min(pictures.len())).map(|_| preparer()).collect();
    thread::scope(|scope| {
        for preparer in preparers {
            let (todo, done) = (&todo, done.clone());
            scope.spawn(move || decode(pictures, preparer, todo, &done));
        }
        drop(done);
        let order = Order { work: Some(work), ready, early: BTreeMap::new(), asked: 0, pictures };
        Run { model, settings, order, unreadable: Vec::new(), said: None }.all(say)
    })
}

/// A decoder: does what it is told until there is no more.
fn decode(pictures: &[Entry], mut preparer: Preparer, todo: &Mutex<Receiver<usize>>, done: &Sender<Decoded>) {
    loop {
        let next = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(index) = next else { return };
        if done.send((index, prepare(&pictures[index], &mut preparer))).is_err() {
            return;
        }
    }
}

fn prepare(entry: &Entry, preparer: &mut Preparer) -> Result<Ready, String> {
    let pixels = picture::read(&entry.path)?;
    let (planes, fit) = preparer.prepare(&pixels)?;
    Ok(Ready { planes, fit, width: pixels.width, height: pixels.height })
}

/// Hands out work and takes it back in the order of the pictures.
struct Order<'a> {
    work: Option<Sender<usize>>,
    ready: Receiver<Decoded>,
    early: BTreeMap<usize, Result<Ready, String>>,
    asked: usize,
    pictures: &'a [Entry],
}

impl Order<'_> {
    /// Lets the decoders work on everything before `end`.
    fn ask(&mut self, end: usize) {
        while self.asked < end.min(self.pictures.len()) {
            let sent = self.work.as_ref().is_some_and(|work| work.send(self.asked).is_ok());
            if !sent {
                return;
            }
            self.asked += 1;
        }
        if self.asked == self.pictures.len() {
            self.work = None;
        }
    }

    /// The picture `index`, when it is ready.
    fn take(&mut self, index: usize) -> Result<Ready, String> {
        loop {
            if let Some(ready) = self.early.remove(&index) {
                return ready;
            }
            match self.ready.recv() {
                Ok((index, ready)) => self.early.insert(index, ready),
                Err(_) => return Err("its decoder broke down".to_owned()),
            };
        }
    }
}

struct Run<'a> {
    model: &'a mut Model,
    settings: &'a Settings,
    order: Order<'a>,
    unreadable: Vec<String>,
    said: Option<Instant>,
}

impl Run<'_> {
    fn all(mut self, say: &mut dyn FnMut(Say)) -> Result<Vec<Found>, Failure> {
        let (total, batch) = (self.order.pictures.len(), self.model.batch);
        let mut found = Vec::with_capacity(total);
        for start in (0..total).step_by(batch) {
            self.order.ask(start + (1 + AHEAD) * batch);
            let end = (start + batch).min(total);
            let ready = self.batch(start, end, say);
            // After the first unreadable picture the rest are only read, so that all of them are named at once.
            if self.unreadable.is_empty() {
                found.extend(self.infer(start, ready)?);
            }
            self.progress(end, total, say);
        }
        if self.unreadable.is_empty() { Ok(found) } else { Err(self.failure()) }
    }

    fn batch(&mut self, start: usize, end: usize, say: &mut dyn FnMut(Say)) -> Vec<Ready> {
        let mut batch = Vec::with_capacity(end - start);
        for index in start..end {
            match self.order.take(index) {
                Ok(ready) => batch.push(ready),
                Err(why) => {
                    let name = &self.order.pictures[index].name;
                    say(Say::log(format!("error: cannot read the picture `{name}`: {why}")));
                    self.unreadable.push(format!("`{name}` ({why})"));
                }
            }
        }
        batch
    }

    fn infer(&mut self, start: usize, ready: Vec<Ready>) -> Result<Vec<Found>, Failure> {
        let planes: Vec<f32> = ready.iter().flat_map(|it| it.planes.iter().copied()).collect();
        let raw = self.model.run(&planes, ready.len())?;
        let pictures = &self.order.pictures[start..start + ready.len()];
        let found = pictures.iter().zip(ready).enumerate().map(|(row, (entry, it))| {
            let detections = found(&raw, row, &it.fit, self.model.classes.len(), self.settings)
                .map_err(|why| Failure::new(FailureKind::Step, format!("for the picture `{}` {why}", entry.name)))?;
            Ok(Found { file: entry.name.clone(), width: it.width, height: it.height, detections })
        });
        found.collect()
    }

    fn progress(&mut self, done: usize, total: usize, say: &mut dyn FnMut(Say)) {
        if done == total || self.said.is_none_or(|said| said.elapsed() >= SAY) {
            self.said = Some(Instant::now());
            say(Say::Progress { done: done as u64, total: total as u64, what: "pictures".to_owned() });
        }
    }

    fn failure(&self) -> Failure {
        let (count, named) = (self.unreadable.len(), self.unreadable.len().min(NAMED));
        let mut message = format!("{count} of {} pictures cannot be read: ", self.order.pictures.len());
        message += &self.unreadable[..named].join(", ");
        if count > named {
            message += &format!(" and {} more", count - named);
        }
        Failure::new(FailureKind::Step, message).hint("repair them, or take them out of the data set")
    }
}

/// What the model found on the picture in `row` of a batch.
fn found(raw: &Raw, row: usize, fit: &Fit, classes: usize, settings: &Settings) -> Result<Vec<Detection>, String> {
    let boxes = &raw.boxes[row * raw.anchors * 4..(row + 1) * raw.anchors * 4];
    let scores = &raw.scores[row * raw.anchors * classes..(row + 1) * raw.anchors * classes];
    let mut found = Vec::new();
    for (bounds, scores) in boxes.chunks_exact(4).zip(scores.chunks_exact(classes)) {
        for (class, &score) in scores.iter().enumerate() {
            if !(-ROUNDING..=1.0 + ROUNDING).contains(&score) {
                return Err(format!("the model gives the score {score}, expected 0 to 1 after all activations"));
            }
            if score < settings.score {
                continue;
            }
            if bounds.iter().any(|at| !at.is_finite()) {
                return Err(format!("the model gives the box {bounds:?}"));
            }
            let bounds = fit.back([bounds[0], bounds[1], bounds[2], bounds[3]]);
            found.extend(bounds.map(|bounds| Detection { class, score: score.clamp(0.0, 1.0), bounds }));
        }
    }
    Ok(suppress(found, settings))
}
