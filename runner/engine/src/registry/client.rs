//! The way to one registry, and what its troubles mean. Knows nothing of what lies there.

use std::time::Duration;

use flowrun_core::outcome::Failure;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError as Error, OciErrorCode as Code};
use oci_client::{Reference as Inner, RegistryOperation};

use super::credentials::Credentials;
use super::reference::Reference;
use crate::fetch::{infrastructure, refused};

/// A registry that says nothing for so long says nothing more; the same as for other downloads.
const SILENCE: Duration = Duration::from_secs(60);
/// The most characters of a registry's own words that are repeated.
const WORDS: usize = 300;

/// A registry, spoken to about one reference.
pub(super) struct Registry {
    pub(super) client: Client,
    pub(super) at: Inner,
    reference: Reference,
    credentials: Credentials,
}

impl Registry {
    /// Finds out who we are there, and says so where it is asked.
    pub(super) async fn connect(reference: &Reference, operation: RegistryOperation) -> Result<Self, Failure> {
        let host = reference.host().to_owned();
        let found = tokio::task::spawn_blocking(move || Credentials::of(&host)).await;
        let credentials = found.unwrap_or_else(|error| Err(infrastructure(error.to_string())))?;
        let client = client(reference.is_local()).map_err(|error| infrastructure(error.to_string()))?;
        let registry = Self { client, at: reference.inner().clone(), reference: reference.clone(), credentials };
        let known = registry.client.auth(&registry.at, registry.credentials.auth(), operation).await;
        known.map_err(|error| registry.trouble(&error))?;
        Ok(registry)
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What an error means for a person. The registry's own words are cut, masked, and printable.
    pub(super) fn trouble(&self, error: &Error) -> Failure {
        let host = self.reference.host();
        match error {
            Error::RequestError(error) => self.unreached(error, error.is_timeout()),
            Error::UnauthorizedError { .. } | Error::AuthenticationFailure(_) => self.unknown_to_it(),
            Error::RegistryError { envelope, .. } => match envelope.errors.first() {
                Some(first) => self.said(&first.code, &first.message),
                None => infrastructure(format!("the registry `{host}` refuses `{}`", self.reference)),
            },
            Error::ServerError { code: 401 | 403, .. } => self.unknown_to_it(),
            Error::ServerError { code: 404, .. } => self.not_there(),
            Error::ServerError { code, .. } => {
                infrastructure(format!("the registry `{host}` answers with the status {code}")).hint("try again later")
            }
            Error::DigestError(error) => self.other_than_asked(&self.words(&error.to_string())),
            other => infrastructure(format!("the registry `{host}`: {}", self.words(&other.to_string()))),
        }
    }

    /// What came is not what was asked for.
    pub(super) fn other_than_asked(&self, why: &str) -> Failure {
        refused(format!("`{}` is not what was asked for: {why}", self.reference))
            .hint("the registry, or someone on the way, changed it: nothing was kept; ask who runs it")
    }

    fn said(&self, code: &Code, message: &str) -> Failure {
        match code {
            Code::Unauthorized | Code::Denied => self.unknown_to_it(),
            Code::ManifestUnknown | Code::NameUnknown | Code::BlobUnknown | Code::NotFound => self.not_there(),
            _ => infrastructure(format!("the registry `{}` says: {}", self.reference.host(), self.words(message))),
        }
    }

    fn not_there(&self) -> Failure {
        refused(format!("the registry `{}` has no `{}`", self.reference.host(), self.reference)).hint(
            "is its name right, and has it been pushed? A private registry may also say so to whom it does not know",
        )
    }

    fn unknown_to_it(&self) -> Failure {
        let host = self.reference.host();
        let who =
            if self.credentials.are_some() { "with the credentials that docker keeps" } else { "without credentials" };
        infrastructure(format!("the registry `{host}` does not allow it for `{}` {who}", self.reference))
            .hint(format!("`docker login {host}` stores credentials where flowrun finds them (DOCKER_CONFIG)"))
    }

    fn unreached(&self, error: &dyn std::error::Error, silent: bool) -> Failure {
        // Each layer says a little more; the outermost names the address, which may hold a token.
        let mut why = "the request failed".to_owned();
        let mut source = error.source();
        while let Some(inner) = source {
            why = inner.to_string();
            source = inner.source();
        }
        if silent {
            why = format!("it says nothing for {} seconds", SILENCE.as_secs());
        }
        let failure =
            infrastructure(format!("cannot reach the registry `{}`: {}", self.reference.host(), self.words(&why)));
        if why.contains("InvalidContentType") {
            return failure
                .hint("it does not speak TLS, and flowrun speaks without it to this machine alone (`localhost`)");
        }
        if why.contains("certificate") {
            return failure
                .hint("this machine's certificates do not vouch for the registry: SSL_CERT_FILE names others");
        }
        failure.hint(
            "is the network there, and the proxy right (HTTPS_PROXY)? What was brought once needs neither: it is found by the lock",
        )
    }

    fn words(&self, words: &str) -> String {
        let masked = self.credentials.mask(words);
        let cut: String = masked.chars().take(WORDS).collect();
        cut.escape_debug().to_string()
    }
}

/// A client; `plain` for a registry of this machine.
fn client(plain: bool) -> Result<Client, Error> {
    // The other user of TLS, `ureq`, brings its own. Where one is set already, it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        platform_resolver: None,
        read_timeout: Some(SILENCE),
        connect_timeout: Some(SILENCE / 2),
        user_agent: concat!("flowrun/", env!("CARGO_PKG_VERSION")),
        // A proxy is not the way to this machine. Nobody listens at the one named here: it takes the place of those in the environment, and is
        // where an unprotected redirect to any other machine ends.
        http_proxy: plain.then(|| "http://127.0.0.1:9".to_owned()),
        no_proxy: plain.then(|| "localhost,127.0.0.0/8".to_owned()),
        ..ClientConfig::default()
    };
    Client::try_from(config)
}
