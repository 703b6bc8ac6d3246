//! The host's side of `flowrun:step`, generated from the WIT that plugins are built against.
//!
//! Knows nothing of what the calls do: `guest` implements them. A later version of the interface gets a module of its
//! own beside this one, which forwards to the newest host code.

wasmtime::component::bindgen!({
    path: "../../plugins/wit/v1",
    world: "step",
    imports: { default: trappable },
});
