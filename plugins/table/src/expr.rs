//! Expressions over a row: minijinja's, as in a pipeline. Names are the row's columns; a name that is no column is an error before any row
//! is looked at.

use crate::cell::Cell;
use flowrun_plugin::Failure;
use minijinja::value::Object;
use minijinja::{Environment, UndefinedBehavior, Value};
use std::fmt;
use std::sync::Arc;

/// What one expression may do on one row, in minijinja's units: far more than a formula needs, and an end to a loop over `range`.
const FUEL: u64 = 100_000;

/// The language.
pub struct Language(Environment<'static>);

impl Default for Language {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        Self(environment)
    }
}

impl Language {
    /// Reads an expression over these columns; `path` is where it stands in `with`.
    ///
    /// # Errors
    /// When it is none, or uses a name that is no column.
    pub fn read(&self, text: &str, path: &str, columns: &[String]) -> Result<Expression<'_>, Failure> {
        let bad = |message: String| Failure::bad_config(path, message);
        let compiled = self.0.compile_expression_owned(text.to_owned());
        let compiled = compiled.map_err(|error| bad(format!("`{text}` is not an expression: {error}")))?;
        let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
        names.sort();
        for name in names {
            if !columns.contains(&name) && self.0.globals().all(|(global, _)| global != name) {
                return Err(bad(unknown(&name, columns)));
            }
        }
        Ok(Expression { compiled, text: text.to_owned(), path: path.to_owned(), columns: columns.into() })
    }
}

/// A name that is no column, with the one that may be meant.
#[must_use]
pub fn unknown(name: &str, columns: &[String]) -> String {
    let like = |column: &&String| column.eq_ignore_ascii_case(name) || one_slip(column, name);
    match columns.iter().find(like) {
        Some(column) => format!("no column `{name}`: did you mean `{column}`?"),
        None => format!("no column `{name}`: there are {}", columns.join(", ")),
    }
}

/// Whether two names differ by one letter that is other, missing or too much, or by two that changed places.
fn one_slip(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    match (a.len() - head - tail, b.len() - head - tail) {
        (0 | 1, 0 | 1) => true,
        (2, 2) => a[head] == b[head + 1] && a[head + 1] == b[head],
        _ => false,
    }
}

/// A compiled expression.
pub struct Expression<'a> {
    compiled: minijinja::Expression<'a, 'static>,
    text: String,
    path: String,
    columns: Arc<[String]>,
}

impl Expression<'_> {
    /// What it gives for a row, whose number (from 1) is for errors.
    ///
    /// # Errors
    /// When it cannot be reckoned, or gives no cell.
    pub fn of(&self, row: &[Cell], number: usize) -> Result<Cell, Failure> {
        self.value(row, number).and_then(|value| Cell::of(&value).map_err(|message| self.bad(number, &message)))
    }

    /// Whether it is true for a row.
    ///
    /// # Errors
    /// When it cannot be reckoned.
    pub fn holds(&self, row: &[Cell], number: usize) -> Result<bool, Failure> {
        self.value(row, number).map(|value| value.is_true())
    }

    fn value(&self, row: &[Cell], number: usize) -> Result<Value, Failure> {
        let cells: Vec<Value> = row.iter().map(Cell::value).collect();
        let context = Value::from_object(Row { columns: Arc::clone(&self.columns), cells });
        self.compiled.eval(context).map_err(|error| {
            let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            self.bad(number, &message)
        })
    }

    fn bad(&self, number: usize, message: &str) -> Failure {
        Failure::bad_input(format!("row {number}: `with.{}`, `{}`: {message}", self.path, self.text))
    }
}

/// A row as an expression sees it.
struct Row {
    columns: Arc<[String]>,
    cells: Vec<Value>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.cells).finish()
    }
}

impl Object for Row {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let place = self.columns.iter().position(|column| column == name)?;
        self.cells.get(place).cloned()
    }
}
