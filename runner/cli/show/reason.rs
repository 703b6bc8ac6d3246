//! Why a step runs or does not, in words.

use flowrun_core::artifact::Mode;
use flowrun_core::event::{Reason, Skip};
use flowrun_core::key::{Difference, Leaf};

use super::line::{Line, Tone};

/// The longest value of a leaf that is shown whole.
const LONGEST: usize = 32;

/// Leaves named behind the first reason; more would push it out of the line.
const MOST_NAMED: usize = 3;

/// All reasons in one line: the first, and the leaves of the others.
pub(crate) fn line(reasons: &[Reason]) -> String {
    match reasons {
        [] => String::new(),
        [only] => one(only),
        [first, rest @ ..] => {
            let leaf = |reason: &Reason| match reason {
                Reason::Changed { difference, .. } => Some(difference.leaf.clone()),
                _ => None,
            };
            let named: Vec<String> = rest.iter().filter_map(leaf).take(MOST_NAMED).collect();
            let more = match rest.len() - named.len() {
                0 => String::new(),
                more if named.is_empty() => format!("{more} more"),
                more => format!(" and {more} more"),
            };
            format!("{}; also {}{more}", one(first), named.join(", "))
        }
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

/// What else is known about a reason, styled: a diff in its colours.
pub(crate) fn detail_lines(reason: &Reason) -> impl Iterator<Item = Line> {
    detail(reason).iter().map(|text| diff_line(text))
}

/// A line of a diff, or about a file.
pub(crate) fn diff_line(text: &str) -> Line {
    let tone = match text.as_bytes() {
        [b'@', b'@', ..] => Tone::Busy,
        [b'-', ..] => Tone::Gone,
        [b'+', ..] => Tone::Good,
        _ => Tone::Dim,
    };
    Line::new().with(tone, text)
}

/// The leaf, and what it was and is; for a long one the first place that differs.
fn changed(difference: &Difference, detail: &[String]) -> String {
    let leaf = &difference.leaf;
    let (old, new) = match (&difference.old, &difference.new) {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => return format!("{leaf} is new: {}", brief(new)),
        (Some(old), None) => return format!("{leaf} is gone: {}", brief(old)),
        (None, None) => return format!("{leaf} changed"),
    };
    if leaf.starts_with("tool.") {
        return format!("{leaf} is another program: {} → {}", program(old), program(new));
    }
    match (old, new) {
        (Leaf::Content(old), Leaf::Content(new)) if old.digest == new.digest && old.mode != new.mode => {
            let now = if new.mode == Mode::Executable { "executable now" } else { "no longer executable" };
            return format!("{leaf} is {now}");
        }
        (Leaf::Text(old), Leaf::Text(new)) if is_short(old) && is_short(new) => {
            return format!("{leaf}: {old} → {new}");
        }
        (Leaf::Text(old), Leaf::Text(new)) if is_line(old) && is_line(new) && detail.is_empty() => {
            let (old, new) = excerpts(&shortened(old), &shortened(new));
            return format!("{leaf}: {old} → {new}");
        }
        _ => {}
    }
    match detail {
        [] => format!("{leaf}: {} → {}", brief(old), brief(new)),
        [first, ..] if first.starts_with("@@ ") => format!("{leaf}: {}", first_change(detail)),
        [first, rest @ ..] => {
            // A diff below a lone file is not one more.
            match rest.iter().take_while(|line| !line.starts_with("@@ ")).count() {
                0 => format!("{leaf}: {first}"),
                more => format!("{leaf}: {first} (and {more} more)"),
            }
        }
    }
}

/// The first line that a diff changes, old and new, and how many more there are.
fn first_change(diff: &[String]) -> String {
    let is_change = |line: &&String| line.starts_with(['-', '+']);
    let all = diff.iter().filter(is_change).count();
    let mut from = diff.iter().skip_while(|line| !is_change(line)).peekable();
    let gone = from.peek().and_then(|line| line.strip_prefix('-'));
    let come = from.find(|line| !line.starts_with(['-', '\\'])).and_then(|line| line.strip_prefix('+'));
    let (told, shown) = match (gone, come) {
        (Some(gone), Some(come)) => {
            let (old, new) = excerpts(&shortened(gone.trim()), &shortened(come.trim()));
            (2, format!("{old} → {new}"))
        }
        (Some(gone), None) => (1, format!("- {}", clip(gone.trim()))),
        (None, Some(come)) => (1, format!("+ {}", clip(come.trim()))),
        (None, None) => (0, "changed".to_owned()),
    };
    match all - told {
        0 => shown,
        1 => format!("{shown} (and 1 more line)"),
        more => format!("{shown} (and {more} more lines)"),
    }
}

/// Whether the line of a reason shows this line of its diff whole.
pub(crate) fn is_told(line: &str) -> bool {
    line.starts_with(['-', '+']) && line[1..].trim().chars().count() <= LONGEST
}

/// A value in a few words: a text cut, a content by its size and the beginning of its digest.
fn brief(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Text(text) if is_line(text) => clip(&shortened(text)),
        Leaf::Text(text) => {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("{} … ({} lines)", clip(first.trim()), text.lines().count())
        }
        Leaf::Content(artifact) if artifact.mode == Mode::Folder => format!("folder {}", artifact.brief()),
        Leaf::Content(artifact) => artifact.brief(),
    }
}

/// A program by the beginning of its digest.
fn program(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Content(artifact) => artifact.digest.short(),
        Leaf::Text(text) => shortened(text),
    }
}

fn is_line(text: &str) -> bool {
    !text.contains('\n')
}

fn is_short(text: &str) -> bool {
    is_line(text) && text.chars().count() <= LONGEST && shortened(text) == text
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Digits of a digest that a person needs to tell two apart, as `Digest::short` gives them.
const DIGITS: usize = 10;

/// The text with digests cut: their digits tell people nothing.
fn shortened(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_hexdigit();
    let mut told = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_hex) {
        let end = rest[start..].find(|c| !is_hex(c)).map_or(rest.len(), |length| start + length);
        let kept = if end - start == 64 { start + DIGITS } else { end };
        told.push_str(&rest[..kept]);
        rest = &rest[end..];
    }
    told + rest
}

/// What differs between two lines, with the words around it, cut where it is long.
fn excerpts(old: &str, new: &str) -> (String, String) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    if old.len().max(new.len()) <= LONGEST {
        return (old.iter().collect(), new.iter().collect());
    }
    let shorter = old.len().min(new.len());
    let same = |(a, b): &(&char, &char)| a == b;
    let before = old.iter().zip(&new).take_while(same).count();
    let after = old.iter().rev().zip(new.iter().rev()).take(shorter - before).take_while(same).count();
    // Whole words: back to the last blank before the difference, on to the first blank after it. A word that is itself long is
    // begun a little before the difference.
    let blank = old[..before].iter().rposition(|c| c.is_whitespace()).map_or(0, |blank| blank + 1);
    let start = blank.max(before.saturating_sub(LONGEST / 2));
    let words = |text: &[char]| -> String {
        let end = text.len() - after;
        let end = text[end..].iter().position(|c| c.is_whitespace()).map_or(text.len(), |blank| end + blank);
        let part = &text[start..end.max(start)];
        let cut = part.len() > LONGEST;
        let shown: String = part.iter().take(LONGEST).collect();
        let (head, tail) = (if start > 0 { "…" } else { "" }, if cut || end < text.len() { "…" } else { "" });
        format!("{head}{shown}{tail}")
    };
    (words(&old), words(&new))
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

/// A leaf's value in one line: a long text by its first line and its size, a content by its size and digest.
pub(crate) fn leaf(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Text(text) if is_line(text) => shortened(text),
        other => brief(other),
    }
}

#[cfg(test)]
mod tests;
