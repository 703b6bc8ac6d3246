//! What a file is, before any of it runs: a plugin of a version we speak, a plain command, or why it is neither.
//!
//! The first eight bytes tell a component from other things; a component's imports and exports, read from its sections,
//! tell the rest. Nothing is compiled for that, so what is damaged or not ours is refused at once. Every refusal says who
//! can remedy it.

use flowrun_core::outcome::{Failure, FailureKind};
use wasmparser::{BinaryReaderError, ComponentExternalKind, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// The version of `flowrun:step` that this host speaks: `runner/../plugins/wit/v1`.
const OURS: Version = Version { major: 1, minor: 0 };

/// The packages of WASI 0.2 that a guest may import; most of them answer but give nothing (see `guest`).
const WASI: [&str; 6] = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// How a component is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It exports `flowrun:step`'s `run`.
    Step,
    /// It is a WASI command: it exports `wasi:cli/run`.
    Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u64,
    minor: u64,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        Some(Self { major: parts.next()??, minor: parts.next()?? })
    }
}

fn refuse(message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Step, message).hint(hint)
}

const COMPONENT: &str = "a plugin is a component: build it with `cargo build --target wasm32-wasip2`, `componentize-py`, \
                         `jco componentize`, or turn a core module into one with `wasm-tools component new`";

/// Checks that `bytes` are a component that can be run here, and says how.
///
/// # Errors
/// Why it cannot be run, and who can remedy that.
pub fn check(bytes: &[u8]) -> Result<Kind, Failure> {
    header(bytes)?;
    let outline = Outline::read(bytes).map_err(|error| unusable(&error.to_string()))?;
    imports(&outline)?;
    outline.kind()
}

/// The names of what a component imports and of what it exports.
///
/// # Errors
/// When the bytes are no component.
pub(crate) fn interface(bytes: &[u8]) -> Result<(Vec<&str>, Vec<&str>), String> {
    header(bytes).map_err(|failure| failure.message)?;
    let outline = Outline::read(bytes).map_err(|error| unusable(&error.to_string()).message)?;
    let imports = outline.imports.iter().map(|(name, _)| *name).collect();
    let exports = outline.exports.iter().map(|(name, _)| *name).collect();
    Ok((imports, exports))
}

/// Why a component that cannot be compiled cannot.
pub(super) fn unusable(error: &str) -> Failure {
    refuse(
        format!("the plugin cannot be compiled: {error}"),
        "it is damaged, or needs a feature of WebAssembly that this flowrun does not have",
    )
}

fn header(bytes: &[u8]) -> Result<(), Failure> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => {
            Err(refuse("the plugin is a core WebAssembly module, not a component", COMPONENT))
        }
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Err(refuse(
            "the plugin uses another version of the component format",
            "its author must build it with current tools, or this flowrun is too old for it",
        )),
        _ => Err(refuse("the plugin is not WebAssembly", COMPONENT)),
    }
}

/// What a component wants and gives: names and kinds, in the order of the file. What is inside it has names of its own.
struct Outline<'a> {
    imports: Vec<(&'a str, ComponentExternalKind)>,
    exports: Vec<(&'a str, ComponentExternalKind)>,
}

impl<'a> Outline<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut outline = Self { imports: Vec::new(), exports: Vec::new() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let import = import?;
                        outline.imports.push((import.name.name, import.ty.kind()));
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export?;
                        outline.exports.push((export.name.name, export.kind));
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn kind(&self) -> Result<Kind, Failure> {
        let mut exports = self.exports.iter();
        let found = exports.find_map(|(name, kind)| self.exported(name, *kind));
        found.unwrap_or_else(|| {
            Err(refuse(
                "the component is not a flowrun plugin: it exports neither `run` of `flowrun:step` nor `wasi:cli/run`",
                "build it against the world `flowrun:step/step`, or as a program with a `main`",
            ))
        })
    }

    fn exported(&self, name: &str, kind: ComponentExternalKind) -> Option<Result<Kind, Failure>> {
        if name == "run" && kind == ComponentExternalKind::Func && self.speaks() {
            return Some(Ok(Kind::Step));
        }
        match name.split_once('@') {
            Some(("wasi:cli/run", version)) if version.starts_with("0.2.") => Some(Ok(Kind::Command)),
            Some(("wasi:cli/run", version)) => Some(Err(wasi(version))),
            _ => None,
        }
    }

    /// Whether it imports anything of `flowrun:step`: a step always does, `run` takes types from there.
    fn speaks(&self) -> bool {
        self.imports.iter().any(|(name, _)| name.starts_with("flowrun:step/"))
    }
}

/// How to run a compiled component, which was checked before it was compiled.
pub(super) fn kind(engine: &Engine, component: &Component) -> Kind {
    let ty = component.component_type();
    let speaks = ty.imports(engine).any(|(name, _)| name.starts_with("flowrun:step/"));
    let run = ty.get_export(engine, "run");
    let step = speaks && run.is_some_and(|run| matches!(run.ty, ComponentItem::ComponentFunc(_)));
    if step { Kind::Step } else { Kind::Command }
}

fn imports(outline: &Outline<'_>) -> Result<(), Failure> {
    for (name, kind) in &outline.imports {
        if *kind == ComponentExternalKind::Type {
            continue; // a name for a type of an interface, which is imported too
        }
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let package = interface.split('/').next().unwrap_or_default();
        if package == "flowrun:step" {
            step(version)?;
        } else if !WASI.contains(&package) {
            return Err(refuse(
                format!("the plugin wants `{name}`, which flowrun does not give to plugins"),
                "a plugin has its inputs, its outputs and its log, no more; its author must do without",
            ));
        } else if !version.starts_with("0.2.") {
            return Err(wasi(version));
        }
    }
    Ok(())
}

fn step(version: &str) -> Result<(), Failure> {
    let Some(theirs) = Version::parse(version) else {
        return Err(refuse(format!("the plugin names no version of `flowrun:step` (`{version}`)"), COMPONENT));
    };
    if theirs > OURS {
        return Err(refuse(
            format!(
                "the plugin is too new: it speaks flowrun:step {version}, this flowrun {}.{}",
                OURS.major, OURS.minor
            ),
            "upgrade flowrun, or use an older version of the plugin",
        ));
    }
    if theirs.major < OURS.major {
        return Err(refuse(
            format!("the plugin is too old: it speaks flowrun:step {version}, which this flowrun no longer does"),
            format!("use a newer version of the plugin; its author builds it against flowrun:step {}", OURS.major),
        ));
    }
    Ok(())
}

fn wasi(version: &str) -> Failure {
    refuse(
        format!("the plugin is built for WASI {version}; this flowrun runs WASI 0.2"),
        "upgrade flowrun, or have the plugin built for `wasm32-wasip2`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_says_who_must_upgrade() {
        let message = |version| step(version).map_err(|failure| failure.message);
        assert_eq!(message("1.0.0"), Ok(()));
        assert_eq!(message("1.0.7"), Ok(()));
        assert!(message("1.1.0").is_err_and(|message| message.contains("too new")));
        assert!(message("2.0.0").is_err_and(|message| message.contains("too new")));
        assert!(message("0.9.0").is_err_and(|message| message.contains("too old")));
        assert!(message("one").is_err());
    }

    #[test]
    fn the_first_bytes_tell_modules_from_components() {
        assert!(header(b"\0asm\x0d\0\x01\0").is_ok());
        assert!(header(b"\0asm\x01\0\0\0").is_err_and(|failure| failure.message.contains("core")));
        assert!(header(b"\0asm\x0e\0\x01\0").is_err_and(|failure| failure.message.contains("version")));
        assert!(header(b"\x7fELF").is_err_and(|failure| failure.message.contains("not WebAssembly")));
        assert!(header(b"").is_err());
    }

    #[test]
    fn what_is_cut_short_is_refused_wherever_it_is_cut() {
        let whole = include_bytes!("testdata/probe.wasm");
        assert_eq!(check(whole), Ok(Kind::Command));
        let end = whole.len();
        for cut in [8, 9, 100, end / 2, end - 1] {
            assert!(check(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut damaged = whole.to_vec();
        damaged[8..64].fill(0xff);
        assert!(check(&damaged).is_err_and(|failure| failure.message.contains("cannot be compiled")));
    }

    #[test]
    fn names_inside_a_nested_component_are_its_own() {
        let nested = wat::parse_str(
            r#"(component (component (import "wasi:http/types@0.2.0" (instance))) (core module (import "a" "b" (func))))"#,
        );
        let failure = check(&nested.expect("WAT")).expect_err("it is no plugin");
        assert!(failure.message.contains("not a flowrun plugin"), "{failure:?}");
    }
}
