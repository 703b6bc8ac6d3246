//! A component from a registry into the user's cache, and out of it again.
//!
//! ```text
//! components/SHA256/component.wasm, stamp.json      in the cache of `fetch`
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::PluginPin;
use futures_util::StreamExt;
use oci_client::RegistryOperation;
use sha2::{Digest as _, Sha256};

use super::artifact::{self, Layer};
use super::client::Registry;
use super::reference::Reference;
use crate::fetch::{Cache, hex, infrastructure, is_sha256, refused};
use crate::wasm::{LARGEST_COMPONENT, component_bytes};

const KIND: &str = "components";
const FILE: &str = "component.wasm";

/// A component that was brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The sha256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// The digest of the manifest that named it, `sha256:…`; nothing where a pin did.
    pub manifest: Option<String>,
    /// Where it lies, in the cache. To be copied, not changed.
    pub path: PathBuf,
}

/// The component of a reference. With a pin, it is the pinned one or none, whatever the tag has become, and one that is in the cache needs
/// no network.
///
/// # Errors
/// When the registry cannot be reached, does not have it, or gives something else. Then nothing is kept.
pub async fn pull(cache: &Cache, reference: &Reference, pinned: Option<&PluginPin>) -> Result<Pulled, Failure> {
    if let Some(pin) = pinned {
        check_pin(reference, pin)?;
        if let Some((path, _)) = kept(cache, &pin.sha256) {
            return Ok(Pulled { sha256: pin.sha256.clone(), size: pin.size, manifest: None, path });
        }
    }
    let registry = Registry::connect(reference, RegistryOperation::Pull).await?;
    let (layer, manifest) = match pinned {
        Some(pin) => (Layer { sha256: pin.sha256.clone(), size: pin.size }, None),
        None => {
            let (layer, digest) = named(&registry, reference).await?;
            (layer, Some(digest))
        }
    };
    let _lock = cache.lock(&format!("component-{}", layer.sha256)).await?;
    let path = match kept(cache, &layer.sha256) {
        Some((path, _)) => path,
        None => bring(cache, &registry, &layer).await?,
    };
    Ok(Pulled { sha256: layer.sha256, size: layer.size, manifest, path })
}

/// A component that was brought before, by its sha256: where it lies, and its bytes, hashed again. A damaged one is removed.
pub(crate) fn kept(cache: &Cache, sha256: &str) -> Option<(PathBuf, Vec<u8>)> {
    if !is_sha256(sha256) {
        return None;
    }
    let folder = cache.path(&[KIND, sha256]);
    let path = folder.join(FILE);
    let bytes = component_bytes(&path).ok()?;
    if hex(Sha256::new_with_prefix(&bytes)) == sha256 {
        return Some((path, bytes));
    }
    let _ = fs::remove_dir_all(folder);
    None
}

/// A pin comes out of a lock, which anyone may have written.
fn check_pin(reference: &Reference, pin: &PluginPin) -> Result<(), Failure> {
    if is_sha256(&pin.sha256) && pin.size <= LARGEST_COMPONENT {
        return Ok(());
    }
    Err(refused(format!("the pin of `{reference}` in the lock is damaged"))
        .hint("take it out of the lock: the next run pins anew"))
}

/// What the manifest of a reference names, and the manifest's digest.
async fn named(registry: &Registry, reference: &Reference) -> Result<(Layer, String), Failure> {
    let auth = registry.credentials().auth();
    let answer = registry.client.pull_manifest_raw(&registry.at, auth, &[artifact::MANIFEST]).await;
    let (bytes, _) = answer.map_err(|error| registry.trouble(&error))?;
    let digest = format!("sha256:{}", hex(Sha256::new_with_prefix(&bytes)));
    if let Some(asked) = reference.digest().filter(|asked| *asked != digest) {
        return Err(registry.other_than_asked(&format!("a manifest {asked} was asked for, {digest} came")));
    }
    let layer = artifact::layer(&bytes).map_err(|why| {
        refused(format!("`{reference}` {why}"))
            .hint("`flowrun plugin push` and other tools for WebAssembly push components")
    })?;
    Ok((layer, digest))
}

async fn bring(cache: &Cache, registry: &Registry, layer: &Layer) -> Result<PathBuf, Failure> {
    let scratch = cache.scratch()?;
    let file = scratch.path().join(FILE);
    download(registry, layer, &file).await?;
    cache.keep(&file, KIND, &layer.sha256, FILE)
}

/// Writes the layer to a file, and nothing that is not the layer.
async fn download(registry: &Registry, layer: &Layer, path: &Path) -> Result<(), Failure> {
    let digest = format!("sha256:{}", layer.sha256);
    let answer = registry.client.pull_blob_stream(&registry.at, digest.as_str()).await;
    let mut stream = answer.map_err(|error| registry.trouble(&error))?;
    let written = |error: std::io::Error| {
        infrastructure(format!("cannot write `{}`: {error}", path.display())).hint("is the disk full?")
    };
    let mut file = File::create(path).map_err(written)?;
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| broken(registry, error))?;
        size += chunk.len() as u64;
        if size > layer.size {
            return Err(
                registry.other_than_asked(&format!("it is larger than the {} bytes it should have", layer.size))
            );
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(written)?;
    }
    let found = hex(hasher);
    if size == layer.size && found == layer.sha256 {
        return Ok(());
    }
    Err(registry
        .other_than_asked(&format!("{digest} of {} bytes was asked for, sha256:{found} of {size} came", layer.size)))
}

/// A stream that ended with an error: the client compares digests too, and says so in this way.
fn broken(registry: &Registry, error: std::io::Error) -> Failure {
    use oci_client::errors::{DigestError, OciDistributionError as Error};
    match error.downcast::<DigestError>() {
        Ok(digest) => registry.trouble(&Error::DigestError(digest)),
        Err(other) => registry.trouble(&Error::IoError(other)).hint("it broke off: try again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_hashed_at_each_reading() {
        let folder = tempfile::tempdir().expect("tempdir");
        let cache = Cache::at(folder.path()).expect("cache");
        let sha256 = hex(Sha256::new_with_prefix(b"component"));
        let path = cache.path(&[KIND, &sha256, FILE]);
        assert_eq!(kept(&cache, &sha256), None);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(&path, b"component").expect("write");
        assert_eq!(kept(&cache, &sha256), Some((path.clone(), b"component".to_vec())));
        fs::write(&path, b"componenT").expect("write");
        assert_eq!(kept(&cache, &sha256), None);
        assert!(!path.exists(), "a damaged one is removed");
        assert_eq!(kept(&cache, "../../etc"), None);
    }

    #[test]
    fn a_damaged_pin_is_refused_before_anything_is_asked() {
        let reference = Reference::parse("oci://localhost:1/a:1").expect("reference");
        let pin = |sha256: &str, size| PluginPin { name: "a".into(), version: "1".into(), sha256: sha256.into(), size };
        assert!(check_pin(&reference, &pin(&"a".repeat(64), 1)).is_ok());
        assert!(check_pin(&reference, &pin("../x", 1)).is_err());
        assert!(check_pin(&reference, &pin(&"a".repeat(64), LARGEST_COMPONENT + 1)).is_err());
    }
}
