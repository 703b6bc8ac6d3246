//! A stream of bytes as lines for a log.
//!
//! `\n` and `\r\n` end a line. A `\r` alone ends one too, but such lines are held back, since a progress bar writes hundreds of
//! them: the next one takes the place of the one held, and whoever drives this lets a held one go after [`HOLD`], or an
//! ordinary line does, or the end. Knows no pipes and no clock.

use std::time::Duration;

use super::mask::Mask;

/// The bytes of a line that are kept. A line that long is data in the wrong place; a log of them must stay readable and small.
pub(super) const LIMIT: usize = 16 << 10;
/// How long a progress line waits for its successor: ten a second is what an eye follows.
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// The line that is being read, and the one held back.
#[derive(Debug)]
pub(super) struct Lines {
    mask: Mask,
    /// The line so far: never longer than [`LIMIT`] and the longest secret.
    line: Vec<u8>,
    /// The line's length so far, with what was not kept.
    length: usize,
    /// The last byte was a `\r`: whether it ended a line of its own, the next one tells.
    returned: bool,
    /// A line that a `\r` ended was let go: a `\n` right behind it is the rest of its end.
    swallow: bool,
    held: Option<String>,
}

impl Lines {
    pub(super) fn new(mask: Mask) -> Self {
        Self { mask, line: Vec::new(), length: 0, returned: false, swallow: false, held: None }
    }

    /// Takes `bytes`, and puts the lines that became complete into `out`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<String>) {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.returned) && first != b'\n' {
                self.hold();
            }
            if std::mem::take(&mut self.swallow) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            self.keep(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else { return };
            if bytes[end] == b'\n' {
                out.extend(self.held.take());
                out.push(self.take());
            } else {
                self.returned = true;
            }
            bytes = &bytes[end + 1..];
        }
    }

    /// Whether a progress line waits to be let go.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some() || (self.returned && self.length > 0)
    }

    /// Lets the held line go.
    pub(super) fn release(&mut self, out: &mut Vec<String>) {
        if self.returned && self.length > 0 {
            self.returned = false;
            self.swallow = true;
            self.hold();
        }
        out.extend(self.held.take());
    }

    /// The stream has ended: an unfinished line is a line.
    pub(super) fn end(&mut self, out: &mut Vec<String>) {
        self.release(out);
        if self.length > 0 {
            out.push(self.take());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = (LIMIT + self.mask.longest()).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.length += bytes.len();
    }

    fn hold(&mut self) {
        if self.length > 0 {
            self.held = Some(self.take());
        }
    }

    fn take(&mut self) -> String {
        let mut text = self.mask.apply(&self.line, LIMIT);
        if self.length > LIMIT {
            text.push_str(&format!(" … ({} bytes cut)", self.length - LIMIT));
        }
        self.line.clear();
        self.length = 0;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text`, fed in pieces of `size` bytes.
    fn lines(text: &[u8], size: usize, secrets: &[&str]) -> Vec<String> {
        let mut lines = Lines::new(Mask::new(&secrets.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()));
        let mut out = Vec::new();
        text.chunks(size).for_each(|piece| lines.feed(piece, &mut out));
        lines.end(&mut out);
        out
    }

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same_lines() {
        let text = b"one\r\n\ntwo \xff\r 1%\r 50%\r100%\nthree\n\rfour\rfive";
        let wanted = ["one", "", " 50%", "100%", "three", "four", "five"];
        for size in 1..=text.len() {
            let found = lines(text, size, &[]);
            assert_eq!(found, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn secrets_are_masked_across_pieces_and_before_the_cut() {
        for size in 1..10 {
            assert_eq!(lines(b"a s3cret b\nx", size, &["s3cret"]), ["a *** b", "x"]);
        }
        let mut long = vec![b'x'; LIMIT - 3];
        long.extend_from_slice(b"s3cret and more");
        let found = lines(&long, 4096, &["s3cret"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with("x*** … (12 bytes cut)"), "{}", &found[0][LIMIT - 10..]);
    }

    #[test]
    fn a_held_line_is_let_go_once() {
        let mut lines = Lines::new(Mask::default());
        let mut out = Vec::new();
        lines.feed(b" 1%\r", &mut out);
        assert!(out.is_empty() && lines.holds());
        lines.release(&mut out);
        assert_eq!(out, [" 1%"]);
        assert!(!lines.holds());
        lines.feed(b"\n\n", &mut out);
        assert_eq!(out, [" 1%", ""], "the first `\\n` belongs to the line that was let go");
    }

    #[test]
    fn memory_does_not_grow_with_a_line() {
        let mut lines = Lines::new(Mask::default());
        let mut out = Vec::new();
        for _ in 0..1000 {
            lines.feed(&[b'y'; 65536], &mut out);
        }
        assert!(lines.line.capacity() <= 4 * LIMIT);
        lines.end(&mut out);
        assert!(out[0].ends_with(&format!(" … ({} bytes cut)", 65_536_000 - LIMIT)));
    }
}
