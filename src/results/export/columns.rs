//! The columns that rows have in every format, and the columns of tables: those of CSV and Parquet.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer;
use super::members::{Members, MembersOf};
use super::row_columns::COLUMNS;
use crate::layout::table::{Column, ColumnKind};
use crate::model::Time;
use crate::model::json_object::members;
use crate::results::rows::{ResultRow, Rows};

/// One value of a row. A body is text where it is UTF-8.
#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    Number(u64),
    Time(Time),
    Text(Cow<'a, str>),
    Body(&'a Bytes),
    /// A value of a JSON object, as it is written there.
    Member(&'a str),
}

/// The first columns have a value in every row.
const REQUIRED: usize = 3;

/// The values of a row, in the order of [`COLUMNS`].
pub(super) fn cells(row: &ResultRow) -> [Option<Cell<'_>>; COLUMNS.len()] {
    let outcome = row.outcome.as_ref();
    let number = |of: fn(&crate::layout::part::Row) -> u64| outcome.map(|row| Cell::Number(of(row)));
    [
        Some(Cell::Number(row.number)),
        Some(Cell::Text(row.call.to_string().into())),
        Some(Cell::Text(row.status.as_str().into())),
        number(|row| row.attempts.into()),
        number(|row| row.queued_ms),
        number(|row| row.start_ms),
        number(|row| row.run_ms),
        outcome.and_then(|row| row.started_at).map(Cell::Time),
        outcome.map(|row| Cell::Time(row.completed_at)),
        outcome.map(|row| Cell::Text((&*row.worker).into())),
        row.source.as_deref().map(|source| Cell::Text(source.into())),
        row.key.as_deref().map(|key| Cell::Text(key.into())),
        answer(row).map(Cell::Body),
        outcome.and_then(|row| row.error.as_deref()).map(|error| Cell::Text(error.into())),
        row.input.as_ref().map(|record| Cell::Body(&record.payload)),
    ]
}

/// The columns of a table. A body has two: one for text, and one for other bytes.
pub(super) struct TableColumns {
    has_source: bool,
    has_key: bool,
    has_input: bool,
    /// The members of results and payloads that are JSON objects; these are not in the columns `result` and `input`.
    members: Vec<Members>,
}

impl TableColumns {
    pub(super) fn new(rows: &Rows, members: Vec<Members>) -> TableColumns {
        TableColumns {
            has_source: rows.has_names(),
            has_key: rows.has_keys(),
            has_input: rows.has_input(),
            members,
        }
    }

    fn has(&self, column: &str) -> bool {
        match column {
            "source" => self.has_source,
            "key" => self.has_key,
            "input" => self.has_input,
            _ => true,
        }
    }

    fn members_of(&self, column: &str) -> Option<&Members> {
        let of = MembersOf::column_of(column)?;
        self.members.iter().find(|members| members.of == of)
    }

    /// `binary`: the suffix of columns of bytes that are not text.
    pub(super) fn columns(&self, binary: &str) -> Vec<Column> {
        let mut columns = Vec::new();
        for (index, (name, kind)) in COLUMNS.into_iter().enumerate().filter(|(_, (name, _))| self.has(name)) {
            columns.extend(self.members_of(name).into_iter().flat_map(Members::columns));
            let (name, required) = (name.to_owned(), index < REQUIRED);
            if kind == ColumnKind::Binary {
                columns.push(Column { name: name.clone(), kind: ColumnKind::Text, required });
                columns.push(Column { name: name + binary, kind, required });
            } else {
                columns.push(Column { name, kind, required });
            }
        }
        columns
    }

    /// The values of a row, in the order of the columns.
    pub(super) fn cells<'r>(&self, row: &'r ResultRow) -> Vec<Option<Cell<'r>>> {
        let mut cells = Vec::new();
        for ((name, kind), mut cell) in COLUMNS.into_iter().zip(self::cells(row)) {
            if !self.has(name) {
                continue;
            }
            if let Some(columns) = self.members_of(name) {
                let members = columns.of.body(row).and_then(|body| members(body));
                if members.is_some() {
                    cell = None;
                }
                cells.extend(columns.of(members).into_iter().map(|json| json.map(Cell::Member)));
            }
            match &cell {
                Some(Cell::Body(bytes)) if std::str::from_utf8(bytes).is_err() => cells.extend([None, cell]),
                _ if kind == ColumnKind::Binary => cells.extend([cell, None]),
                _ => cells.push(cell),
            }
        }
        cells
    }
}
