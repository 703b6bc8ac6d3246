//! A plugin as an ordinary program, for benchmarks and for trying things out without a runner.

use crate::{Host, Place, Plugin, Task};
use std::process::ExitCode;

/// Runs `P` as the command line says: `CONFIG_JSON IN_NAME=PATH… -- OUT_NAME=PATH…`. Folders among the outputs (paths that end in `/`) are made.
/// Prints the values, as JSON.
#[must_use]
pub fn native_main<P: Plugin>() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((config, places)) = arguments.split_first() else {
        eprintln!("usage: native CONFIG_JSON IN_NAME=PATH... -- OUT_NAME=PATH...");
        return ExitCode::from(2);
    };
    let middle = places.iter().position(|place| place == "--").unwrap_or(places.len());
    let outputs = parse(places.get(middle + 1..).unwrap_or_default());
    for place in outputs.iter().filter(|place| place.path.as_os_str().as_encoded_bytes().ends_with(b"/")) {
        if let Err(error) = std::fs::create_dir_all(&place.path) {
            eprintln!("cannot make {}: {error}", place.path.display());
            return ExitCode::FAILURE;
        }
    }
    match crate::run::<P>(config, &Task::new(parse(&places[..middle]), outputs, Host::Stderr)) {
        Ok(values) => {
            println!("{}", crate::Value::Object(values));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn parse(places: &[String]) -> Vec<Place> {
    let place = |text: &String| {
        let (name, path) = text.split_once('=')?;
        Some(Place { name: name.to_owned(), path: path.into() })
    };
    places.iter().filter_map(place).collect()
}
