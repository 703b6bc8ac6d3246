//! `flowrun/split`: splits a table or a data set of pictures into named parts.
//!
//! One of the inputs `table` (CSV) and `dataset` (folder), output `parts` (folder) and, where it is wanted, `report` (JSON).
//! This module knows the step's names and checks its settings; [`assign`] decides which part an item goes to, [`told`] what
//! is said of it, [`rows`] reads and writes tables, [`pictures`] data sets, and [`alike`] finds near-duplicates.

pub mod alike;
pub mod assign;
pub mod pictures;
pub mod rows;
pub mod told;

use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// How far from 1 the fractions' sum may be: what adding a few decimal fractions loses, and no more.
const SUM: f64 = 1e-9;
/// More parts than this are no split but a group-by; counts are kept for each part and stratum.
const MOST_PARTS: usize = 20;
/// The widest distance of hashes: beyond, pictures that have nothing in common are near-duplicates.
const MOST_DISTANCE: u32 = 10;
/// The distance where none is given.
const DISTANCE: u32 = 4;
/// The longest name of a part: with `.csv` behind it it still is a file's name everywhere.
const LONGEST_NAME: usize = 100;

/// The step's `with`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The parts' fractions by name; they sum to 1.
    pub parts: BTreeMap<String, f64>,
    /// Another seed, other parts.
    #[serde(default)]
    pub seed: i64,
    /// What is spread evenly: a table's column; `classes` or `none` of a data set.
    #[serde(default)]
    pub stratify: Option<String>,
    /// What stays together: a table's column; `source` or `none` of a data set.
    #[serde(default)]
    pub group: Option<String>,
    /// What near-duplicates in different parts do; `fail` where not given.
    #[serde(default)]
    pub leaks: Option<Leaks>,
    /// How many of 64 bits may differ between near-duplicates; 4 where not given.
    #[serde(default)]
    pub leak_distance: Option<u32>,
    /// Whether near-duplicates stay together.
    #[serde(default)]
    pub join_leaks: bool,
}

/// What near-duplicate pictures in different parts do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leaks {
    /// The step fails.
    Fail,
    /// They are counted, and named in the report.
    Warn,
    /// Nobody looks for them.
    Ignore,
}

impl Config {
    /// The distance up to which pictures are near-duplicates, in bits of their hashes.
    #[must_use]
    pub fn distance(&self) -> u32 {
        self.leak_distance.unwrap_or(DISTANCE)
    }

    fn check(&self) -> Result<(), Failure> {
        let bad = |path: &str, message: String| Err(Failure::bad_config(path, message));
        if !(2..=MOST_PARTS).contains(&self.parts.len()) {
            return bad("parts", format!("{} parts: 2 to {MOST_PARTS} were expected", self.parts.len()));
        }
        let mut seen = BTreeSet::new();
        for (name, fraction) in &self.parts {
            let path = format!("parts.{name}");
            let word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
            if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(word) {
                return bad("parts", format!("`{}` is not a word such as `train`", boxes::catalog::printable(name)));
            }
            if !seen.insert(name.to_lowercase()) {
                return bad(
                    &path,
                    "another part's name differs only in capitals: not every disk keeps both".to_owned(),
                );
            }
            if !(*fraction > 0.0 && *fraction < 1.0) {
                return bad(&path, format!("{fraction} is not a fraction between 0 and 1"));
            }
        }
        let sum: f64 = self.parts.values().sum();
        if (sum - 1.0).abs() > SUM {
            return bad("parts", format!("the fractions sum to {sum}, not to 1"));
        }
        match self.leak_distance {
            Some(bits) if bits > MOST_DISTANCE => {
                bad("leak_distance", format!("{bits} is more than {MOST_DISTANCE}: unlike pictures would be near"))
            }
            _ => Ok(()),
        }
    }
}

/// The plugin.
pub struct Splits;

impl Plugin for Splits {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        config.check()?;
        let output = task.output("parts")?;
        let told = match (task.optional_input("table"), task.optional_input("dataset")) {
            (Some(table), None) => rows::split(&config, table, output)?,
            (None, Some(dataset)) => pictures::split(&config, dataset, output, task)?,
            (Some(_), Some(_)) => {
                return Err(Failure::bad_config("", "the step splits one input, `table` or `dataset`, and has both"));
            }
            (None, None) => {
                return Err(Failure::bad_config(
                    "",
                    "the step needs an input: name `table` or `dataset` under `inputs`",
                ));
            }
        };
        for finding in &told.findings {
            task.warn(&finding.message);
        }
        if let Some(report) = task.optional_output("report") {
            std::fs::write(report, told.json(&config)).map_err(Failure::internal)?;
        }
        let leaks = told.leaks.as_ref().map_or(0, |leaks| leaks.across);
        Ok(values! { "counts": told.counts(), "leaks": leaks, "findings": told.findings.len() })
    }
}

flowrun_plugin::export!(Splits);
