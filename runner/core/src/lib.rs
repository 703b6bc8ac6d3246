//! What flowrun decides: the pipeline as written, the plan, the keys, the scheduler, the events, the stored formats.
//!
//! Pure: no I/O, no async, no clock. The engine does what is decided here, and the command line tells of it.

pub mod artifact;
pub mod digest;
pub mod event;
pub mod export;
pub mod expr;
pub mod key;
pub mod lang;
pub mod outcome;
pub mod pins;
pub mod plan;
pub mod plugin;
pub mod schedule;
pub mod script;
pub mod stored;
