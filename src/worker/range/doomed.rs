//! A range of which nothing can run: its function or version is gone. Every call of it is decided so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::layout::part::{Row, RowResult};
use crate::model::{State, Time};
use crate::outcomes::Log;
use crate::worker::lease::Lease;
use crate::worker::single::Done;
use crate::worker::{Abandoned, Shared};

/// A range of which nothing can run.
pub(super) struct Doomed {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    pub(super) log: Log,
    pub(super) created_at: Time,
}

impl Doomed {
    pub(super) async fn record(mut self, numbers: BTreeSet<u64>, reason: String) -> Result<Done, Abandoned> {
        let now = self.shared.seams.now();
        let worker: Arc<str> = self.shared.config.name.as_str().into();
        let worker_version: Arc<str> = env!("CARGO_PKG_VERSION").into();
        let row = |number: u64| Row {
            number,
            status: State::Error,
            attempts: 0,
            created_at: self.created_at,
            queued_ms: now.since_ms(self.created_at),
            start_ms: 0,
            run_ms: 0,
            started_at: None,
            completed_at: now,
            content_type: None,
            result: RowResult::None,
            error: Some(reason.clone()),
            log: None,
            worker: worker.clone(),
            worker_version: worker_version.clone(),
        };
        let rows: Vec<Row> = numbers.into_iter().map(row).collect();
        self.log.append(&*self.shared.seams.store, &rows, &BTreeMap::new()).await?;
        Ok(Done::Finished(self.lease))
    }
}
