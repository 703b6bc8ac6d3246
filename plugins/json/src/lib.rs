//! `flowrun/json`: runs a jq filter over JSON. The language is jaq's; see the README for what differs from jq.
//!
//! This module knows the step's names; [`program`] compiles and runs filters, [`read`] reads what they are asked about.

pub mod program;
pub mod read;

use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use jaq_json::Val;
use program::Program;
use serde::Deserialize;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A result larger than this, as JSON, is no value: those are kept in every record of a run.
const VALUE: usize = 64 << 10;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The filter.
    pub filter: String,
    /// What it sees as `$args`.
    #[serde(default)]
    pub args: serde_json::Map<String, serde_json::Value>,
    /// Whether the data are a value a line, and so is what is made of them.
    #[serde(default)]
    pub lines: bool,
    /// Whether texts are written without quotes.
    #[serde(default)]
    pub raw: bool,
}

/// The plugin.
pub struct Json;

impl Plugin for Json {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        let args = read::text(serde_json::Value::Object(config.args).to_string().as_bytes(), "`with.args`")?;
        let files = task.optional_input("files").map(read::folder).transpose()?.unwrap_or_default();
        let program = Program::new(&config.filter, [("$args", args), ("$files", files)])
            .map_err(|error| Failure::bad_config("filter", error))?;
        let mut results = Results::new(task.optional_output("result"), config.raw, config.lines)?;
        match (task.optional_input("data"), config.lines) {
            (None, _) => program.run(Val::Null, |value| results.take(&value))?,
            (Some(path), false) => program.run(read::file(path, "the data")?, |value| results.take(&value))?,
            (Some(path), true) => read::each(path, |value| program.run(value, |value| results.take(&value)))?,
        }
        results.end()
    }
}

/// What the filter gave so far: written as it comes, kept as long as it may be a value.
struct Results {
    file: Option<BufWriter<std::fs::File>>,
    raw: bool,
    lines: bool,
    kept: Vec<serde_json::Value>,
    bytes: usize,
    count: u64,
}

impl Results {
    fn new(output: Option<&Path>, raw: bool, lines: bool) -> Result<Self, Failure> {
        let file = output.map(std::fs::File::create).transpose().map_err(Failure::internal)?.map(BufWriter::new);
        Ok(Self { file, raw, lines, kept: Vec::new(), bytes: 0, count: 0 })
    }

    fn take(&mut self, value: &Val) -> Result<(), Failure> {
        self.count += 1;
        let text = program::to_json(value)?;
        if let Some(file) = &mut self.file {
            let written = match value {
                Val::TStr(text) if self.raw => file.write_all(text),
                _ if self.lines || self.raw => file.write_all(text.as_bytes()),
                _ => program::write_pretty(file, value),
            };
            written.and_then(|()| file.write_all(b"\n")).map_err(Failure::internal)?;
        }
        self.bytes += text.len();
        if self.bytes <= VALUE {
            self.kept.push(serde_json::from_str(&text).map_err(Failure::internal)?);
        }
        Ok(())
    }

    fn end(mut self) -> Result<Values, Failure> {
        if let Some(file) = &mut self.file {
            file.flush().map_err(Failure::internal)?;
        }
        let value = match self.kept.len() {
            _ if self.bytes > VALUE && self.file.is_none() => {
                let message = format!("the filter gives {} bytes, and a value has at most {VALUE}", self.bytes);
                return Err(Failure::bad_config("filter", format!("{message}: name an output `result` for it")));
            }
            _ if self.bytes > VALUE => serde_json::Value::Null,
            1 => self.kept.swap_remove(0),
            _ => self.kept.into(),
        };
        Ok(values! { "value": value, "count": self.count })
    }
}

flowrun_plugin::export!(Json);
