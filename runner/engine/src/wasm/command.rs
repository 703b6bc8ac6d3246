//! A plain WASI command as a plugin: how it is told what to do, and how it answers.
//!
//! It is given no arguments, no environment and no input. `/step/request.json` holds `{"config": {…}, "inputs":
//! {"NAME": "/in/…"}, "outputs": {"NAME": "/out/…"}, "part": null}`; `part` is `{"index": 0, "count": 16}` where the step is sharded. The
//! same is in its arguments: `--with.KEY=VALUE`, `--input.NAME=/in/…`, `--output.NAME=/out/…`. It does its work and may leave its values, a
//! JSON object, in `/out/values.json`, which is taken away before its outputs are looked at. It succeeds by ending with 0.
//!
//! So any language with a WASI target makes a plugin, without knowing of components or WIT.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};

use flowrun_core::key::canonical;
use flowrun_core::outcome::{Failure, FailureKind};
use serde_json::{Map, Value, json};

use super::{Job, Place, guest};

/// The folder that a command finds its request in, under the job's folder and under the guest's root.
pub(super) const FOLDER: &str = "step";

/// Where a command may leave its values, under the job's folder.
const VALUES: &str = "out/values.json";

/// What every command is called, its first argument. What it is called in the pipeline is in no key, so it cannot see that.
const NAME: &str = "plugin";

/// The request's folder, gone when the command has ended.
pub(super) struct Request<'a>(&'a Job);

impl Drop for Request<'_> {
    fn drop(&mut self) {
        fs::remove_dir_all(self.0.dir.join(FOLDER)).ok();
    }
}

/// Writes the request where the command will find it.
pub(super) fn request(job: &Job) -> Result<Request<'_>, Failure> {
    if job.outputs.iter().any(|place| place.path == VALUES) {
        let message = "a WASI command leaves its values in `values.json`: no output can have that name";
        return Err(Failure::new(FailureKind::Output, message).hint("give the output's file another name"));
    }
    let config: Value = serde_json::from_str(&job.config).map_err(|error| broken(&io::Error::other(error)))?;
    let places = |places: &[Place]| -> Map<String, Value> {
        places.iter().map(|place| (place.name.clone(), place.guest().into())).collect()
    };
    let part = job.part.map(|part| json!({ "index": part.index, "count": part.count }));
    let request =
        json!({ "config": config, "inputs": places(&job.inputs), "outputs": places(&job.outputs), "part": part });
    let folder = job.dir.join(FOLDER);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("request.json"), request.to_string()))
        .map_err(|error| broken(&error))?;
    Ok(Request(job))
}

/// The request as arguments. Texts are as they are, everything else is JSON.
pub(super) fn arguments(job: &Job) -> Vec<String> {
    let config: BTreeMap<String, Value> = serde_json::from_str(&job.config).unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| canonical(value), str::to_owned);
    let with = config.iter().map(|(name, value)| format!("--with.{name}={}", text(value)));
    let places = |kind: &'static str, places: &[Place]| -> Vec<String> {
        places.iter().map(|place| format!("--{kind}.{}={}", place.name, place.guest())).collect()
    };
    let given = with.chain(places("input", &job.inputs)).chain(places("output", &job.outputs));
    std::iter::once(NAME.to_owned()).chain(given).collect()
}

/// Takes the values that the command left, if any.
pub(super) fn values(job: &Job) -> Result<Map<String, Value>, Failure> {
    let path = job.dir.join(VALUES);
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(broken(&error)),
    };
    let mut text = Vec::new();
    file.take(guest::VALUES as u64 + 1).read_to_end(&mut text).map_err(|error| broken(&error))?;
    fs::remove_file(&path).map_err(|error| broken(&error))?;
    guest::values(&text, "the values in `/out/values.json`")
}

fn broken(error: &io::Error) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("cannot talk to the command through its folder: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Granted, Limits};
    use super::*;
    use flowrun_core::digest::Digest;

    #[test]
    fn arguments_are_the_request_and_their_order_is_that_of_their_names() {
        let job = Job {
            component: "p.wasm".into(),
            digest: Digest::of(b""),
            config: r#"{"to": "a b", "list": [1, "x"], "deep": {"z": 1, "a": null}, "on": true}"#.into(),
            inputs: vec![Place::new("dataset", "in/dataset")],
            outputs: vec![Place::new("report", "out/report.txt")],
            part: None,
            dir: "/nowhere".into(),
            limits: Limits::default(),
            granted: Granted::default(),
            seed: 0,
        };
        let wanted = [
            "plugin",
            r#"--with.deep={"a":null,"z":1}"#,
            r#"--with.list=[1,"x"]"#,
            "--with.on=true",
            "--with.to=a b",
            "--input.dataset=/in/dataset",
            "--output.report=/out/report.txt",
        ];
        assert_eq!(arguments(&job), wanted);
    }
}
