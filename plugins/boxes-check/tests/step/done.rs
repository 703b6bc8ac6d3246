//! The step, run natively on a folder.

use boxes::Dataset;
use boxes_check::BoxesCheck;
use flowrun_plugin::{Failure, Host, Place, Task, Value, Values};
use std::fs;
use std::path::Path;

/// What it made.
pub(crate) struct Done {
    pub(crate) values: Values,
    pub(crate) report: Value,
    pub(crate) dataset: Dataset,
    /// Holds its outputs, `dataset` and `findings.json`.
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn run(config: &str, input: &Path) -> Result<Done, Failure> {
    let folder = tempfile::tempdir().expect("a folder");
    let (dataset, report) = (folder.path().join("dataset"), folder.path().join("findings.json"));
    fs::create_dir(&dataset).expect("made");
    let place = |name: &str, path: &Path| Place { name: name.to_owned(), path: path.to_path_buf() };
    let outputs = vec![place("dataset", &dataset), place("report", &report)];
    let task = Task::new(vec![place("dataset", input)], outputs, Host::Silent);
    let values = flowrun_plugin::run::<BoxesCheck>(config, &task)?;
    let report = serde_json::from_str(&fs::read_to_string(report).expect("a report")).expect("JSON");
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names.len(), 2, "something was written beside the outputs: {names:?}");
    let dataset = Dataset::read(&dataset).expect("a data set");
    Ok(Done { values, report, dataset, folder })
}
