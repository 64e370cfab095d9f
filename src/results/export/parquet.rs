//! A Parquet table, with the types that rows have. Written in groups of rows, so that memory stays small.

use std::io::Write;

use ::parquet::data_type::ByteArray;
use bytes::Bytes;
use serde_json::Value;

use super::super::rows::ResultRow;
use super::flatten::{self, Columns};
use super::{Beside, RowWriter, answer, failed};
use crate::error::{Error, Result};
use crate::layout::table::{Column, ColumnKind, GroupWriter, TableWriter};

const GROUP_ROWS: usize = 16 * 1024;
const GROUP_BYTES: usize = 16 * 1024 * 1024;

pub struct ParquetFile<W: Write + Send> {
    table: Option<TableWriter<W>>,
    beside: Beside,
    columns: Option<Columns>,
    rows: Vec<Flat>,
    bytes: usize,
}

/// A row that waits for its group; without its bodies it is small.
struct Flat {
    row: ResultRow,
    result: Option<Bytes>,
    values: Vec<Option<Value>>,
}

impl<W: Write + Send> ParquetFile<W> {
    /// `columns`: of the members of results that are objects; those results are not in `result` then.
    pub fn new(out: W, beside: Beside, columns: Option<Columns>) -> Result<ParquetFile<W>> {
        use ColumnKind::{Binary, Int64, Text, Time};
        let named = |name: &str, kind, required| Column { name: name.to_owned(), kind, required };
        let mut all = vec![
            named("number", Int64, true),
            named("call_id", Text, true),
            named("status", Text, true),
            named("attempts", Int64, false),
            named("queued_ms", Int64, false),
            named("start_ms", Int64, false),
            named("run_ms", Int64, false),
            named("started_at", Time, false),
            named("completed_at", Time, false),
            named("worker", Text, false),
        ];
        all.extend(beside.source.then(|| named("source", Text, false)));
        if let Some(columns) = &columns {
            all.extend(columns.names().zip(columns.kinds()).map(|(name, kind)| named(name, kind, false)));
        }
        all.extend([named("result", Text, false), named("result_binary", Binary, false)]);
        all.push(named("error", Text, false));
        if beside.input {
            all.extend([named("input", Text, false), named("input_binary", Binary, false)]);
        }
        let table = Some(TableWriter::to(out, &all)?);
        Ok(ParquetFile { table, beside, columns, rows: Vec::new(), bytes: 0 })
    }

    fn group(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let Some(table) = self.table.as_mut().filter(|_| !rows.is_empty()) else { return Ok(()) };
        table.group(|group| write(group, &rows, self.columns.as_ref(), self.beside))
    }
}

fn write<W: Write + Send>(
    group: &mut GroupWriter<'_, W>,
    rows: &[Flat],
    columns: Option<&Columns>,
    beside: Beside,
) -> Result<()> {
    let number = |of: fn(&crate::layout::part::Row) -> Option<u64>| {
        rows.iter().map(move |flat| flat.row.outcome.as_ref().and_then(of).map(|value| value as i64))
    };
    group.int64(&rows.iter().map(|flat| flat.row.number as i64).collect::<Vec<_>>())?;
    let calls = rows.iter().map(|flat| flat.row.call.to_string().into_bytes().into());
    group.bytes(&calls.collect::<Vec<_>>())?;
    group.bytes(&rows.iter().map(|flat| flat.row.status.as_str().into()).collect::<Vec<_>>())?;
    group.optional_int64(number(|row| Some(u64::from(row.attempts))))?;
    group.optional_int64(number(|row| Some(row.queued_ms)))?;
    group.optional_int64(number(|row| Some(row.start_ms)))?;
    group.optional_int64(number(|row| Some(row.run_ms)))?;
    group.optional_int64(number(|row| row.started_at.map(|at| at.0)))?;
    group.optional_int64(number(|row| Some(row.completed_at.0)))?;
    let outcomes = || rows.iter().map(|flat| flat.row.outcome.as_ref());
    group.optional_bytes(outcomes().map(|outcome| outcome.map(|outcome| (&*outcome.worker).into())))?;
    if beside.source {
        group.optional_bytes(rows.iter().map(|flat| flat.row.source.as_deref().map(Into::into)))?;
    }
    for (index, kind) in columns.iter().flat_map(|columns| columns.kinds()).enumerate() {
        let values = rows.iter().map(|flat| flat.values[index].as_ref());
        match kind {
            ColumnKind::Boolean => group.optional_boolean(values.map(|value| value?.as_bool()))?,
            ColumnKind::Double => group.optional_double(values.map(|value| value?.as_f64()))?,
            ColumnKind::Int64 | ColumnKind::Time => {
                group.optional_int64(values.map(|value| value?.as_i64()))?;
            }
            ColumnKind::Text | ColumnKind::Binary => {
                group.optional_bytes(values.map(|value| Some(flatten::text(value?).into_bytes().into())))?;
            }
        }
    }
    bodies(group, rows, |flat| flat.result.as_ref())?;
    let errors = outcomes().map(|outcome| outcome?.error.as_deref().map(Into::into));
    group.optional_bytes(errors)?;
    if beside.input {
        bodies(group, rows, |flat| flat.row.input.as_ref().map(|record| &record.payload))?;
    }
    Ok(())
}

/// Two columns: text, and what is none.
fn bodies<W: Write + Send>(
    group: &mut GroupWriter<'_, W>,
    rows: &[Flat],
    body: fn(&Flat) -> Option<&Bytes>,
) -> Result<()> {
    let is_text = |bytes: &&Bytes| std::str::from_utf8(bytes).is_ok();
    let array = |bytes: &Bytes| ByteArray::from(bytes.clone());
    group.optional_bytes(rows.iter().map(|flat| body(flat).filter(is_text).map(array)))?;
    group.optional_bytes(rows.iter().map(|flat| body(flat).filter(|bytes| !is_text(bytes)).map(array)))
}

impl<W: Write + Send> RowWriter for ParquetFile<W> {
    fn row(&mut self, row: &ResultRow) -> Result<()> {
        let mut result = answer(row).cloned();
        let mut values = Vec::new();
        if let Some(columns) = &self.columns {
            let members = result.as_ref().and_then(|body| flatten::members(body));
            if members.is_some() {
                result = None;
            }
            values = columns.of(members);
        }
        let input = row.input.as_ref().map_or(0, |record| record.payload.len());
        self.bytes += answer(row).map_or(0, Bytes::len) + input + 400;
        let mut row = row.clone();
        if let Some(outcome) = &mut row.outcome {
            outcome.result = crate::layout::part::RowResult::None;
        }
        self.rows.push(Flat { row, result, values });
        if self.rows.len() < GROUP_ROWS && self.bytes < GROUP_BYTES { Ok(()) } else { self.group() }
    }

    fn finish(&mut self) -> Result<()> {
        self.group()?;
        let table = self.table.take().ok_or_else(|| Error::internal("a table was finished twice"))?;
        table.end(None)?.flush().map_err(failed)
    }
}
