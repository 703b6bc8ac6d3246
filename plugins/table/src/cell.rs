//! What a cell of a table holds, and how cells are compared.

use minijinja::Value;
use minijinja::value::ValueKind;
use std::cmp::Ordering;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A decimal number, never NaN or infinite.
    Float(f64),
    /// A text.
    Text(String),
}

impl Cell {
    /// A decimal number; nothing where it is none.
    #[must_use]
    pub fn float(value: f64) -> Self {
        if value.is_finite() { Self::Float(value) } else { Self::Null }
    }

    /// What an expression sees.
    #[must_use]
    pub fn value(&self) -> Value {
        match self {
            Self::Null => Value::from(()),
            Self::Bool(value) => Value::from(*value),
            Self::Int(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Text(value) => Value::from(value.as_str()),
        }
    }

    /// What an expression gave.
    ///
    /// # Errors
    /// When it is no cell: a list, a map, a number that is none.
    pub fn of(value: &Value) -> Result<Self, String> {
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => Ok(Self::Null),
            ValueKind::Bool => Ok(Self::Bool(value.is_true())),
            ValueKind::String => Ok(Self::Text(value.as_str().unwrap_or_default().to_owned())),
            ValueKind::Number => match (i64::try_from(value.clone()), f64::try_from(value.clone())) {
                (Ok(whole), _) if value.is_integer() => Ok(Self::Int(whole)),
                (_, Ok(decimal)) if decimal.is_finite() => Ok(Self::Float(decimal)),
                _ => Err(format!("{value} is not a number")),
            },
            other => Err(format!("a {other} is not a cell")),
        }
    }

    /// As a number, where it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The order for sorting: `false`, `true`, numbers, texts by their characters, nothing last.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => self.rank().cmp(&other.rank()),
            },
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Float(_) => 1,
            Self::Text(_) => 2,
            Self::Null => 3,
        }
    }

    /// What tells it from others in a group: numbers by value, so that `1` and `1.0` are one.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::Null => "n".to_owned(),
            Self::Bool(value) => format!("b{value}"),
            Self::Int(value) => format!("i{value}"),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => format!("i{value:.0}"),
            Self::Float(value) => format!("f{value}"),
            Self::Text(value) => format!("t{value}"),
        }
    }

    /// As text: what a CSV holds. Decimal numbers keep a point, so that they stay decimal.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(value) => value.clone(),
        }
    }
}

/// A table in memory: named columns, rows of as many cells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Names, each once.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A column's place.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}
