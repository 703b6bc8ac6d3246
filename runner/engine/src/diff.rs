//! What differs between two texts, as a person reads it: a unified diff, bounded.
//!
//! Pure, but for a look at the clock: a diff that takes too long ends less minimal, never wrong. Knows nothing of what the texts are.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};

/// Lines of one diff. It is kept in the run's record and read by a person: more would be neither small nor read.
pub(crate) const MOST_LINES: usize = 200;

/// Characters of one line: a file that is one line of JSON must not fill the record.
const LONGEST_LINE: usize = 400;

/// Characters before the first that differs, where a line is cut.
const LEAD: usize = 40;

/// Equal lines around each place: enough to find it, few enough that a plan shows the change itself.
const CONTEXT: usize = 2;

/// Most diffs take microseconds. Two large texts that share nothing must not hold up a run that has their step still to do.
const PATIENCE: Duration = Duration::from_millis(100);

/// Said of a text whose last line has no end, where the other's has.
const NO_NEWLINE: &str = "\\ No newline at end of file";

/// The lines of a unified diff without file names: `@@ -1,3 +1,4 @@`, ` context`, `-old`, `+new`; last, how many more there are. Empty where
/// the texts are the same.
pub(crate) fn unified(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (ended(old, new), ended(new, old));
    let (old, new) = (lines(&old), lines(&new));
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(Instant::now() + PATIENCE));
    let mut told = Vec::new();
    for hunk in group_diff_ops(ops, CONTEXT) {
        told.extend(header(&hunk));
        hunk.iter().for_each(|op| tell(op, &old, &new, &mut told));
    }
    if told.len() > MOST_LINES {
        let more = told.len() - MOST_LINES;
        told.truncate(MOST_LINES);
        told.push(format!("and {more} more lines"));
    }
    told
}

/// Snippets have no end of the last line: that of two is nothing to tell, that of one is.
fn ended<'a>(text: &'a str, other: &str) -> Cow<'a, str> {
    let open = |text: &str| !text.is_empty() && !text.ends_with('\n');
    if open(text) && (other.is_empty() || open(other)) { format!("{text}\n").into() } else { text.into() }
}

/// A text's lines; the last without an end is told from the same with one.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn header(hunk: &[DiffOp]) -> Option<String> {
    let (first, last) = (hunk.first()?, hunk.last()?);
    let range = |start: usize, end: usize| match end - start {
        1 => format!("{}", start + 1),
        // Nothing stands after the line before it.
        0 => format!("{start},0"),
        some => format!("{},{some}", start + 1),
    };
    let old = range(first.old_range().start, last.old_range().end);
    let new = range(first.new_range().start, last.new_range().end);
    Some(format!("@@ -{old} +{new} @@"))
}

fn tell(op: &DiffOp, old: &[&str], new: &[&str], told: &mut Vec<String>) {
    let (old, new) = (&old[op.old_range()], &new[op.new_range()]);
    if op.tag() == DiffTag::Equal {
        return old.iter().for_each(|line| told.push(shown(' ', line, None)));
    }
    for (sign, these, those) in [('-', old, new), ('+', new, old)] {
        for (index, line) in these.iter().enumerate() {
            told.push(shown(sign, line, those.get(index)));
        }
        if these.last().is_some_and(|line| !line.ends_with('\n')) {
            told.push(NO_NEWLINE.to_owned());
        }
    }
}

/// A line with its sign; of a long one the part where it differs from its counterpart.
fn shown(sign: char, line: &str, other: Option<&&str>) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    // Terminals show nothing of it, and it may be all that differs.
    let (line, end) = line.strip_suffix('\r').map_or((line, ""), |line| (line, if sign == ' ' { "" } else { "\\r" }));
    if line.chars().nth(LONGEST_LINE).is_none() {
        return format!("{sign}{line}{end}");
    }
    let same = other.map_or(0, |other| line.chars().zip(other.chars()).take_while(|(a, b)| a == b).count());
    let from = same.saturating_sub(LEAD);
    let part: String = line.chars().skip(from).take(LONGEST_LINE).collect();
    let cut = |is_cut: bool| if is_cut { "…" } else { "" };
    let after = line.chars().nth(from + LONGEST_LINE).is_some();
    format!("{sign}{}{part}{}{end}", cut(from > 0), cut(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_hunks_with_two_lines_around() {
        let old: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 5\n", "line five\nand more\n").replace("line 20\n", "");
        let expected = [
            "@@ -3,5 +3,6 @@",
            " line 3",
            " line 4",
            "-line 5",
            "+line five",
            "+and more",
            " line 6",
            " line 7",
            "@@ -18,3 +19,2 @@",
            " line 18",
            " line 19",
            "-line 20",
        ];
        assert_eq!(unified(&old, &new), expected);
    }

    #[test]
    fn ends_of_lines_are_told_where_they_are_what_differs() {
        assert!(unified("a\nb", "a\nb").is_empty());
        assert_eq!(unified("", "a\n"), ["@@ -0,0 +1 @@", "+a"]);
        assert_eq!(unified("a\n", ""), ["@@ -1 +0,0 @@", "-a"]);
        assert_eq!(unified("a", "b"), ["@@ -1 +1 @@", "-a", "+b"]);
        assert_eq!(unified("a", "a\nb"), ["@@ -1 +1,2 @@", " a", "+b"]);
        assert_eq!(unified("a", "a\n"), ["@@ -1 +1 @@", "-a", NO_NEWLINE, "+a"]);
        assert_eq!(unified("a\r\n", "a\n"), ["@@ -1 +1 @@", "-a\\r", "+a"]);
    }

    #[test]
    fn neither_many_lines_nor_long_ones_fill_the_record() {
        let many: String = (0..1000).map(|n| format!("{n}\n")).collect();
        let told = unified("", &many);
        assert_eq!(told.len(), MOST_LINES + 1);
        assert_eq!(told[MOST_LINES], "and 801 more lines");
        let long = |middle: &str| format!("{}{middle}{}", "x".repeat(1000), "y".repeat(1000));
        let told = unified(&long("old"), &long("new"));
        assert!(told[1].starts_with("-…xxx") && told[1].contains("xoldy") && told[1].ends_with("y…"), "{}", told[1]);
        assert!(told[2].contains("xnewy") && told[2].chars().count() <= LONGEST_LINE + 3, "{}", told[2]);
    }

    #[test]
    fn large_texts_that_share_nothing_take_no_long_time() {
        let text = |seed: u64| -> String {
            let line = |n: u64| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
            (0..20_000).map(line).collect()
        };
        let began = Instant::now();
        assert_eq!(unified(&text(1), &text(2)).len(), MOST_LINES + 1);
        // Far above what it takes, far below what a quadratic search would.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
