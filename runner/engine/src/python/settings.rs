//! What uv is told of the machine: the user's settings of uv as they are, those of pip translated, nothing else.
//!
//! Everything that would change *what* is installed (constraints, overrides, pre-releases, …) stays outside: that is written
//! in the pipeline or nowhere.

use std::collections::BTreeMap;
use std::path::Path;

/// Passed on as they are.
const SAME: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "NETRC",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSL_CLIENT_CERT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "LD_LIBRARY_PATH",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_NO_CONFIG",
    "UV_OFFLINE",
    "UV_CONFIG_FILE",
    "UV_KEYRING_PROVIDER",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_REQUEST_TIMEOUT",
    "UV_CREDENTIALS_DIR",
    "UV_PYTHON_INSTALL_DIR",
];
/// What says where a machine has its compilers and libraries: nothing but a build looks at it.
const COMPILERS: [&str; 10] = [
    "CC",
    "CXX",
    "AR",
    "LDFLAGS",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "PKG_CONFIG_PATH",
    "SDKROOT",
];
/// Passed on by their beginning.
const FAMILIES: [&str; 3] = ["UV_INDEX_", "UV_HTTP_", "UV_CONCURRENT_"];

/// Says that no index is asked, to flowrun: uv takes an option for it.
pub(super) const NO_INDEX: &str = "UV_NO_INDEX";

/// Whether a variable is switched on.
pub(super) fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// pip's settings by the names its files give them, and the variables that say the same.
pub(super) const PIP: [(&str, &str); 6] = [
    ("global.index-url", "PIP_INDEX_URL"),
    ("global.extra-index-url", "PIP_EXTRA_INDEX_URL"),
    ("global.find-links", "PIP_FIND_LINKS"),
    ("global.no-index", "PIP_NO_INDEX"),
    ("global.cert", "PIP_CERT"),
    ("global.trusted-host", "PIP_TRUSTED_HOST"),
];

/// uv's environment, made of this process's `env` and of pip's own `files` (by [`PIP`]'s variables), which yield to it.
pub(super) fn environment(
    env: &BTreeMap<String, String>,
    files: &BTreeMap<String, String>,
    exists: impl Fn(&Path) -> bool,
) -> BTreeMap<String, String> {
    let passed = |name: &str| {
        let listed = SAME.contains(&name) || COMPILERS.contains(&name);
        listed || FAMILIES.iter().any(|family| name.starts_with(family))
    };
    let mut told: BTreeMap<String, String> =
        env.iter().filter(|(name, _)| passed(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    let pip = |name: &str| {
        env.get(name).or_else(|| files.get(name)).map(|value| value.trim()).filter(|value| !value.is_empty())
    };
    let mut add = |unless: &[&str], name: &str, value: Option<String>| {
        if let Some(value) =
            value.filter(|value| !value.is_empty() && !unless.iter().any(|name| told.contains_key(*name)))
        {
            told.insert(name.to_owned(), value);
        }
    };
    let words = |name: &str| pip(name).unwrap_or_default().split_whitespace();
    add(&["UV_DEFAULT_INDEX", "UV_INDEX_URL"], "UV_DEFAULT_INDEX", pip("PIP_INDEX_URL").map(str::to_owned));
    add(
        &["UV_INDEX", "UV_EXTRA_INDEX_URL"],
        "UV_INDEX",
        Some(words("PIP_EXTRA_INDEX_URL").collect::<Vec<_>>().join(" ")),
    );
    // uv fails where a folder does not exist, pip does not care.
    let links = words("PIP_FIND_LINKS").filter(|link| link.contains("://") || exists(Path::new(link)));
    add(&["UV_FIND_LINKS"], "UV_FIND_LINKS", Some(links.collect::<Vec<_>>().join(",")));
    let no_index = pip("PIP_NO_INDEX").is_some_and(is_true);
    add(&[NO_INDEX], NO_INDEX, no_index.then(|| "1".to_owned()));
    let certificates = pip("PIP_CERT").filter(|file| exists(Path::new(file)));
    add(&["SSL_CERT_FILE", "SSL_CERT_DIR"], "SSL_CERT_FILE", certificates.map(str::to_owned));
    add(&["UV_INSECURE_HOST"], "UV_INSECURE_HOST", Some(words("PIP_TRUSTED_HOST").collect::<Vec<_>>().join(" ")));
    // The company's certificates are in the system's store; uv's own list holds the world's alone.
    add(&["UV_NATIVE_TLS", "UV_SYSTEM_CERTS"], "UV_SYSTEM_CERTS", Some("1".to_owned()));
    told
}

/// The passwords in `told`, to be masked wherever uv repeats one outside of a URL.
pub(super) fn secrets(told: &BTreeMap<String, String>) -> Vec<String> {
    let mut found: Vec<String> = told
        .iter()
        .filter(|(name, _)| name.starts_with("UV_INDEX_") && name.ends_with("_PASSWORD"))
        .map(|(_, value)| value.clone())
        .collect();
    for value in told.values().filter(|value| value.contains("://")) {
        let urls = value.split([' ', ',', '\n']).filter_map(|url| url.split_once("://"));
        let users = urls.filter_map(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
        found.extend(users.map(|(user, _)| user.split_once(':').map_or(user, |(_, password)| password).to_owned()));
    }
    // A shorter one is no secret, and would mask half of all words.
    found.retain(|secret| secret.len() >= 4);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_settings_of_pip_reach_uv_and_yield_to_its_own() {
        let env = map(&[
            ("PIP_INDEX_URL", "https://u:passw0rd@mirror.example/simple"),
            ("PIP_EXTRA_INDEX_URL", "https://a.example https://b.example"),
            ("PIP_FIND_LINKS", "/there /gone https://links.example/"),
            ("PIP_CERT", "/there"),
            ("UV_CONSTRAINT", "/x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("HTTPS_PROXY", "http://proxy"),
        ]);
        let files = map(&[("PIP_INDEX_URL", "https://other.example"), ("PIP_TRUSTED_HOST", "a\nb")]);
        let told = environment(&env, &files, |path| path == Path::new("/there"));
        let wanted = map(&[
            ("UV_DEFAULT_INDEX", "https://u:passw0rd@mirror.example/simple"),
            ("UV_INDEX", "https://a.example https://b.example"),
            ("UV_FIND_LINKS", "/there,https://links.example/"),
            ("SSL_CERT_FILE", "/there"),
            ("UV_INSECURE_HOST", "a b"),
            ("UV_SYSTEM_CERTS", "1"),
            ("HTTPS_PROXY", "http://proxy"),
        ]);
        assert_eq!(told, wanted);
        assert_eq!(secrets(&told), ["passw0rd"]);
        let own = map(&[("UV_INDEX_URL", "https://own.example"), ("PIP_INDEX_URL", "https://pip.example")]);
        assert!(!environment(&own, &files, |_| false).contains_key("UV_DEFAULT_INDEX"));
    }
}
