//! The plugin as a step, on tables: strata, groups, seeds, and what it says of what cannot be done.

use flowrun_plugin::{Failure, Task, Value};
use serde_json::json;
use split::Splits;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const LEAVES: &str = include_str!("../sample/leaves.csv");

struct Made {
    values: Value,
    parts: BTreeMap<String, String>,
    report: Value,
}

fn run(config: &Value, table: &str) -> Result<Made, Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("in.csv"), table).expect("a file");
    std::fs::create_dir(path("parts")).expect("a folder");
    let task = Task::native(&[("table", &path("in.csv"))], &[("parts", &path("parts")), ("report", &path("r.json"))]);
    let values = flowrun_plugin::run::<Splits>(&config.to_string(), &task).map(Value::Object)?;
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let items = std::fs::read_dir(path("parts")).expect("a folder").map(|item| item.expect("an item"));
    let parts = items.map(|item| (item.file_name().into_string().expect("UTF-8"), read(&item.path()))).collect();
    Ok(Made { values, parts, report: serde_json::from_str(&read(&path("r.json"))).expect("JSON") })
}

fn made(config: Value, table: &str) -> Made {
    run(&config, table).unwrap_or_else(|error| panic!("{config}: {error}"))
}

fn refused(config: Value, table: &str) -> String {
    run(&config, table).err().unwrap_or_else(|| panic!("{config} was done")).to_string()
}

/// The cells of a column, in order.
fn column(table: &str, place: usize) -> Vec<&str> {
    table.lines().skip(1).map(|line| line.split(',').nth(place).expect("a cell")).collect()
}

fn sorted(table: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = table.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_row_is_in_one_part_in_its_order_and_strata_are_within_one_row() {
    let config = json!({"parts": {"train": 0.7, "val": 0.1, "test": 0.2}, "stratify": "condition", "seed": 3});
    let Made { values, parts, report } = made(config, LEAVES);
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["test.csv", "train.csv", "val.csv"]);
    let mut all: Vec<&str> = Vec::new();
    for (name, fraction) in [("train", 0.7), ("val", 0.1), ("test", 0.2)] {
        let part = &parts[&format!("{name}.csv")];
        assert!(part.starts_with("photo,plant,condition,length_mm\n"), "{part}");
        let photos = column(part, 0);
        assert!(photos.is_sorted(), "rows keep their order");
        assert_eq!(values["counts"][name], photos.len());
        for stratum in ["healthy", "rust", "scab"] {
            let of = |table| column(table, 2).into_iter().filter(|value| *value == stratum).count();
            let (has, asked) = (of(part), fraction * of(LEAVES) as f64);
            assert!((has as f64 - asked).abs() < 1.0, "{name} has {has} {stratum}, {asked} asked");
            let mut told = report["strata"].as_array().expect("a list").iter();
            assert_eq!(told.find(|told| told["stratum"] == stratum).expect("told")["parts"][name], has);
        }
        all.extend(part.lines().skip(1));
    }
    all.sort_unstable();
    assert_eq!(all, &sorted(LEAVES)[..all.len()], "`photo` sorts behind all `leaf-`");
    assert_eq!(all.len(), 120);
    assert_eq!((&values["leaks"], &values["findings"], &report["leaks"]), (&json!(0), &json!(0), &Value::Null));
}

#[test]
fn groups_are_never_split_whatever_the_seed() {
    for seed in 0..20 {
        let config =
            json!({"parts": {"a": 0.5, "b": 0.3, "c": 0.2}, "stratify": "condition", "group": "plant", "seed": seed});
        let Made { parts, report, .. } = made(config, LEAVES);
        let plants: Vec<BTreeSet<&str>> = parts.values().map(|part| column(part, 1).into_iter().collect()).collect();
        assert_eq!(plants.iter().map(BTreeSet::len).sum::<usize>(), 40, "no plant is in two parts");
        for (name, fraction) in [("a", 0.5), ("b", 0.3), ("c", 0.2)] {
            let rows = report["parts"][name]["rows"].as_f64().expect("a number");
            assert!((rows - fraction * 120.0).abs() < 5.0, "seed {seed}: {name} has {rows}");
        }
    }
}

#[test]
fn groups_go_where_their_strata_have_room() {
    for seed in 0..20 {
        let parts = [("train", 0.7), ("val", 0.1), ("test", 0.2)];
        let config = json!({"parts": parts.iter().copied().collect::<BTreeMap<_, _>>(), "stratify": "condition", "group": "plant", "seed": seed});
        let Made { report, .. } = made(config, LEAVES);
        for told in report["strata"].as_array().expect("a list") {
            let all: f64 = parts.iter().map(|(name, _)| told["parts"][name].as_f64().expect("a number")).sum();
            for (name, fraction) in parts {
                let off = told["parts"][name].as_f64().expect("a number") - fraction * all;
                assert!(off.abs() < 2.0, "seed {seed}: {name} is off by {off} in {told}");
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_rows_in_any_order_and_another_gives_others() {
    let config = |seed: i64| json!({"parts": {"train": 0.8, "test": 0.2}, "group": "plant", "stratify": "condition", "seed": seed});
    let (first, again) = (made(config(1), LEAVES), made(config(1), LEAVES));
    assert_eq!((&first.parts, &first.report), (&again.parts, &again.report));
    let mut lines: Vec<&str> = LEAVES.lines().collect();
    lines[1..].reverse();
    let turned = made(config(1), &(lines.join("\n") + "\n"));
    for (name, part) in &first.parts {
        assert_eq!(sorted(part), sorted(&turned.parts[name]));
    }
    assert_ne!(first.parts, made(config(2), LEAVES).parts);
}

#[test]
fn equal_rows_and_rows_without_a_group_stand_alone() {
    let table = "x,group\n".to_owned() + &"1,\n".repeat(10);
    let config = json!({"parts": {"a": 0.5, "b": 0.5}, "group": "group"});
    assert_eq!(made(config, &table).values["counts"], json!({"a": 5, "b": 5}));
}

#[test]
fn what_cannot_be_met_is_a_finding() {
    let table = "x,group,kind\n1,g,p\n2,g,p\n3,g,p\n4,g,p\n5,g,p\n6,g,p\n7,h,p\n8,i,\"q, <r>\"\n";
    let config = json!({"parts": {"a": 0.5, "b": 0.5}, "group": "group", "stratify": "kind"});
    let Made { values, report, .. } = made(config, table);
    assert_eq!((&values["counts"], &values["findings"]), (&json!({"a": 6, "b": 2}), &json!(4)));
    let findings = report["findings"].as_array().expect("a list").iter();
    let said: Vec<String> = findings.map(|finding| format!("{}: {}", finding["kind"], finding["message"])).collect();
    assert_eq!(
        said,
        [
            r#""fraction_missed": "`a` has 6 of 8 rows, and 4.0 were asked for""#,
            r#""fraction_missed": "`b` has 2 of 8 rows, and 4.0 were asked for""#,
            r#""group_too_large": "the group `g` has 6 rows, and all of `a` should have 4.0""#,
            r#""small_stratum": "the stratum `q, <r>` (1 rows) is not in `a`""#,
        ]
    );
}

#[test]
fn what_is_wrong_is_named() {
    let parts = json!({"train": 0.8, "test": 0.2});
    for (config, said) in [
        (json!({}), "missing field `parts`"),
        (json!({"parts": {"a": 1}}), "`with.parts`: 1 parts: 2 to 20 were expected"),
        (json!({"parts": {"a": 0.5, "b": 0.4}}), "`with.parts`: the fractions sum to 0.9, not to 1"),
        (json!({"parts": {"a": 1.5, "b": -0.5}}), "`with.parts.a`: 1.5 is not a fraction between 0 and 1"),
        (json!({"parts": {"../a": 0.5, "b": 0.5}}), "`with.parts`: `../a` is not a word"),
        (json!({"parts": {"A": 0.5, "a": 0.5}}), "differs only in capitals"),
        (json!({"parts": parts, "group": "plnat"}), "`with.group`: no column `plnat`: there are photo, plant,"),
        (json!({"parts": parts, "leaks": "warn"}), "`with.leaks`: this is about pictures"),
        (json!({"parts": parts, "leak_distance": 11}), "`with.leak_distance`: 11 is more than 10"),
        (json!({"parts": parts, "sed": 1}), "unknown field `sed`"),
        (json!({"parts": {"a": 0.999, "b": 0.001}}), "the part `b` would be empty: 0.001 of 120 rows in 120 groups"),
    ] {
        let message = refused(config, LEAVES);
        assert!(message.contains(said), "{message}");
    }
    for (table, said) in [
        ("", "it has no rows"),
        ("a,b\n", "it has no rows"),
        ("a,b\n1\n", "line: 2"),
        ("a,a\n1,2\n", "two columns `a`"),
        ("a,b\n\u{1}", "line: 2"),
    ] {
        let message = refused(json!({"parts": parts, "stratify": "a"}), table);
        assert!(message.contains(said), "{table:?}: {message}");
    }
}

#[test]
fn one_input_is_needed_and_no_more() {
    let config = json!({"parts": {"a": 0.5, "b": 0.5}}).to_string();
    let here = Path::new(".");
    let message = |inputs: &[(&str, &Path)]| {
        flowrun_plugin::run::<Splits>(&config, &Task::native(inputs, &[("parts", here)])).expect_err("two").to_string()
    };
    assert!(message(&[]).contains("name `table` or `dataset` under `inputs`"));
    assert!(message(&[("table", here), ("dataset", here)]).contains("and has both"));
}
