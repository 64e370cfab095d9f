//! Open batches for which no worker was found that suits: which capability is missing, and which worker has reported it.

use futures_util::FutureExt as _;
use serde::Serialize;

use super::newest::{Newest, newest_batches};
use super::view::Unreadable;
use crate::error::Result;
use crate::layout::object::{self, Unsuited};
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, BatchId, Time};
use crate::outcomes::app_of;
use crate::seam::store::{List, ListEntry};
use crate::seam::{Deps, StoreExt as _};

/// A batch that waits for a worker that suits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnsuitedBatch {
    pub batch: BatchId,
    pub app: AppName,
    /// The latest first, at most [`limits::UNSUITED_REASONS_MAX`]. Of each reason, only the first worker that found it is
    /// stored.
    pub reasons: Vec<Unsuited>,
}

/// The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnsuitedBatches {
    /// The newest first.
    pub batches: Vec<UnsuitedBatch>,
    /// How many batches were looked at: the newest of the context, at most [`limits::UNSUITED_BATCHES_MAX`].
    pub looked_at: usize,
    /// Whether there are older batches, which were not looked at.
    pub has_more: bool,
    /// Batches whose objects cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// Looks at the newest batches of all apps. One GET and one LIST for each; a few more for an open one with reasons.
pub async fn open_batches(deps: &Deps) -> Result<UnsuitedBatches> {
    let found =
        newest_batches(deps, limits::UNSUITED_BATCHES_MAX, |deps, batch| look(deps, batch).boxed()).await?;
    let Newest { batches, looked_at, has_more, unreadable } = found;
    Ok(UnsuitedBatches { batches, looked_at, has_more, unreadable })
}

/// `None` unless the batch is open and waits for a worker that suits.
async fn look(deps: &Deps, batch: BatchId) -> Result<Option<UnsuitedBatch>> {
    let app = app_of(deps, batch).await?;
    let listed = deps.store.list(&List::grouped(key::batch(&app, batch))).await?;
    let ends =
        [Key::Summary(app.clone(), batch), Key::Cancelled(app.clone(), batch)].map(|key| key.to_string());
    // A cancelled batch runs nothing more: it needs no worker that suits.
    let is_over = listed.entries.iter().any(|entry| ends.contains(&entry.key));
    let prefix = key::batch_unsuited(&app, batch);
    if is_over || !listed.prefixes.contains(&prefix) {
        return Ok(None);
    }
    // A worker that can run the calls has recorded an outcome since.
    let heard_at = match listed.prefixes.contains(&key::outcomes(&app, batch)) {
        true => heard_at(deps, &app, batch).await?,
        false => None,
    };
    let mut stored = deps.store.list(&List::all(prefix)).await?.entries;
    stored.retain(|entry| heard_at.is_none_or(|heard_at| heard_at < entry.modified_at));
    stored.sort_by_key(|entry| std::cmp::Reverse(entry.modified_at));
    let mut reasons = Vec::new();
    for entry in stored.iter().take(limits::UNSUITED_REASONS_MAX) {
        reasons.extend(reason(deps, entry).await?);
    }
    Ok((!reasons.is_empty()).then_some(UnsuitedBatch { batch, app, reasons }))
}

async fn reason(deps: &Deps, entry: &ListEntry) -> Result<Option<Unsuited>> {
    let key = entry.to_key();
    let Some(found) = deps.store.find(&key, limits::FACT_BYTES_MAX).await? else { return Ok(None) };
    object::decode(&key, &found.body).map(Some)
}

/// When the youngest part was written, by the store's clock; of a batch with very many parts, of the first ones.
async fn heard_at(deps: &Deps, app: &AppName, batch: BatchId) -> Result<Option<Time>> {
    let (mut left, mut youngest) = (Some(List::all(key::outcomes(app, batch))), None);
    for _ in 0..limits::UNSUITED_PAGES_MAX {
        let Some(page) = deps.store.next_page(&mut left).await? else { break };
        youngest = youngest.max(page.entries.iter().map(|entry| entry.modified_at).max());
    }
    Ok(youngest)
}

#[cfg(test)]
mod tests {
    use super::super::batch::fixture::{Made, batch_at, rows};
    use super::super::fixture::{NOW, World};
    use super::*;
    use crate::model::Digest;
    use crate::seam::store::PutObject;

    async fn unsuited(world: &World, batch: BatchId, why: &str) {
        let said =
            Unsuited { why: why.to_owned(), worker: "worker-1".to_owned(), at: NOW, failed_starts: None };
        let key = Key::BatchUnsuited(world.app.clone(), batch, Digest::of(why.as_bytes()));
        world.put(key, PutObject::create(object::encode(&said))).await;
    }

    async fn found(world: &World) -> Vec<(BatchId, Vec<String>)> {
        let found = open_batches(&world.deps).await.expect("an answer");
        assert_eq!(found.unreadable, []);
        let reasons = |batch: UnsuitedBatch| batch.reasons.into_iter().map(|reason| reason.why).collect();
        found.batches.into_iter().map(|batch| (batch.batch, reasons(batch))).collect()
    }

    #[tokio::test]
    async fn an_open_batch_tells_what_is_missing_until_a_worker_that_suits_has_recorded_an_outcome() {
        let world = World::new();
        let made = Made::begun(&world, batch_at(NOW, 1)).await;
        made.chunk(1, 2).await;
        assert_eq!(found(&world).await, []);
        unsuited(&world, made.id, "it has no GPU").await;
        assert_eq!(found(&world).await, [(made.id, vec!["it has no GPU".to_owned()])]);
        world.deps.clock.sleep(std::time::Duration::from_secs(1)).await;
        made.part(2, &rows(1..=1)).await;
        assert_eq!(found(&world).await, []);
        world.deps.clock.sleep(std::time::Duration::from_secs(1)).await;
        unsuited(&world, made.id, "it has no Docker").await;
        assert_eq!(found(&world).await, [(made.id, vec!["it has no Docker".to_owned()])]);
        world.put(Key::Summary(world.app.clone(), made.id), PutObject::create("{}")).await;
        assert_eq!(found(&world).await, []);
    }

    #[tokio::test]
    async fn only_the_newest_batches_are_looked_at_with_few_requests() {
        let world = World::new();
        let mut ids = Vec::new();
        for n in 0..60 {
            let made = Made::begun(&world, batch_at(NOW.minus_ms(n * 3_600_000), n + 1)).await;
            ids.push(made.id);
        }
        unsuited(&world, ids[0], "it has no GPU").await;
        unsuited(&world, ids[59], "it has no GPU").await;
        let before = world.counts.snapshot();
        let answer = open_batches(&world.deps).await.expect("an answer");
        assert_eq!((answer.batches.len(), answer.looked_at, answer.has_more), (1, 50, true));
        assert_eq!(answer.batches[0].batch, ids[0]);
        let after = world.counts.snapshot();
        let gets = after.get.requests - before.get.requests;
        let lists = after.list.requests - before.list.requests;
        assert!(gets <= 51 && lists <= 60, "{gets} GETs, {lists} LISTs");
    }
}
