//! Memory, bare and under each decorator, in time that does not pass by itself.

use std::sync::Arc;
use std::time::Duration;

use afn::backend::memory::{MemoryQueue, MemoryStore};
use afn::limits;
use afn::seam::clock::PausedClock;
use afn::seam::count::{CountQueue, CountStore, Counts};
use afn::seam::fault::{FaultQueue, FaultStore, Rates, SeededFaults};
use afn::seam::queue::{Outgoing, QueueError};
use afn::seam::retry::{Policy, RetryQueue, RetryStore};
use afn::seam::rng::SeededRng;
use afn::seam::{Clock, Queue, Rng, Store};

use super::suite::queue::QueueStand;
use super::suite::store::StoreStand;

type Wrap<T> = fn(Arc<T>, Arc<dyn Clock>) -> Arc<T>;

fn store(wrap: Wrap<dyn Store>) -> StoreStand {
    let clock = PausedClock::start();
    StoreStand::new(wrap(Arc::new(MemoryStore::new(clock.clone())), clock))
}

fn queue(wrap: Wrap<dyn Queue>) -> QueueStand {
    let clock = PausedClock::start();
    QueueStand {
        queue: wrap(Arc::new(MemoryQueue::new(clock.clone())), clock.clone()),
        clock,
        tick: Duration::from_secs(1),
        // Tokio's timers tell milliseconds.
        slack: Duration::from_millis(2),
        busy: Duration::ZERO,
        old_receipts_act: true,
        lapsed_leases_come_back: true,
        keep: Box::new(()),
    }
}

fn rng() -> Arc<dyn Rng> {
    Arc::new(SeededRng::new(1))
}

fn no_faults() -> Arc<SeededFaults> {
    Arc::new(SeededFaults::new(rng(), Rates::default()))
}

mod bare {
    use super::*;

    store_suite!([tokio::test(start_paused = true)], store(|store, _| store));
    queue_suite!([tokio::test(start_paused = true)], queue(|queue, _| queue));
}

mod counted {
    use super::*;

    store_suite!(
        [tokio::test(start_paused = true)],
        store(|store, _| { Arc::new(CountStore::new(store, Arc::<Counts>::default())) })
    );
    queue_suite!(
        [tokio::test(start_paused = true)],
        queue(|queue, _| { Arc::new(CountQueue::new(queue, Arc::<Counts>::default())) })
    );
}

mod retried {
    use super::*;

    store_suite!(
        [tokio::test(start_paused = true)],
        store(|store, clock| { Arc::new(RetryStore::new(store, clock, rng(), Policy::default())) })
    );
    queue_suite!(
        [tokio::test(start_paused = true)],
        queue(|queue, clock| { Arc::new(RetryQueue::new(queue, clock, rng(), Policy::default())) })
    );
}

mod without_faults {
    use super::*;

    store_suite!(
        [tokio::test(start_paused = true)],
        store(|store, clock| { Arc::new(FaultStore::new(store, clock, no_faults())) })
    );
    queue_suite!(
        [tokio::test(start_paused = true)],
        queue(|queue, clock| { Arc::new(FaultQueue::new("queue", queue, clock, no_faults())) })
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_twelve_hours_after_its_receive_however_often_it_is_extended() {
    let stand = queue(|queue, _| queue);
    let half = Duration::from_millis(limits::ms(limits::LEASE_MAX) / 2);
    stand.queue.send(vec![Outgoing::new("long".to_owned())]).await.unwrap();
    let held = stand.queue.receive(1, Duration::ZERO, half).await.unwrap().remove(0);
    stand.clock.sleep(half - Duration::from_secs(1)).await;
    let refused = stand.queue.extend(&held.receipt, half + Duration::from_secs(2)).await;
    assert!(matches!(refused, Err(QueueError::Refused(_))), "{refused:?}");
    stand.queue.extend(&held.receipt, half).await.unwrap();
    let again = stand.queue.receive(1, half, half).await.unwrap();
    assert_eq!(again[0].delivery, 2);
}
