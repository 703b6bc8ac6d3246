//! Why a step runs or does not, in words.

use flowrun_core::event::{Reason, Skip};
use flowrun_core::key::{Difference, Leaf};

/// The longest value of a leaf that is shown whole.
const LONGEST: usize = 32;

/// All reasons in one line: the first, and how many more there are.
pub(crate) fn line(reasons: &[Reason]) -> String {
    match reasons {
        [] => String::new(),
        [only] => one(only),
        [first, rest @ ..] => format!("{} (and {} more)", one(first), rest.len()),
    }
}

/// One reason.
pub(crate) fn one(reason: &Reason) -> String {
    match reason {
        Reason::New => "never ran here".to_owned(),
        Reason::Changed { difference, detail } => changed(difference, detail),
        Reason::Uncached => "`cache: false`".to_owned(),
        Reason::Forced => "forced".to_owned(),
        Reason::After { steps } => format!("after {}", steps.join(", ")),
        Reason::Damaged { problem } => format!("its stored result is damaged: {problem}"),
    }
}

/// What else is known about a reason, a line each.
pub(crate) fn detail(reason: &Reason) -> &[String] {
    match reason {
        Reason::Changed { detail, .. } => detail,
        _ => &[],
    }
}

fn changed(difference: &Difference, detail: &[String]) -> String {
    let leaf = &difference.leaf;
    if let (Some(old), Some(new)) = (&difference.old, &difference.new) {
        if let (Some(old), Some(new)) = (brief(old), brief(new)) {
            return format!("{leaf}: {old} → {new}");
        }
        return match detail {
            [] => match excerpts(old, new) {
                Some((old, new)) => format!("{leaf}: {old} → {new}"),
                None => format!("{leaf} changed"),
            },
            [only] => format!("{leaf}: {only}"),
            [first, rest @ ..] => format!("{leaf}: {first} (and {} more)", rest.len()),
        };
    }
    let now = difference.new.as_ref().or(difference.old.as_ref()).and_then(brief);
    let what = if difference.new.is_some() { "is new" } else { "is gone" };
    match now {
        Some(value) => format!("{leaf} {what}: {value}"),
        None => format!("{leaf} {what}"),
    }
}

/// A text that says something in one short line; contents say nothing by their digest.
fn brief(leaf: &Leaf) -> Option<&str> {
    match leaf {
        Leaf::Text(text) if !text.contains('\n') && text.chars().count() <= LONGEST && !is_digest(text) => Some(text),
        _ => None,
    }
}

/// What differs between two long texts, with the words around it, where it is one place.
fn excerpts(old: &Leaf, new: &Leaf) -> Option<(String, String)> {
    let (Leaf::Text(old), Leaf::Text(new)) = (old, new) else { return None };
    if is_digest(old) || is_digest(new) {
        return None;
    }
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let shorter = old.len().min(new.len());
    let same = |(a, b): &(&char, &char)| a == b;
    let before = old.iter().zip(&new).take_while(same).count();
    let after = old.iter().rev().zip(new.iter().rev()).take(shorter - before).take_while(same).count();
    // Whole words: back to the last blank before the difference, on to the first blank after it.
    let start = old[..before].iter().rposition(|c| c.is_whitespace()).map_or(0, |blank| blank + 1);
    let words = |text: &[char]| -> Option<String> {
        let end = text.len() - after;
        let end = text[end..].iter().position(|c| c.is_whitespace()).map_or(text.len(), |blank| end + blank);
        let part: String = text[start..end.max(start)].iter().collect();
        let (head, tail) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
        (end.saturating_sub(start) <= LONGEST && !part.contains('\n')).then(|| format!("{head}{part}{tail}"))
    };
    Some((words(&old)?, words(&new)?))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// For whom a step waits that another run makes.
pub(crate) fn wait(run: Option<&str>) -> String {
    run.map_or_else(|| "for another run".to_owned(), |run| format!("for run {run}"))
}

/// What a step is that is not as it was in the run that is taken up.
pub(crate) fn since(run: &str, step: &str, reasons: &[Reason]) -> String {
    let why = line(reasons);
    let colon = if why.is_empty() { "" } else { ": " };
    format!("run {run}: {step} changed{colon}{why}")
}

/// Why a step was skipped.
pub(crate) fn skip(why: &Skip) -> String {
    match why {
        Skip::Condition { expression } => format!("`{expression}` is false"),
        Skip::Failed { step } => format!("{step} failed"),
        Skip::Skipped { step } => format!("{step} was skipped"),
        Skip::Stopped => "the run stopped".to_owned(),
        Skip::LeftOut => "left out".to_owned(),
    }
}

/// A leaf's value in one line: a long text by its first line and its size.
pub(crate) fn leaf(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Text(text) if text.contains('\n') => {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("{} … ({} lines)", first.trim(), text.lines().count())
        }
        other => other.show(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(old: Option<&str>, new: Option<&str>, detail: &[&str]) -> Reason {
        let leaf = |text: &str| Leaf::Text(text.to_owned());
        let difference = Difference { leaf: "with.copies".into(), old: old.map(leaf), new: new.map(leaf) };
        Reason::Changed { difference, detail: detail.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn a_reason_names_the_leaf_and_both_values_where_they_are_short() {
        let long = "x".repeat(50);
        let told = [
            (vec![change(Some("3"), Some("4"), &[])], "with.copies: 3 → 4"),
            (vec![change(None, Some("4"), &[])], "with.copies is new: 4"),
            (vec![change(Some("3"), None, &[])], "with.copies is gone: 3"),
            (vec![change(Some(&long), Some("4"), &[])], "with.copies changed"),
            (
                vec![change(
                    Some("awk -v n=200 -v seed=1 'a long script'"),
                    Some("awk -v n=1500 -v seed=1 'a long script'"),
                    &[],
                )],
                "with.copies: …n=200… → …n=1500…",
            ),
            (vec![change(Some(&format!("{long} a")), Some(&format!("{long} a b")), &[])], "with.copies: …a → …a b"),
            (vec![change(Some("a\nb"), Some("a\nc"), &["-b", "+c"])], "with.copies: -b (and 1 more)"),
            (vec![Reason::New], "never ran here"),
            (vec![Reason::Forced, Reason::Uncached], "forced (and 1 more)"),
        ];
        for (reasons, text) in told {
            assert_eq!(line(&reasons), text);
        }
    }
}
