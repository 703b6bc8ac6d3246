//! What each fuzz target does with its bytes. `runner/core/tests/corpus.rs` includes this file by its path and runs the corpora through the
//! same functions in every test run, so they need nothing but flowrun-core.
//!
//! Every body takes any bytes, and panics when a promise is broken.

pub mod expr;
pub mod stored;
pub mod yaml;
