//! Which split a file is of, by the words in its name and in those of its folders.

use crate::catalog::File;
use crate::dataset::Split;

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Train,
    Test,
    /// A third part: it serves as test where there is no test.
    Valid,
}

const WORDS: [(&[&str], Word); 3] = [
    (&["train", "training", "trainval"], Word::Train),
    (&["test", "testing"], Word::Test),
    (&["valid", "validation", "val"], Word::Valid),
];

/// The word of one name; digits at its end do not count, so that `instances_train2017` is of train.
pub(super) fn word(name: &str) -> Option<Word> {
    let lower = name.to_lowercase();
    let mut tokens =
        lower.split(|c: char| !c.is_alphanumeric()).map(|token| token.trim_end_matches(|c: char| c.is_ascii_digit()));
    tokens.find_map(|token| WORDS.into_iter().find(|(words, _)| words.contains(&token)).map(|(_, word)| word))
}

/// The word of a file's folders, the innermost first, then of its tar.
pub(super) fn of_folders(file: &File) -> Option<Word> {
    file.folder().rsplit('/').chain(file.tar.as_deref()).find_map(word)
}

/// The word of a file's name, else of its folders.
pub(super) fn of_file(file: &File) -> Option<Word> {
    word(file.name().rsplit_once('.').map_or(file.name(), |(stem, _)| stem)).or_else(|| of_folders(file))
}

/// The split that each word stands for among all of a data set's words; none for what is not used. What has no word is of
/// train.
pub(super) fn used(words: &[Option<Word>]) -> impl Fn(Option<Word>) -> Option<Split> + use<> {
    let has_test = words.contains(&Some(Word::Test));
    move |word| match word {
        None | Some(Word::Train) => Some(Split::Train),
        Some(Word::Test) => Some(Split::Test),
        Some(Word::Valid) => (!has_test).then_some(Split::Test),
    }
}
