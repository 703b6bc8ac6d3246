//! All that a pipeline uses as a bill of materials: CycloneDX 1.6, as JSON.
//!
//! ```text
//! the pipeline ─► each step ─┬─► each file of its Python environment, on every platform, and the Python it was locked on
//!              │             ├─► the wheels of its ONNX Runtime, and those of its libraries
//!              │             ├─► its plugin
//!              │             └─► the sources that it reads
//!              └─► every source that is fetched
//! ```
//! A component is a file that the lock pins, known by its sha256: a package that has another wheel on each platform is as many components,
//! since each is other bytes. Their `dependencies` stop there: which package needs which, the lock does not say, and what is not said counts
//! as unknown. Addresses are left out, as they are in the lock: that of a source may hold a secret.
//!
//! There is no time in it, and its serial number is a digest of the rest, so that the same lock is the same bill, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::digest::Digest;
use crate::lang::written::{Pipeline, Step};
use crate::stored::lock::{FilePin, Pins, PluginPin, SourcePin};

/// What a bill is made of.
#[derive(Clone, Copy, Debug)]
pub struct Bill<'a> {
    /// The pipeline's name.
    pub name: &'a str,
    /// The pipeline, with its profile laid over it.
    pub pipeline: &'a Pipeline,
    /// Its lock.
    pub pins: &'a Pins,
    /// The profile.
    pub profile: Option<&'a str>,
    /// The platforms whose files count.
    pub platforms: &'a BTreeSet<String>,
}

/// The bill of materials.
pub fn cyclonedx(bill: &Bill<'_>) -> String {
    let mut parts = Parts::default();
    let mut all = BTreeSet::new();
    for name in bill.pins.sources.keys() {
        all.extend(parts.source(bill, name));
    }
    let mut graph = Vec::new();
    for (id, step) in &bill.pipeline.steps {
        let about = format!("step:{id}");
        let used = parts.step(bill, id, step);
        graph.push(json!({"ref": about, "dependsOn": used}));
        all.insert(about);
    }
    graph.insert(0, json!({"ref": PIPELINE, "dependsOn": all}));
    let components: Vec<Json> = parts.0.into_values().map(Part::into_json).collect();
    let tool = json!({"type": "application", "name": "flowrun", "version": env!("CARGO_PKG_VERSION")});
    let root = json!({"type": "application", "bom-ref": PIPELINE, "name": bill.name});
    document(&json!({"metadata": {"tools": {"components": [tool]}, "component": root},
        "components": components, "dependencies": graph}))
}

/// By which the bill refers to the pipeline. No step can be called so: theirs have a prefix.
const PIPELINE: &str = "pipeline";

fn document(body: &Json) -> String {
    let head = json!({"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX",
        "specVersion": "1.6", "serialNumber": serial(body), "version": 1});
    let maps = [head, body.clone()].into_iter().filter_map(|part| part.as_object().cloned());
    let whole: serde_json::Map<String, Json> = maps.flatten().collect();
    format!("{:#}\n", Json::Object(whole))
}

/// A UUID of version 8 (RFC 9562, 5.8): its bits are a digest of the content.
fn serial(body: &Json) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::of(body.to_string().as_bytes()).as_bytes()[..16]);
    bytes[6] = 0x80 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A component, and for which platforms it is.
struct Part {
    json: Json,
    properties: BTreeSet<(&'static str, String)>,
}

impl Part {
    fn into_json(mut self) -> Json {
        let properties = self.properties.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let properties: Vec<Json> = properties.collect();
        if !properties.is_empty() {
            self.json["properties"] = properties.into();
        }
        self.json
    }
}

/// The components by what refers to them.
#[derive(Default)]
struct Parts(BTreeMap<String, Part>);

impl Parts {
    fn put(&mut self, reference: &str, json: Json) -> &mut BTreeSet<(&'static str, String)> {
        let part = self.0.entry(reference.to_owned());
        &mut part.or_insert_with(|| Part { json, properties: BTreeSet::new() }).properties
    }

    /// A step, and what it uses.
    fn step(&mut self, bill: &Bill<'_>, id: &str, step: &Step) -> BTreeSet<String> {
        let reference = format!("step:{id}");
        let told = self.put(&reference, json!({"type": "application", "bom-ref": reference, "name": id}));
        let sources = step.inputs.values().filter_map(|input| input.strip_prefix("sources.")?.split('/').next());
        let Some(pin) = bill.pins.step(bill.profile, id) else {
            return sources.flat_map(|name| self.source(bill, name)).collect();
        };
        told.extend(pin.allow.iter().map(|what| ("flowrun:allow", what.clone())));
        let mut used: BTreeSet<String> = sources.flat_map(|name| self.source(bill, name)).collect();
        used.extend(pin.environment.iter().flat_map(|name| self.environment(bill, name)));
        used.extend(pin.runtime.iter().flat_map(|runtime| self.runtime(bill, runtime)));
        used.extend(pin.plugin.iter().filter_map(|uses| Some(self.plugin(uses, bill.pins.plugins.get(uses)?))));
        used
    }

    fn environment(&mut self, bill: &Bill<'_>, name: &str) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        let Some(pin) = bill.pins.environments.get(name) else { return used };
        for platform in bill.platforms {
            for package in pin.resolved.get(platform).into_iter().flatten() {
                used.insert(self.package(&package.name, &package.version, &package.file, platform));
            }
            used.extend(pin.interpreters.get(platform).map(|exactly| self.interpreter(exactly, platform)));
        }
        used
    }

    /// ONNX Runtime, with the libraries that it needs besides.
    fn runtime(&mut self, bill: &Bill<'_>, runtime: &str) -> BTreeSet<String> {
        let mut used = self.wheel(bill, runtime);
        for library in bill.pins.libraries.get(runtime).into_iter().flatten() {
            used.extend(self.wheel(bill, library));
        }
        used
    }

    fn wheel(&mut self, bill: &Bill<'_>, wheel: &str) -> BTreeSet<String> {
        let (name, version) = wheel.split_once("==").unwrap_or((wheel, ""));
        let files = bill.platforms.iter().filter_map(|platform| Some((platform, bill.pins.wheel(wheel, platform)?)));
        files.map(|(platform, file)| self.package(name, version, file, platform)).collect()
    }

    fn package(&mut self, name: &str, version: &str, file: &FilePin, platform: &str) -> String {
        let FilePin { file, sha256, .. } = file;
        let base = format!("pkg:pypi/{}@{}", encoded(name), encoded(version));
        let purl = format!("{base}?checksum=sha256:{sha256}&file_name={}", encoded(file));
        let json = json!({"type": "library", "bom-ref": purl, "name": name, "version": version,
            "hashes": hashes(sha256), "purl": purl});
        self.put(&purl, json).extend([(FILE, file.clone()), (PLATFORM, platform.to_owned())]);
        purl
    }

    /// `cpython 3.11.7`.
    fn interpreter(&mut self, exactly: &str, platform: &str) -> String {
        let (name, version) = exactly.split_once(' ').unwrap_or((exactly, ""));
        let purl = format!("pkg:generic/{}@{}", encoded(name), encoded(version));
        let json = json!({"type": "platform", "bom-ref": purl, "name": name, "version": version, "purl": purl});
        self.put(&purl, json).insert((PLATFORM, platform.to_owned()));
        purl
    }

    /// A plugin is pinned by its component and not by a registry's manifest, which is what a purl of type `oci` would name.
    fn plugin(&mut self, uses: &str, pin: &PluginPin) -> String {
        let name: Vec<String> = pin.name.split('/').map(encoded).collect();
        let version = if pin.version.is_empty() { String::new() } else { format!("@{}", encoded(&pin.version)) };
        let purl = format!("pkg:generic/{}{version}?checksum=sha256:{}", name.join("/"), pin.sha256);
        let mut json = json!({"type": "library", "bom-ref": purl, "name": pin.name, "version": pin.version,
            "hashes": hashes(&pin.sha256), "purl": purl});
        if let (true, Some(json)) = (pin.version.is_empty(), json.as_object_mut()) {
            json.shift_remove("version");
        }
        self.put(&purl, json).insert(("flowrun:uses", uses.to_owned()));
        purl
    }

    /// A source that is fetched; one that lies beside the pipeline is in no lock.
    fn source(&mut self, bill: &Bill<'_>, name: &str) -> BTreeSet<String> {
        match bill.pins.sources.get(name) {
            None => BTreeSet::new(),
            Some(SourcePin::Pypi(wheel)) => self.wheel(bill, wheel),
            Some(SourcePin::Url(sha256)) => {
                let reference = format!("source:{name}");
                let json = json!({"type": "data", "bom-ref": reference, "name": name, "hashes": hashes(sha256)});
                self.put(&reference, json);
                [reference].into()
            }
        }
    }
}

const FILE: &str = "flowrun:file";
const PLATFORM: &str = "flowrun:platform";

fn hashes(sha256: &str) -> Json {
    json!([{"alg": "SHA-256", "content": sha256}])
}

/// As a package URL wants what is not plain.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
