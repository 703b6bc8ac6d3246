//! Tables: a CSV with a header, read as texts and written as the same texts. Which part a row goes to depends on what is in
//! it, not on where it stands; rows keep their order within a part. Knows nothing of pictures.

use crate::Config;
use crate::told::Told;
use boxes::catalog::printable;
use csv::StringRecord;
use flowrun_plugin::Failure;
use std::collections::HashMap;
use std::path::Path;

/// Splits the CSV `table` into `NAME.csv` files in the folder `output`.
///
/// # Errors
/// [`Failure`]: a setting that is for pictures, a column that is not there, a file that is no CSV, a part without rows.
pub fn split(config: &Config, table: &Path, output: &Path) -> Result<Told, Failure> {
    refuse_picture_settings(config)?;
    let (header, rows) = read(table)?;
    let stratify = column(&header, "stratify", config.stratify.as_deref())?;
    let group = column(&header, "group", config.group.as_deref())?;
    let mut same: HashMap<String, u64> = HashMap::new();
    let item = |row: &StringRecord| {
        let group = match group.map(|place| &row[place]) {
            Some(value) if !value.is_empty() => format!("g:{value}"),
            _ => alone(row, &mut same),
        };
        (group, stratify.map(|place| row[place].to_owned()))
    };
    let items = rows.iter().map(item).collect();
    let told = Told::split(config, "rows", items)?;
    for (part, name) in told.names.iter().enumerate() {
        let rows = rows.iter().zip(&told.part_of).filter(|(_, of)| **of == part).map(|(row, _)| row);
        let name = format!("{name}.csv");
        write(&output.join(&name), &header, rows).map_err(|error| Failure::internal(format!("`{name}`: {error}")))?;
    }
    Ok(told)
}

fn refuse_picture_settings(config: &Config) -> Result<(), Failure> {
    let given = [
        ("leaks", config.leaks.is_some()),
        ("leak_distance", config.leak_distance.is_some()),
        ("join_leaks", config.join_leaks),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((path, _)) => Err(Failure::bad_config(path, "this is about pictures, and the input is a table")),
        None => Ok(()),
    }
}

fn read(table: &Path) -> Result<(StringRecord, Vec<StringRecord>), Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::bad_input(format!("the table: {error}"));
    let mut reader = csv::Reader::from_path(table).map_err(|error| bad(&error))?;
    let header = reader.headers().map_err(|error| bad(&error))?;
    let header: StringRecord = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
    let rows = reader.into_records().collect::<Result<Vec<_>, _>>().map_err(|error| bad(&error))?;
    if rows.is_empty() {
        return Err(bad(&"it has no rows"));
    }
    Ok((header, rows))
}

/// The place of the column that the setting `path` names.
fn column(header: &StringRecord, path: &str, name: Option<&str>) -> Result<Option<usize>, Failure> {
    let Some(name) = name else { return Ok(None) };
    let mut places = header.iter().enumerate().filter(|(_, column)| *column == name).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(Some(place)),
        (Some(_), Some(_)) => Err(Failure::bad_input(format!("the table has two columns `{}`", printable(name)))),
        (None, _) => {
            let there = header.iter().map(printable).collect::<Vec<_>>().join(", ");
            Err(Failure::bad_config(path, format!("no column `{}`: there are {there}", printable(name))))
        }
    }
}

/// The name of a row that is alone: its cells with their lengths, so that no two rows have one name, and a number where
/// equal rows came before.
fn alone(row: &StringRecord, same: &mut HashMap<String, u64>) -> String {
    let cells: String = row.iter().map(|cell| format!("{}:{cell}", cell.len())).collect();
    let number = same.entry(cells.clone()).or_default();
    *number += 1;
    format!("r:{number}:{cells}")
}

fn write<'a>(
    path: &Path,
    header: &StringRecord,
    rows: impl Iterator<Item = &'a StringRecord>,
) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_path(path)?;
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    Ok(writer.flush()?)
}
