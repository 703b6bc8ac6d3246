//! Runs the plugin natively: `cargo run --example evaluate -- DATASET DETECTIONS REPORT [WITH]`.

use flowrun_plugin::{Failure, Task};
use std::path::Path;

fn main() -> Result<(), Failure> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [dataset, detections, report, rest @ ..] = &given[..] else {
        return Err(Failure::bad_input("expected DATASET DETECTIONS REPORT [WITH]"));
    };
    let inputs = [("dataset", Path::new(dataset)), ("detections", Path::new(detections))];
    let task = Task::native(&inputs, &[("report", Path::new(report))]);
    let values = flowrun_plugin::run::<coco_eval::CocoEval>(rest.first().map_or("{}", String::as_str), &task)?;
    println!("{}", flowrun_plugin::Value::Object(values));
    Ok(())
}
