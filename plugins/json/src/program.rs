//! A filter: compiled once, run over values.

use flowrun_plugin::Failure;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Native, Vars, compile, data, unwrap_valr};
use jaq_json::{Val, write};
use std::io::Write;

/// A compiled filter with the values of its variables.
pub struct Program {
    filter: compile::Filter<Native<data::JustLut<Val>>>,
    variables: Vec<Val>,
}

impl Program {
    /// Compiles `code`, which may use the named variables.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new<const N: usize>(code: &str, variables: [(&str, Val); N]) -> Result<Self, String> {
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules =
            Loader::new(defs).load(&arena, File { code, path: () }).map_err(|errors| load_error(code, &errors))?;
        let names = variables.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let filter = Compiler::default().with_funs(funs).with_global_vars(names).compile(modules);
        let filter = filter.map_err(|errors| undefined(code, &errors))?;
        Ok(Self { filter, variables: variables.into_iter().map(|(_, value)| value).collect() })
    }

    /// Runs it over `input` and hands on each result.
    ///
    /// # Errors
    /// The filter's own error, by the data's fault as a rule; and what `each` says.
    pub fn run(&self, input: Val, mut each: impl FnMut(Val) -> Result<(), Failure>) -> Result<(), Failure> {
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new(self.variables.clone()));
        for result in self.filter.id.run((context, input)).map(unwrap_valr) {
            each(result.map_err(|error| Failure::bad_input(format!("the filter fails: {error}")))?)?;
        }
        Ok(())
    }
}

/// A value as JSON in one line.
///
/// # Errors
/// What JSON cannot hold: numbers that are none, bytes that are no text, keys that are no text.
pub fn to_json(value: &Val) -> Result<String, Failure> {
    let mut text = Vec::new();
    write::write(&mut text, &style(None), 0, value).map_err(Failure::internal)?;
    let text = String::from_utf8(text).map_err(|_| Failure::bad_input("the filter gives bytes that are no text"))?;
    match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(Failure::bad_input(format!("the filter gives what JSON cannot hold: {}", short(&text)))),
    }
}

/// Writes a value over several lines, two blanks a level.
///
/// # Errors
/// The file system's.
pub fn write_pretty(to: &mut impl Write, value: &Val) -> std::io::Result<()> {
    write::write(to, &style(Some("  ".to_owned())), 0, value)
}

fn style(indent: Option<String>) -> write::Pp {
    let sep_space = indent.is_some();
    write::Pp { indent, sort_keys: false, styles: write::Styles::default(), sep_space }
}

fn load_error(code: &str, errors: &load::Errors<&str, ()>) -> String {
    let first = errors.first().map(|(_, error)| match error {
        load::Error::Io(all) => all.first().map_or_else(String::new, |(_, text)| text.clone()),
        load::Error::Lex(all) => all
            .first()
            .map_or_else(String::new, |(expected, at)| format!("expected {} {}", expected.as_str(), place(code, at))),
        load::Error::Parse(all) => all
            .first()
            .map_or_else(String::new, |(expected, at)| format!("expected {} {}", expected.as_str(), place(code, at))),
    });
    format!("not a jq filter: {}", first.unwrap_or_default())
}

fn undefined(code: &str, errors: &compile::Errors<&str, ()>) -> String {
    let first = errors.first().and_then(|(_, all)| all.first());
    first.map_or_else(String::new, |(name, what)| format!("undefined {} `{name}` {}", what.as_str(), place(code, name)))
}

/// Where a piece of the code stands in it, for a person.
fn place(code: &str, piece: &str) -> String {
    let at = (piece.as_ptr() as usize).wrapping_sub(code.as_ptr() as usize);
    match code.get(at..) {
        Some("") | None => "at the end".to_owned(),
        Some(rest) => format!("at `{}`", short(rest)),
    }
}

fn short(text: &str) -> String {
    let line: String = text.chars().take(40).collect();
    if line.len() < text.len() { format!("{line}…") } else { line }
}
