//! What is done to a table: rows kept, columns added, groups made, columns picked, rows sorted. In this order.

use crate::Config;
use crate::cell::{Cell, Table};
use crate::expr::{Expression, Language, unknown};
use flowrun_plugin::Failure;
use std::collections::{HashMap, HashSet};

/// A function over a group's cells; those that are null do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// How many rows there are; of an expression, how many of its cells are not null.
    Count,
    /// The sum of numbers.
    Sum,
    /// Their arithmetic mean.
    Mean,
    /// The least cell.
    Min,
    /// The greatest.
    Max,
    /// The first.
    First,
    /// The last.
    Last,
    /// How many different ones there are.
    Distinct,
}

/// Does all that `config` asks for.
///
/// # Errors
/// When it names columns that there are not, or a cell is not what an expression needs.
pub fn work(mut table: Table, config: &Config) -> Result<Table, Failure> {
    let language = Language::default();
    if let Some(text) = &config.r#where {
        let expression = language.read(text, "where", &table.columns)?;
        keep(&mut table, &expression)?;
    }
    for (index, text) in config.columns.iter().enumerate() {
        let path = format!("columns.{index}");
        let (name, text) = named(text, &path)?;
        let expression = language.read(text, &path, &table.columns)?;
        derive(&mut table, name, &expression)?;
    }
    if !config.group_by.is_empty() || !config.aggregate.is_empty() {
        table = group(&table, config, &language)?;
    }
    sort(&mut table, &config.sort)?;
    if let Some(limit) = config.limit {
        table.rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    match &config.select {
        Some(names) => select(&table, names),
        None => Ok(table),
    }
}

fn keep(table: &mut Table, expression: &Expression<'_>) -> Result<(), Failure> {
    let mut kept = Vec::new();
    for (index, row) in std::mem::take(&mut table.rows).into_iter().enumerate() {
        if expression.holds(&row, index + 1)? {
            kept.push(row);
        }
    }
    table.rows = kept;
    Ok(())
}

fn derive(table: &mut Table, name: &str, expression: &Expression<'_>) -> Result<(), Failure> {
    let place = table.find(name);
    for (index, row) in table.rows.iter_mut().enumerate() {
        let cell = expression.of(row, index + 1)?;
        match place {
            Some(place) => row[place] = cell,
            None => row.push(cell),
        }
    }
    if place.is_none() {
        table.columns.push(name.to_owned());
    }
    Ok(())
}

fn group(table: &Table, config: &Config, language: &Language) -> Result<Table, Failure> {
    let places = find_all(table, &config.group_by, "group_by")?;
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<Vec<String>, usize> = HashMap::new();
    for (index, row) in table.rows.iter().enumerate() {
        let identity = places.iter().map(|place| row[*place].identity()).collect();
        let group = *known.entry(identity).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    // Without columns to group by, the whole table is one group, also where it is empty.
    if places.is_empty() && groups.is_empty() {
        groups.push(Vec::new());
    }
    let mut columns = config.group_by.clone();
    let first = |group: &Vec<usize>| places.iter().map(|place| table.rows[group[0]][*place].clone()).collect();
    let mut rows: Vec<Vec<Cell>> =
        groups.iter().map(|group| if places.is_empty() { Vec::new() } else { first(group) }).collect();
    for (index, text) in config.aggregate.iter().enumerate() {
        let path = format!("aggregate.{index}");
        let (name, text) = named(text, &path)?;
        if columns.iter().any(|column| column == name) {
            return Err(Failure::bad_config(path, format!("the name `{name}` is taken")));
        }
        columns.push(name.to_owned());
        let made = aggregated(table, &groups, &path, text, language)?;
        rows.iter_mut().zip(made).for_each(|(row, cell)| row.push(cell));
    }
    Ok(Table { columns, rows })
}

/// `NAME = EXPRESSION` in its two parts.
fn named<'a>(text: &'a str, path: &str) -> Result<(&'a str, &'a str), Failure> {
    let parts = text.split_once('=').filter(|(name, rest)| !name.trim().is_empty() && !rest.starts_with('='));
    let parts = parts.map(|(name, rest)| (name.trim(), rest.trim()));
    parts.ok_or_else(|| Failure::bad_config(path, format!("`{text}` is not `NAME = EXPRESSION`")))
}

fn aggregated(
    table: &Table,
    groups: &[Vec<usize>],
    path: &str,
    text: &str,
    language: &Language,
) -> Result<Vec<Cell>, Failure> {
    let (function, over) = Function::parse(text).ok_or_else(|| {
        let known = Function::ALL.map(|(name, _)| name).join(", ");
        Failure::bad_config(
            path,
            format!("`{text}` is not a function over an expression, such as `mean(score)`: there are {known}"),
        )
    })?;
    if over.is_empty() {
        return match function {
            Function::Count => Ok(groups.iter().map(|group| Cell::Int(group.len() as i64)).collect()),
            _ => Err(Failure::bad_config(path, format!("`{text}` lacks what it is over"))),
        };
    }
    let expression = language.read(over, path, &table.columns)?;
    let fold = |group: &Vec<usize>| {
        let mut cells = Vec::with_capacity(group.len());
        for index in group {
            match expression.of(&table.rows[*index], index + 1)? {
                Cell::Null => {}
                cell => cells.push((*index, cell)),
            }
        }
        function.fold(&cells, path)
    };
    groups.iter().map(fold).collect()
}

impl Function {
    const ALL: [(&str, Self); 8] = [
        ("count", Self::Count),
        ("sum", Self::Sum),
        ("mean", Self::Mean),
        ("min", Self::Min),
        ("max", Self::Max),
        ("first", Self::First),
        ("last", Self::Last),
        ("distinct", Self::Distinct),
    ];

    /// `mean(score)` as the function and what it is over.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (name, rest) = text.split_once('(')?;
        let (_, function) = Self::ALL.into_iter().find(|(known, _)| *known == name.trim())?;
        Some((function, rest.strip_suffix(')')?.trim()))
    }

    fn fold(self, cells: &[(usize, Cell)], path: &str) -> Result<Cell, Failure> {
        let only = || cells.iter().map(|(_, cell)| cell);
        Ok(match self {
            Self::Count => Cell::Int(cells.len() as i64),
            Self::Sum => sum(cells, path)?,
            Self::Mean if cells.is_empty() => Cell::Null,
            Self::Mean => Cell::float(sum(cells, path)?.number().unwrap_or(f64::NAN) / cells.len() as f64),
            Self::Min => only().min_by(|a, b| a.order(b)).cloned().unwrap_or(Cell::Null),
            // The first of those that are equal, as for `min`.
            Self::Max => only().rev().max_by(|a, b| a.order(b)).cloned().unwrap_or(Cell::Null),
            Self::First => only().next().cloned().unwrap_or(Cell::Null),
            Self::Last => only().next_back().cloned().unwrap_or(Cell::Null),
            Self::Distinct => Cell::Int(only().map(Cell::identity).collect::<HashSet<_>>().len() as i64),
        })
    }
}

/// Whole numbers stay whole while their sum can be; decimals are added in the order of the rows.
fn sum(cells: &[(usize, Cell)], path: &str) -> Result<Cell, Failure> {
    let (mut whole, mut decimal) = (Some(0i64), 0.0);
    for (index, cell) in cells {
        let Some(number) = cell.number() else {
            let message = format!("row {}: `with.{path}`: `{}` is not a number", index + 1, cell.text());
            return Err(Failure::bad_input(message));
        };
        decimal += number;
        whole = match cell {
            Cell::Int(value) => whole.and_then(|sum| sum.checked_add(*value)),
            _ => None,
        };
    }
    Ok(whole.map_or_else(|| Cell::float(decimal), Cell::Int))
}

fn sort(table: &mut Table, keys: &[String]) -> Result<(), Failure> {
    let mut places = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let (name, down) = match key.strip_prefix('-') {
            Some(name) if table.find(key).is_none() => (name, true),
            _ => (key.as_str(), false),
        };
        let place = table.find(name);
        let place = place.ok_or_else(|| Failure::bad_config(format!("sort.{index}"), unknown(name, &table.columns)))?;
        places.push((place, down));
    }
    table.rows.sort_by(|a, b| {
        let orders = places.iter().map(|(place, down)| {
            let order = a[*place].order(&b[*place]);
            // Nothing stays last either way.
            let nothing = a[*place] == Cell::Null || b[*place] == Cell::Null;
            if *down && !nothing { order.reverse() } else { order }
        });
        orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    Ok(())
}

fn select(table: &Table, names: &[String]) -> Result<Table, Failure> {
    let places = find_all(table, names, "select")?;
    let pick = |row: &Vec<Cell>| places.iter().map(|place| row[*place].clone()).collect();
    Ok(Table { columns: names.to_vec(), rows: table.rows.iter().map(pick).collect() })
}

fn find_all(table: &Table, names: &[String], path: &str) -> Result<Vec<usize>, Failure> {
    let find = |(index, name): (usize, &String)| {
        if names[..index].contains(name) {
            return Err(Failure::bad_config(format!("{path}.{index}"), format!("column `{name}` stands there twice")));
        }
        let place = table.find(name);
        place.ok_or_else(|| Failure::bad_config(format!("{path}.{index}"), unknown(name, &table.columns)))
    };
    names.iter().enumerate().map(find).collect()
}
