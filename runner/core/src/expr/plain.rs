//! Templates as most are: text with names in it, `cat {{ inputs.a }} > {{ outputs.b }}`. They are read here in one pass, without the engine,
//! which takes several times as long to compile one. Whatever else stands in a template (an operator, a filter, a block, a comment,
//! whitespace control, what is not well-formed) is the engine's, and so is a name that is not there, for its error and the place of it.
//!
//! What is read here means what it means to the engine: a test holds the two together over random templates.

use crate::lang::reference::is_word;

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A dotted name, whose value stands here.
    Name(&'a str),
}

/// The pieces of a template that is text and names alone.
pub(super) fn pieces(template: &str) -> Option<Vec<Piece<'_>>> {
    let mut rest = without_last_line_feed(template);
    let mut pieces = Vec::new();
    while let Some(at) = opening(rest) {
        let (text, from) = rest.split_at(at);
        let inside = from.strip_prefix("{{")?;
        // The first `}` of a name is the first of two; where it is not, this is none.
        let (name, after) = inside.split_once('}')?;
        pieces.extend([Piece::Text(text), Piece::Name(dotted(name)?)]);
        rest = after.strip_prefix('}')?;
    }
    pieces.push(Piece::Text(rest));
    Some(pieces)
}

/// The dotted name that an expression is, where it is one and nothing else: `params.seed`.
pub(super) fn dotted(expression: &str) -> Option<&str> {
    let name = expression.trim_ascii_start().trim_ascii_end();
    let fits = name.len() <= LONGEST && name.split('.').all(|word| is_word(word) && !MEANT.contains(&word));
    fits.then_some(name)
}

/// Longer names are nobody's; the engine has its own limit.
const LONGEST: usize = 200;

/// Words that mean something to the engine where a name could stand.
const MEANT: [&str; 15] = [
    "true", "True", "false", "False", "none", "None", "loop", "self", "super", "caller", "not", "and", "or", "if", "in",
];

/// Where something begins that is no text.
fn opening(text: &str) -> Option<usize> {
    let pairs = text.as_bytes().windows(2);
    pairs.enumerate().find(|(_, pair)| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#')).map(|(at, _)| at)
}

/// As the engine takes it: the end of a script's last line is not part of it.
fn without_last_line_feed(template: &str) -> &str {
    let text = template.strip_suffix('\n').unwrap_or(template);
    text.strip_suffix('\r').unwrap_or(text)
}
