//! Which class names are meant: those of the configuration, or those that the rows themselves make believable.
//!
//! Without a list a name is doubted where it cannot be learned or is plainly a slip:
//! - it stands in one single row of both splits, while half of all rows or more are of classes with five rows or more;
//! - it is within two letters of a class ten times as frequent, and stands in at most two rows;
//! - it is in the test split only.
//!
//! A rare but real class can be doubted wrongly by the first rule; the finding names it, and `classes` settles it.

use std::collections::BTreeMap;

/// From how many rows on the frequencies of classes say anything.
const ENOUGH_ROWS: usize = 20;

/// The class names of a data set.
#[derive(Debug, Default)]
pub struct Classes {
    /// The name by its folded form.
    known: BTreeMap<String, String>,
    /// Why not, by folded form.
    doubted: BTreeMap<String, String>,
}

/// What a row's class cell means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class<'a> {
    /// The class, written as it is called.
    Exact(&'a str),
    /// The class, with blanks around or within.
    Blanks(&'a str),
    /// The class, in other letter case.
    Case(&'a str),
    /// Nothing but blanks.
    Empty,
    /// No known class; why, and what is near.
    Unknown(String),
}

impl Classes {
    /// Those of a list.
    #[must_use]
    pub fn listed(names: &[String]) -> Self {
        let known = names.iter().map(|name| (fold(name), name.clone())).collect();
        Self { known, ..Self::default() }
    }

    /// Those that the class cells of train and test make believable.
    #[must_use]
    pub fn learned(train: &[&str], test: Option<&[&str]>) -> Self {
        let mut counts: BTreeMap<String, Count> = BTreeMap::new();
        for (in_test, cells) in [(false, train), (true, test.unwrap_or_default())] {
            for cell in cells.iter().filter(|cell| !cell.trim().is_empty()) {
                let count = counts.entry(fold(cell)).or_default();
                count.rows += 1;
                count.train += usize::from(!in_test);
                *count.spellings.entry(tidy(cell)).or_default() += 1;
            }
        }
        let mut classes = Self::default();
        for (folded, count) in &counts {
            match doubt(folded, count, &counts) {
                Some(reason) => classes.doubted.insert(folded.clone(), reason),
                None => classes.known.insert(folded.clone(), count.spelling()),
            };
        }
        classes
    }

    /// What a cell means.
    #[must_use]
    pub fn look_up(&self, cell: &str) -> Class<'_> {
        let folded = fold(cell);
        if folded.is_empty() {
            return Class::Empty;
        }
        match self.known.get(&folded) {
            Some(name) if name == cell => Class::Exact(name),
            Some(name) if tidy(cell) == cell => Class::Case(name),
            Some(name) => Class::Blanks(name),
            None => Class::Unknown(self.why_unknown(&folded)),
        }
    }

    fn why_unknown(&self, folded: &str) -> String {
        let reason = self.doubted.get(folded).map_or("not in the list of classes", String::as_str);
        let near = self.known.iter().filter(|(known, _)| is_slip(folded, known)).map(|(_, name)| name).next();
        near.map_or_else(|| reason.to_owned(), |near| format!("{reason}; did you mean `{near}`?"))
    }
}

#[derive(Debug, Default)]
struct Count {
    rows: usize,
    train: usize,
    spellings: BTreeMap<String, usize>,
}

impl Count {
    /// The most frequent spelling, of those the first in the alphabet.
    fn spelling(&self) -> String {
        let best = self.spellings.iter().rev().max_by_key(|(_, rows)| **rows);
        best.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

fn doubt(folded: &str, count: &Count, counts: &BTreeMap<String, Count>) -> Option<String> {
    let slip = |(other, more): (&String, &Count)| more.rows >= 10 * count.rows && is_slip(folded, other);
    if count.rows <= 2 && counts.iter().any(slip) {
        return Some(format!("in {} rows only, and nearly another class's name", count.rows));
    }
    if count.train == 0 {
        return Some("in the test split only".to_owned());
    }
    let (usual, all) = usual_count(counts);
    let alone = count.rows == 1 && usual >= 5 && all >= ENOUGH_ROWS;
    alone.then(|| format!("in one row only, where half of all rows are of classes with {usual} or more"))
}

/// The rows of a class such that half of all rows are of classes with as many or more; and all rows.
fn usual_count(counts: &BTreeMap<String, Count>) -> (usize, usize) {
    let mut rows: Vec<usize> = counts.values().map(|count| count.rows).collect();
    rows.sort_unstable_by(|a, b| b.cmp(a));
    let (all, mut seen) = (rows.iter().sum(), 0);
    let usual = rows.into_iter().find(|rows| {
        seen += rows;
        2 * seen >= all
    });
    (usual.unwrap_or(0), all)
}

/// Lower case, blanks as in [`tidy`].
fn fold(cell: &str) -> String {
    tidy(cell).to_lowercase()
}

/// No blanks around, single ones within.
fn tidy(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether two names are within two letters and a fifth of their length of each other.
fn is_slip(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let allowed = 2.min(a.len().min(b.len()) / 5);
    // Names in a hostile file may be megabytes long: the table below is their product.
    a.len().abs_diff(b.len()) <= allowed && a.len() <= 200 && distance(&a, &b) <= allowed
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(odd: &[&str], test: Option<&[&str]>) -> Classes {
        let mut train = [vec!["Apple rust leaf"; 30], vec!["Corn rust leaf"; 30], vec!["Bean"; 2]].concat();
        train.extend(odd);
        Classes::learned(&train, test)
    }

    fn is_known(classes: &Classes, name: &str) -> bool {
        matches!(classes.look_up(name), Class::Exact(_))
    }

    #[test]
    fn a_single_row_and_a_slip_are_doubted_and_a_rare_class_is_not() {
        let classes = learned(&["Soyabean leaf", "Corn rest leaf", "Corn rest leaf"], None);
        assert!(is_known(&classes, "Bean") && is_known(&classes, "Corn rust leaf"));
        assert!(matches!(classes.look_up("Soyabean leaf"), Class::Unknown(_)));
        let Class::Unknown(reason) = classes.look_up("Corn rest leaf") else { panic!("it is known") };
        assert_eq!(reason, "in 2 rows only, and nearly another class's name; did you mean `Corn rust leaf`?");
    }

    #[test]
    fn the_test_split_counts() {
        assert!(is_known(&learned(&["Fig"], Some(&["Fig"])), "Fig"));
        assert!(!is_known(&learned(&[], Some(&["Fig"; 9])), "Fig"));
    }

    #[test]
    fn small_data_sets_are_believed() {
        assert!(is_known(&Classes::learned(&["a", "b", "b"], None), "a"));
    }

    #[test]
    fn blanks_and_case_fold() {
        let classes = learned(&[" apple  Rust leaf "], None);
        assert_eq!(classes.look_up(" apple  Rust leaf "), Class::Blanks("Apple rust leaf"));
        assert_eq!(classes.look_up("apple Rust leaf"), Class::Case("Apple rust leaf"));
        assert_eq!(classes.look_up(" \t"), Class::Empty);
        let listed = Classes::listed(&["Fig".to_owned()]);
        assert_eq!(listed.look_up("fig"), Class::Case("Fig"));
        assert!(matches!(listed.look_up("Bean"), Class::Unknown(_)));
    }

    #[test]
    fn distances() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("soyabean"), &letters("soybean")), 1);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert!(!is_slip("fig", "fog"), "short names are not slips of each other");
    }
}
