//! Runs that are killed, starved of disk, and lied to by it: whatever happens, the next run is right.
//!
//! ```text
//! cargo test --release --test crash                                                  as often as the test command has time for
//! FLOWRUN_CRASH_KILLS=500 cargo test --release --test crash -- --nocapture           longer
//! FLOWRUN_CRASH_SEED=N                                                               another course of events
//! FLOWRUN_CRASH_FAULTS=400                                                           more failing calls of the system
//! ```
//! The seed decides what is done; when exactly a process dies is up to the machine, so a failure may take several rounds of its seed.

#![cfg(target_os = "linux")]

mod bench;
mod faults;
mod kills;
#[path = "../support/mod.rs"]
mod support;
mod tiny;
