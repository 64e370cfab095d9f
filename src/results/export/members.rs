//! Columns for the members of results and of payloads that are JSON objects: one for each member that any of them has, with the
//! narrowest type that holds all its values without a changed digit. A nested value is JSON text.
//!
//! Values of different types widen a column: integers of 64 bits, then doubles, then decimals of 38 digits, then text. A type is
//! taken only if it gives every number of the column back. Truth values beside anything else, and texts beside numbers, make
//! a column of texts, in which each value is as it was written.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::rows::{ResultRow, Rows};
use super::number::{Number, is_int64, is_number};
use super::row_columns::COLUMNS;
use super::{answer, with_bodies};
use crate::error::{Error, Result};
use crate::layout::table::{Column, ColumnKind, DECIMAL_DIGITS};
use crate::limits;
use crate::model::json_object::{Member, members};
use crate::seam::Deps;

/// The body whose members are columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MembersOf {
    Result,
    Input,
}

impl MembersOf {
    /// By the name of the body's own column.
    pub fn column_of(name: &str) -> Option<MembersOf> {
        match name {
            "result" => Some(MembersOf::Result),
            "input" => Some(MembersOf::Input),
            _ => None,
        }
    }

    pub fn body(self, row: &ResultRow) -> Option<&Bytes> {
        match self {
            MembersOf::Result => answer(row),
            MembersOf::Input => row.input.as_ref().map(|record| &record.payload),
        }
    }

    /// The column of a member: `input.` precedes those of payloads, and `result_` the member of a result whose name the table
    /// uses itself.
    pub fn column(self, member: &str) -> String {
        let is_used = COLUMNS.iter().any(|(name, _)| *name == member)
            || member.starts_with("result_")
            || member.starts_with("input.")
            || matches!(member, "input_base64" | "input_binary");
        match self {
            MembersOf::Input => format!("input.{member}"),
            MembersOf::Result if is_used => format!("result_{member}"),
            MembersOf::Result => member.to_owned(),
        }
    }
}

/// The columns, in the order in which their members first came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Members {
    pub of: MembersOf,
    names: Vec<String>,
    values: Vec<ColumnValues>,
    by_member: BTreeMap<String, usize>,
}

impl Members {
    pub fn new(of: MembersOf) -> Members {
        Members { of, names: Vec::new(), values: Vec::new(), by_member: BTreeMap::new() }
    }

    /// Reads every result, and every payload if rows have them.
    pub async fn gather(deps: &Deps, mut rows: Rows) -> Result<Vec<Members>> {
        let mut all = vec![Members::new(MembersOf::Result)];
        if rows.has_input() {
            all.push(Members::new(MembersOf::Input));
        }
        while let Some(block) = rows.next_readable().await? {
            let each = &mut |row: &ResultRow| {
                all.iter_mut().try_for_each(|columns| {
                    match columns.of.body(row).and_then(|body| members(body)) {
                        Some(members) => columns.add(&members),
                        None => Ok(()),
                    }
                })
            };
            with_bodies(deps, &rows, block, &mut Vec::new(), each).await?;
        }
        Ok(all)
    }

    pub fn add(&mut self, members: &[Member<'_>]) -> Result<()> {
        for Member { name, json } in members {
            let count = self.names.len();
            let index = *self.by_member.entry(name.clone()).or_insert(count);
            if index == count {
                if count == limits::FLATTEN_COLUMNS_MAX {
                    let whose = match self.of {
                        MembersOf::Result => "results",
                        MembersOf::Input => "payloads",
                    };
                    return Err(Error::invalid(format!(
                        "the {whose} have more than {} different members, `{name}` is one too many",
                        limits::FLATTEN_COLUMNS_MAX
                    ))
                    .with_hint("take them without --flatten"));
                }
                self.names.push(self.of.column(name));
                self.values.push(ColumnValues::default());
            }
            self.values[index].add(json);
        }
        Ok(())
    }

    pub fn columns(&self) -> impl Iterator<Item = Column> {
        self.names.iter().zip(&self.values).map(|(name, values)| Column {
            name: name.clone(),
            kind: values.kind(),
            required: false,
        })
    }

    /// The value of each column, as it is written; nulls are none.
    pub fn of<'r>(&self, members: Option<Vec<Member<'r>>>) -> Vec<Option<&'r str>> {
        let mut values = vec![None; self.names.len()];
        for member in members.into_iter().flatten().filter(|member| member.json != "null") {
            if let Some(index) = self.by_member.get(&member.name) {
                values[*index] = Some(member.json);
            }
        }
        values
    }
}

/// What the values of a column are, without nulls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ColumnValues {
    has_booleans: bool,
    has_texts: bool,
    numbers: Option<NumberWidth>,
}

/// What it takes to hold the numbers of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NumberWidth {
    are_int64: bool,
    are_double: bool,
    /// Digits before and behind the point. `None`: no decimal holds them.
    digits: Option<(u64, u64)>,
}

impl ColumnValues {
    fn add(&mut self, json: &str) {
        match json {
            "null" => {}
            "true" | "false" => self.has_booleans = true,
            json if is_number(json) => {
                let width = NumberWidth::of(json);
                self.numbers = Some(self.numbers.map_or(width, |known| known.with(width)));
            }
            _ => self.has_texts = true,
        }
    }

    /// A column with nothing but nulls is one of texts.
    fn kind(&self) -> ColumnKind {
        match (self.has_booleans, self.numbers, self.has_texts) {
            (true, None, false) => ColumnKind::Boolean,
            (false, Some(width), false) => width.kind(),
            _ => ColumnKind::Text,
        }
    }
}

impl NumberWidth {
    fn of(json: &str) -> NumberWidth {
        let number = Number::of(json);
        NumberWidth {
            are_int64: is_int64(json),
            are_double: number.as_ref().is_some_and(Number::is_double),
            digits: number.and_then(|number| number.decimal_digits()),
        }
    }

    fn with(self, other: NumberWidth) -> NumberWidth {
        let digits = self.digits.zip(other.digits);
        NumberWidth {
            are_int64: self.are_int64 && other.are_int64,
            are_double: self.are_double && other.are_double,
            digits: digits.map(|(one, other)| (one.0.max(other.0), one.1.max(other.1))),
        }
    }

    fn kind(self) -> ColumnKind {
        match self.digits {
            _ if self.are_int64 => ColumnKind::Int64,
            _ if self.are_double => ColumnKind::Double,
            Some((whole, scale)) if whole.saturating_add(scale) <= DECIMAL_DIGITS.into() => {
                ColumnKind::Decimal { scale: scale as u8 }
            }
            _ => ColumnKind::Text,
        }
    }
}
