//! How many slots the work of a context wants, for what scales a fleet of workers. Computed from the store: what is left of
//! each open batch, and how long its calls take. Of single calls only the queue's counts are known.

use serde::Serialize;

use super::open::{OpenBatches, open_batches};
use crate::error::Result;
use crate::limits;
use crate::model::{AppName, BatchId};
use crate::outcomes::backlog::Backlog;
use crate::seam::Deps;

/// The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SlotsWanted {
    pub slots: u64,
    /// Single calls. How long they take is not known; each counts as the default timeout.
    pub calls: Backlog,
    pub calls_slots: u64,
    /// The newest first.
    pub batches: Vec<BatchWants>,
    #[serde(flatten)]
    pub open: OpenBatches,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchWants {
    #[serde(rename = "batch_id")]
    pub batch: BatchId,
    pub app: AppName,
    pub slots: u64,
    #[serde(flatten)]
    pub backlog: Backlog,
}

/// Three requests where nothing is on the queues: an open batch has its supervisor's message there.
pub async fn slots_wanted(deps: &Deps) -> Result<SlotsWanted> {
    let queues = &deps.queues;
    let (calls, chunks, batches) =
        tokio::try_join!(queues.calls.live.depth(), queues.chunks.live.depth(), queues.batches.live.depth())?;
    let due = calls.visible + calls.in_flight;
    let calls =
        Backlog { undecided: due + calls.delayed, due, mean_ms: limits::TIMEOUT_MS_DEFAULT, oldest_at: None };
    let messages = [chunks, batches].map(|depth| depth.visible + depth.in_flight + depth.delayed);
    let mut open = match messages {
        [0, 0] => OpenBatches::default(),
        _ => open_batches(deps, limits::WANTED_BATCHES_MAX).await?,
    };
    let wants = |open: super::open::OpenBatch| BatchWants {
        batch: open.view.batch,
        app: open.view.app,
        slots: open.backlog.slots_wanted(),
        backlog: open.backlog,
    };
    let batches: Vec<BatchWants> = std::mem::take(&mut open.batches).into_iter().map(wants).collect();
    let calls_slots = calls.slots_wanted();
    let slots = batches.iter().map(|batch| batch.slots).fold(calls_slots, u64::saturating_add);
    Ok(SlotsWanted { slots, calls, calls_slots, batches, open })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::batch::fixture::{Made, batch_at, rows};
    use super::super::fixture::{NOW, World};
    use super::*;
    use crate::seam::queue::Outgoing;

    async fn send(world: &World, queue: &str, messages: usize) {
        let pair = match queue {
            "calls" => &world.deps.queues.calls,
            _ => &world.deps.queues.batches,
        };
        for _ in 0..messages {
            let sent = pair.live.send(vec![Outgoing::new("{}".to_owned())]).await.expect("a queue");
            assert!(sent.iter().all(Result::is_ok));
        }
    }

    #[tokio::test]
    async fn what_is_open_wants_slots_and_what_is_over_none() {
        let world = World::new();
        let wanted = async || slots_wanted(&world.deps).await.expect("an answer");
        assert_eq!(wanted().await, SlotsWanted::default_for_nothing());
        send(&world, "calls", 41).await;
        assert_eq!((wanted().await.slots, wanted().await.calls.due), (3, 41));
        let held = world.deps.queues.calls.live.receive(1, Duration::ZERO, Duration::from_secs(60)).await;
        assert_eq!(held.expect("a queue").len(), 1);
        assert_eq!(wanted().await.slots, 3, "what runs is wanted too");

        let made = Made::begun(&world, batch_at(NOW, 1)).await;
        send(&world, "batches", 1).await;
        assert_eq!(wanted().await.slots, 3, "nothing of it is stored");
        made.chunk(1, 4).await;
        let open = wanted().await;
        assert_eq!((open.slots, open.batches.len(), open.batches[0].backlog.undecided), (4, 1, 4));
        made.part(4, &rows(1..=3)).await;
        assert_eq!(wanted().await.batches[0].backlog.undecided, 1);
        made.part(4, &rows(4..=4)).await;
        assert_eq!((wanted().await.slots, wanted().await.batches.len()), (3, 0));
    }

    impl SlotsWanted {
        fn default_for_nothing() -> SlotsWanted {
            let calls = Backlog { mean_ms: limits::TIMEOUT_MS_DEFAULT, ..Backlog::default() };
            SlotsWanted { calls, ..SlotsWanted::default() }
        }
    }
}
