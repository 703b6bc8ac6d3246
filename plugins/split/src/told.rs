//! What is said of a split: counts by part and by stratum, what could not be done as asked, near-duplicates. Knows items,
//! groups and strata by name, and not what they are.

use crate::Config;
use crate::assign::{Item, assign};
use boxes::catalog::printable;
use flowrun_plugin::Failure;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the report's form.
const FORMAT: u64 = 1;
/// A part that is off by no more than this part of what was asked for is as good as it gets with groups.
const OFF: f64 = 0.01;
/// The most strata: of more a column is an id, and there is nothing to spread.
const MOST_STRATA: usize = 20_000;
/// Findings of one kind beyond these are counted in a last one.
const MOST_FINDINGS: usize = 100;

/// A split, and what is to be said of it.
#[derive(Debug)]
pub struct Told {
    /// The parts' names, sorted.
    pub names: Vec<String>,
    /// The place in `names` of each item's part.
    pub part_of: Vec<usize>,
    /// What could not be done as asked.
    pub findings: Vec<Finding>,
    /// Near-duplicates, where they were looked for.
    pub leaks: Option<Found>,
    fractions: Vec<f64>,
    items: Vec<Item>,
    strata: Option<Vec<String>>,
    unit: &'static str,
}

/// Something that could not be done as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `fraction_missed`, `group_too_large` or `small_stratum`.
    pub kind: &'static str,
    /// In words.
    pub message: String,
}

/// Near-duplicates.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Pairs whose two are in different parts.
    pub across: u64,
    /// The nearest of them, at most some hundreds: the two names, and in how many bits their hashes differ.
    pub pairs: Vec<(String, String, u32)>,
    /// Groups that were joined with another because pictures of theirs are near-duplicates.
    pub joined: usize,
}

impl Told {
    /// Splits items, each with the name of its group and of its stratum. `unit` is what items are called: `rows`.
    ///
    /// # Errors
    /// [`Failure`] where a part would be empty, or where there are too many strata.
    pub fn split(config: &Config, unit: &'static str, items: Vec<(String, Option<String>)>) -> Result<Self, Failure> {
        let names: BTreeSet<&String> = items.iter().filter_map(|(_, stratum)| stratum.as_ref()).collect();
        if names.len() > MOST_STRATA {
            let message =
                format!("{} different values are no strata: at most {MOST_STRATA} were expected", names.len());
            return Err(Failure::bad_config("stratify", message));
        }
        let places: BTreeMap<&String, usize> = names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
        let place = |stratum: &Option<String>| stratum.as_ref().map_or(0, |name| places[name]);
        let numbers: Vec<usize> = items.iter().map(|(_, stratum)| place(stratum)).collect();
        let strata = (!names.is_empty()).then(|| names.into_iter().cloned().collect::<Vec<_>>());
        let groups = items.into_iter().map(|(group, _)| group);
        let items: Vec<Item> = groups.zip(numbers).map(|(group, stratum)| Item { group, stratum }).collect();
        let sum: f64 = config.parts.values().sum();
        let fractions: Vec<f64> = config.parts.values().map(|fraction| fraction / sum).collect();
        let part_of = assign(&items, strata.as_ref().map_or(1, Vec::len), &fractions, config.seed);
        let names = config.parts.keys().cloned().collect();
        let mut told = Self { names, part_of, findings: Vec::new(), leaks: None, fractions, items, strata, unit };
        told.refuse_empty()?;
        told.judge();
        Ok(told)
    }

    /// How many items each part has, by its name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        self.names.iter().map(String::as_str).zip(self.sizes()).collect()
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.names.len()];
        self.part_of.iter().for_each(|part| sizes[*part] += 1);
        sizes
    }

    /// How many groups each part has.
    fn groups(&self) -> Vec<usize> {
        let mut groups = vec![BTreeSet::new(); self.names.len()];
        self.items.iter().zip(&self.part_of).for_each(|(item, part)| {
            groups[*part].insert(&item.group);
        });
        groups.iter().map(BTreeSet::len).collect()
    }

    /// How many items of each stratum each part has.
    fn strata_sizes(&self) -> Vec<Vec<usize>> {
        let mut sizes = vec![vec![0; self.names.len()]; self.strata.as_ref().map_or(0, Vec::len)];
        if !sizes.is_empty() {
            self.items.iter().zip(&self.part_of).for_each(|(item, part)| sizes[item.stratum][*part] += 1);
        }
        sizes
    }

    fn refuse_empty(&self) -> Result<(), Failure> {
        let (all, unit) = (self.items.len(), self.unit);
        let Some(part) = self.sizes().iter().position(|size| *size == 0) else { return Ok(()) };
        let (name, fraction) = (&self.names[part], self.fractions[part]);
        let groups = self.items.iter().map(|item| &item.group).collect::<BTreeSet<_>>().len();
        let remedy = "a larger fraction, fewer parts or more data would fill it";
        Err(Failure::bad_input(format!(
            "the part `{name}` would be empty: {fraction} of {all} {unit} in {groups} groups that stay whole; {remedy}"
        )))
    }

    fn judge(&mut self) {
        let mut findings = self.missed();
        findings.extend(few("group_too_large", self.too_large()));
        findings.extend(few("small_stratum", self.small_strata()));
        self.findings = findings;
    }

    fn target(&self, part: usize) -> f64 {
        self.fractions[part] * self.items.len() as f64
    }

    fn missed(&self) -> Vec<Finding> {
        let missed = |(part, size): (usize, usize)| {
            let (target, all, unit) = (self.target(part), self.items.len(), self.unit);
            let message = format!("`{}` has {size} of {all} {unit}, and {target:.1} were asked for", self.names[part]);
            // Less than one off is as near as whole items come.
            let off = (size as f64 - target).abs();
            (off > 1.0 - 1e-6 && off > OFF * target).then_some(Finding { kind: "fraction_missed", message })
        };
        self.sizes().into_iter().enumerate().filter_map(missed).collect()
    }

    fn too_large(&self) -> Vec<String> {
        let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (item, part) in self.items.iter().zip(&self.part_of) {
            groups.entry(&item.group).or_insert((*part, 0)).1 += 1;
        }
        let large =
            groups.into_iter().filter(|(_, (part, size))| *size > 1 && *size as f64 > self.target(*part) + 1e-6);
        let said = |(group, (part, size)): (&str, (usize, usize))| {
            let (name, target, unit) = (&self.names[part], self.target(part), self.unit);
            format!("the group `{}` has {size} {unit}, and all of `{name}` should have {target:.1}", plain(group))
        };
        large.map(said).collect()
    }

    fn small_strata(&self) -> Vec<String> {
        let names = self.strata.iter().flatten();
        let said = |(name, sizes): (&String, Vec<usize>)| {
            let lacks = |(part, size): (&String, &usize)| (*size == 0).then(|| format!("`{part}`"));
            let lack: Vec<String> = self.names.iter().zip(&sizes).filter_map(lacks).collect();
            let (all, unit) = (sizes.iter().sum::<usize>(), self.unit);
            let said = || format!("the stratum `{}` ({all} {unit}) is not in {}", printable(name), lack.join(", "));
            (!lack.is_empty()).then(said)
        };
        names.zip(self.strata_sizes()).filter_map(said).collect()
    }

    /// The report, as JSON text.
    #[must_use]
    pub fn json(&self, config: &Config) -> String {
        let (all, unit) = (self.items.len(), self.unit);
        let mut parts = serde_json::Map::new();
        for (part, (size, groups)) in self.sizes().into_iter().zip(self.groups()).enumerate() {
            let share = size as f64 / all as f64;
            let said = json!({"asked": self.fractions[part], unit: size, "share": share, "groups": groups});
            parts.insert(self.names[part].clone(), said);
        }
        let stratum = |(name, sizes): (&String, Vec<usize>)| {
            let of: BTreeMap<&String, usize> = self.names.iter().zip(sizes).collect();
            json!({"stratum": name, "parts": of})
        };
        let strata: Vec<Value> = self.strata.iter().flatten().zip(self.strata_sizes()).map(stratum).collect();
        let finding = |finding: &Finding| json!({"kind": finding.kind, "message": finding.message, "action": "warned"});
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.findings.iter().for_each(|finding| *counts.entry(finding.kind).or_default() += 1);
        let report = json!({
            "format": FORMAT, "seed": config.seed, unit: all, "parts": parts, "strata": strata,
            "leaks": self.leaks.as_ref().map(|leaks| leaks.json(config)),
            "counts": counts, "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

impl Found {
    fn json(&self, config: &Config) -> Value {
        let pair = |(a, b, bits): &(String, String, u32)| json!({"pictures": [a, b], "distance": bits});
        let pairs: Vec<Value> = self.pairs.iter().map(pair).collect();
        json!({"distance": config.distance(), "across": self.across, "pairs": pairs, "joined": self.joined})
    }
}

/// The name of a group as its owner knows it: without the letter that tells groups from single items.
fn plain(group: &str) -> String {
    printable(group.split_once(':').map_or(group, |(_, name)| name))
}

fn few(kind: &'static str, messages: Vec<String>) -> Vec<Finding> {
    let more = messages.len().saturating_sub(MOST_FINDINGS);
    let mut findings: Vec<Finding> =
        messages.into_iter().take(MOST_FINDINGS).map(|message| Finding { kind, message }).collect();
    if more > 0 {
        findings.push(Finding { kind, message: format!("and {more} more of this kind") });
    }
    findings
}
