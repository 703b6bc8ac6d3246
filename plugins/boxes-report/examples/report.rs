//! Runs the plugin natively, to look at its page:
//! `cargo run --example report -- PAGE dataset=DIR detections=FILE evaluation=FILE [curve=FILE] [findings=FILE] [with=JSON]`.

use flowrun_plugin::{Failure, Task};
use std::path::Path;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let page = arguments.next().ok_or_else(|| Failure::bad_input("expected the page's path"))?;
    let given: Vec<String> = arguments.collect();
    let mut config = "{}";
    let mut inputs = Vec::new();
    for (name, value) in given.iter().filter_map(|argument| argument.split_once('=')) {
        if name == "with" {
            config = value;
        } else {
            inputs.push((name, Path::new(value)));
        }
    }
    let task = Task::native(&inputs, &[("page", Path::new(&page))]);
    let values = flowrun_plugin::run::<boxes_report::BoxesReport>(config, &task)?;
    println!("{}", flowrun_plugin::Value::Object(values));
    Ok(())
}
