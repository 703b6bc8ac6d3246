//! The plugin as a step.

use flowrun_plugin::{Failure, Task, Value};
use json::Json;
use serde_json::json;

fn run(config: Value, data: Option<&str>) -> Result<(Value, String), Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output, files) =
        (folder.path().join("data"), folder.path().join("result"), folder.path().join("files"));
    std::fs::create_dir_all(files.join("deep")).expect("a folder");
    std::fs::write(files.join("deep/a.json"), "{\"n\": 1}").expect("a file");
    std::fs::write(files.join("README"), "no JSON").expect("a file");
    if let Some(data) = data {
        std::fs::write(&input, data).expect("a file");
    }
    let mut inputs = vec![("files", files.as_path())];
    inputs.extend(data.map(|_| ("data", input.as_path())));
    let task = Task::native(&inputs, &[("result", &output)]);
    let values = flowrun_plugin::run::<Json>(&config.to_string(), &task)?;
    Ok((Value::Object(values), std::fs::read_to_string(output).expect("a result")))
}

fn value(filter: &str, data: &str) -> Value {
    run(json!({ "filter": filter }), Some(data)).unwrap_or_else(|error| panic!("{filter}: {error}")).0["value"].clone()
}

#[test]
fn filters_are_asked() {
    assert_eq!(value(".images | length", r#"{"images": [1, 2]}"#), json!(2));
    assert_eq!(
        value("[.[] | select(.n > 1) | .name]", r#"[{"n": 1, "name": "a"}, {"n": 2, "name": "b"}]"#),
        json!(["b"])
    );
    assert_eq!(value(".[]", "[1, 2]"), json!([1, 2]));
    assert_eq!(
        value("group_by(.c) | map({c: .[0].c, n: length})", r#"[{"c":"x"},{"c":"y"},{"c":"x"}]"#),
        json!([{"c": "x", "n": 2}, {"c": "y", "n": 1}])
    );
    assert_eq!(value("test(\"^a+$\")", "\"aaa\""), json!(true));
    assert_eq!(value(".", "12345678901234567890"), json!(12345678901234567890u64));
    assert_eq!(value("$files[\"deep/a.json\"].n", "null"), json!(1));
}

#[test]
fn lines_raw_texts_and_arguments() {
    let config =
        json!({"filter": "select(.score >= $args.least) | .name", "args": {"least": 0.5}, "lines": true, "raw": true});
    let data =
        "{\"name\": \"a\", \"score\": 0.9}\n\n{\"name\": \"b\", \"score\": 0.1}\n{\"name\": \"ü\", \"score\": 0.5}";
    let (values, text) = run(config, Some(data)).expect("it succeeds");
    assert_eq!((values["count"].clone(), text.as_str()), (json!(2), "a\nü\n"));
    let (_, text) = run(json!({"filter": "{b: 1, a: [2]}"}), None).expect("it succeeds");
    assert_eq!(text, "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}\n");
}

#[test]
fn what_is_wrong_is_named() {
    let message =
        |filter: &str, data: &str| run(json!({ "filter": filter }), Some(data)).expect_err(filter).to_string();
    assert_eq!(message(".a | nope(1)", "{}"), "`with.filter`: undefined filter `nope` at `nope(1)`");
    assert!(
        message(".a | (", "{}").starts_with("`with.filter`: not a jq filter: expected "),
        "{}",
        message(".a | (", "{}")
    );
    assert!(message(".a.b", "[1]").starts_with("the filter fails: cannot index "), "{}", message(".a.b", "[1]"));
    assert!(message(".", "{\"a\": 1,}").contains("the data: not JSON: "));
    assert!(message(".", "[1] // c").contains("not JSON"));
    assert!(message(".", &"[".repeat(100_000)).contains("more than 500"));
    assert!(message("nan | [.]", "1").contains("what JSON cannot hold") || value("nan | [.]", "1") == json!([null]));
    let lines = run(json!({"filter": ".", "lines": true}), Some("1\n{\n")).expect_err("half an object").to_string();
    assert!(lines.contains("the data, line 2: not JSON"), "{lines}");
}
