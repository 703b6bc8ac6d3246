//! `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:…]`: how a component in a registry is named. Knows nothing of what is there.

use std::fmt;
use std::net::IpAddr;

pub use flowrun_core::lang::uses::REGISTRY as SCHEME;
use flowrun_core::outcome::Failure;

use crate::fetch::{is_sha256, redact, refused};

const FORM: &str = "write `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`; the repository is in small letters";

/// A component in a registry, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    inner: oci_client::Reference,
}

impl Reference {
    /// Reads a reference. Without a tag and a digest it is `latest`; the host is never left out, as docker allows.
    ///
    /// # Errors
    /// What is wrong with it, without any password that someone may have written into it.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let shown = redact(text);
        let wrong = |why: &str| refused(format!("`{}` {why}", shown.escape_debug())).hint(FORM);
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("does not begin with `oci://`"))?;
        if rest.split('/').next().is_some_and(|host| host.contains('@')) {
            return Err(wrong("holds credentials").hint("`docker login HOST` stores them where flowrun finds them"));
        }
        let host = rest.split_once('/').map(|(host, _)| host).unwrap_or_default();
        if !(host.contains(['.', ':']) || host == "localhost") {
            return Err(wrong("names no registry"));
        }
        let inner: oci_client::Reference =
            rest.parse().map_err(|error| wrong(&format!("is not a reference: {error}")))?;
        if inner.digest().is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(is_sha256)) {
            return Err(wrong("has a digest that is not `sha256:` and 64 hexadecimal digits"));
        }
        Ok(Self { inner })
    }

    /// The registry's host, with its port where it has one.
    pub fn host(&self) -> &str {
        self.inner.registry()
    }

    /// The repository.
    pub fn repository(&self) -> &str {
        self.inner.repository()
    }

    /// The tag; where there is a digest too, that counts.
    pub fn tag(&self) -> Option<&str> {
        self.inner.tag()
    }

    /// The digest of the manifest that is asked for: `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.inner.digest()
    }

    /// The same with the digest of a manifest, so that it can mean nothing else.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> Self {
        let (host, repository) = (self.host().to_owned(), self.repository().to_owned());
        let inner = match self.tag() {
            Some(tag) => {
                oci_client::Reference::with_tag_and_digest(host, repository, tag.to_owned(), digest.to_owned())
            }
            None => oci_client::Reference::with_digest(host, repository, digest.to_owned()),
        };
        Self { inner }
    }

    /// Whether the registry is on this machine, where nobody listens on the way: only then may the way be unprotected.
    pub(super) fn is_local(&self) -> bool {
        let host = self.host().rsplit_once(':').map_or(self.host(), |(host, _)| host);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn inner(&self) -> &oci_client::Reference {
        &self.inner
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_reference_is_read_and_written() {
        let parts = |text: &str| {
            let reference = Reference::parse(text).unwrap_or_else(|failure| panic!("{text}: {}", failure.message));
            let own = |text: Option<&str>| text.map(str::to_owned);
            assert_eq!(Reference::parse(&reference.to_string()).expect("reads what it writes"), reference);
            (
                reference.host().to_owned(),
                reference.repository().to_owned(),
                own(reference.tag()),
                own(reference.digest()),
            )
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("oci://h.io/a/b:1"), ("h.io".into(), "a/b".into(), some("1"), None));
        assert_eq!(parts("oci://localhost:5000/a"), ("localhost:5000".into(), "a".into(), some("latest"), None));
        assert_eq!(parts(&format!("oci://h.io/a@{DIGEST}")), ("h.io".into(), "a".into(), None, some(DIGEST)));
        assert_eq!(parts(&format!("oci://h.io/a:1@{DIGEST}")), ("h.io".into(), "a".into(), some("1"), some(DIGEST)));
        let pinned = Reference::parse("oci://h.io/a:1").expect("reference").pinned(DIGEST);
        assert_eq!(pinned.to_string(), format!("oci://h.io/a:1@{DIGEST}"));
    }

    #[test]
    fn what_is_wrong_is_said_without_passwords() {
        let cases = [
            ("h.io/a:1", "begin with"),
            ("oci://", "no registry"),
            ("oci://team/a:1", "no registry"),
            ("oci://h.io", "no registry"),
            ("oci://h.io/", "not a reference"),
            ("oci://h.io/A:1", "not a reference"),
            ("oci://h.io/a:1:2", "not a reference"),
            ("oci://h.io/a@sha256:12", "not a reference"),
            ("oci://h.io/../a", "not a reference"),
            ("oci://http://h.io/a", "not a reference"),
            ("oci://[::1]:5000/a", "not a reference"),
            ("oci://me:s3cret@h.io/a:1", "credentials"),
            ("oci://h.io/a\u{1b}[31m", "not a reference"),
        ];
        for (text, why) in cases {
            let failure = Reference::parse(text).expect_err(text);
            assert!(failure.message.contains(why), "{text}: {}", failure.message);
            assert!(!failure.message.contains("s3cret") && !failure.message.contains('\u{1b}'), "{}", failure.message);
        }
        let upper = format!("oci://h.io/a@{}", DIGEST.replace("abc", "ABC"));
        assert!(Reference::parse(&upper).expect_err("big letters").message.contains("hexadecimal"));
        let long = format!("oci://h.io/a@sha512:{}", "0".repeat(128));
        assert!(Reference::parse(&long).expect_err("sha512").message.contains("sha256"));
    }

    #[test]
    fn only_this_machine_is_spoken_to_plainly() {
        let local = |text: &str| Reference::parse(text).expect(text).is_local();
        for there in ["oci://localhost/a", "oci://localhost:5000/a", "oci://127.0.0.1:5000/a", "oci://127.9.9.9/a"] {
            assert!(local(there), "{there}");
        }
        for away in [
            "oci://h.io/a",
            "oci://10.0.0.1:5000/a",
            "oci://0.0.0.0:5000/a",
            "oci://127.0.0.1.h.io/a",
            "oci://localhost.h.io/a",
        ] {
            assert!(!local(away), "{away}");
        }
    }
}
