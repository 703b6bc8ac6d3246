//! Rules of `sources`: one kind each, pinned, inside the project.

use super::super::finding::{Finding, Rule};
use super::super::names::Names;
use super::{Check, wheel_pin};

impl Check<'_> {
    pub(super) fn sources(&mut self) {
        for (name, source) in &self.pipeline.sources {
            let at = ["sources", name.as_str()];
            self.word(name, "source", &at);
            let kinds = [&source.path, &source.url, &source.pypi].into_iter().flatten().count();
            if kinds != 1 {
                let message = format!("source `{name}` needs one of `path`, `url` and `pypi`, and has {kinds}");
                self.say(Finding::new(Rule::SourceKind, self.key_span(&at), message).expected("one kind"));
            }
            if let Some(path) = &source.path {
                self.source_path(name, path);
            }
            if let Some(url) = &source.url {
                self.source_url(name, url, source.sha256.as_deref());
            }
            if let Some(pin) = &source.pypi {
                self.source_pin(name, pin);
            }
        }
    }

    pub(super) fn source_path(&mut self, name: &str, path: &str) {
        let at = ["sources", name, "path"];
        if path.contains("{{") {
            self.template(path, &at, &Names { params: true, ..Names::default() });
        } else {
            self.path(path, &at);
        }
    }

    pub(super) fn source_url(&mut self, name: &str, url: &str, sha256: Option<&str>) {
        let at = ["sources", name, "url"];
        let loopback =
            ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|host| url.starts_with(host));
        if !url.starts_with("https://") && !loopback {
            let finding =
                Finding::new(Rule::BadValue, self.value_span(&at), format!("source `{name}` is not an https address"));
            self.say(finding.expected("expected `https://...`"));
        }
        let is_sha = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !sha256.is_some_and(is_sha) {
            let finding = Finding::new(Rule::Unpinned, self.value_span(&at), format!("source `{name}` is not pinned"));
            self.say(
                finding.expected("needs `sha256:` beside it, 64 hexadecimal digits").hint("`sha256sum FILE` prints it"),
            );
        }
    }

    pub(super) fn source_pin(&mut self, name: &str, pin: &str) {
        if wheel_pin(pin).is_none() {
            let at = self.value_span(&["sources", name, "pypi"]);
            let finding = Finding::new(Rule::Unpinned, at, format!("source `{name}` does not pin a version"));
            self.say(finding.expected("expected `name==version`"));
        }
    }
}
