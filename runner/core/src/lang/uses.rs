//! The plugins that a file's steps take from registries, read before it is checked: they must be brought first, so that steps can be checked
//! against them.
//!
//! Knows nothing of rules: what is no step or no text is passed over, and `check` says what is wrong with it.

use std::collections::BTreeSet;

use super::yaml::{self, Node, Value};

/// How `uses` begins that names a plugin of a registry: `oci://HOST/REPOSITORY:TAG`.
pub const REGISTRY: &str = "oci://";

/// Pairs of a step and the plugin of a registry that it uses, with a profile laid over the steps; in the file's order.
pub fn of_steps(text: &str, profile: Option<&str>) -> Vec<(String, String)> {
    let Some(mut node) = read(text) else { return Vec::new() };
    if let Some(name) = profile {
        super::lay_profile(&mut node, name);
    }
    below(&node).map(|(step, uses)| (step.to_owned(), uses.to_owned())).collect()
}

/// The plugins of registries that steps use in any profile and in none.
pub fn anywhere(text: &str) -> BTreeSet<String> {
    let Some(node) = read(text) else { return BTreeSet::new() };
    let profiles = node.get("profiles").map(Node::entries).unwrap_or_default();
    let all = profiles.iter().map(|(_, profile)| profile).chain([&node]);
    all.flat_map(below).map(|(_, uses)| uses.to_owned()).collect()
}

/// Most files use none: they are read once, not twice.
fn read(text: &str) -> Option<Node> {
    if !text.contains(REGISTRY) {
        return None;
    }
    yaml::read(text).ok().map(|(node, _)| node)
}

fn below(node: &Node) -> impl Iterator<Item = (&str, &str)> {
    let steps = node.get("steps").map(Node::entries).unwrap_or_default();
    steps.iter().filter_map(|(key, step)| match &step.get("uses")?.value {
        Value::Text(uses) if uses.starts_with(REGISTRY) => Some((key.name.as_str(), uses.as_str())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
flowrun: 1
steps:
  a: { uses: oci://h/a:1 }
  b: { uses: ./b.wasm }
  c: { uses: [oci://h/no] }
  d: oci://h/no
profiles:
  new: { steps: { a: { uses: oci://h/a:2 }, e: { uses: oci://h/e:1 } } }
";

    #[test]
    fn what_steps_use_is_found_before_they_are_checked() {
        let pair = |uses: &str| vec![("a".to_owned(), uses.to_owned())];
        assert_eq!(of_steps(FILE, None), pair("oci://h/a:1"));
        assert_eq!(of_steps(FILE, Some("new")), pair("oci://h/a:2"));
        assert_eq!(of_steps(FILE, Some("other")), pair("oci://h/a:1"));
        let all: Vec<String> = anywhere(FILE).into_iter().collect();
        assert_eq!(all, ["oci://h/a:1", "oci://h/a:2", "oci://h/e:1"]);
        for odd in ["oci://", "- oci://h/a", "steps: oci://h/a", "{ oci://"] {
            assert!(of_steps(odd, None).is_empty(), "{odd}");
        }
    }
}
