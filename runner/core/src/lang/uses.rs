//! The plugins that a file's steps use, read before it is checked: some must be brought first, so that steps can be checked against them.
//!
//! Knows nothing of rules: what is no step or no text is passed over, and `check` says what is wrong with it.

use std::collections::BTreeSet;

use super::yaml::{self, Node, Value};

/// Pairs of a step and what it uses, of the steps with a profile laid over them whose `uses` begins with `prefix`; in the file's order.
pub fn of_steps(text: &str, profile: Option<&str>, prefix: &str) -> Vec<(String, String)> {
    let Some(mut node) = read(text, prefix) else { return Vec::new() };
    if let Some(name) = profile {
        super::lay_profile(&mut node, name);
    }
    below(&node, prefix).map(|(step, uses)| (step.to_owned(), uses.to_owned())).collect()
}

/// What steps use in any profile and in none, where it begins with `prefix`.
pub fn anywhere(text: &str, prefix: &str) -> BTreeSet<String> {
    let Some(node) = read(text, prefix) else { return BTreeSet::new() };
    let profiles = node.get("profiles").map(Node::entries).unwrap_or_default();
    let all = profiles.iter().map(|(_, profile)| profile).chain([&node]);
    all.flat_map(|node| below(node, prefix)).map(|(_, uses)| uses.to_owned()).collect()
}

/// Most files use none: they are read once, not twice.
fn read(text: &str, prefix: &str) -> Option<Node> {
    if !text.contains(prefix) {
        return None;
    }
    yaml::read(text).ok().map(|(node, _)| node)
}

fn below<'a>(node: &'a Node, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let steps = node.get("steps").map(Node::entries).unwrap_or_default();
    steps.iter().filter_map(move |(key, step)| match &step.get("uses")?.value {
        Value::Text(uses) if uses.starts_with(prefix) => Some((key.name.as_str(), uses.as_str())),
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
        assert_eq!(of_steps(FILE, None, "oci://"), pair("oci://h/a:1"));
        assert_eq!(of_steps(FILE, Some("new"), "oci://"), pair("oci://h/a:2"));
        assert_eq!(of_steps(FILE, Some("other"), "oci://"), pair("oci://h/a:1"));
        let all: Vec<String> = anywhere(FILE, "oci://").into_iter().collect();
        assert_eq!(all, ["oci://h/a:1", "oci://h/a:2", "oci://h/e:1"]);
        for odd in ["oci://", "- oci://h/a", "steps: oci://h/a", "{ oci://"] {
            assert!(of_steps(odd, None, "oci://").is_empty(), "{odd}");
        }
    }
}
