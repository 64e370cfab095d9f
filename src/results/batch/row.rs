//! A batch as one row of a list. The summary of a finished batch has its counts; for others no footer is read.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::model::{AppName, BatchId, BatchRef, FunctionName, Route, State, Time};
use crate::outcomes::{BatchFacts, BatchStatus};
use crate::seam::Deps;

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
    /// By how they ended; empty until all are decided.
    pub counts: BTreeMap<State, u64>,
    pub created_at: Time,
    pub retry_of: Option<BatchId>,
}

/// `None`: only leftovers of the batch exist. One list and at most three parallel reads.
pub(in crate::results) async fn load_row(
    deps: &Deps,
    app: &AppName,
    id: BatchId,
) -> Result<Option<BatchRow>> {
    let (store, of, mut facts) = (&*deps.store, BatchRef::new(app, id), BatchFacts::default());
    facts.look(store, &of).await?;
    let BatchFacts { definition, sealed, summary, .. } = &mut facts;
    let (batch, sealed, summary) =
        tokio::try_join!(definition.read(store, &of), sealed.read(store, &of), summary.read(store, &of))?;
    if batch.is_none() && summary.is_none() {
        return Ok(None);
    }
    let counts = summary.as_ref().map(|summary| summary.counts.clone()).unwrap_or_default();
    Ok(Some(BatchRow {
        batch: id,
        app: app.clone(),
        function: batch.as_ref().map(|batch| batch.function.clone()),
        route: batch.as_ref().map(|batch| batch.route.clone()),
        status: facts.status(&counts, summary.is_some()),
        calls: summary.as_ref().map(|it| it.calls).or_else(|| Some(sealed?.calls())),
        counts,
        created_at: batch.as_ref().map_or_else(|| id.time(), |batch| batch.created_at),
        retry_of: batch.and_then(|batch| batch.retry_of),
    }))
}
