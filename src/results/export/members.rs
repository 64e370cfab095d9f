//! Columns for the members of results that are JSON objects: one for each member that any result has, with the narrowest
//! type that holds all its values. A nested value is JSON text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::rows::{ResultRow, Rows};
use super::row_columns::COLUMNS;
use super::{answer, with_bodies};
use crate::error::{Error, Result};
use crate::layout::table::{Column, ColumnKind};
use crate::limits;
use crate::seam::Deps;

/// The members of a result, if it is a JSON object.
pub fn members(body: &[u8]) -> Option<Map<String, Value>> {
    // A cheap check first: most results that are not objects do not begin as one.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// The column of a member: `result_` precedes a name that the table uses itself.
pub fn column(member: &str) -> String {
    let is_used = COLUMNS.iter().any(|(name, _)| *name == member)
        || member.starts_with("result_")
        || matches!(member, "input_base64" | "input_binary");
    if is_used { format!("result_{member}") } else { member.to_owned() }
}

/// A member as text: a string without its quotes, every other value as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The columns, in the order in which their members first came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    names: Vec<String>,
    kinds: Vec<Option<ColumnKind>>,
    by_member: BTreeMap<String, usize>,
}

impl Members {
    /// Reads every result.
    pub async fn gather(deps: &Deps, mut rows: Rows) -> Result<Members> {
        let mut columns = Members::default();
        while let Some(block) = rows.next_readable().await? {
            let block = block.into_iter().map(|row| ResultRow { input: None, ..row }).collect();
            let each = &mut |row: &ResultRow| match answer(row).and_then(|body| members(body)) {
                Some(members) => columns.add(&members),
                None => Ok(()),
            };
            with_bodies(deps, &rows, block, &mut Vec::new(), each).await?;
        }
        Ok(columns)
    }

    pub(super) fn add(&mut self, members: &Map<String, Value>) -> Result<()> {
        for (member, value) in members {
            let count = self.names.len();
            let index = *self.by_member.entry(member.clone()).or_insert(count);
            if index == count {
                if count == limits::FLATTEN_COLUMNS_MAX {
                    return Err(Error::invalid(format!(
                        "the results have more than {} different members, `{member}` is one too many",
                        limits::FLATTEN_COLUMNS_MAX
                    ))
                    .with_hint("take them without --flatten"));
                }
                self.names.push(column(member));
                self.kinds.push(None);
            }
            if let Some(kind) = kind(value) {
                let known = &mut self.kinds[index];
                *known = Some(known.map_or(kind, |known| both(known, kind)));
            }
        }
        Ok(())
    }

    /// A column with nothing but nulls is one of texts.
    pub(super) fn columns(&self) -> impl Iterator<Item = Column> {
        self.names.iter().zip(&self.kinds).map(|(name, kind)| {
            let kind = kind.unwrap_or(ColumnKind::Text);
            Column { name: name.clone(), kind, required: false }
        })
    }

    /// A value for each column; nulls are none.
    pub fn of(&self, members: Option<Map<String, Value>>) -> Vec<Option<Value>> {
        let mut values = vec![None; self.names.len()];
        for (member, value) in members.into_iter().flatten() {
            if let Some(index) = self.by_member.get(&member)
                && !value.is_null()
            {
                values[*index] = Some(value);
            }
        }
        values
    }
}

fn kind(value: &Value) -> Option<ColumnKind> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(ColumnKind::Boolean),
        Value::Number(number) if number.is_i64() => Some(ColumnKind::Int64),
        Value::Number(_) => Some(ColumnKind::Double),
        Value::String(_) | Value::Array(_) | Value::Object(_) => Some(ColumnKind::Text),
    }
}

fn both(one: ColumnKind, other: ColumnKind) -> ColumnKind {
    match (one, other) {
        _ if one == other => one,
        (ColumnKind::Int64, ColumnKind::Double) | (ColumnKind::Double, ColumnKind::Int64) => {
            ColumnKind::Double
        }
        _ => ColumnKind::Text,
    }
}
