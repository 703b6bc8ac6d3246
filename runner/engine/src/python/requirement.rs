//! The requirements that may reach uv: a name, extras, versions, a marker (PEP 508), and nothing else.
//!
//! A requirements file can hold options, other files, URLs and `${VARIABLES}`; each of them would make a lock depend on something
//! that is not in the pipeline. So this is a list of what is allowed. Whether it makes sense, uv says.

use flowrun_core::outcome::Failure;

use crate::fetch::{checked_name, refused};

/// No requirement is longer: those with all markers of a way through a `uv.lock` have some hundreds. A longer one would be an attack on the
/// parser behind this one.
const LONGEST: usize = 4000;
const COMPARISONS: [&str; 8] = ["===", "==", "~=", "!=", "<=", ">=", "<", ">"];
const MARKERS: [&str; 16] = [
    "and",
    "or",
    "in",
    "not",
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_version",
    "python_full_version",
    "implementation_name",
    "implementation_version",
    "extra",
];

/// Whether `text` is a requirement by name.
pub(super) fn check(text: &str) -> Result<(), Failure> {
    let shown = crate::fetch::redact(&text.chars().take(80).collect::<String>()).escape_debug().to_string();
    let no = |why: &str| refused(format!("`{shown}` is not a requirement: {why}"));
    if text.starts_with('-') {
        return Err(no("it is an option").hint("the package index is the machine's setting, not the pipeline's"));
    }
    if text.contains('@') || text.contains("://") || text.starts_with(['.', '/', '~']) {
        return Err(no("it names a place").hint("name the package and its version, as `six==1.16.0`"));
    }
    if text.len() > LONGEST || text.contains(|c: char| c.is_control()) {
        return Err(no("it is too long, or holds control characters"));
    }
    let (wish, marker) = text.split_once(';').map_or((text, None), |(wish, marker)| (wish, Some(marker)));
    let wish = wish.trim();
    let name_end =
        wish.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(wish.len());
    let (name, rest) = wish.split_at(name_end);
    checked_name(name).map_err(|_| no("it does not begin with a package's name"))?;
    let rest = without_extras(rest.trim()).ok_or_else(|| no("its extras are not names in `[…]`"))?.trim();
    let versions = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(rest);
    if !versions.is_empty() && !versions.split(',').all(is_version) {
        return Err(no("its versions are not comparisons such as `==1.0` or `>=1,<2`"));
    }
    if marker.is_some_and(|marker| !is_marker(marker)) {
        return Err(no("its marker is not of PEP 508"));
    }
    Ok(())
}

/// What stands behind `[a, b]`, where that is there and well.
fn without_extras(text: &str) -> Option<&str> {
    let Some(inner) = text.strip_prefix('[') else { return Some(text) };
    let (extras, rest) = inner.split_once(']')?;
    let well = extras.trim().is_empty() || extras.split(',').all(|extra| checked_name(extra.trim()).is_ok());
    well.then_some(rest)
}

fn is_version(text: &str) -> bool {
    let text = text.trim();
    let Some(version) = COMPARISONS.iter().find_map(|comparison| text.strip_prefix(comparison)) else { return false };
    let version = version.trim();
    !version.is_empty()
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '*' | '+' | '!' | '-' | '_'))
}

/// Whether `text` is made of a marker's words; in which order, uv checks.
fn is_marker(text: &str) -> bool {
    let mut rest = text.trim();
    if rest.is_empty() {
        return false;
    }
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\'' | '"' => match rest[1..].split_once(first) {
                Some((value, after)) if value.chars().all(is_plain) => after,
                _ => return false,
            },
            '(' | ')' | ' ' | '\t' => &rest[1..],
            '=' | '!' | '<' | '>' | '~' => {
                match COMPARISONS.iter().find_map(|comparison| rest.strip_prefix(comparison)) {
                    Some(after) => after,
                    None => return false,
                }
            }
            _ => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                if !MARKERS.contains(&&rest[..end]) {
                    return false;
                }
                &rest[end..]
            }
        };
    }
    true
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '+' | ' ')
}

/// Whether `line` can stand in a lock: one package in one version, and its hashes.
pub(super) fn is_locked(line: &str) -> bool {
    let mut parts = line.split(" --hash=sha256:");
    let wish = parts.next().unwrap_or_default();
    let pinned =
        wish.split(';').next().is_some_and(|wish| wish.contains("==") && !wish.trim().contains([',', '*', ' ']));
    let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut hashes = parts.peekable();
    pinned
        && check(wish).is_ok()
        && hashes.peek().is_some()
        && hashes.all(|hash| hash.len() == 64 && hash.bytes().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_by_name_are_taken() {
        for good in [
            "six",
            "six==1.16.0",
            "jax [cpu] >= 0.4, < 0.5",
            "ruamel.yaml(>=0.17)",
            "tensorflow~=2.15.0 ; python_version < '3.12' and (sys_platform == \"linux\" or os_name=='nt')",
            "torch==2.1.0+cpu",
            "a[b,c-d]",
            "x!=1.*",
        ] {
            assert!(check(good).is_ok(), "{good}: {:?}", check(good));
        }
    }

    #[test]
    fn all_else_is_refused() {
        for bad in [
            "",
            " ",
            "-r other.txt",
            "--index-url https://evil/simple",
            "-e .",
            "./local",
            "/abs/olute",
            "six @ https://ann:s3cret@host/six.whl",
            "https://host/six.whl",
            "git+https://host/six",
            "six==1.0\n--index-url https://evil",
            "six==1.0 --hash=sha256:00",
            "six==1.0 # comment",
            "six==${VERSION}",
            "six==",
            "six=1",
            "six 1",
            "six[",
            "six; ",
            "six; import os",
            "six; python_version < '3' \\",
            "six; python_version < '${X}'",
            "six, flask",
            "-",
            "séx",
            "six; ünï",
        ] {
            let failure = check(bad).map(|()| bad).map_err(|failure| failure.message);
            assert!(failure.as_ref().is_err_and(|message| !message.contains("s3cret")), "{failure:?}");
        }
        assert!(check(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn a_lock_holds_pins_with_hashes_alone() {
        let hash = "0".repeat(64);
        assert!(is_locked(&format!("six==1.16.0 --hash=sha256:{hash} --hash=sha256:{hash}")));
        assert!(is_locked(&format!("six==1.16.0; python_version < '3.12' --hash=sha256:{hash}")));
        for bad in [
            "six==1.16.0".to_owned(),
            format!("six>=1.16.0 --hash=sha256:{hash}"),
            format!("six==1.* --hash=sha256:{hash}"),
            format!("six==1.16.0 --hash=sha256:{}", &hash[1..]),
            format!("six==1.16.0 --index-url x --hash=sha256:{hash}"),
            format!("-r x --hash=sha256:{hash}"),
        ] {
            assert!(!is_locked(&bad), "{bad}");
        }
    }
}
