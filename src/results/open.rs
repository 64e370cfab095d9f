//! Batches that are not over: what is left of each, who works on it, and how fast.

use futures_util::FutureExt as _;
use serde::Serialize;

use super::BatchView;
use super::batch::{BatchMonitor, app_of};
use super::newest::{Newest, newest_batches};
use super::view::Unreadable;
use crate::error::Result;
use crate::layout::Key;
use crate::limits;
use crate::model::{AppName, BatchId};
use crate::outcomes::backlog::Backlog;
use crate::seam::{Deps, StoreExt as _};

#[derive(Debug, Clone, PartialEq)]
pub struct OpenBatch {
    pub view: BatchView,
    pub backlog: Backlog,
}

/// The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OpenBatches {
    /// The newest first.
    #[serde(skip)]
    pub batches: Vec<OpenBatch>,
    /// How many batches were looked at, open or not, and whether there are older ones.
    pub looked_at: usize,
    pub has_more: bool,
    /// Batches whose objects cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Looks at the newest batches of all apps, at most `max`. One GET and one LIST for each; for an open one with calls left one
/// LIST per thousand keys more, and the last footer of each log.
pub async fn open_batches(deps: &Deps, max: usize) -> Result<OpenBatches> {
    let found = newest_batches(deps, max, |deps, batch| look(deps, batch).boxed()).await?;
    let Newest { batches, looked_at, has_more, unreadable } = found;
    Ok(OpenBatches { batches, looked_at, has_more, unreadable })
}

/// `None`: it is over, or all that is stored of it is decided.
async fn look(deps: &Deps, batch: BatchId) -> Result<Option<OpenBatch>> {
    let app = app_of(deps, batch).await?;
    if deps.store.exists(&Key::Summary(app.clone(), batch)).await? {
        return Ok(None);
    }
    let mut monitor = BatchMonitor::of(deps, app, batch);
    let view = monitor.look().await?.view;
    let backlog = monitor.backlog();
    Ok((backlog.undecided > 0).then_some(OpenBatch { view, backlog }))
}

/// A batch that shares the workers with another. The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OtherBatch {
    #[serde(rename = "batch_id")]
    pub batch: BatchId,
    pub app: AppName,
    /// It was submitted before.
    pub is_older: bool,
    pub undecided: u64,
    /// Workers that have recorded outcomes lately.
    pub workers: usize,
    /// Calls decided a second, on average.
    pub pace_per_s: Option<f64>,
    pub ends_at: Option<crate::model::Time>,
    /// A worker has recorded something of it lately.
    pub is_worked_on: bool,
}

/// What is known of it, for `status`.
impl std::fmt::Display for OtherBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let OtherBatch { batch, app, undecided, workers, .. } = self;
        write!(f, "batch {batch} of app {app}, calls left {undecided}")?;
        if !self.is_worked_on {
            return f.write_str(", no worker has recorded an outcome lately");
        }
        write!(f, ", workers {workers}")?;
        if let (Some(pace), Some(ends_at)) = (self.pace_per_s, self.ends_at) {
            write!(f, ", {pace:.1} calls/s on average, until about {ends_at}")?;
        }
        Ok(())
    }
}

/// The other batches with calls to run, those that were submitted before this one first. Costs as much as [`open_batches`].
pub async fn others(deps: &Deps, batch: BatchId, max: usize) -> Result<Vec<OtherBatch>> {
    let now = deps.now();
    let open = open_batches(deps, max).await?.batches.into_iter();
    let mut others: Vec<OtherBatch> = open
        .filter(|open| open.view.batch != batch)
        .map(|OpenBatch { view, backlog }| OtherBatch {
            batch: view.batch,
            app: view.app.clone(),
            is_older: view.batch < batch,
            undecided: backlog.undecided,
            workers: view.workers.len(),
            pace_per_s: view.pace_per_s(),
            ends_at: view.ends_at(),
            is_worked_on: view.heard_at.is_some_and(|at| now.since_ms(at) <= limits::ms(limits::FLUSH_MAX)),
        })
        .collect();
    others.sort_by_key(|other| (!other.is_older, other.batch));
    Ok(others)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::batch::fixture::{Made, batch_at, rows};
    use super::super::batch::load;
    use super::super::fixture::{NOW, World};
    use super::super::why::why_batch;
    use super::*;
    use crate::seam::queue::{Outgoing, QueuePair};

    async fn hold(pair: &QueuePair) {
        let sent = pair.live.send(vec![Outgoing::new("{}".to_owned())]).await;
        assert!(sent.expect("a queue").iter().all(Result::is_ok));
        let held = pair.live.receive(1, Duration::ZERO, Duration::from_secs(600)).await.expect("a queue");
        assert_eq!(held.len(), 1);
    }

    #[tokio::test]
    async fn a_batch_behind_another_tells_whom_the_workers_are_busy_with() {
        let world = World::new();
        let first = Made::begun(&world, batch_at(NOW.minus_ms(60_000), 1)).await;
        first.chunk(1, 9).await;
        let second = Made::begun(&world, batch_at(NOW, 2)).await;
        second.chunk(1, 2).await;
        hold(&world.deps.queues.chunks).await;
        world.deps.clock.sleep(Duration::from_secs(30)).await;
        let why = async || {
            let view = load(&world.deps, second.id).await.expect("the batch");
            why_batch(&world.deps, &view).await.expect("an answer").expect("a reason")
        };
        let silent = why().await;
        assert!(silent.contains("no worker has recorded an outcome for 30s"), "{silent}");
        first.part(9, &rows(1..=3)).await;
        let busy = why().await;
        let expected = format!(
            "messages held 1, waiting 0; workers are busy with batch {} of app {}, calls left 6, workers 1, ",
            first.id, world.app
        );
        assert!(busy.starts_with(&expected) && busy.contains(" calls/s on average, until about "), "{busy}");
        let others = others(&world.deps, first.id, 10).await.expect("an answer");
        let seen: Vec<_> =
            others.iter().map(|other| (other.batch, other.is_older, other.undecided)).collect();
        assert_eq!(seen, [(second.id, false, 2)]);
    }

    #[tokio::test]
    async fn workers_that_are_busy_with_single_calls_are_workers() {
        let world = World::new();
        let made = Made::begun(&world, batch_at(NOW, 1)).await;
        made.chunk(1, 2).await;
        let sent = world.deps.queues.chunks.live.send(vec![Outgoing::new("{}".to_owned())]).await;
        assert!(sent.expect("a queue").iter().all(Result::is_ok));
        hold(&world.deps.queues.calls).await;
        let view = load(&world.deps, made.id).await.expect("the batch");
        let why = why_batch(&world.deps, &view).await.expect("an answer");
        assert_eq!(why.as_deref(), Some("workers are busy with single calls: messages held 1, waiting 0"));
    }
}
