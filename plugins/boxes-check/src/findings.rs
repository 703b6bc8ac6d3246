//! What was found, and `findings.json`. A finding is one flaw at one place and what was done about it.

use boxes::Split;
use boxes::catalog::printable;
use serde::Serialize;
use std::collections::BTreeMap;

/// What kind of flaw. The README's table says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is explained in the README's table, once")]
pub enum Kind {
    Utf8Bom,
    Crlf,
    NotUtf8,
    WrongColumnCount,
    MissingFile,
    UnsafeFilename,
    FilenameUrlChars,
    FilenameUrlEscaped,
    FilenameSpelling,
    NotANumber,
    ZeroSize,
    WrongSize,
    SwappedMinMax,
    ZeroAreaBox,
    BoxOutsideImage,
    SmallBox,
    EmptyClass,
    ClassWhitespace,
    ClassCase,
    UnknownClass,
    DuplicateBox,
    UnreadablePicture,
    DuplicatePicture,
    PictureInBothSplits,
    PictureWithoutBoxes,
    PictureLostItsBoxes,
    InvertedPicture,
    UnsafeName,
    TableUnused,
    TestSplitMade,
    MalformedEntry,
}

/// What was done about a flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The row, picture or file is not in the clean data set.
    Dropped,
    /// It is in the clean data set, mended.
    Fixed,
    /// It is in the clean data set as it was.
    Kept,
}

/// One flaw.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The split it is in.
    pub split: Option<Split>,
    /// The annotation file, where a split has more than one CSV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line of the split's CSV (1 for the header) or of `file`; none for what is about a whole file.
    pub line: Option<u64>,
    /// The picture or file, as written where it was found.
    pub filename: String,
    /// What kind.
    pub kind: Kind,
    /// The CSV's columns that are wrong.
    pub fields: Vec<&'static str>,
    /// What is wrong, in words.
    pub message: String,
    /// What was done.
    pub action: Action,
}

/// A picture that a person should look at.
#[derive(Debug, Clone, Serialize)]
pub struct Suspect {
    /// Its split in the clean data set.
    pub split: Split,
    /// The picture.
    pub filename: String,
    /// The class most of its boxes have; none without boxes.
    pub class: Option<String>,
    /// Always `colour_inverted` so far.
    pub reason: &'static str,
    /// How sure, 0.5 to 1.
    pub score: f64,
}

/// How much of a split is left.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Amount {
    /// Pictures.
    pub images: usize,
    /// Boxes.
    pub boxes: usize,
}

/// `findings.json`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    format: u32,
    /// Findings of each kind.
    pub counts: BTreeMap<Kind, usize>,
    /// All findings: files first, then by split and line.
    pub findings: Vec<Finding>,
    /// Pictures to look at, the surest first.
    pub suspects: Vec<Suspect>,
    /// The clean data set.
    pub summary: BTreeMap<Split, Amount>,
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { format: 1, ..Self::default() }
    }

    /// Adds a finding about a row or a file.
    pub fn add(&mut self, mut finding: Finding) {
        finding.filename = printable(&finding.filename);
        *self.counts.entry(finding.kind).or_default() += 1;
        self.findings.push(finding);
    }

    /// Adds a finding about a whole file.
    pub fn add_file(
        &mut self,
        split: Option<Split>,
        name: &str,
        kind: Kind,
        action: Action,
        message: impl Into<String>,
    ) {
        let (filename, message) = (name.to_owned(), message.into());
        self.add(Finding { split, file: None, line: None, filename, kind, fields: Vec::new(), message, action });
    }

    /// How many findings had this action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.findings.iter().filter(|finding| finding.action == action).count()
    }

    /// Puts findings and suspects in the order written.
    pub fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (a.split, &a.file, a.line, &a.filename, a.kind).cmp(&(b.split, &b.file, b.line, &b.filename, b.kind))
        });
        self.suspects.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.filename.cmp(&b.filename)));
    }
}
