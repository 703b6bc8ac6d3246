//! A component into a registry.

use flowrun_core::outcome::Failure;
use flowrun_core::plugin::Manifest;
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError as Error;
use sha2::{Digest as _, Sha256};

use super::artifact;
use super::client::Registry;
use super::reference::Reference;
use crate::fetch::{hex, refused};
use crate::wasm;

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The sha256 of the component's bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// The digest of the manifest: `sha256:…`. The same component has the same whenever it is pushed.
    pub manifest: String,
}

/// Puts a component under a reference's tag, with what it says of itself as annotations.
///
/// # Errors
/// When the bytes are no plugin, the reference names a digest, or the registry cannot be reached or does not take them.
pub async fn push(reference: &Reference, bytes: Vec<u8>, described: &Manifest) -> Result<Pushed, Failure> {
    wasm::inspect_bytes(&bytes)?;
    if reference.digest().is_some() {
        return Err(refused(format!("`{reference}` names a digest, which is told by what is pushed"))
            .hint("name a tag: `oci://HOST/REPOSITORY:TAG`"));
    }
    let sha256 = hex(Sha256::new_with_prefix(&bytes));
    let digest = format!("sha256:{sha256}");
    let config = artifact::config(&bytes, &digest).map_err(refused)?;
    let config_digest = format!("sha256:{}", hex(Sha256::new_with_prefix(&config)));
    let manifest = artifact::manifest((&digest, bytes.len()), (&config_digest, config.len()), described);
    let manifest = manifest.map_err(refused)?;
    let pushed = Pushed { sha256, manifest: format!("sha256:{}", hex(Sha256::new_with_prefix(&manifest))) };
    let registry = Registry::connect(reference, RegistryOperation::Push).await?;
    let sent = send(&registry, (bytes, &digest), (config, &config_digest), manifest).await;
    sent.map_err(|error| registry.trouble(&error))?;
    Ok(pushed)
}

/// The manifest comes last: a registry takes none whose parts it does not have.
async fn send(
    registry: &Registry,
    (bytes, digest): (Vec<u8>, &str),
    (config, config_digest): (Vec<u8>, &str),
    manifest: Vec<u8>,
) -> Result<(), Error> {
    registry.client.push_blob(&registry.at, bytes, digest).await?;
    registry.client.push_blob(&registry.at, config, config_digest).await?;
    let kind = http::HeaderValue::from_static(artifact::MANIFEST);
    registry.client.push_manifest_raw(&registry.at, manifest, kind).await.map(drop)
}
