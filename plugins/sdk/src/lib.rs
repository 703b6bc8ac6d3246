//! Write a flowrun plugin in Rust: implement [`Plugin`], name it in [`export!`], build for `wasm32-wasip2`.
//!
//! ```
//! use flowrun_plugin::{Failure, Plugin, Task, Values, values};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     #[serde(default)]
//!     shout: bool,
//! }
//!
//! struct Greet;
//!
//! impl Plugin for Greet {
//!     type Config = Config;
//!     fn run(config: Config, task: &Task) -> Result<Values, Failure> {
//!         let name = std::fs::read_to_string(task.input("name")?).map_err(Failure::bad_input)?;
//!         let text = format!("hello {}", if config.shout { name.to_uppercase() } else { name });
//!         std::fs::write(task.output("greeting")?, &text).map_err(Failure::internal)?;
//!         Ok(values! { "length": text.len() })
//!     }
//! }
//!
//! flowrun_plugin::export!(Greet);
//! # fn main() {}
//! ```
//!
//! The same code runs natively: [`export!`] does nothing off WebAssembly, and a test makes a [`Task`] with
//! [`Task::native`] and calls [`run`]. What this crate does not know: what any plugin does, and who runs it.

mod bindings;
mod host;
#[cfg(not(target_family = "wasm"))]
mod native;
mod task;

pub use host::{Host, Level};
#[cfg(not(target_family = "wasm"))]
pub use native::native_main;
pub use serde_json::Value;
pub use task::{Part, Place, Task};

#[doc(hidden)]
pub use bindings::__guest;

use serde::de::DeserializeOwned;

/// What a step returns beside its files: a JSON object, usable in later steps' expressions.
pub type Values = serde_json::Map<String, Value>;

/// A plugin: one step's work, from a typed configuration and named places to files and values.
pub trait Plugin {
    /// The step's `with`. Derive `Deserialize` with `deny_unknown_fields`, so that a misspelt key is an error.
    type Config: DeserializeOwned;

    /// Does the step.
    ///
    /// # Errors
    /// [`Failure`] says by whose remedy: the pipeline's author, the data's owner, or this plugin's.
    fn run(config: Self::Config, task: &Task) -> Result<Values, Failure>;
}

/// Why a step failed, by whose remedy it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The pipeline's author must change `with`.
    #[error("`with.{path}`: {message}")]
    BadConfig {
        /// Where in `with`, a dotted path such as `crops.min`; empty for the whole.
        path: String,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// The data must change.
    #[error("{0}")]
    BadInput(String),
    /// The plugin itself is at fault, or something it cannot name.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// `with` is wrong at `path`.
    pub fn bad_config(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::BadConfig { path: path.into(), message: message.into() }
    }

    /// The data is wrong; takes anything that prints, so that it can stand in `map_err`.
    #[expect(clippy::needless_pass_by_value, reason = "errors are given by value in `map_err`")]
    pub fn bad_input(message: impl ToString) -> Self {
        Self::BadInput(message.to_string())
    }

    /// The plugin, or its surroundings, failed; takes anything that prints.
    #[expect(clippy::needless_pass_by_value, reason = "errors are given by value in `map_err`")]
    pub fn internal(message: impl ToString) -> Self {
        Self::Internal(message.to_string())
    }
}

/// Reads a step's `with` (JSON text; empty counts as `{}`) into a plugin's configuration.
///
/// # Errors
/// [`Failure::BadConfig`] with the dotted path of the key that is wrong.
pub fn parse_config<C: DeserializeOwned>(text: &str) -> Result<C, Failure> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    // Serde would take a list for a struct, by the order of its fields.
    if !text.trim_start().starts_with('{') {
        return Err(Failure::bad_config("", "a map of keys was expected"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let config = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        Failure::BadConfig { path, message: without_position(&error.into_inner()) }
    })?;
    reader.end().map_err(|error| Failure::bad_config("", without_position(&error)))?;
    Ok(config)
}

/// A `serde_json` message less its ` at line 1 column 7`: the author wrote YAML, not this JSON.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let tail = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&tail).unwrap_or(&text).to_owned()
}

/// Runs plugin `P` with `config` (JSON text): the one door for the component and for native tests.
///
/// # Errors
/// What [`parse_config`] and [`Plugin::run`] say.
pub fn run<P: Plugin>(config: &str, task: &Task) -> Result<Values, Failure> {
    P::run(parse_config(config)?, task)
}

/// Makes a step's values; the syntax of `serde_json::json!`'s objects.
#[macro_export]
macro_rules! values {
    ($($body:tt)*) => {
        match $crate::__json!({ $($body)* }) {
            $crate::Value::Object(map) => map,
            _ => $crate::Values::new(),
        }
    };
}

#[doc(hidden)]
pub use serde_json::json as __json;

/// Makes the crate (a `cdylib`) a flowrun component that runs the named [`Plugin`] and carries its manifest, the `plugin.yaml` beside
/// the crate's `Cargo.toml`. Off WebAssembly it does nothing.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            #[unsafe(link_section = "flowrun:plugin")]
            #[doc(hidden)]
            pub static MANIFEST: [u8; include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.yaml")).len()] =
                *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.yaml"));

            struct Component;
            impl $crate::__guest::Guest for Component {
                fn run(request: $crate::__guest::Request) -> Result<String, $crate::__guest::Failure> {
                    $crate::__guest::run::<$plugin>(request)
                }
            }
    $crate::__guest::export_step!(Component with_types_in $crate::__guest::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        crops: Crops,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Crops {
        min: f64,
    }

    fn failure(text: &str) -> (String, String) {
        match parse_config::<Config>(text).expect_err("should be refused") {
            Failure::BadConfig { path, message } => (path, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn config_errors_carry_the_path() {
        let (path, message) = failure(r#"{"crops": {"min": "a"}}"#);
        assert_eq!(path, "crops.min");
        assert_eq!(message, "invalid type: string \"a\", expected f64");
        let (path, message) = failure(r#"{"crops": {"mim": 1}}"#);
        assert_eq!(path, "crops.mim");
        assert_eq!(message, "unknown field `mim`, expected `min`");
        assert_eq!(failure("[1]").0, "");
        assert_eq!(failure("{} x").0, "");
    }

    #[test]
    fn an_empty_config_is_an_empty_object() {
        let least = |text| parse_config::<Config>(text).map(|config| config.crops.min);
        assert_eq!(least(""), Ok(0.0));
        assert_eq!(least(r#"{"crops": {"min": 2}}"#), Ok(2.0));
    }
}
