//! Messages that come twice, and messages that are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use afn::layout::part::RowResult;
use afn::model::State;
use afn::seam::Queue;
use afn::seam::queue::{Outgoing, Receipt};

use super::facts::one_outcome_each;
use super::ground::{line, lines};
use super::world::World;

everywhere!(every_message_twice, purged_midway);

const SECOND: Duration = Duration::from_secs(1);

/// All messages that are visible; hidden from workers for a while.
async fn take(queue: &dyn Queue, hidden: Duration) -> Vec<(Receipt, String)> {
    let mut taken = Vec::new();
    loop {
        let some = queue.receive(10, Duration::ZERO, hidden).await.expect("a receive");
        if some.is_empty() {
            return taken;
        }
        taken.extend(some.into_iter().map(|message| (message.receipt, message.body)));
    }
}

async fn every_message_twice(world: World) {
    const CALLS: u64 = 800;
    world.deploy("echo", "read -r line; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("echo", "in.txt", "").await;
    let queues = world.open().await.deps.queues;
    let mut copies = BTreeMap::new();
    for (name, queue) in [("chunks", &queues.chunks.live), ("batches", &queues.batches.live)] {
        let taken = take(&**queue, 600 * SECOND).await;
        for some in taken.chunks(10) {
            let again = some.iter().map(|(_, body)| Outgoing::new(body.clone())).collect();
            assert!(queue.send(again).await.expect("a send").iter().all(Result::is_ok));
        }
        for (receipt, _) in &taken {
            queue.extend(receipt, Duration::ZERO).await.expect("the original is visible again");
        }
        copies.insert(name, taken.len());
    }
    assert_eq!(copies, BTreeMap::from([("chunks", 11), ("batches", 1)]));
    let _workers = (world.worker("-j 2").await, world.worker("-j 2").await);
    world.over(batch).await;
    for (number, row) in one_outcome_each(&world, batch, CALLS).await {
        let expected = RowResult::Inline(line(number).into());
        assert_eq!((row.status, &row.result), (State::Success, &expected), "{row:?}");
    }
    for queue in [&queues.chunks, &queues.batches] {
        assert_eq!(queue.dead.depth().await.expect("a depth").visible, 0);
    }
}

async fn purged_midway(world: World) {
    const CALLS: u64 = 600;
    world.deploy("slow", "read -r line; sleep 0.05; printf '%s' \"$line\"").await;
    world.write("in.txt", lines(CALLS));
    let batch = world.submit_batch("slow", "in.txt", "").await;
    let worker = world.worker("-j 4").await;
    world.until_batch(batch, "begun", |view| view.decided > 0).await;
    worker.kill().await;
    let queues = world.open().await.deps.queues;
    for queue in [&queues.chunks.live, &queues.batches.live] {
        // What the worker held comes back first.
        while !queue.depth().await.expect("a depth").is_dry() {
            for (receipt, _) in take(&**queue, 60 * SECOND).await {
                assert_eq!(queue.delete(&[receipt]).await.expect("a delete"), [Ok(())]);
            }
            tokio::time::sleep(SECOND / 2).await;
        }
    }
    let _worker = world.worker("-j 4").await;
    let before = afn::results::batch::load(&world.open().await.deps, batch).await.expect("a batch");
    assert!(before.decided < CALLS, "it was purged too late to show anything");
    let resumed = world.afn(&format!("batch resume {batch}")).await.ok();
    assert!(resumed.contains("was submitted whole"), "{resumed}");
    world.over(batch).await;
    for (number, row) in one_outcome_each(&world, batch, CALLS).await {
        assert_eq!(
            (row.status, &row.result),
            (State::Success, &RowResult::Inline(line(number).into())),
            "{row:?}"
        );
    }
}
