//! What it means that a guest did not return: it was stopped, it went over a limit, the machine failed it, or it crashed.
//!
//! A limit that can be raised is named by the key that raises it. Knows nothing of how a guest is run.

use flowrun_core::outcome::{Failure, FailureKind};
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::budget::OverBudget;
use super::bytes;
use super::fault::Fault;
use super::files::RESOURCES;
use super::folders::Unopened;
use super::guest::{Guest, HANDED, State};
use super::machine::{FRAMES, TABLE_ENTRIES};
use super::memory::{Denied, Memory};

impl Guest<'_> {
    /// What it means that the guest did not return.
    pub(super) fn explain(&self, error: wasmtime::Error, store: &Store<State>) -> Failure {
        if self.stop.is_cancelled() {
            return super::stopped();
        }
        if let Some(over) = error.downcast_ref::<OverBudget>() {
            return Failure::new(FailureKind::Step, over.to_string()).hint(over.hint());
        }
        if let Some(unopened) = error.downcast_ref::<Unopened>() {
            return Failure::new(FailureKind::Infrastructure, unopened.to_string());
        }
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Failure::new(FailureKind::Infrastructure, fault.to_string()).hint(fault.hint());
        }
        if let Some(failure) = handed_over(&error) {
            return failure;
        }
        self.backtrace(&error);
        if let Some(failure) = denied(&store.data().memory) {
            return failure;
        }
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Failure::new(FailureKind::Step, format!("exited with {}", exit.0));
        }
        match error.downcast_ref::<Trap>() {
            Some(trap) => {
                let failure = Failure::new(FailureKind::Step, format!("the plugin crashed: {trap}"));
                failure.hint("a bug in the plugin; the step's log shows where")
            }
            None => Failure::new(FailureKind::Step, format!("the plugin failed: {}", error.root_cause())),
        }
    }

    fn backtrace(&self, error: &wasmtime::Error) {
        let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return };
        let frames = trace.frames();
        if !frames.is_empty() {
            self.voice.remark("where it was, innermost first:");
        }
        for frame in frames {
            let module = frame.module().name().unwrap_or("?");
            let function = frame.symbols().first().and_then(|symbol| symbol.name()).or(frame.func_name());
            let function = function.map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
            self.voice.remark(&format!("  {module}: {function}"));
        }
        if frames.len() == FRAMES.get() {
            self.voice.remark("  … and those that called it");
        }
    }
}

/// It asked for more memory or a larger table than there is, and could not go on without.
fn denied(memory: &Memory) -> Option<Failure> {
    let (message, hint) = match memory.denied? {
        Denied::Memory => (
            format!("ran out of memory: it wanted more than {}", bytes(memory.limit as u64)),
            "raise `limits.memory`, or give the step less to do",
        ),
        Denied::Table => (
            format!("ran out of table: it wanted more than {TABLE_ENTRIES} entries in one"),
            "this limit cannot be raised; its author must find out why it grows",
        ),
    };
    Some(Failure::new(FailureKind::Step, message).hint(hint))
}

/// It gave the host too much to hold, at once or over time.
fn handed_over(error: &wasmtime::Error) -> Option<Failure> {
    let full = matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full));
    let message = match full {
        true => format!("it holds more than {RESOURCES} files, streams and other handles at once"),
        // wasmtime has no type for this error; a test of `tests/guests` tells when its words change.
        false if error.root_cause().to_string().contains("fuel allocated for hostcalls") => {
            format!("it handed over more than {} in one call", bytes(HANDED as u64))
        }
        false => return None,
    };
    let hint = "this limit cannot be raised; its author must close what is done with, and hand over bulk in files";
    Some(Failure::new(FailureKind::Step, message).hint(hint))
}
