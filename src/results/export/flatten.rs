//! Columns out of results that are JSON objects: one for each member that any of them has, with the narrowest type that
//! holds all its values. What lies deeper stays JSON in a text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::rows::{ResultRow, Rows};
use super::{answer, with_bodies};
use crate::error::{Error, Result};
use crate::layout::table::ColumnKind;
use crate::limits;
use crate::seam::Seams;

/// Names that the table has anyway; a member called so gets `result_` before its name.
const TAKEN: [&str; 17] = [
    "number",
    "call_id",
    "status",
    "attempts",
    "queued_ms",
    "start_ms",
    "run_ms",
    "started_at",
    "completed_at",
    "worker",
    "source",
    "result",
    "result_base64",
    "result_binary",
    "error",
    "input",
    "input_base64",
];

/// The members of a result, if it is a JSON object.
pub fn members(body: &[u8]) -> Option<Map<String, Value>> {
    // Cheap to say no: most of what is no object does not begin as one.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// The column of a member.
pub fn column(member: &str) -> String {
    if TAKEN.contains(&member) || member.starts_with("result_") || member == "input_binary" {
        format!("result_{member}")
    } else {
        member.to_owned()
    }
}

/// As one field of text: a string without its quotes, all else as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns in the order in which their members first came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    kinds: Vec<Option<ColumnKind>>,
    by_member: BTreeMap<String, usize>,
}

impl Columns {
    /// Reads every row for what its result is made of.
    pub async fn gather(seams: &Seams, mut rows: Rows) -> Result<Columns> {
        let mut columns = Columns::default();
        while let Some(block) = rows.next().await? {
            let block = block.into_iter().map(|row| ResultRow { input: None, ..row }).collect();
            with_bodies(seams, &rows, block, &mut |row| match answer(row).and_then(|body| members(body)) {
                Some(members) => columns.take_in(&members),
                None => Ok(()),
            })
            .await?;
        }
        Ok(columns)
    }

    pub(super) fn take_in(&mut self, members: &Map<String, Value>) -> Result<()> {
        for (member, value) in members {
            let index = match self.by_member.get(member) {
                Some(index) => *index,
                None => {
                    if self.names.len() == limits::FLATTEN_COLUMNS_MAX {
                        return Err(Error::invalid(format!(
                            "the results have more than {} different members, `{member}` is one too many",
                            limits::FLATTEN_COLUMNS_MAX
                        ))
                        .hint("take them without --flatten"));
                    }
                    self.names.push(column(member));
                    self.kinds.push(None);
                    self.by_member.insert(member.clone(), self.names.len() - 1);
                    self.names.len() - 1
                }
            };
            if let Some(kind) = kind(value) {
                let known = &mut self.kinds[index];
                *known = Some(known.map_or(kind, |known| both(known, kind)));
            }
        }
        Ok(())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// A column that has nothing but nulls is one of texts.
    pub fn kinds(&self) -> impl Iterator<Item = ColumnKind> {
        self.kinds.iter().map(|kind| kind.unwrap_or(ColumnKind::Text))
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
