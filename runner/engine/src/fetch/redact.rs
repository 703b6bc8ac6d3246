//! Credentials in other programs' words.

/// `text` with the user and password of every URL in it, and its query, shown as `***`: an index's URL holds a password in the
/// one, a signed address a token in the other.
pub(crate) fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let url = &after[..after.find(ends_url).unwrap_or(after.len())];
        let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        // A password with a `/` in it is no URL any more, but a tool may still repeat it: then `:` stands before that `/`.
        let user_end = url[..host_end].rfind('@').or_else(|| broken_user(url));
        let from = user_end.map_or(0, |end| {
            shown.push_str("***");
            end
        });
        match url[from..].find('?') {
            Some(query) => {
                shown.push_str(&url[from..from + query]);
                shown.push_str("?***");
            }
            None => shown.push_str(&url[from..]),
        }
        rest = &after[url.len()..];
    }
    shown.push_str(rest);
    shown
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|')
}

/// Where the user part of a URL ends whose password holds a `/`: at an `@`, with something behind the first `:` that is no port.
fn broken_user(url: &str) -> Option<usize> {
    let at = url.rfind('@')?;
    let (_, behind) = url[..at].split_once(':')?;
    let port: String = behind.chars().take_while(|c| *c != '/').collect();
    (port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit())).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn credentials_do_not_show() {
        let cases = [
            ("at https://ann:s3cret@host/simple/ and", "at https://***@host/simple/ and"),
            ("`https://token@host`", "`https://***@host`"),
            ("https://a:p@ss@host/x", "https://***@host/x"),
            ("https://a:p/ss@host/x", "https://***@host/x"),
            ("https://host:8080/a@1.0", "https://host:8080/a@1.0"),
            ("https://host/a?sig=abc (x)", "https://host/a?*** (x)"),
            ("https://u:p@h/a?b http://v@i", "https://***@h/a?*** http://***@i"),
            ("plain mail@host", "plain mail@host"),
            ("://", "://"),
        ];
        for (text, shown) in cases {
            assert_eq!(redact(text), shown);
        }
    }
}
