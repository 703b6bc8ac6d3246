//! One running guest: its world, its limits, and what its end means.
//!
//! Runs on a thread of its own from start to end. Knows nothing of compiling or of where components come from.

use std::sync::Arc;

use flowrun_core::outcome::{Failure, FailureKind, Stream};
use flowrun_core::plugin::Capability;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
use wasmtime_wasi::p2::bindings::sync::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::bindings::flowrun::step::{host, types};
use super::bindings::{Step, StepPre};
use super::budget::Budget;
use super::files::{self, Files, FilesView};
use super::folders::{self, Folders, FoldersView};
use super::memory::Memory;
use super::still::{self, Clock, ClockView};
use super::voice::{Lines, Voice};
use super::wait::{self, WaitView};
use super::{Job, bytes, command};

/// The most that a step's values may be, as JSON: they are kept in memory and in every record of the run. Bulk belongs in
/// an output.
pub(super) const VALUES: usize = 1 << 20;

/// The most bytes that a guest may hand over in one call: what it hands over is copied, and that is our memory. No plugin seen needs a
/// hundredth of it.
pub(super) const HANDED: usize = 128 << 20;

/// A component ready to be instantiated.
pub(super) enum Prepared {
    /// A plugin of the world `flowrun:step/step`.
    Step(StepPre<State>),
    /// A WASI command.
    Command(CommandPre<State>),
}

/// Everything that belongs to one instance.
pub(super) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    folders: Folders,
    files: Files,
    clock: Clock,
    pub(super) memory: Memory,
    voice: Arc<Voice>,
    stop: CancellationToken,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl host::Host for State {
    fn log(&mut self, level: host::Level, text: String) -> wasmtime::Result<()> {
        let prefix = match level {
            host::Level::Debug => "debug: ",
            host::Level::Info => "",
            host::Level::Warn => "warning: ",
            host::Level::Error => "error: ",
        };
        for line in text.trim_end_matches(['\r', '\n']).split('\n') {
            // One call may bring a hundred million lines.
            if self.stop.is_cancelled() {
                break;
            }
            let line = self.voice.shown(line.trim_end_matches('\r'));
            self.voice.line(Stream::Log, format!("{prefix}{line}"));
        }
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64, what: String) -> wasmtime::Result<()> {
        self.voice.progress(done, total, &what);
        Ok(())
    }

    fn metric(&mut self, name: String, value: f64, step: Option<u64>) -> wasmtime::Result<()> {
        self.voice.metric(name, value, step);
        Ok(())
    }
}

impl types::Host for State {}

/// Everything a guest may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    Step::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    linker.allow_shadowing(true);
    still::add_to_linker(&mut linker, |state: &mut State| ClockView { clock: &state.clock, table: &mut state.table })?;
    wait::add_to_linker(&mut linker, |state: &mut State| WaitView { table: &mut state.table, stop: &state.stop })?;
    folders::add_to_linker(&mut linker, |state: &mut State| {
        let State { folders, table, .. } = state;
        FoldersView { folders, table }
    })?;
    files::add_to_linker(&mut linker, |state: &mut State| {
        let State { wasi, table, files, .. } = state;
        FilesView { wasi: WasiFilesystemCtxView { ctx: wasi.filesystem(), table }, files }
    })?;
    Ok(linker)
}

/// One guest from its first instruction to its last.
pub(super) struct Guest<'a> {
    pub(super) engine: &'a Engine,
    pub(super) job: &'a Job,
    pub(super) voice: Arc<Voice>,
    pub(super) stop: CancellationToken,
}

impl Guest<'_> {
    /// Runs it on this thread.
    pub(super) fn run(&self, prepared: &Prepared) -> Result<Map<String, Value>, Failure> {
        let out = Lines::new(&self.voice, Stream::Stdout);
        let err = Lines::new(&self.voice, Stream::Stderr);
        let ended = self.call(prepared, &out, &err);
        out.finish();
        err.finish();
        self.voice.finish();
        ended
    }

    fn call(&self, prepared: &Prepared, out: &Lines, err: &Lines) -> Result<Map<String, Value>, Failure> {
        let kind = if matches!(prepared, Prepared::Command(_)) { Some(command::request(self.job)?) } else { None };
        let mut store = self.store(out, err, kind.is_some());
        let ended = match prepared {
            Prepared::Step(step) => self.step(step, &mut store),
            Prepared::Command(program) => self.command(program, &mut store),
        };
        ended.map_err(|error| self.explain(error, &store)).and_then(|ended| ended)
    }

    fn store(&self, out: &Lines, err: &Lines, command: bool) -> Store<State> {
        let clock = if self.job.granted.has(Capability::Clock) { Clock::real() } else { Clock::still() };
        let state = State {
            wasi: self.world(out, err, command, &clock),
            folders: Folders::new(self.job.dir.clone(), command),
            table: files::table(),
            files: Files::new(Budget::new(self.job.limits)),
            clock,
            memory: Memory::new(self.job.limits.memory),
            voice: Arc::clone(&self.voice),
            stop: self.stop.clone(),
        };
        let mut store = Store::new(self.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(HANDED);
        store.set_epoch_deadline(1);
        let stop = self.stop.clone();
        store.epoch_deadline_callback(move |_| {
            Ok(if stop.is_cancelled() { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
        });
        store
    }

    fn world(&self, out: &Lines, err: &Lines, command: bool, clock: &Clock) -> WasiCtx {
        let mut wasi = WasiCtxBuilder::new();
        // This is the guest's own thread: file operations may block it, and are four times as fast so.
        wasi.allow_blocking_current_thread(true);
        wasi.stdout(out.clone()).stderr(err.clone());
        still::time(&mut wasi, clock);
        self.grant(&mut wasi);
        if command {
            wasi.args(&command::arguments(self.job));
        }
        wasi.build()
    }

    /// What it may do beyond its inputs and outputs.
    fn grant(&self, wasi: &mut WasiCtxBuilder) {
        let granted = &self.job.granted;
        if !granted.has(Capability::Random) {
            still::randomness(wasi, self.job.seed);
        }
        if granted.has(Capability::Environment) {
            wasi.envs(&granted.env.iter().collect::<Vec<_>>());
        }
        let network = granted.has(Capability::Network);
        wasi.allow_tcp(network).allow_udp(network).allow_ip_name_lookup(network);
        if network {
            wasi.inherit_network();
        }
    }

    fn step(
        &self,
        step: &StepPre<State>,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<Map<String, Value>, Failure>> {
        let instance = step.instantiate(&mut *store)?;
        let ended = instance.call_run(&mut *store, &self.request())?;
        Ok(ended
            .map_err(|failure| self.failure(failure))
            .and_then(|text| values(text.as_bytes(), "the plugin's values")))
    }

    fn request(&self) -> types::Request {
        let places = |places: &[super::Place]| {
            places.iter().map(|place| types::Place { name: place.name.clone(), path: place.guest() }).collect()
        };
        types::Request {
            config: self.job.config.clone(),
            inputs: places(&self.job.inputs),
            outputs: places(&self.job.outputs),
            part: self.job.part.map(|part| types::Part { index: part.index, count: part.count }),
        }
    }

    fn command(
        &self,
        program: &CommandPre<State>,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<Map<String, Value>, Failure>> {
        let instance = program.instantiate(&mut *store)?;
        let code = match instance.wasi_cli_run().call_run(&mut *store) {
            Ok(Ok(())) => 0,
            Ok(Err(())) => 1,
            Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0).ok_or(error)?,
        };
        Ok(match code {
            0 => command::values(self.job),
            code => Err(Failure::new(FailureKind::Step, format!("exited with {code}"))),
        })
    }

    /// A step's failure in the words of its kind. The texts are the plugin's.
    fn failure(&self, failure: types::Failure) -> Failure {
        let shown = |text: &str| self.voice.shown(text);
        let message = match failure {
            types::Failure::BadConfig(error) if error.path.is_empty() => format!("with: {}", shown(&error.message)),
            types::Failure::BadConfig(error) => format!("with.{}: {}", shown(&error.path), shown(&error.message)),
            types::Failure::BadInput(message) => format!("bad input: {}", shown(&message)),
            types::Failure::Internal(message) => format!("the plugin failed: {}", shown(&message)),
        };
        Failure::new(FailureKind::Step, message)
    }
}

/// Reads a step's values: a JSON object of at most [`VALUES`] bytes. `what` names the text.
pub(super) fn values(text: &[u8], what: &str) -> Result<Map<String, Value>, Failure> {
    let bad = |why: String| Failure::new(FailureKind::Output, format!("{what} {why}"));
    if text.len() > VALUES {
        let hint = "values are for figures and decisions: write bulk into an output";
        return Err(bad(format!("are more than {}", bytes(VALUES as u64))).hint(hint));
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Err(bad("are JSON but not an object".to_owned())),
        Err(error) => Err(bad(format!("are not JSON: {error}"))),
    }
}
