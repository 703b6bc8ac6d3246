//! What is referred to by how many: counts over the listings of folders, so that one result's leaving is cheap.
//!
//! Folders form a graph without cycles and share much: a data set that a thousand results name is one. So a folder passes its count on
//! only when it goes from 0 to 1 or back, as reference counts do, and is never walked again in between.

use std::collections::HashMap;

use flowrun_core::artifact::{Artifact, Mode};
use flowrun_core::digest::Digest;

use super::Store;

/// In what way a blob is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum As {
    /// A file or a link.
    Bytes,
    /// A folder, with all that is in it.
    Folder,
    /// A folder's listing and those below, without the files: what "why" is told from.
    Listing,
}

pub(super) struct Referred<'a> {
    store: &'a Store,
    /// Bytes on disk of each blob.
    sizes: &'a HashMap<Digest, u64>,
    counts: HashMap<(Digest, As), usize>,
    /// In how many ways each blob is referred to.
    ways: HashMap<Digest, usize>,
    bytes: u64,
}

impl<'a> Referred<'a> {
    pub(super) fn new(store: &'a Store, sizes: &'a HashMap<Digest, u64>) -> Self {
        Self { store, sizes, counts: HashMap::new(), ways: HashMap::new(), bytes: 0 }
    }

    /// Bytes on disk of all that is referred to.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.ways.contains_key(digest)
    }

    /// Counts outputs with all that is in them, and of inputs the listings.
    pub(super) fn add(&mut self, outputs: &[Artifact], inputs: &[Artifact]) {
        self.each(outputs, inputs, Self::up);
    }

    /// Takes the same back.
    pub(super) fn remove(&mut self, outputs: &[Artifact], inputs: &[Artifact]) {
        self.each(outputs, inputs, Self::down);
    }

    fn each(&mut self, outputs: &[Artifact], inputs: &[Artifact], step: fn(&mut Self, (Digest, As)) -> bool) {
        let inputs = inputs.iter().filter(|input| input.mode == Mode::Folder).map(|input| (input.digest, As::Listing));
        let mut pending: Vec<(Digest, As)> = outputs.iter().map(whole).chain(inputs).collect();
        while let Some(next) = pending.pop() {
            if step(self, next) {
                pending.extend(self.children(next));
            }
        }
    }

    /// Whether it is new.
    fn up(&mut self, node: (Digest, As)) -> bool {
        let count = self.counts.entry(node).or_default();
        *count += 1;
        if *count > 1 {
            return false;
        }
        let ways = self.ways.entry(node.0).or_default();
        *ways += 1;
        if *ways == 1 {
            self.bytes += self.size(&node.0);
        }
        true
    }

    /// Whether it is gone.
    fn down(&mut self, node: (Digest, As)) -> bool {
        match self.counts.get_mut(&node) {
            Some(1) => self.counts.remove(&node),
            Some(count) => {
                *count -= 1;
                return false;
            }
            None => return false,
        };
        match self.ways.get_mut(&node.0) {
            Some(ways) if *ways > 1 => *ways -= 1,
            _ => {
                self.ways.remove(&node.0);
                self.bytes -= self.size(&node.0);
            }
        }
        true
    }

    fn size(&self, digest: &Digest) -> u64 {
        self.sizes.get(digest).copied().unwrap_or(0)
    }

    fn children(&self, (digest, way): (Digest, As)) -> Vec<(Digest, As)> {
        if way == As::Bytes {
            return Vec::new();
        }
        // A listing that is lost holds nothing: what referred to it is damaged, and the next use will say so.
        let Ok(tree) = self.store.tree(&digest) else { return Vec::new() };
        let entries = tree.entries.values();
        match way {
            As::Folder => entries.map(whole).collect(),
            _ => entries.filter(|entry| entry.mode == Mode::Folder).map(|entry| (entry.digest, As::Listing)).collect(),
        }
    }
}

fn whole(artifact: &Artifact) -> (Digest, As) {
    (artifact.digest, if artifact.mode == Mode::Folder { As::Folder } else { As::Bytes })
}
