//! A plugin's manifest as bytes: found in a component, or beside it. What is in it, `flowrun_core::plugin` knows.
//!
//! It is looked for in the component's own sections and in those of core modules right inside it, where a compiler's linker puts it. The
//! bytes are a stranger's: nothing is compiled or run, and only section headers are read on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowrun_core::plugin::{Described, SECTION};
use wasmparser::{Parser, Payload};

use crate::builtin;

/// The text of the manifest in a component; `None` where there is none.
///
/// # Errors
/// When the bytes are no WebAssembly, hold two manifests that differ, or one that is not text.
pub fn section(bytes: &[u8]) -> Result<Option<&str>, String> {
    let mut found: Option<&[u8]> = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| format!("it is not WebAssembly: {}", error.message()))? {
            Payload::CustomSection(section) if section.name() == SECTION => match found {
                Some(earlier) if earlier != section.data() => {
                    return Err("it holds two manifests that differ".to_owned());
                }
                _ => found = Some(section.data()),
            },
            _ => {}
        }
    }
    found.map(|bytes| std::str::from_utf8(bytes).map_err(|_| "its manifest is not UTF-8".to_owned())).transpose()
}

/// Where the manifest of a component without one lies: `NAME.plugin.yaml` beside `NAME.wasm`.
pub fn beside(component: &Path) -> PathBuf {
    component.with_extension("plugin.yaml")
}

/// What a component says of itself, or what lies beside it does.
///
/// # Errors
/// Why neither can be used.
pub fn describe(bytes: &[u8], component: Option<&Path>) -> Result<Option<Arc<Described>>, String> {
    if let Some(text) = section(bytes)? {
        return parse(text, "its manifest").map(Some);
    }
    let Some(path) = component.map(beside) else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            parse(&text, &format!("`{name}` beside it")).map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read `{}`: {error}", path.display())),
    }
}

/// The plugins that come with flowrun, by the names that `uses` writes, and what each says of itself.
///
/// # Errors
/// When one cannot be read: a build of flowrun's that a test would have stopped.
pub fn of_builtins() -> Result<Vec<(String, Arc<Described>)>, String> {
    let mut all = Vec::new();
    for name in builtin::names() {
        let described = builtin::find(&name).map(builtin::Component::described).transpose()?;
        all.extend(described.flatten().map(|described| (name, described)));
    }
    Ok(all)
}

pub(crate) fn parse(text: &str, what: &str) -> Result<Arc<Described>, String> {
    let described = Described::parse(text).map_err(|findings| {
        let Some(first) = findings.first() else { return format!("{what} cannot be read") };
        let line = 1 + text[..text.floor_char_boundary(first.span.start)].matches('\n').count();
        let more = if findings.len() > 1 { format!(" (and {} more)", findings.len() - 1) } else { String::new() };
        format!("{what}, line {line}: {}{more}", first.message)
    });
    described.map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(sections: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for data in sections {
            let name = SECTION.as_bytes();
            bytes.extend([0, (1 + name.len() + data.len()) as u8, name.len() as u8]);
            bytes.extend(name);
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn a_manifest_is_found_once() {
        assert_eq!(section(&component(&[])), Ok(None));
        assert_eq!(section(&component(&[b"name: x"])), Ok(Some("name: x")));
        assert_eq!(section(&component(&[b"name: x", b"name: x"])), Ok(Some("name: x")));
        assert!(section(&component(&[b"name: x", b"name: y"])).is_err_and(|error| error.contains("differ")));
        assert!(section(&component(&[b"\xff"])).is_err_and(|error| error.contains("UTF-8")));
        assert!(section(b"\x7fELF").is_err_and(|error| error.contains("not WebAssembly")));
        assert!(section(&component(&[b"name: x"])[..20]).is_err());
    }

    #[test]
    fn those_that_come_with_flowrun_describe_themselves_by_the_names_they_are_used_by() {
        let all = of_builtins().expect("all can be read");
        assert_eq!(all.len(), builtin::names().len(), "each has a manifest");
        for (name, described) in all {
            assert_eq!(described.manifest.reference(), name);
        }
    }
}
