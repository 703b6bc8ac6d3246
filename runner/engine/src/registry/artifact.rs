//! The layout of a component in a registry: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.
//!
//! Bytes to what they say, and back; knows nothing of the way.

use std::collections::BTreeMap;

use flowrun_core::plugin::Manifest;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde::Serialize;

use crate::fetch::is_sha256;
use crate::wasm::{LARGEST_COMPONENT, interface};

/// The type of a manifest: that of an image, so that every registry takes it.
pub(super) const MANIFEST: &str = OCI_IMAGE_MEDIA_TYPE;
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// The layout asks for a time. This one is no time, so that the same component is the same artifact whenever it is pushed.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A component's bytes, as a manifest names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// 64 hexadecimal digits.
    pub(super) sha256: String,
    /// Bytes.
    pub(super) size: u64,
}

/// The layer of a manifest that is one component.
///
/// # Errors
/// Why it is none, as the end of a sentence that begins with its name.
pub(super) fn layer(manifest: &[u8]) -> Result<Layer, String> {
    let read: OciImageManifest = serde_json::from_slice(manifest)
        .map_err(|_| "is not a component: its manifest is of another kind".to_owned())?;
    if read.config.media_type != CONFIG {
        let found = read.config.media_type.chars().take(80).collect::<String>();
        return Err(format!("is not a component: it is of type `{}`, not `{CONFIG}`", found.escape_debug()));
    }
    let [layer] = read.layers.as_slice() else {
        return Err(format!("is not one component: it has {} layers", read.layers.len()));
    };
    if layer.media_type != LAYER {
        return Err(format!("is not a component: its layer is not of type `{LAYER}`"));
    }
    let sha256 = layer.digest.strip_prefix("sha256:").filter(|digest| is_sha256(digest));
    let sha256 = sha256.ok_or("has a layer whose digest is not a sha256")?.to_owned();
    match u64::try_from(layer.size) {
        Ok(size) if size <= LARGEST_COMPONENT => Ok(Layer { sha256, size }),
        _ => Err(format!("is larger than the {LARGEST_COMPONENT} bytes a component may have")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'a str,
    author: Option<&'a str>,
    architecture: &'a str,
    os: &'a str,
    layer_digests: [&'a str; 1],
    component: Interface<'a>,
}

#[derive(Serialize)]
struct Interface<'a> {
    exports: Vec<&'a str>,
    imports: Vec<&'a str>,
    target: Option<&'a str>,
}

/// The config of a component; `digest` is that of its bytes, with `sha256:`.
///
/// # Errors
/// When the bytes are no component.
pub(super) fn config(bytes: &[u8], digest: &str) -> Result<Vec<u8>, String> {
    let (imports, exports) = interface(bytes)?;
    let component = Interface { exports, imports, target: None };
    let config = Config {
        created: CREATED,
        author: None,
        architecture: "wasm",
        os: "wasip2",
        layer_digests: [digest],
        component,
    };
    serde_json::to_vec(&config).map_err(|error| error.to_string())
}

/// The manifest over a component and its config.
pub(super) fn manifest(layer: (&str, usize), config: (&str, usize), described: &Manifest) -> Result<Vec<u8>, String> {
    let part = |kind: &str, (digest, size): (&str, usize)| OciDescriptor {
        media_type: kind.to_owned(),
        digest: digest.to_owned(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    };
    let manifest = OciImageManifest {
        media_type: Some(MANIFEST.to_owned()),
        config: part(CONFIG, config),
        layers: vec![part(LAYER, layer)],
        annotations: Some(annotations(described)),
        ..OciImageManifest::default()
    };
    serde_json::to_vec(&manifest).map_err(|error| error.to_string())
}

/// What registries show of an artifact, from what the plugin says of itself.
fn annotations(described: &Manifest) -> BTreeMap<String, String> {
    use oci_client::annotations as known;
    let said = [
        (known::ORG_OPENCONTAINERS_IMAGE_TITLE, Some(&described.name)),
        (known::ORG_OPENCONTAINERS_IMAGE_VERSION, Some(&described.version)),
        (known::ORG_OPENCONTAINERS_IMAGE_DESCRIPTION, Some(&described.summary)),
        (known::ORG_OPENCONTAINERS_IMAGE_LICENSES, described.license.as_ref()),
        (known::ORG_OPENCONTAINERS_IMAGE_DOCUMENTATION, described.docs.as_ref()),
    ];
    said.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn written() -> Json {
        let digest = format!("sha256:{}", "a".repeat(64));
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest, "size": 2},
            "layers": [{"mediaType": LAYER, "digest": digest, "size": 7}],
        })
    }

    #[test]
    fn only_one_component_of_a_bearable_size_is_one() {
        let read = |json: &Json| layer(json.to_string().as_bytes());
        assert_eq!(read(&written()), Ok(Layer { sha256: "a".repeat(64), size: 7 }));
        let edits: [(&str, Json, &str); 8] = [
            ("/config/mediaType", json!("application/vnd.oci.image.config.v1+json"), "not a component"),
            ("/layers", json!([]), "0 layers"),
            ("/layers/0/mediaType", json!("application/x-tar"), "not a component"),
            ("/layers/0/digest", json!("sha512:00"), "not a sha256"),
            ("/layers/0/digest", json!("sha256:../../../../etc"), "not a sha256"),
            ("/layers/0/size", json!(-1), "larger"),
            ("/layers/0/size", json!(LARGEST_COMPONENT + 1), "larger"),
            ("/layers/0/size", json!("x"), "another kind"),
        ];
        for (at, to, why) in edits {
            let mut json = written();
            *json.pointer_mut(at).expect("there") = to;
            let problem = read(&json).expect_err(at);
            assert!(problem.contains(why), "{at}: {problem}");
        }
        assert!(layer(br#"{"schemaVersion": 2, "manifests": []}"#).is_err());
        assert!(layer(b"\xff").is_err());
    }

    #[test]
    fn what_is_written_is_read_and_is_the_same_each_time() {
        let component = crate::builtin::find("flowrun/json@1").expect("there");
        let described = crate::manifest::describe(component.bytes, None).expect("good").expect("some");
        let digest = format!("sha256:{}", "b".repeat(64));
        let config = config(component.bytes, &digest).expect("a component");
        let told: Json = serde_json::from_slice(&config).expect("JSON");
        assert_eq!(told["layerDigests"], json!([digest]));
        assert!(told["component"]["exports"].as_array().is_some_and(|names| names.contains(&json!("run"))), "{told}");
        let text = manifest((&digest, 7), (&digest, config.len()), &described.manifest).expect("JSON");
        assert_eq!(layer(&text), Ok(Layer { sha256: "b".repeat(64), size: 7 }));
        let told: Json = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(told["annotations"]["org.opencontainers.image.title"], "flowrun/json");
    }
}
