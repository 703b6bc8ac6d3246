//! Puts the clean data set together: which pictures are in it, in which split.

use crate::findings::{Action, Amount, Kind, Report, Suspect};
use crate::negative;
use crate::photos::{Photo, Seen};
use crate::rows::Checked;
use boxes::{Dataset, Entry, Labelled, Random, Split};
use std::collections::{BTreeMap, HashSet};

/// A split: its photos, and what its rows came to.
pub type Part<'a> = (Split, Vec<Photo<'a>>, Checked);

/// A clean data set, and where each of its pictures comes from.
pub struct Clean<'a> {
    /// The tables.
    pub dataset: Dataset,
    /// The photo of each picture of train and of test, in the order of the tables.
    pub photos: [Vec<Photo<'a>>; 2],
}

/// What of a configuration matters here.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The part of train held out where there is no test split.
    pub test_fraction: f64,
    /// Which part it is.
    pub seed: i64,
    /// Whether train keeps pictures that look like negatives.
    pub keep_inverted: bool,
}

/// Takes the pictures that are fit to be used, and holds out a test split where none is given.
pub fn assemble<'a>(parts: Vec<Part<'a>>, wish: Wish, report: &mut Report) -> Clean<'a> {
    let mut picked: [Vec<(Entry, Photo<'a>, Seen)>; 2] = [Vec::new(), Vec::new()];
    let has_test = parts.len() > 1;
    // Test first: a picture in both splits stays there.
    let mut in_test = HashSet::new();
    let shared = share_files(&parts);
    for (split, photos, Checked { boxes, mentioned }) in parts.into_iter().rev() {
        for ((photo, boxes), mentioned) in photos.into_iter().zip(boxes).zip(mentioned) {
            let Some(seen) = photo.seen else { continue };
            // One folder for both splits: who mentions a picture has it, and train those that nobody mentions.
            let elsewhere = if split == Split::Test { shared } else { in_test.contains(&seen.hash) };
            if !mentioned && shared && elsewhere {
                continue;
            }
            let mut say =
                |kind, action, message: &str| report.add_file(Some(split), photo.name(), kind, action, message);
            if split == Split::Train && in_test.contains(&seen.hash) {
                say(
                    Kind::PictureInBothSplits,
                    Action::Dropped,
                    "the very same picture is in the test split, where it stays",
                );
                continue;
            }
            if split == Split::Test {
                in_test.insert(seen.hash);
            }
            if boxes.is_empty() && mentioned {
                say(
                    Kind::PictureLostItsBoxes,
                    Action::Dropped,
                    "none of its boxes could be kept: it would seem to show nothing",
                );
                continue;
            }
            if !wish.keep_inverted && split == Split::Train && seen.negative >= negative::THRESHOLD {
                say(Kind::InvertedPicture, Action::Dropped, "looks like a colour negative, and `keep_inverted` is off");
                continue;
            }
            if !mentioned {
                say(Kind::PictureWithoutBoxes, Action::Kept, "no row is about it: it stands for nothing to be found");
            }
            picked[split as usize].push((entry(&photo, seen, boxes), photo, seen));
        }
    }
    if !has_test {
        hold_out(&mut picked, wish, report);
    }
    finish(picked, report)
}

/// Whether both splits look at the same files.
fn share_files(parts: &[Part]) -> bool {
    let first = |part: &Part| part.1.first().map(|photo| photo.file.path.clone());
    matches!(parts, [train, test] if first(train).is_some() && first(train) == first(test))
}

fn entry(photo: &Photo, seen: Seen, boxes: Vec<Labelled>) -> Entry {
    let filename = photo.name().to_owned();
    Entry { source: filename.clone(), filename, width: seen.width, height: seen.height, boxes }
}

/// Moves a part of each class's pictures to the test split. Which ones depends on their names and the seed alone.
fn hold_out(picked: &mut [Vec<(Entry, Photo, Seen)>; 2], wish: Wish, report: &mut Report) {
    let mut strata: BTreeMap<Option<String>, Vec<(u64, String)>> = BTreeMap::new();
    for (entry, ..) in &picked[0] {
        let rank = Random::new(wish.seed, &entry.filename, 0).bits();
        strata.entry(main_class(entry)).or_default().push((rank, entry.filename.clone()));
    }
    let mut held = HashSet::new();
    for (class, mut names) in strata {
        names.sort();
        let count = if class.is_some() { part_of(names.len(), wish.test_fraction) } else { 0 };
        held.extend(names.into_iter().take(count).map(|(_, name)| name));
    }
    let [train, test] = picked;
    let all = train.len();
    test.extend(train.extract_if(.., |(entry, ..)| held.contains(&entry.filename)));
    let message = format!("no test split was given: {} of {all} pictures were held out of train", test.len());
    report.add_file(None, "test.csv", Kind::TestSplitMade, Action::Kept, message);
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of a count of pictures"
)]
fn part_of(count: usize, part: f64) -> usize {
    (count as f64 * part).round() as usize
}

/// The class of most of a picture's boxes, of those the first in the alphabet.
fn main_class(entry: &Entry) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for labelled in &entry.boxes {
        *counts.entry(&labelled.class).or_default() += 1;
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(class, _)| class.to_owned())
}

fn finish<'a>(picked: [Vec<(Entry, Photo<'a>, Seen)>; 2], report: &mut Report) -> Clean<'a> {
    let mut clean = Clean { dataset: Dataset::default(), photos: [Vec::new(), Vec::new()] };
    for (split, pictures) in Split::ALL.into_iter().zip(picked) {
        for (entry, photo, seen) in pictures {
            if seen.negative >= negative::THRESHOLD {
                let (class, filename) = (main_class(&entry), entry.filename.clone());
                let score = (f64::from(seen.negative) * 1000.0).round() / 1000.0;
                report.suspects.push(Suspect { split, filename, class, reason: "colour_inverted", score });
            }
            clean.dataset.split_mut(split).push(entry);
            clean.photos[split as usize].push(photo);
        }
        let entries = clean.dataset.split(split);
        let boxes = entries.iter().map(|entry| entry.boxes.len()).sum();
        report.summary.insert(split, Amount { images: entries.len(), boxes });
    }
    clean
}
