//! From the tree to the written types, without a JSON in between: what a type takes of a node is what it would take of the same JSON.
//!
//! Knows nothing of what the types are.

use serde::de::value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::yaml::{Node, Value};

/// The value that a node describes.
///
/// # Errors
/// When the node is not of its shape.
pub(super) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    T::deserialize(Decode(node))
}

#[derive(Clone, Copy)]
struct Decode<'a>(&'a Node);

impl<'de> IntoDeserializer<'de> for Decode<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Decode<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Decode))),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.name.as_str(), Decode(node)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Text(text) => text.as_str().into_deserializer().deserialize_enum(name, variants, visitor),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.name.as_str(), Decode(node)));
                let map = MapAccessDeserializer::new(MapDeserializer::new(entries));
                map.deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::{written, yaml};
    use super::*;
    use serde_json::Value as Json;

    /// What is decoded is what the same JSON gives, and what is refused is refused there too.
    #[test]
    fn a_tree_is_decoded_as_the_same_json_is() {
        let texts = [
            "flowrun: 1\nname: x\nparams: { a: { type: integer, default: -3, min: 0.5, choices: [1, null, 'x', 1e300] } }\nsteps:\n  \
             b: { run: 'true', env: { A: 1, B: x, C: true, D: { secret: S }, E: 1.5 }, if: false, retry: { attempts: 2, on: [timeout] } }\n  \
             c: { uses: ./x.wasm, with: { deep: [1, { y: [-1, 18446744073709551615] }] }, shard: { parts: 3 }, allow: [network] }\n  \
             d: { onnx: { score: 0.1, classes: [a] }, if: 'x < 1', matrix: { s: [1, 2] }, resources: { cpu: 2, memory: 4GiB } }\n",
            "flowrun: 1\nsteps: { a: { run: 5 } }",
            "flowrun: 1.5\nsteps: {}",
            "flowrun: -1\nsteps: {}",
            "flowrun: 1\nsteps: { a: { sandbox: { off: null } } }",
            "flowrun: 1\nsteps: { a: { sandbox: [off] } }",
            "flowrun: 1\nsteps: { a: null }",
            "flowrun: 1\nsteps: { a: { retry: null, timeout: null } }",
            "flowrun: 1\nstep: {}",
            "[1]",
        ];
        for text in texts {
            let (node, _) = yaml::read(text).expect("yaml");
            let told = |read: Option<written::Pipeline>| read.map(|read| format!("{read:?}"));
            let direct = told(decode(&node).ok());
            assert_eq!(direct, told(serde_json::from_value(node.to_json()).ok()), "{text}");
            assert_eq!(decode::<Json>(&node).ok(), Some(node.to_json()), "{text}");
        }
        let (node, _) = yaml::read(texts[0]).expect("yaml");
        decode::<written::Pipeline>(&node).expect("the first is sound");
    }
}
