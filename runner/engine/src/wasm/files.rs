//! The guest's files: wasmtime's, made to stand still and to end.
//!
//! Everything is passed on to `wasmtime-wasi` (which keeps the guest inside its preopened folders), except for what
//! would let a step's outputs depend on something that is not in its key, or fill the disk:
//!
//! | call | here |
//! |---|---|
//! | read a folder | entries come sorted by name, not in the file system's order |
//! | `stat` | times are [`DATE`], the link count is 1, a folder's size 0 |
//! | metadata hash (the inode, to C) | a number by order of first sight |
//! | create a hard or symbolic link | unsupported: outputs are files and folders |
//! | write, set a size, create | counted against the step's [`Budget`]; more than that ends the step |
//! | what fails since the machine does | ends the step: see [`super::fault`] |
//! | open | at most [`OPEN_FILES`] at once: the process's descriptors belong to every step |
//!
//! Knows nothing of steps.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Code;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use super::budget::{Budget, Counted, OverBudget};
use super::fault::{Fault, Sound};
use super::still::DATE;

/// How many files and folders a guest may hold open. The usual limit of a whole process is 1,024 descriptors, which all
/// running steps share; a guest that forgets to close finds out here.
const OPEN_FILES: usize = 100;

fn over(error: OverBudget) -> FsError {
    FsError::trap(wasmtime::Error::new(error))
}

/// What one guest's file calls remember.
pub(super) struct Files {
    budget: Arc<Budget>,
    open: usize,
    /// The entries not read yet of each open folder listing, by the listing's handle.
    listings: HashMap<u32, VecDeque<DirectoryEntry>>,
    /// The number given to each file, by the real hash of its device and inode.
    seen: HashMap<(u64, u64), u64>,
}

impl Files {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, open: 0, listings: HashMap::new(), seen: HashMap::new() }
    }

    fn number(&mut self, real: MetadataHashValue) -> MetadataHashValue {
        let next = self.seen.len() as u64 + 1;
        let lower = *self.seen.entry((real.lower, real.upper)).or_insert(next);
        MetadataHashValue { lower, upper: 0 }
    }
}

/// What the file calls work on.
pub(super) struct FilesView<'a> {
    pub(super) wasi: WasiFilesystemCtxView<'a>,
    pub(super) files: &'a mut Files,
}

struct StillFiles;

impl HasData for StillFiles {
    type Data<'a> = FilesView<'a>;
}

/// Puts these file calls in the place of wasmtime's.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> FilesView<'_>,
) -> wasmtime::Result<()> {
    types::add_to_linker::<T, StillFiles>(linker, view)
}

fn still(stat: DescriptorStat) -> DescriptorStat {
    let date = Some(Datetime { seconds: DATE, nanoseconds: 0 });
    DescriptorStat {
        type_: stat.type_,
        link_count: 1,
        size: if stat.type_ == DescriptorType::Directory { 0 } else { stat.size },
        data_access_timestamp: date,
        data_modification_timestamp: date,
        status_change_timestamp: date,
    }
}

impl FilesView<'_> {
    fn counted(&mut self, stream: Resource<DynOutputStream>) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.wasi.table.delete(stream)?;
        let counted: DynOutputStream = Box::new(Counted { inner, budget: Arc::clone(&self.files.budget) });
        Ok(self.wasi.table.push(counted)?)
    }

    /// Reads the whole listing, which `wasmtime-wasi` has gathered anyway, and sorts it.
    fn list(&mut self, stream: &Resource<DirectoryEntryStream>) -> FsResult<VecDeque<DirectoryEntry>> {
        let mut entries = Vec::new();
        let handle = || Resource::new_borrow(stream.rep());
        while let Some(entry) = HostDirectoryEntryStream::read_directory_entry(&mut self.wasi, handle())? {
            entries.push(entry);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries.into())
    }
}

impl Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        let code = Host::convert_error_code(&mut self.wasi, error)?;
        Fault::of(code).map_or(Ok(code), |fault| Err(wasmtime::Error::new(fault)))
    }

    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Host::filesystem_error_code(&mut self.wasi, error)
    }
}

impl HostDirectoryEntryStream for FilesView<'_> {
    fn read_directory_entry(&mut self, stream: Resource<DirectoryEntryStream>) -> FsResult<Option<DirectoryEntry>> {
        Ok(self.files.listings.get_mut(&stream.rep()).and_then(VecDeque::pop_front))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.files.listings.remove(&stream.rep());
        HostDirectoryEntryStream::drop(&mut self.wasi, stream)
    }
}

impl HostDescriptor for FilesView<'_> {
    fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let stream = self.wasi.read_directory(fd)?;
        let entries = self.list(&stream)?;
        self.files.listings.insert(stream.rep(), entries);
        Ok(stream)
    }

    fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.wasi.stat(fd).map(still)
    }

    fn stat_at(&mut self, fd: Resource<Descriptor>, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.wasi.stat_at(fd, flags, path).map(still)
    }

    fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let real = self.wasi.metadata_hash(fd)?;
        Ok(self.files.number(real))
    }

    fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let real = self.wasi.metadata_hash_at(fd, flags, path)?;
        Ok(self.files.number(real))
    }

    fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        Err(Code::Unsupported.into())
    }

    fn symlink_at(&mut self, _: Resource<Descriptor>, _: String, _: String) -> FsResult<()> {
        Err(Code::Unsupported.into())
    }

    fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        self.files.budget.write(bytes.len() as u64).map_err(over)?;
        self.wasi.write(fd, bytes, offset)
    }

    fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.files.budget.write(size).map_err(over)?;
        self.wasi.set_size(fd, size)
    }

    fn write_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.wasi.write_via_stream(fd, offset)?;
        self.counted(stream)
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.wasi.append_via_stream(fd)?;
        self.counted(stream)
    }

    fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.files.budget.create().map_err(over)?;
        self.wasi.create_directory_at(fd, path)
    }

    fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        if self.files.open >= OPEN_FILES {
            return Err(Code::Quota.into());
        }
        if open_flags.contains(OpenFlags::CREATE) {
            self.files.budget.create().map_err(over)?;
        }
        let opened = self.wasi.open_at(fd, path_flags, path, open_flags, flags)?;
        self.files.open += 1;
        Ok(opened)
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.files.open = self.files.open.saturating_sub(1);
        HostDescriptor::drop(&mut self.wasi, fd)
    }

    // From here on nothing is changed.

    fn advise(&mut self, fd: Resource<Descriptor>, offset: Filesize, len: Filesize, advice: Advice) -> FsResult<()> {
        self.wasi.advise(fd, offset, len, advice)
    }

    fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync_data(fd)
    }

    fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync(fd)
    }

    fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.wasi.get_flags(fd)
    }

    fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.wasi.get_type(fd)
    }

    fn set_times(&mut self, fd: Resource<Descriptor>, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        self.wasi.set_times(fd, accessed, modified)
    }

    fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.wasi.set_times_at(fd, flags, path, accessed, modified)
    }

    fn read(&mut self, fd: Resource<Descriptor>, len: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        self.wasi.read(fd, len, offset)
    }

    fn read_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let stream = self.wasi.read_via_stream(fd, offset)?;
        let inner = self.wasi.table.delete(stream)?;
        let sound: DynInputStream = Box::new(Sound(inner));
        Ok(self.wasi.table.push(sound)?)
    }

    fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.wasi.readlink_at(fd, path)
    }

    fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wasi.remove_directory_at(fd, path)
    }

    fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        from: String,
        to_fd: Resource<Descriptor>,
        to: String,
    ) -> FsResult<()> {
        self.wasi.rename_at(fd, from, to_fd, to)
    }

    fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wasi.unlink_file_at(fd, path)
    }

    fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        self.wasi.is_same_object(a, b)
    }
}

/// How many resources a guest may hold in all. Each is small, but they are ours, not the guest's memory.
pub(super) const RESOURCES: usize = OPEN_FILES * 40;

/// A table for so many.
pub(super) fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES);
    table
}
