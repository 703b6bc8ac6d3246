//! Core modules into components, and the manifest into a component.

use flowrun_core::plugin::SECTION;
use wit_component::ComponentEncoder;

use crate::manifest;

/// The first bytes of a core module and of a component.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component that carries the manifest. A core module of WASI preview 1 becomes a component by the adapter that wasmtime's authors keep: a
/// command where it exports `_start`, else a reactor.
///
/// # Errors
/// When the bytes are neither, or carry another manifest already.
pub fn pack(bytes: &[u8], text: &str) -> Result<Vec<u8>, String> {
    let component = if bytes.starts_with(MODULE) { encode(bytes)? } else { bytes.to_vec() };
    match manifest::section(&component)? {
        Some(found) if found == text => Ok(component),
        Some(found) => {
            let whose = manifest::parse(found, "it").map_or_else(
                |_| "a manifest".to_owned(),
                |described| format!("the manifest of `{}` {}", described.manifest.name, described.manifest.version),
            );
            Err(format!("the component carries {whose} already, which is not that of `plugin.yaml`"))
        }
        None => Ok(append(component, SECTION, text.as_bytes())),
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    use wasi_preview1_component_adapter_provider as adapters;
    let command = has_start(module)?;
    let adapter = match command {
        true => adapters::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let encoder = ComponentEncoder::default().validate(true).module(module).map_err(unfit)?;
    let mut encoder = encoder.adapter(adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).map_err(unfit)?;
    encoder.encode().map_err(unfit)
}

fn unfit(error: impl std::fmt::Display) -> String {
    format!("the module cannot become a component: {error:#}")
}

fn has_start(module: &[u8]) -> Result<bool, String> {
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::ExportSection(exports) = payload.map_err(|error| error.to_string())? {
            return Ok(exports.into_iter().flatten().any(|export| export.name == "_start"));
        }
    }
    Ok(false)
}

/// A custom section: its number 0, its length, its name, its bytes. See the WebAssembly specification's binary format.
fn append(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = leb128(name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(data);
    component.push(0);
    component.extend(leb128(body.len()));
    component.extend(body);
    component
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "flowrun_plugin: 1\n";

    #[test]
    fn a_component_carries_its_manifest_once() {
        let packed = pack(b"\0asm\x0d\0\x01\0", YAML).expect("packed");
        assert_eq!(manifest::section(&packed), Ok(Some(YAML)));
        assert_eq!(pack(&packed, YAML), Ok(packed.clone()));
        assert!(pack(&packed, "other").is_err_and(|error| error.contains("carries a manifest already")));
        let long = "x".repeat(300);
        assert_eq!(manifest::section(&pack(b"\0asm\x0d\0\x01\0", &long).expect("packed")), Ok(Some(long.as_str())));
        assert!(pack(b"\x7fELF", YAML).is_err());
    }

    #[test]
    fn a_core_module_becomes_a_command() {
        let module = wat::parse_str("(module (memory (export \"memory\") 1) (func (export \"_start\")))").expect("WAT");
        let packed = pack(&module, YAML).expect("packed");
        assert_eq!(manifest::section(&packed), Ok(Some(YAML)));
        crate::wasm::inspect_bytes(&packed).expect("a plugin");
    }
}
