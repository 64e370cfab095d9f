//! Which batches an app has, newest first, a row each: of a batch that is over its summary tells all, of others only the
//! facts are read and no footer.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::super::window::Walk;
use super::facts::find;
use super::view::BatchStatus;
use crate::error::Result;
use crate::layout::batch::{Batch, Sealed, Summary};
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, BatchId, FunctionName, Route, State, Time};
use crate::seam::store::List;
use crate::seam::{Seams, StoreExt as _};

/// A batch in a list. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchRow {
    #[serde(rename = "batch_id")]
    pub batch: BatchId,
    pub app: AppName,
    pub function: Option<FunctionName>,
    pub route: Option<Route>,
    pub status: BatchStatus,
    pub calls: Option<u64>,
    /// By how they ended; empty until all are decided: `batch status` tells before.
    pub counts: BTreeMap<State, u64>,
    pub created_at: Time,
    pub retry_of: Option<BatchId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchList {
    pub batches: Vec<BatchRow>,
    /// Set when there may be more: only older ones than this follow.
    pub cursor: Option<BatchId>,
}

pub async fn list(seams: &Seams, app: &AppName, max: usize, cursor: Option<BatchId>) -> Result<BatchList> {
    let mut found = BatchList { batches: Vec::new(), cursor: None };
    let end = cursor.map_or(u128::MAX, u128::from);
    let mut walk = Walk::<BatchId>::new(seams, key::batches(app), 0..end);
    while found.batches.len() < max
        && let Some(ids) = walk.next().await?
    {
        let (now, later) = ids.split_at(ids.len().min(max - found.batches.len()));
        let rows: Vec<Option<BatchRow>> = stream::iter(now)
            .map(|id| row(seams, app, *id))
            .buffered(limits::READ_AHEAD_MAX)
            .try_collect()
            .await?;
        found.batches.extend(rows.into_iter().flatten());
        if found.batches.len() == max && (!later.is_empty() || !walk.is_done()) {
            found.cursor = now.last().copied();
        }
        if !later.is_empty() {
            walk.put_back(later);
        }
    }
    Ok(found)
}

/// `None`: nothing but leftovers. A list of the batch, and at most three reads side by side.
pub(in crate::results) async fn row(seams: &Seams, app: &AppName, id: BatchId) -> Result<Option<BatchRow>> {
    let listed = seams.store.list_all(List::grouped(key::batch(app, id))).await?;
    let keys: Vec<Key> = listed.entries.iter().filter_map(|entry| entry.key.parse().ok()).collect();
    let there = |wanted: fn(&Key) -> bool| keys.iter().any(wanted);
    let (defined, is_over) =
        (there(|key| matches!(key, Key::Batch(..))), there(|key| matches!(key, Key::Summary(..))));
    if !defined && !is_over {
        return Ok(None);
    }
    let (batch, sealed, summary): (Option<Batch>, Option<Sealed>, Option<Summary>) = tokio::try_join!(
        optional(defined, seams, Key::Batch(app.clone(), id)),
        optional(there(|key| matches!(key, Key::Sealed(..))), seams, Key::Sealed(app.clone(), id)),
        optional(is_over, seams, Key::Summary(app.clone(), id)),
    )?;
    let status = match &summary {
        Some(summary) => BatchStatus::ended(&summary.counts, summary.cancelled.is_some(), sealed.as_ref()),
        None if there(|key| matches!(key, Key::Cancelled(..))) => BatchStatus::Cancelling,
        None if sealed.is_none() => BatchStatus::Submitting,
        None if listed.prefixes.iter().any(|prefix| *prefix == key::outcomes(app, id)) => {
            BatchStatus::Running
        }
        None => BatchStatus::Queued,
    };
    Ok(Some(BatchRow {
        batch: id,
        app: app.clone(),
        function: batch.as_ref().map(|batch| batch.function.clone()),
        route: batch.as_ref().map(|batch| batch.route.clone()),
        status,
        calls: summary.as_ref().map(|it| it.calls).or_else(|| sealed.as_ref().map(Sealed::calls)),
        counts: summary.map(|summary| summary.counts).unwrap_or_default(),
        created_at: batch.as_ref().map_or_else(|| id.time(), |batch| batch.created_at),
        retry_of: batch.and_then(|batch| batch.retry_of),
    }))
}

async fn optional<T: serde::de::DeserializeOwned>(there: bool, seams: &Seams, key: Key) -> Result<Option<T>> {
    if there { find(seams, key).await } else { Ok(None) }
}
