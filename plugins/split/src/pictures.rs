//! Data sets of pictures: reads the folder, looks for near-duplicates, writes the same pictures in other parts. Which part
//! a picture goes to depends on its name, source and classes (and, where near-duplicates are joined, its look), not on the
//! part it came from. Pictures and notes are copied byte for byte. Knows nothing of tables.

use crate::alike::{self, Sets};
use crate::told::{Found, Told};
use crate::{Config, Leaks};
use boxes::catalog::printable;
use boxes::{Dataset, Entry, Picture, Split};
use flowrun_plugin::{Failure, Task};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The largest file that is decoded: a picture of as many pixels as are read has less, however it is packed.
const LARGEST: u64 = 256 << 20;
/// How many pairs of near-duplicates the report names.
const MOST_PAIRS: usize = 200;
/// How many pairs an error names.
const SAID: usize = 5;
/// What the data set's writer makes anew.
const MADE: [&str; 4] = ["train.csv", "test.csv", "images.csv", "classes.json"];

/// A picture, and the part of the input it is in.
struct Pictured {
    from: Split,
    entry: Entry,
}

impl Pictured {
    fn place(&self) -> String {
        format!("{}/{}", self.from.name(), self.entry.filename)
    }
}

/// Splits the data set folder `input`; `output` becomes one too where the parts are train and test, else it gets one for
/// each part, with all its pictures in `train`.
///
/// # Errors
/// [`Failure`]: a folder that is no data set, a name that two pictures have, a picture that cannot be read, a part without
/// pictures, near-duplicates in different parts where `leaks` is `fail`.
pub fn split(config: &Config, input: &Path, output: &Path, task: &Task) -> Result<Told, Failure> {
    let stratify = one_of("stratify", config.stratify.as_deref(), "classes")?;
    let group = one_of("group", config.group.as_deref(), "source")?;
    let dataset = Dataset::read(input).map_err(|error| Failure::bad_input(format!("the data set's {error}")))?;
    let (classes, pictures) = (dataset.classes.clone(), listed(dataset)?);
    let leaks = config.leaks.unwrap_or(Leaks::Fail);
    let hashes = if leaks != Leaks::Ignore || config.join_leaks { hashes(&pictures, input, task)? } else { Vec::new() };
    let name = |one: &Pictured| match group {
        true => format!("s:{}", one.entry.source),
        false => format!("p:{}", one.entry.filename),
    };
    let mut groups: Vec<String> = pictures.iter().map(name).collect();
    let joined = if config.join_leaks { join(&mut groups, &hashes, config.distance()) } else { 0 };
    let strata = pictures.iter().map(|one| stratify.then(|| class_set(&one.entry)));
    let mut told = Told::split(config, "pictures", groups.into_iter().zip(strata).collect())?;
    if !hashes.is_empty() {
        let found = Found { joined, ..across(&pictures, &hashes, &told.part_of, config.distance()) };
        refuse(leaks, &found)?;
        if found.across > 0 {
            task.warn(format!("{} pairs of near-duplicate pictures are in different parts", found.across));
        }
        told.leaks = Some(found);
    }
    write(&told, &classes, &pictures, input, output, task)?;
    Ok(told)
}

/// Whether a setting that a data set has one use for is on.
fn one_of(path: &str, value: Option<&str>, on: &str) -> Result<bool, Failure> {
    match value {
        None => Ok(true),
        Some(value) if value == on => Ok(true),
        Some("none") => Ok(false),
        Some(other) => {
            let message = format!("`{}` is not what a data set has: `{on}` or `none` was expected", printable(other));
            Err(Failure::bad_config(path, message))
        }
    }
}

/// All pictures; none where two have one name, which could not lie in one folder.
fn listed(mut dataset: Dataset) -> Result<Vec<Pictured>, Failure> {
    let mut pictures = Vec::new();
    for from in Split::ALL {
        let entries = std::mem::take(dataset.split_mut(from));
        pictures.extend(entries.into_iter().map(|entry| Pictured { from, entry }));
    }
    if pictures.is_empty() {
        return Err(Failure::bad_input("the data set has no pictures"));
    }
    let mut seen = BTreeSet::new();
    match pictures.iter().find(|one| !seen.insert(&one.entry.filename)) {
        Some(one) => {
            let name = printable(&one.entry.filename);
            Err(Failure::bad_input(format!("two pictures are called `{name}`: rename one")))
        }
        None => Ok(pictures),
    }
}

/// The names of a picture's classes, as a JSON list: no class's name can look like two.
fn class_set(entry: &Entry) -> String {
    let classes: BTreeSet<&str> = entry.boxes.iter().map(|one| one.class.as_str()).collect();
    Value::from(classes.into_iter().collect::<Vec<_>>()).to_string()
}

fn hashes(pictures: &[Pictured], input: &Path, task: &Task) -> Result<Vec<u64>, Failure> {
    let mut hashes = Vec::with_capacity(pictures.len());
    for (done, one) in (1..).zip(pictures) {
        let wrong =
            |error: &dyn std::fmt::Display| Failure::bad_input(format!("`{}`: {error}", printable(&one.place())));
        let mut bytes = Vec::new();
        let file = File::open(input.join(one.place())).map_err(|error| wrong(&error))?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        if bytes.len() as u64 > LARGEST {
            return Err(wrong(&"the file is larger than 256 MiB"));
        }
        let picture = Picture::decode(&bytes).map_err(|error| wrong(&error))?;
        hashes.push(alike::hash(&picture).ok_or_else(|| wrong(&"the picture cannot be shrunk"))?);
        if done % 32 == 0 || done == pictures.len() as u64 {
            task.progress(done, pictures.len() as u64, "pictures looked at");
        }
    }
    Ok(hashes)
}

/// Gives near-duplicates one group, and with them all that is in their groups; how many groups became part of another.
fn join(groups: &mut [String], hashes: &[u64], distance: u32) -> usize {
    let mut sets = Sets::new(groups.len());
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate() {
        sets.join(*first.entry(group).or_insert(place), place);
    }
    let mut joined = 0;
    alike::pairs(hashes, distance, |a, b, _| joined += usize::from(sets.join(a, b)));
    // A joined group is called as the first of its names, whatever the order of the pictures.
    let mut names: BTreeMap<usize, String> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate() {
        let name = names.entry(sets.find(place)).or_insert_with(|| group.clone());
        if group < name {
            name.clone_from(group);
        }
    }
    for (place, group) in groups.iter_mut().enumerate() {
        group.clone_from(&names[&sets.find(place)]);
    }
    joined
}

fn across(pictures: &[Pictured], hashes: &[u64], part_of: &[usize], distance: u32) -> Found {
    let (mut count, mut nearest) = (0, BTreeSet::new());
    alike::pairs(hashes, distance, |a, b, bits| {
        if part_of[a] != part_of[b] {
            count += 1;
            nearest.insert((bits, a, b));
            if nearest.len() > MOST_PAIRS {
                nearest.pop_last();
            }
        }
    });
    let named = |(bits, a, b): (u32, usize, usize)| (pictures[a].place(), pictures[b].place(), bits);
    Found { across: count, pairs: nearest.into_iter().map(named).collect(), joined: 0 }
}

fn refuse(leaks: Leaks, found: &Found) -> Result<(), Failure> {
    if leaks != Leaks::Fail || found.across == 0 {
        return Ok(());
    }
    let said =
        |(a, b, bits): &(String, String, u32)| format!("`{}` and `{}` ({bits} bits)", printable(a), printable(b));
    let pairs: Vec<String> = found.pairs.iter().take(SAID).map(said).collect();
    Err(Failure::bad_input(format!(
        "{} pairs of near-duplicate pictures would be in different parts, the nearest {}: `join_leaks: true` keeps them together, \
         `leaks: warn` lets them be",
        found.across,
        pairs.join(", ")
    )))
}

fn write(
    told: &Told,
    classes: &[String],
    pictures: &[Pictured],
    input: &Path,
    output: &Path,
    task: &Task,
) -> Result<(), Failure> {
    let both = told.names.iter().eq(["test", "train"]);
    let mut done = 0;
    for (part, name) in told.names.iter().enumerate() {
        let split = if both && name == "test" { Split::Test } else { Split::Train };
        let root = if both { output.to_path_buf() } else { output.join(name) };
        fs::create_dir_all(root.join(split.name())).map_err(Failure::internal)?;
        for (one, _) in pictures.iter().zip(&told.part_of).filter(|(_, of)| **of == part) {
            copy(&input.join(one.place()), &root.join(split.name()).join(&one.entry.filename), &one.place())?;
            done += 1;
        }
        task.progress(done, pictures.len() as u64, "pictures copied");
    }
    let entries = |part: usize| {
        let of = pictures.iter().zip(&told.part_of).filter(move |(_, of)| **of == part);
        of.map(|(one, _)| one.entry.clone()).collect::<Vec<_>>()
    };
    let classes = classes.to_vec();
    if both {
        let dataset = Dataset { classes, train: entries(1), test: entries(0) };
        return tables(&dataset, input, output);
    }
    for (part, name) in told.names.iter().enumerate() {
        let dataset = Dataset { classes: classes.clone(), train: entries(part), test: Vec::new() };
        tables(&dataset, input, &output.join(name))?;
    }
    Ok(())
}

/// Writes a data set's tables, and copies the notes beside the input's, such as `README.md` and `ATTRIBUTION.csv`.
fn tables(dataset: &Dataset, input: &Path, root: &Path) -> Result<(), Failure> {
    dataset.write(root).map_err(Failure::internal)?;
    for item in fs::read_dir(input).map_err(Failure::bad_input)? {
        let item = item.map_err(Failure::bad_input)?;
        let name = item.file_name();
        let note = item.file_type().map_err(Failure::bad_input)?.is_file();
        if note && !MADE.iter().any(|made| name.as_os_str() == *made) {
            copy(&item.path(), &root.join(&name), &name.to_string_lossy())?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), Failure> {
    let name = printable(name);
    let mut from = File::open(from).map_err(|error| Failure::bad_input(format!("`{name}`: {error}")))?;
    let mut to = File::create(to).map_err(|error| Failure::internal(format!("`{name}`: {error}")))?;
    std::io::copy(&mut from, &mut to).map_err(|error| Failure::internal(format!("`{name}`: {error}")))?;
    Ok(())
}
