//! The entries of a map in the file's order, found by name also where there are thousands: the steps of a pipeline are.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use super::yaml::{Key, Node};

/// Up to so many are looked through one by one, which is as fast.
const FEW: usize = 16;

/// Entries, each key once.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    list: Vec<(Key, Node)>,
    /// Their places in the order of their names; made when one is looked for first, forgotten when something may have changed.
    by_name: OnceLock<Box<[u32]>>,
}

impl Entries {
    /// The entry `name`.
    pub fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        if self.list.len() <= FEW {
            return self.list.iter().find(|(key, _)| key.name == name);
        }
        let name_at = |at: &u32| self.list[*at as usize].0.name.as_str();
        let by_name = self.by_name.get_or_init(|| {
            let mut places: Vec<u32> = (0..self.list.len() as u32).collect();
            places.sort_by_key(name_at);
            places.into()
        });
        let found = by_name.binary_search_by(|at| name_at(at).cmp(name)).ok()?;
        Some(&self.list[by_name[found] as usize])
    }

    /// Adds one that is not there yet.
    pub fn push(&mut self, key: Key, node: Node) {
        self.by_name.take();
        self.list.push((key, node));
    }

    /// Keeps those that `wanted` wants.
    pub fn retain(&mut self, mut wanted: impl FnMut(&Key) -> bool) {
        self.by_name.take();
        self.list.retain(|(key, _)| wanted(key));
    }
}

impl From<Vec<(Key, Node)>> for Entries {
    fn from(list: Vec<(Key, Node)>) -> Self {
        Self { list, by_name: OnceLock::new() }
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Deref for Entries {
    type Target = [(Key, Node)];

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.by_name.take();
        &mut self.list
    }
}

impl IntoIterator for Entries {
    type Item = (Key, Node);
    type IntoIter = std::vec::IntoIter<(Key, Node)>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a (Key, Node);
    type IntoIter = std::slice::Iter<'a, (Key, Node)>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::Value;
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_name_however_many_there_are_and_whatever_changed() {
        for many in [3, FEW, FEW + 1, 500] {
            let node = |at: usize| Node { value: Value::Text(at.to_string()), span: at..at + 1 };
            let key = |at: usize| Key { name: format!("k{}", at * 7 % many), span: at..at };
            let mut entries: Entries = (0..many).map(|at| (key(at), node(at))).collect::<Vec<_>>().into();
            let well = |entries: &Entries| {
                entries.iter().all(|one| entries.entry(&one.0.name) == Some(one)) && entries.entry("none").is_none()
            };
            assert!(well(&entries), "{many}");
            entries.push(Key { name: "a".into(), span: 0..0 }, node(0));
            assert!(well(&entries), "one more than {many}");
            entries[0].0.name = "z".into();
            assert!(well(&entries) && entries.entry("z").is_some(), "another name among {many}");
            entries.retain(|key| key.name != "a");
            assert!(well(&entries) && entries.entry("a").is_none(), "one less than {many}");
        }
    }
}
