//! Documents as most are: one, without anchors, aliases, tags, directives, merge keys and maps as keys, and with nothing wrong in it. They are
//! read from the library's own events, which takes less than half of the time that its way through serde takes.
//!
//! Of anything else nothing is said here, and the whole is read the long way, so that its rules, budgets and messages stand in one place.
//! Which of a text, a number and the like a plain word is, is the library's matter too, wherever that could be doubted.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span as Place, StrInput};

use super::{Key, Node, Raw, Span, Value, covering, key_text, options, within};

/// Half of what the budget allows: a document that comes near to it is judged by the library.
const MOST_NODES: usize = 125_000;
const DEEPEST: usize = 32;

/// The tree of such a document; nothing where it is another.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut settings = Options::default();
    settings.set_emit_comments(false);
    let mut reader = Reader { text, parser: Parser::new_from_str_with_options(text, settings), nodes: 0 };
    let began = (reader.next()?.0, reader.next()?.0);
    let (Event::StreamStart, Event::DocumentStart(_, None)) = began else { return None };
    let first = reader.next()?;
    let node = reader.node(first, 0)?;
    let ended = (reader.next()?.0, reader.next()?.0);
    matches!(ended, (Event::DocumentEnd, Event::StreamEnd)).then_some(node)
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Place)> {
        self.parser.next_event()?.ok()
    }

    fn node(&mut self, (event, place): (Event<'a>, Place), depth: usize) -> Option<Node> {
        self.nodes += 1;
        if self.nodes > MOST_NODES || depth > DEEPEST {
            return None;
        }
        let span = self.span(&place)?;
        let value = match event {
            Event::Scalar(text, style, 0, None) => scalar(text, style)?,
            Event::SequenceStart(_, 0, None) => self.list(depth)?,
            Event::MappingStart(_, 0, None) => self.map(depth)?,
            _ => return None,
        };
        let span = covering(span, &value);
        Some(Node { value, span })
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Some(Value::List(items)),
                item => items.push(self.node(item, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Value> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (key, place) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, 0, None), place) => (scalar(text, style)?, place),
                _ => return None,
            };
            self.nodes += 1;
            let key = Key { name: key_text(key).filter(|name| name != "<<")?, span: self.span(&place)? };
            let value = self.next()?;
            entries.push((key, self.node(value, depth + 1)?));
        }
        is_each_once(&entries).then(|| Value::Map(entries.into()))
    }

    fn span(&self, place: &Place) -> Option<Span> {
        Some(within(self.text, place.start.byte_offset()?, place.end.byte_offset()?))
    }
}

/// So few keys are compared with each other; more are put into a set.
const FEW: usize = 8;

fn is_each_once(entries: &[(Key, Node)]) -> bool {
    if entries.len() <= FEW {
        let before =
            |(at, (key, _)): (usize, &(Key, Node))| entries[..at].iter().all(|(other, _)| other.name != key.name);
        return entries.iter().enumerate().all(before);
    }
    let mut known = HashSet::with_capacity(entries.len());
    entries.iter().all(|(key, _)| known.insert(key.name.as_str()))
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Option<Value> {
    if style != ScalarStyle::Plain || is_surely_text(&text) {
        return Some(Value::Text(text.into_owned()));
    }
    match &*text {
        "" | "~" | "null" => Some(Value::Null),
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        digits if is_surely_integer(digits) => Some(Value::Number(digits.parse::<u64>().ok()?.into())),
        other => judged(other),
    }
}

/// Plain words that are, or were in some version of YAML, something else than text; in small letters.
const NO_TEXTS: [&str; 13] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "infinity", "nan", "undefined"];

fn is_surely_text(text: &str) -> bool {
    match text.chars().next() {
        Some('/' | '_' | '$') => true,
        Some(first) if first.is_alphabetic() => !NO_TEXTS.iter().any(|word| word.eq_ignore_ascii_case(text)),
        _ => false,
    }
}

fn is_surely_integer(text: &str) -> bool {
    let digits = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

/// What the library takes a plain word for that stands alone. Others than these mean something else where they stand alone.
fn judged(text: &str) -> Option<Value> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.'))
        || text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
    let alone = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'));
    if !begins || !alone || text.starts_with("...") {
        return None;
    }
    match serde_saphyr::from_str_with_options(text, options()).ok()? {
        Raw::Scalar(value) => Some(value),
        Raw::List(_) | Raw::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_long;
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn is_the_same(text: &str) -> bool {
        let quick = read(text);
        if let Some(node) = &quick {
            assert_eq!(Ok((node.clone(), Vec::new())), read_long(text), "{text:?}");
        }
        quick.is_some()
    }

    #[test]
    fn what_is_read_quickly_is_what_is_read_the_long_way() {
        assert!(is_the_same(include_str!("../../../../../pipelines/plantdoc.yaml")), "a pipeline as people write them");
        let sound = "a: 1\nb: [x, 'y', \"z\\n\", {c: ~, d: }]\ne:\n- |\n  text\n  more\n-  >-\n   folded\n   text\n- plain\n  goes on\nf: -0.5e3\n";
        assert!(
            is_the_same(sound)
                && is_the_same(&format!("--- # c\n{sound}"))
                && is_the_same("x")
                && is_the_same("büro: é\n")
        );
        let others = [
            "a: &x 1\nb: *x\n",
            "a: !!str 1\n",
            "a: 1\na: 2\n",
            "a: {<<: {b: 1}}\n",
            "? [a]\n: 1\n",
            "a: 1\n---\nb: 1\n",
            "%YAML 1.2\n---\na: 1\n",
            "a: [",
            "",
            "# c\n",
            "a: =\n",
            "=: 1\n",
            "a: {{ b }}\n",
        ];
        for text in others {
            assert!(!is_the_same(text), "{text:?}");
        }
        let words = "0 00 07 0x1F 0o17 0b1 1_000 -0 +1 .5 1. 1e3 1e999 -1e999 .inf -.INF .NaN NaN Inf nan Infinity null Null NULL nULL ~ true True TRUE tRUE \
            false False yes No on OFF y N 18446744073709551616 18446744073709551615 -9223372036854775809 999999999999999999 2024-01-01 1:30 1.2.3 -a --- - . .. ... \
            +a +.5 + a/b 3GiB 5m e5 0e0 1e5 0.10 <a ,a";
        for word in words.split(' ') {
            for text in [
                format!("a: {word}\n"),
                format!("{word}: a\n"),
                format!("[{word}]\n"),
                format!("{{a: {word}, {word}: b}}"),
                format!("- {word}\n"),
                word.to_owned(),
            ] {
                is_the_same(&text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]
        #[test]
        fn any_text(pieces in proptest::collection::vec(prop_oneof![
            4 => prop_oneof![Just("a"), Just("b: "), Just("c:\n  "), Just("d:\n"), Just("- "), Just("\n"), Just("  "), Just("\n  "), Just("\n    ")],
            2 => prop_oneof![Just("1"), Just("'x y'"), Just("\"q\\t\""), Just("é"), Just("x # c\n"), Just("|\n  t\n"), Just(">\n  u\n\n"), Just("~")],
            2 => prop_oneof![Just("{"), Just("}"), Just("["), Just("]"), Just(", "), Just(": "), Just("? "), Just("&x "), Just("*x"), Just("!t "), Just("<<: "), Just("---\n"), Just("\r\n"), Just("\t")],
            1 => Just("\u{feff}"),
        ], 0..14)) {
            is_the_same(&pieces.concat().replace("\u{feff}", if pieces.len() % 5 == 0 { "\u{feff}" } else { "" }));
        }
    }
}
