//! Writing HTML by hand: escaping, and numbers as people read them. Everything that comes from data goes through [`Text`].

use std::fmt::{self, Display, Formatter, Write};

/// Appends formatted text to a `String`, which cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($out, $($text)*);
    }};
}
pub(crate) use put;

/// Text from data, safe between tags and inside quoted attributes. Control characters, and those that turn the
/// direction of writing (a name could hide its end behind one), become U+FFFD.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                letter if hidden(letter) => out.write_char('\u{fffd}')?,
                letter => out.write_char(letter)?,
            }
        }
        Ok(())
    }
}

fn hidden(letter: char) -> bool {
    letter.is_control() && letter != '\n' && letter != '\t'
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1 box`, `2 boxes`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", grouped(number)) }
}

/// A whole number with a thin space between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A figure between 0 and 1 with three digits, or a dash where there is none.
pub fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_a_tag_an_attribute_or_a_line_is_escaped() {
        let text = Text("<a href=\"x\" on='y'>&\u{0}\u{202e}é").to_string();
        assert_eq!(text, "&lt;a href=&quot;x&quot; on=&#39;y&#39;&gt;&amp;\u{fffd}\u{fffd}é");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([7, 1234, 1_234_567].map(grouped), ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
        assert_eq!((count(1, "box", "boxes"), count(0, "box", "boxes")), ("1 box".into(), "0 boxes".into()));
    }
}
