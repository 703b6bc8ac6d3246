//! The WebAssembly side: the bindings made from `plugins/wit/v1`, and the step between them and [`crate::Plugin`].
//! Nothing else in this crate names a generated type, so a new version of the interface changes this file alone.

#[doc(hidden)]
#[expect(clippy::too_many_arguments, reason = "generated: it takes a request apart")]
pub mod made {
    wit_bindgen::generate!({
        path: "../wit/v1",
        world: "step",
        pub_export_macro: true,
        export_macro_name: "export_step",
        default_bindings_module: "flowrun_plugin::__guest::bindings",
    });
}

#[cfg(target_family = "wasm")]
pub(crate) use made::flowrun::step::host as runner;

/// What [`crate::export!`] needs in the plugin's crate; not for use by hand.
#[doc(hidden)]
pub mod __guest {
    pub use super::made as bindings;
    use super::made::flowrun::step::types::{ConfigError, Place as Named};
    pub use super::made::flowrun::step::types::{Failure, Request};
    pub use super::made::{Guest, export_step};
    use crate::{Failure as Ours, Part, Place, Plugin, Task};

    /// Runs `P` on what the runner sent.
    ///
    /// # Errors
    /// The plugin's own failure.
    pub fn run<P: Plugin>(request: Request) -> Result<String, Failure> {
        let part = request.part.map(|part| Part { index: part.index, count: part.count });
        let task = Task::new(places(request.inputs), places(request.outputs), crate::Host::default()).as_part(part);
        let values = crate::run::<P>(&request.config, &task).map_err(failure)?;
        Ok(crate::Value::Object(values).to_string())
    }

    fn places(named: Vec<Named>) -> Vec<Place> {
        named.into_iter().map(|place| Place { name: place.name, path: place.path.into() }).collect()
    }

    fn failure(failure: Ours) -> Failure {
        match failure {
            Ours::BadConfig { path, message } => Failure::BadConfig(ConfigError { path, message }),
            Ours::BadInput(text) => Failure::BadInput(text),
            Ours::Internal(text) => Failure::Internal(text),
        }
    }
}
