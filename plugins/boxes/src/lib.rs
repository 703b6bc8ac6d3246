//! What the box plugins share: the folder of pictures with boxes that goes from step to step, the pictures themselves, the
//! loose files (folders, tars) that such a data set is found in, the layouts that others write one in, and what a model found in the pictures.
//!
//! It does not know what is a flaw (`boxes-check`) nor what is done to a picture (`boxes-augment`).

pub mod catalog;
pub mod dataset;
pub mod detections;
mod encode;
pub mod formats;
pub mod notes;
pub mod picture;
pub mod random;
pub mod rect;
mod scale;
pub mod truths;

pub use catalog::{Catalog, File};
pub use dataset::{Dataset, Entry, Labelled, Split};
pub use picture::{Picture, Unreadable};
pub use random::Random;
pub use rect::Rect;
