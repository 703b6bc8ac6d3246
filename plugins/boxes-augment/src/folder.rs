//! Files of the data set folder that go from input to output as they are.

use boxes::Split;
use boxes::catalog::printable;
use flowrun_plugin::Failure;
use std::fs;
use std::path::Path;

/// Tables that the step writes anew.
const MADE: [&str; 2] = ["train.csv", "images.csv"];

/// Reads the file `place` of the input.
///
/// # Errors
/// [`Failure::BadInput`] with the file's place.
pub fn read(input: &Path, place: &str) -> Result<Vec<u8>, Failure> {
    fs::read(input.join(place)).map_err(|error| Failure::bad_input(format!("`{}`: {error}", printable(place))))
}

/// Writes the file `place` of the output.
///
/// # Errors
/// [`Failure::Internal`] with the file's place.
pub fn write(output: &Path, place: &str, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(output.join(place), bytes).map_err(|error| failed(place, &error))
}

/// Makes the folder `place` of the output, if it is not there.
///
/// # Errors
/// [`Failure::Internal`] with the folder's place.
pub fn make(output: &Path, place: &str) -> Result<(), Failure> {
    fs::create_dir_all(output.join(place)).map_err(|error| failed(place, &error))
}

/// Copies the test split, the classes, and notes such as `README` and `ATTRIBUTION.csv`, byte for byte.
///
/// # Errors
/// [`Failure`] with the file's place.
pub fn pass_through(input: &Path, output: &Path) -> Result<(), Failure> {
    for name in files(input, "")? {
        if !MADE.contains(&name.as_str()) {
            write(output, &name, &read(input, &name)?)?;
        }
    }
    let test = Split::Test.name();
    for name in files(input, test)? {
        let place = format!("{test}/{name}");
        write(output, &place, &read(input, &place)?)?;
    }
    Ok(())
}

/// The names of the plain files (no links, no folders) of a folder of the input.
fn files(input: &Path, place: &str) -> Result<Vec<String>, Failure> {
    let wrong = |message: String| Failure::bad_input(format!("`{}/`: {message}", printable(place)));
    let mut names = Vec::new();
    for item in fs::read_dir(input.join(place)).map_err(|error| wrong(error.to_string()))? {
        let item = item.map_err(|error| wrong(error.to_string()))?;
        if item.file_type().map_err(|error| wrong(error.to_string()))?.is_file() {
            let name = item.file_name();
            let name = name.into_string().map_err(|_| wrong("a file's name is not UTF-8".to_owned()))?;
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn failed(place: &str, error: &std::io::Error) -> Failure {
    Failure::internal(format!("`{}`: {error}", printable(place)))
}
