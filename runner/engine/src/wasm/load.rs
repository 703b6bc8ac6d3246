//! From a component's file to something that can be instantiated: read, checked, compiled or found compiled, linked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowrun_core::digest::Digest;
use flowrun_core::outcome::{Failure, FailureKind, Say};
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::p2::bindings::sync::CommandPre;

use super::bindings::StepPre;
use super::compiled::Compiled;
use super::guest::{Prepared, State};
use super::inspect;
use super::voice::{Ear, tell};

/// How large a component may be. Python's is 18 MB; at ten times the largest we have seen it is something else, and
/// compiling takes a multiple of this in memory.
pub(crate) const COMPONENT: u64 = 256 << 20;

/// A component of this many bytes takes a second or more to compile: worth a line in the log.
const SLOW: usize = 1 << 20;

/// Why a component's file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It cannot be.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is too large to be one.
    #[error("is larger than {}", super::bytes(COMPONENT))]
    Large,
}

/// The bytes of a component's file, at most as many as one may have.
///
/// # Errors
/// When it cannot be read, or is too large.
pub fn component_bytes(path: &Path) -> Result<Vec<u8>, Unread> {
    if std::fs::metadata(path)?.len() > COMPONENT {
        return Err(Unread::Large);
    }
    Ok(std::fs::read(path)?)
}

/// Makes a component ready; blocks.
pub(super) struct Loader {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
    pub(super) compiled: Arc<Compiled>,
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) say: Ear,
    pub(super) stop: CancellationToken,
}

impl Loader {
    pub(super) fn load(&self) -> Result<Prepared, Failure> {
        let component = match self.compiled.load(&self.engine, &self.digest) {
            Some(component) => component,
            None => self.compile()?,
        };
        self.link(&component)
    }

    fn link(&self, component: &Component) -> Result<Prepared, Failure> {
        let kind = inspect::kind(&self.engine, component);
        let linked = self.linker.instantiate_pre(component).and_then(|pre| match kind {
            inspect::Kind::Step => StepPre::new(pre).map(Prepared::Step),
            inspect::Kind::Command => CommandPre::new(pre).map(Prepared::Command),
        });
        linked.map_err(|error| {
            Failure::new(FailureKind::Step, format!("the plugin does not fit its interface: {error:#}"))
                .hint("it was built against something else than flowrun's `plugins/wit`")
        })
    }

    fn compile(&self) -> Result<Component, Failure> {
        let bytes = self.read()?;
        inspect::check(&bytes)?;
        if bytes.len() > SLOW {
            self.remark(format!("compiling the plugin ({}), this once", super::bytes(bytes.len() as u64)));
        }
        let component =
            Component::new(&self.engine, &bytes).map_err(|error| inspect::unusable(&format!("{error:#}")))?;
        if let Err(error) = self.compiled.store(&self.engine, &self.digest, &component) {
            self.remark(format!("warning: the compiled plugin is not kept: {error}"));
        }
        Ok(component)
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        let bad = |why: String| {
            Failure::new(FailureKind::Infrastructure, format!("the plugin `{}` {why}", self.path.display()))
        };
        let bytes = component_bytes(&self.path).map_err(|error| bad(error.to_string()))?;
        if Digest::of(&bytes) != self.digest {
            let found = Digest::of(&bytes).short();
            return Err(bad(format!(
                "is not the one that was asked for: its digest is {found}, not {}",
                self.digest.short()
            )));
        }
        Ok(bytes)
    }

    fn remark(&self, text: String) {
        tell(&self.say, Say::log(text), &self.stop);
    }
}
