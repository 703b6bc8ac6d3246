//! The memory of one guest: its linear memories and its tables, counted against their limits.
//!
//! Knows nothing of what it is used for.

use wasmtime::ResourceLimiter;

use super::machine::TABLE_ENTRIES;

/// Counts the linear memories and the tables of one instance against their limits.
pub(super) struct Memory {
    pub(super) limit: usize,
    used: usize,
    /// What it was denied last.
    pub(super) denied: Option<Denied>,
}

/// What a guest wanted more of than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Memory,
    Table,
}

impl Memory {
    /// Lets so many bytes be used.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: 0, denied: None }
    }

    /// Counts bytes, those of `kind`.
    fn grow(&mut self, current: usize, desired: usize, kind: Denied) -> bool {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            self.denied = Some(kind);
            return false;
        }
        self.used = used;
        true
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, Denied::Memory))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ENTRIES {
            self.denied = Some(Denied::Table);
            return Ok(false);
        }
        // Table entries are our memory, not the guest's: each is a pointer.
        let size = size_of::<usize>();
        Ok(self.grow(current.saturating_mul(size), desired.saturating_mul(size), Denied::Memory))
    }
}
