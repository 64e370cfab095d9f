//! A range of which nothing can run: its function or version is gone. Every call of it is decided so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::layout::part::Row;
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
        let row = |number| {
            let (status, reason) = (State::Error, Some(reason.clone()));
            Row::without_run(number, status, reason, self.created_at, now, worker.clone())
        };
        let rows: Vec<Row> = numbers.into_iter().map(row).collect();
        self.log.append(&*self.shared.seams.store, &rows, &BTreeMap::new()).await?;
        Ok(Done::Finished(self.lease))
    }
}
