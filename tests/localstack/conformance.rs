//! The contracts of store and queue on S3 and SQS: bare, and as a context opens them, counted and retried.

use std::sync::Arc;
use std::time::Duration;

use afn::backend::aws::{S3Store, SqsQueue};
use afn::seam::clock::SystemClock;
use afn::seam::fault::{FaultQueue, FaultStore, Rates, SeededFaults};
use afn::seam::rng::SeededRng;
use afn::seam::{Clock, Queue, Store};

use super::harness;
use super::suite::queue::{BUSY, QueueStand};
use super::suite::store::StoreStand;

pub fn queue_stand(queue: Arc<dyn Queue>) -> QueueStand {
    QueueStand {
        queue,
        clock: Arc::new(SystemClock),
        tick: Duration::from_secs(1),
        // It looks for lapsed leases about once a second.
        slack: Duration::from_secs(3),
        busy: BUSY,
        old_receipts_act: true,
        lapsed_leases_come_back: false,
        keep: Box::new(()),
    }
}

fn no_faults() -> Arc<SeededFaults> {
    Arc::new(SeededFaults::new(Arc::new(SeededRng::new(1)), Rates::default()))
}

mod bare {
    use super::*;

    async fn store() -> StoreStand {
        let context = harness::made("bare").await;
        let connection = harness::connect(&context).await;
        let bucket = context.bucket.as_deref().expect("a bucket");
        StoreStand::new(Arc::new(S3Store::new(&connection, bucket, &context.prefix)))
    }

    async fn queue() -> QueueStand {
        let context = harness::made("bare").await;
        queue_stand(Arc::new(SqsQueue::new(&harness::connect(&context).await, &context.queues.calls)))
    }

    store_suite!([tokio::test], store().await);
    queue_suite!([tokio::test], queue().await);
}

/// Counted and retried as a context is opened, and beneath a decorator that breaks nothing.
mod decorated {
    use super::*;

    async fn store() -> StoreStand {
        let opened = harness::open(&harness::made("decorated").await).await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        StoreStand::new(Arc::new(FaultStore::new(opened.deps.store, clock, no_faults())) as Arc<dyn Store>)
    }

    async fn queue() -> QueueStand {
        let opened = harness::open(&harness::made("decorated").await).await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let live = opened.deps.queues.calls.live;
        queue_stand(Arc::new(FaultQueue::new("calls", live, clock, no_faults())))
    }

    store_suite!([tokio::test], store().await);
    queue_suite!([tokio::test], queue().await);
}
