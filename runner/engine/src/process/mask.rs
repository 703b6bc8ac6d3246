//! Secrets in lines, shown as `***`. Works on raw bytes, before anything is cut or replaced, so that no part slips through.

/// What a secret is shown as.
const SHOWN: &[u8] = b"***";
/// A single line of a secret of several lines is masked from this length on: `}` or `--` alone would mask half of a log.
const SHORTEST_PIECE: usize = 4;

/// The texts to mask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask {
    secrets: Vec<Vec<u8>>,
    longest: usize,
}

impl Mask {
    pub(crate) fn new(secrets: &[String]) -> Self {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let lines: Vec<&str> = secret.split(['\n', '\r']).filter(|line| !line.is_empty()).collect();
            let several = lines.len() > 1;
            pieces.extend(
                lines
                    .into_iter()
                    .filter(|line| !several || line.trim().len() >= SHORTEST_PIECE)
                    .map(|line| line.as_bytes().to_vec()),
            );
        }
        pieces.sort();
        pieces.dedup();
        let longest = pieces.iter().map(Vec::len).max().unwrap_or(0);
        Self { secrets: pieces, longest }
    }

    /// The length of the longest text to mask: who cuts a line must keep so much behind the cut.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The first `limit` bytes of `raw` as text, with every secret that begins in them masked; overlapping ones as one.
    pub(crate) fn apply(&self, raw: &[u8], limit: usize) -> String {
        if self.secrets.is_empty() {
            return String::from_utf8_lossy(&raw[..boundary(raw, limit)]).into_owned();
        }
        let end = boundary(raw, limit);
        let mut shown = Vec::with_capacity(end);
        let mut covered = 0;
        for at in 0..end {
            let longest = self.secrets.iter().filter(|secret| raw[at..].starts_with(secret)).map(Vec::len).max();
            if let Some(length) = longest {
                if at >= covered {
                    shown.extend_from_slice(SHOWN);
                }
                covered = covered.max(at + length);
            }
            if at >= covered {
                shown.push(raw[at]);
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// `text` with every secret masked.
    pub(crate) fn text(&self, text: &str) -> String {
        self.apply(text.as_bytes(), text.len())
    }
}

/// The largest place up to `limit` that cuts no UTF-8 character.
fn boundary(raw: &[u8], limit: usize) -> usize {
    if limit >= raw.len() {
        return raw.len();
    }
    let continues = |at: usize| raw[at] & 0b1100_0000 == 0b1000_0000;
    (limit.saturating_sub(3)..=limit).rev().find(|&at| !continues(at)).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str], text: &str) -> String {
        Mask::new(&secrets.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).text(text)
    }

    #[test]
    fn secrets_are_masked_whole() {
        assert_eq!(mask(&["hunter2"], "password=hunter2."), "password=***.");
        assert_eq!(mask(&["ab", "abcd"], "xabcdx"), "x***x", "the longest");
        assert_eq!(mask(&["abcd", "cdef"], "xabcdefx"), "x***x", "overlapping ones leave no rest");
        assert_eq!(mask(&["ab"], "abab"), "******", "two, side by side");
        assert_eq!(mask(&["", "\n"], "plain"), "plain");
        assert_eq!(mask(&["clé"], "la clé"), "la ***");
    }

    #[test]
    fn a_secret_of_several_lines_is_masked_line_by_line() {
        assert_eq!(mask(&["{\n  \"key\": \"s3cret\"\n}\n"], "  \"key\": \"s3cret\" }"), "*** }");
    }

    #[test]
    fn a_cut_does_not_bare_the_beginning_of_a_secret() {
        let masked = Mask::new(&["0123456789".to_owned()]).apply(b"abc0123456789def", 6);
        assert_eq!(masked, "abc***");
        assert_eq!(Mask::default().apply("aé".as_bytes(), 2), "a");
    }
}
