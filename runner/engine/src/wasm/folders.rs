//! The folders that a guest is given, made and opened when it first asks for them: many a light step never does, and what the two
//! folders cost is more than such a step.

use std::path::PathBuf;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use super::command;

/// The folders of one guest.
pub(super) struct Folders {
    dir: PathBuf,
    command: bool,
    opened: Option<WasiCtx>,
}

/// One of them could not be opened. Ends the guest.
#[derive(Debug, thiserror::Error)]
#[error("cannot open `{}`: {problem}", .folder.display())]
pub(super) struct Unopened {
    folder: PathBuf,
    problem: String,
}

impl Folders {
    /// Those of a job in `dir`; a command has one more, with its request.
    pub(super) fn new(dir: PathBuf, command: bool) -> Self {
        Self { dir, command, opened: None }
    }

    fn open(&self) -> Result<WasiCtx, Unopened> {
        let mut wasi = WasiCtxBuilder::new();
        // What is opened below them inherits it: see `guest`.
        wasi.allow_blocking_current_thread(true);
        let request = self.command.then_some((command::FOLDER, FsPerms::ReadOnly));
        for (name, perms) in [("in", FsPerms::ReadOnly), ("out", FsPerms::ReadWrite)].into_iter().chain(request) {
            let folder = self.dir.join(name);
            let opened = std::fs::create_dir_all(&folder).map_err(wasmtime::Error::new);
            opened
                .and_then(|()| wasi.preopened_dir(&folder, format!("/{name}"), perms).map(drop))
                .map_err(|error| Unopened { folder, problem: error.to_string() })?;
        }
        Ok(wasi.build())
    }
}

/// What the call works on.
pub(super) struct FoldersView<'a> {
    pub(super) folders: &'a mut Folders,
    pub(super) table: &'a mut ResourceTable,
}

struct Given;

impl HasData for Given {
    type Data<'a> = FoldersView<'a>;
}

/// Puts the call in the place of wasmtime's.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> FoldersView<'_>,
) -> wasmtime::Result<()> {
    preopens::add_to_linker::<T, Given>(linker, view)
}

impl preopens::Host for FoldersView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let opened = match self.folders.opened.take() {
            Some(opened) => opened,
            None => self.folders.open().map_err(wasmtime::Error::new)?,
        };
        let ctx = self.folders.opened.insert(opened).filesystem();
        preopens::Host::get_directories(&mut WasiFilesystemCtxView { ctx, table: self.table })
    }
}
