//! What changes make of the next run: which steps really ran, read from marks outside the store, and what came of it.
//!
//! Every claim about the cache has a row or a test of its own here; each is held against a run with an empty store, so that neither
//! running too little nor running too much passes.

#![cfg(target_os = "linux")]

mod abuse;
mod gc;
mod inputs;
mod outputs;
mod repeats;
mod stored;
#[path = "../support/mod.rs"]
mod support;
