//! Some rows of a batch instead of all: the first ones, or those with the largest values of a column.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::plan::ReadPlan;
use super::{Gaps, ResultRow, Rows};
use crate::error::{Error, Result};
use crate::layout::part::RowResult;
use crate::limits;
use crate::model::text::words;

/// What rows are sorted by, the largest value first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortColumn {
    Attempts,
    QueuedMs,
    StartMs,
    RunMs,
    StartedAt,
    CompletedAt,
}

words!(SortColumn, "column to sort by": Attempts = "attempts", QueuedMs = "queued_ms", StartMs = "start_ms", RunMs = "run_ms", StartedAt = "started_at", CompletedAt = "completed_at");

impl SortColumn {
    /// `None` of a call that has no such value: it never ran, or has not ended.
    fn value(self, row: &ResultRow) -> Option<u64> {
        let outcome = row.outcome.as_ref()?;
        match self {
            SortColumn::Attempts => Some(outcome.attempts.into()),
            SortColumn::QueuedMs => Some(outcome.queued_ms),
            SortColumn::StartMs => Some(outcome.start_ms),
            SortColumn::RunMs => Some(outcome.run_ms),
            SortColumn::StartedAt => outcome.started_at.map(|at| at.0),
            SortColumn::CompletedAt => Some(outcome.completed_at.0),
        }
    }
}

impl Rows {
    /// Reads all rows, and keeps those with the largest values; of equal ones those with the smaller numbers.
    pub(super) async fn top(mut self, by: SortColumn, count: u64) -> Result<Rows> {
        let mut kept = BTreeMap::new();
        let mut bytes = 0;
        while let Some(block) = self.next_readable().await? {
            for row in block {
                let Some(value) = by.value(&row) else { continue };
                bytes += memory_bytes(&row);
                kept.insert((Reverse(value), row.number), row);
                if kept.len() as u64 > count
                    && let Some((_, row)) = kept.pop_last()
                {
                    bytes -= memory_bytes(&row);
                }
            }
            if bytes > limits::SORTED_BYTES_MAX {
                return Err(Error::invalid(format!(
                    "{count} sorted rows take more than {} MiB",
                    limits::SORTED_BYTES_MAX / limits::MIB
                ))
                .with_hint("fewer rows (`-n`), or rows without `--include-input`, take less"));
            }
        }
        let kept = Arc::new(kept.into_values().collect());
        Ok(Rows { gaps: self.gaps, ..Rows::of_kept(self.plan, kept) })
    }

    /// Rows that are in memory.
    pub(super) fn of_kept(plan: Arc<ReadPlan>, kept: Arc<Vec<ResultRow>>) -> Rows {
        let (sender, blocks) = mpsc::channel::<Vec<ResultRow>>(1);
        if !kept.is_empty() {
            // The channel has room for one.
            let _ = sender.try_send(kept.to_vec());
        }
        Rows { plan, blocks, reader: JoinSet::new(), gaps: Gaps::default(), left: u64::MAX, kept: Some(kept) }
    }
}

/// About what a row takes in memory.
fn memory_bytes(row: &ResultRow) -> u64 {
    const ROW_BYTES: usize = 512;
    let result = match row.outcome.as_ref().map(|outcome| &outcome.result) {
        Some(RowResult::Inline(body)) => body.len(),
        _ => 0,
    };
    let error = row.outcome.as_ref().and_then(|outcome| outcome.error.as_ref()).map_or(0, String::len);
    let input = row.input.as_ref().map_or(0, |record| record.payload.len());
    (ROW_BYTES + result + error + input) as u64
}
