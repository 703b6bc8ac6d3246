//! Parquet, flat: a column a name, optional values. Read whole, written as one row group, compressed with Snappy.

use crate::cell::{Cell, Table};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::Field;
use parquet::schema::types::Type;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// Who wrote a file: the same for every build, so that the bytes are.
const CREATED_BY: &str = "flowrun/table";

pub(crate) fn read(file: File) -> Result<Table, String> {
    let bad = |error: parquet::errors::ParquetError| format!("the table is not Parquet that can be read: {error}");
    let reader = SerializedFileReader::new(file).map_err(bad)?;
    let schema = reader.metadata().file_metadata().schema();
    if let Some(field) = schema.get_fields().iter().find(|field| !field.is_primitive()) {
        return Err(format!("column `{}` holds lists or records, and a cell is one value", field.name()));
    }
    let columns: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Vec::new();
    for (index, row) in reader.get_row_iter(None).map_err(bad)?.enumerate() {
        let row = row.map_err(bad)?;
        let cells = row.get_column_iter().map(|(name, field)| {
            cell(field).map_err(|message| format!("row {}, column `{name}`: {message}", index + 1))
        });
        rows.push(cells.collect::<Result<Vec<Cell>, String>>()?);
    }
    Ok(Table { columns, rows })
}

fn cell(field: &Field) -> Result<Cell, String> {
    Ok(match field {
        Field::Null => Cell::Null,
        Field::Bool(value) => Cell::Bool(*value),
        Field::Byte(value) => Cell::Int((*value).into()),
        Field::Short(value) => Cell::Int((*value).into()),
        Field::Int(value) => Cell::Int((*value).into()),
        Field::Long(value) => Cell::Int(*value),
        Field::UByte(value) => Cell::Int((*value).into()),
        Field::UShort(value) => Cell::Int((*value).into()),
        Field::UInt(value) => Cell::Int((*value).into()),
        Field::ULong(value) => Cell::Int(i64::try_from(*value).map_err(|_| format!("{value} is too large"))?),
        Field::Float16(value) => Cell::float(f64::from(*value)),
        Field::Float(value) => Cell::float((*value).into()),
        Field::Double(value) => Cell::float(*value),
        Field::Str(value) => Cell::Text(value.clone()),
        Field::Bytes(value) => {
            let text = std::str::from_utf8(value.data()).map_err(|_| "bytes that are no text".to_owned())?;
            Cell::Text(text.to_owned())
        }
        // Dates, times and exact decimals as their text.
        other => Cell::Text(other.to_string()),
    })
}

/// What a column is written as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

impl Kind {
    /// What all of a column's cells are; whole and decimal numbers together are decimal, anything else together is text.
    fn of(table: &Table, place: usize) -> Self {
        let kinds = table.rows.iter().filter_map(|row| match row[place] {
            Cell::Null => None,
            Cell::Bool(_) => Some(Self::Bool),
            Cell::Int(_) => Some(Self::Int),
            Cell::Float(_) => Some(Self::Float),
            Cell::Text(_) => Some(Self::Text),
        });
        let both = |a: Self, b: Self| match (a, b) {
            _ if a == b => a,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::Text,
        };
        kinds.reduce(both).unwrap_or(Self::Text)
    }

    fn field(self, name: &str) -> Result<Arc<Type>, String> {
        let physical = match self {
            Self::Bool => Physical::BOOLEAN,
            Self::Int => Physical::INT64,
            Self::Float => Physical::DOUBLE,
            Self::Text => Physical::BYTE_ARRAY,
        };
        let field = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        let field = field.with_logical_type((self == Self::Text).then_some(LogicalType::String));
        field.build().map(Arc::new).map_err(|error| error.to_string())
    }
}

pub(crate) fn write(to: &mut (impl Write + Send), table: &Table) -> Result<(), String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let kinds: Vec<Kind> = (0..table.columns.len()).map(|place| Kind::of(table, place)).collect();
    let fields = kinds.iter().zip(&table.columns).map(|(kind, name)| kind.field(name)).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("schema").with_fields(fields).build().map_err(text)?;
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by(CREATED_BY.to_owned());
    let mut writer = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties.build())).map_err(text)?;
    let mut group = writer.next_row_group().map_err(text)?;
    for (place, kind) in kinds.iter().enumerate() {
        let cells = table.rows.iter().map(|row| &row[place]);
        match kind {
            Kind::Bool => column::<BoolType, _>(&mut group, cells, |cell| *cell == Cell::Bool(true)),
            Kind::Int => {
                column::<Int64Type, _>(&mut group, cells, |cell| if let Cell::Int(value) = cell { *value } else { 0 })
            }
            Kind::Float => column::<DoubleType, _>(&mut group, cells, |cell| cell.number().unwrap_or(0.0)),
            Kind::Text => {
                column::<ByteArrayType, _>(&mut group, cells, |cell| ByteArray::from(cell.text().into_bytes()))
            }
        }
        .map_err(text)?;
    }
    group.close().map_err(text)?;
    writer.close().map(drop).map_err(text)
}

fn column<'a, T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: impl Iterator<Item = &'a Cell>,
    value: impl Fn(&Cell) -> T::T,
) -> parquet::errors::Result<()> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(*cell != Cell::Null));
        if *cell != Cell::Null {
            values.push(value(cell));
        }
    }
    let Some(mut writer) = group.next_column()? else { return Ok(()) };
    writer.typed::<T>().write_batch(&values, Some(&levels), None)?;
    writer.close()
}
