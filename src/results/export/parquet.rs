//! A Parquet table with typed columns. It is written in groups of rows, so that memory stays bounded.

use std::io::Write;

use ::parquet::data_type::{ByteArray, FixedLenByteArray};
use bytes::Bytes;

use super::super::rows::ResultRow;
use super::columns::{Cell, TableColumns};
use super::number::Number;
use super::{RowWriter, answer, failed};
use crate::error::{Error, Result};
use crate::layout::table::{Column, ColumnKind, GroupWriter, TableWriter};
use crate::model::json_object;

const GROUP_ROWS: usize = 16 * 1024;
const GROUP_BYTES: usize = 16 * 1024 * 1024;
/// About what a row takes beside its bodies.
const ROW_BYTES: usize = 400;

pub struct ParquetFile<W: Write + Send> {
    table: Option<TableWriter<W>>,
    columns: TableColumns,
    /// The rows of the next group.
    rows: Vec<ResultRow>,
    bytes: usize,
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn new(out: W, columns: TableColumns) -> Result<ParquetFile<W>> {
        let table = Some(TableWriter::to(out, &columns.columns("_binary"))?);
        Ok(ParquetFile { table, columns, rows: Vec::new(), bytes: 0 })
    }

    fn group(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let Some(table) = self.table.as_mut().filter(|_| !rows.is_empty()) else { return Ok(()) };
        let rows: Vec<_> = rows.iter().map(|row| self.columns.cells(row)).collect();
        table.group(|group| {
            let columns = self.columns.columns("_binary");
            columns.iter().enumerate().try_for_each(|(index, column)| {
                write(group, column, rows.iter().map(|cells| cells[index].as_ref()))
            })
        })
    }
}

fn write<'a, W: Write + Send>(
    group: &mut GroupWriter<'_, W>,
    column: &Column,
    cells: impl Iterator<Item = Option<&'a Cell<'a>>>,
) -> Result<()> {
    match column.kind {
        ColumnKind::Int64 | ColumnKind::Time if column.required => group.column(cells.filter_map(int64)),
        ColumnKind::Int64 | ColumnKind::Time => group.column(cells.map(int64)),
        ColumnKind::Text if column.required => group.column(cells.filter_map(bytes)),
        ColumnKind::Text | ColumnKind::Binary => group.column(cells.map(bytes)),
        ColumnKind::Boolean => group.column(cells.map(|cell| member(cell).map(|json| json == "true"))),
        ColumnKind::Double => group.column(cells.map(|cell| member(cell)?.parse::<f64>().ok())),
        ColumnKind::Decimal { scale } => group.column(cells.map(|cell| decimal(member(cell)?, scale))),
    }
}

fn member<'a>(cell: Option<&Cell<'a>>) -> Option<&'a str> {
    match cell? {
        Cell::Member(json) => Some(json),
        _ => None,
    }
}

/// As Parquet has it: big-endian, in two's complement.
fn decimal(json: &str, scale: u8) -> Option<FixedLenByteArray> {
    let unscaled = Number::of(json)?.unscaled(scale.into())?;
    Some(ByteArray::from(unscaled.to_be_bytes().to_vec()).into())
}

fn int64(cell: Option<&Cell<'_>>) -> Option<i64> {
    match cell? {
        Cell::Number(number) => Some(*number as i64),
        Cell::Time(time) => Some(time.0 as i64),
        Cell::Member(json) => json.parse().ok(),
        Cell::Text(_) | Cell::Body(_) => None,
    }
}

fn bytes(cell: Option<&Cell<'_>>) -> Option<ByteArray> {
    match cell? {
        Cell::Text(text) => Some((&**text).into()),
        Cell::Body(bytes) => Some((*bytes).clone().into()),
        Cell::Member(json) => Some(json_object::text(json).into_owned().into_bytes().into()),
        Cell::Number(_) | Cell::Time(_) => None,
    }
}

impl<W: Write + Send> RowWriter for ParquetFile<W> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        let input = row.input.as_ref().map_or(0, |record| record.payload.len());
        self.bytes += answer(row).map_or(0, Bytes::len) + input + ROW_BYTES;
        self.rows.push(row.clone());
        if self.rows.len() < GROUP_ROWS && self.bytes < GROUP_BYTES { Ok(()) } else { self.group() }
    }

    fn finish(&mut self) -> Result<()> {
        self.group()?;
        let table = self.table.take().ok_or_else(|| Error::internal("a table was finished twice"))?;
        table.end(None)?.flush().map_err(failed)
    }
}
