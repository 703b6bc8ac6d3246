//! Who we are for a registry: what `docker login` stored, in docker's file (`DOCKER_CONFIG`, else `~/.docker`) or behind its helpers.
//!
//! A secret leaves this file only as [`Credentials`], which do not show it, and for the registry it was stored for. Knows nothing of
//! registries.

use std::fmt;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError as Error, DockerCredential};
use flowrun_core::outcome::Failure;
use oci_client::secrets::RegistryAuth;

use crate::fetch::infrastructure;

/// Docker's own registry is stored under this name, whatever it is called elsewhere.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Who we are for one registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    auth: RegistryAuth,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_some() { "Credentials(***)" } else { "Credentials(none)" })
    }
}

impl Credentials {
    /// Those for a registry's host; blocks while a helper is asked. Nobody where none are stored.
    pub(super) fn of(host: &str) -> Result<Self, Failure> {
        let nobody = Self { auth: RegistryAuth::Anonymous };
        let Some(file) = file().filter(|file| file.exists()) else { return Ok(nobody) };
        let server = if host == "docker.io" { DOCKER_HUB } else { host };
        match docker_credential::get_credential(server) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                Ok(Self { auth: RegistryAuth::Basic(user, password) })
            }
            Ok(DockerCredential::IdentityToken(_)) => Err(infrastructure(format!(
                "for `{host}` docker keeps an identity token, which this flowrun cannot use"
            ))
            .hint(format!("`docker login {host}` with a user and a password or access token stores those"))),
            Err(Error::NoCredentialConfigured | Error::ConfigNotFound) => Ok(nobody),
            // The words of docker's own helpers where nothing is stored; any other words may hold a secret.
            Err(Error::HelperFailure { ref stdout, .. }) if stdout.contains("credentials not found") => Ok(nobody),
            Err(error) => Err(infrastructure(format!("cannot find out who we are for `{host}`: {}", told(&error)))
                .hint(format!("see `{}`, or write it anew with `docker login {host}`", file.display()))),
        }
    }

    /// As the client takes them.
    pub(super) fn auth(&self) -> &RegistryAuth {
        &self.auth
    }

    pub(super) fn are_some(&self) -> bool {
        self.auth != RegistryAuth::Anonymous
    }

    /// A stranger's words without our secret, should they repeat it.
    pub(super) fn mask(&self, words: &str) -> String {
        match &self.auth {
            RegistryAuth::Basic(_, secret) | RegistryAuth::Bearer(secret) if !secret.is_empty() => {
                words.replace(secret, "***")
            }
            _ => words.to_owned(),
        }
    }
}

/// Docker's file.
fn file() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    folder.map(|folder| folder.join("config.json"))
}

/// What went wrong, without what a helper said.
fn told(error: &Error) -> String {
    match error {
        Error::HelperFailure { helper, .. } => format!("the helper `{}` failed", helper.escape_debug()),
        Error::HelperCommunicationError => "the helper of docker's file cannot be started".to_owned(),
        Error::MalformedHelperResponse => "the helper of docker's file gave no credentials".to_owned(),
        Error::ConfigReadError => "docker's file is not one".to_owned(),
        Error::CredentialDecodingError | Error::CredentialMismatchError => {
            "what docker's file holds for it is damaged".to_owned()
        }
        Error::NoCredentialConfigured | Error::ConfigNotFound => "there is nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let known = Credentials { auth: RegistryAuth::Basic("ann".into(), "s3cret".into()) };
        assert_eq!(format!("{known:?}"), "Credentials(***)");
        assert_eq!(known.mask("you sent s3cret, s3cret!"), "you sent ***, ***!");
        let silent = Credentials { auth: RegistryAuth::Basic("ann".into(), String::new()) };
        assert_eq!(silent.mask("as it is"), "as it is");
        let helper = "docker-credential-x".to_owned();
        let failure = Error::HelperFailure { helper, stdout: "s3cret".into(), stderr: "s3cret".into() };
        assert_eq!(told(&failure), "the helper `docker-credential-x` failed");
    }
}
