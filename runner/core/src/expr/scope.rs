//! What templates see. Values are shared: to hand the names on to ten thousand instances of a fan-out, or to add one more to a copy, costs the
//! same however large the values are.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// Names and their values.
#[derive(Clone, Debug, Default)]
pub struct Scope(BTreeMap<String, Value>);

impl Scope {
    /// Adds a name, or gives it another value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Serialize) {
        self.0.insert(name.into(), Value::from(Serde(value)));
    }

    /// Adds a name for a map of texts.
    pub fn insert_texts(&mut self, name: impl Into<String>, texts: impl IntoIterator<Item = (String, String)>) {
        let texts: BTreeMap<String, Value> = texts.into_iter().map(|(name, text)| (name, text.into())).collect();
        self.0.insert(name.into(), texts.into());
    }

    /// Adds several.
    pub fn extend(&mut self, names: &Map<String, Json>) {
        names.iter().for_each(|(name, value)| self.insert(name, value));
    }

    /// The value of a dotted name; nothing where there is none.
    pub(super) fn find(&self, dotted: &str) -> Option<Value> {
        let mut words = dotted.split('.');
        let first = self.0.get(words.next()?)?.clone();
        let found = words.try_fold(first, |value, word| value.get_attr(word).ok())?;
        (!found.is_undefined()).then_some(found)
    }

    pub(super) fn seen(&self) -> Value {
        Value::from(self.0.clone())
    }
}

impl From<&Map<String, Json>> for Scope {
    fn from(names: &Map<String, Json>) -> Self {
        let mut seen = Self::default();
        seen.extend(names);
        seen
    }
}
