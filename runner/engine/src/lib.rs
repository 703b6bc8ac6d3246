//! What flowrun does: moves bytes and runs other people's code. What to do is decided in `flowrun-core`.

pub mod builtin;
pub mod bundle;
pub mod craft;
mod diff;
pub mod export;
pub mod fetch;
pub mod lockfile;
pub mod locking;
mod looks;
pub mod manifest;
pub mod onnx;
pub mod process;
pub mod project;
pub mod python;
pub mod registry;
pub mod run;
pub mod store;
mod tools;
pub mod wasm;
