//! The plugin as a step.

use flowrun_plugin::{Failure, Task, Value};
use serde_json::json;
use std::path::Path;
use table::Tables;

const BOXES: &str = "file,class,score,code,note\na.jpg,leaf,0.9,007,\nb.jpg,leaf,0.4,012,\"x, y\"\nc.jpg,rust,1,100,\na.jpg,rust,,003,z\n";

fn run_in(folder: &Path, config: &Value, input: &str, output: &str) -> Result<Value, Failure> {
    let task = Task::native(&[("table", &folder.join(input))], &[("table", &folder.join(output))]);
    flowrun_plugin::run::<Tables>(&config.to_string(), &task).map(Value::Object)
}

fn run(config: Value) -> Result<String, Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in.csv"), BOXES).expect("a file");
    run_in(folder.path(), &config, "in.csv", "out.csv")?;
    Ok(std::fs::read_to_string(folder.path().join("out.csv")).expect("a table"))
}

fn made(config: Value) -> String {
    run(config).unwrap_or_else(|error| panic!("{error}"))
}

fn message(config: Value) -> String {
    run(config.clone()).expect_err(&config.to_string()).to_string()
}

#[test]
fn without_settings_a_table_stays_as_it_is_but_for_its_types() {
    assert_eq!(made(json!({})), BOXES.replace(",1,100", ",1.0,100"));
}

#[test]
fn rows_are_kept_columns_made_sorted_and_picked() {
    let config = json!({"where": "score is not none and class in ['leaf', 'rust']", "columns": ["percent = (score * 100) | round | int", "double = percent * 2"],
        "sort": ["class", "-percent"], "select": ["file", "double"], "limit": 2});
    assert_eq!(made(config), "file,double\na.jpg,180\nb.jpg,80\n");
    assert_eq!(
        made(json!({"sort": ["-score"], "select": ["score"]})),
        "score\n1.0\n0.9\n0.4\n\"\"\n",
        "nothing stays last"
    );
}

#[test]
fn groups_come_in_the_order_of_their_first_rows() {
    let config = json!({"group_by": ["class"], "aggregate": ["n = count()", "scored = count(score)", "mean = mean(score)", "best = max(score)", "files = distinct(file)", "first = first(code)"]});
    assert_eq!(made(config), "class,n,scored,mean,best,files,first\nleaf,2,2,0.65,0.9,2,007\nrust,2,1,1.0,1.0,2,100\n");
    assert_eq!(
        made(json!({"where": "false", "aggregate": ["n = count()", "sum = sum(score)", "mean = mean(score)"]})),
        "n,sum,mean\n0,0,\n"
    );
}

#[test]
fn every_format_holds_the_same_table() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in.csv"), BOXES).expect("a file");
    let chain = ["in.csv", "a.json", "b.parquet", "c.jsonl", "d.tsv", "e.parquet", "f.csv"];
    for pair in chain.windows(2) {
        let values =
            run_in(folder.path(), &json!({}), pair[0], pair[1]).unwrap_or_else(|error| panic!("{pair:?}: {error}"));
        assert_eq!(
            (values["rows"].clone(), values["columns"].clone()),
            (json!(4), json!(["file", "class", "score", "code", "note"])),
            "{pair:?}"
        );
    }
    assert_eq!(
        std::fs::read_to_string(folder.path().join("f.csv")).expect("a table"),
        BOXES.replace(",1,100", ",1.0,100")
    );
    let (one, two) = (std::fs::read(folder.path().join("b.parquet")), std::fs::read(folder.path().join("e.parquet")));
    assert_eq!(one.expect("a table"), two.expect("a table"));
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(message(json!({"where": "scoer > 1"})), "`with.where`: no column `scoer`: did you mean `score`?");
    assert_eq!(
        message(json!({"sort": ["x"]})),
        "`with.sort.0`: no column `x`: there are file, class, score, code, note"
    );
    assert!(message(json!({"where": "score >"})).starts_with("`with.where`: `score >` is not an expression: "));
    assert_eq!(message(json!({"columns": ["area"]})), "`with.columns.0`: `area` is not `NAME = EXPRESSION`");
    assert!(message(json!({"aggregate": ["x = median(score)"]})).contains("there are count, sum, mean"));
    assert_eq!(message(json!({"aggregate": ["x = sum(class)"]})), "row 1: `with.aggregate.0`: `leaf` is not a number");
    assert!(message(json!({"columns": ["x = score + 1"]})).starts_with("row 4: `with.columns.0`, `score + 1`: "));
    assert!(message(json!({"columns": ["x = range(1000000) | list | length"]})).starts_with("row 1: "));
    assert!(message(json!({"select": ["file", "file"]})).contains("stands there twice"));
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, said) in [
        ("a.csv", "x,x\n1,2\n", "two columns `x`"),
        ("a.csv", "x,y\n1\n", "line: 2"),
        ("a.json", "{}", "not a JSON list of objects"),
        ("a.json", "[{\"x\": [1]}]", "row 1, column `x`: a list or object is not a cell"),
        ("a.jsonl", "{\"x\": 1}\n[2]\n", "line 2 is not a JSON object"),
        ("a.parquet", "PAR1", "not Parquet"),
        ("a.txt", "", "does not say its format"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a file");
        let error = run_in(folder.path(), &json!({}), name, "out.csv").expect_err(name).to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
}
