//! A short batch beside a long one. A queue without message groups gives out the oldest message first, so the long batch must
//! not have all of its messages there.

use std::time::Duration;

use super::facts::one_outcome_each;
use super::ground::lines;
use super::world::World;

everywhere!(a_short_batch_does_not_wait_for_a_long_one);

const SHORT: u64 = 100;
const LONG: u64 = 20_000;

/// A hundred calls of 100 ms beside 20,000 of them: within twice their time alone and a minute.
async fn a_short_batch_does_not_wait_for_a_long_one(mut world: World) {
    // Nobody is lost, and a busy machine must not look as if somebody were.
    world.visibility = None;
    world.deploy("f", "read -r line; sleep 0.1; printf '%s' \"$line\"").await;
    world.write("short.txt", lines(SHORT));
    world.write("long.txt", lines(LONG));
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(world.worker("-j 4").await);
    }
    let alone = short(&world).await;
    let long = world.submit_batch("f", "long.txt", "").await;
    // The submitter has put the first 1,536 calls on the queue. By now the others come there.
    world.until_batch(long, "under way", |view| view.decided > 2_000).await;
    let beside = short(&world).await;
    let view = world.until_batch(long, "read", |_| true).await;
    println!(
        "{SHORT} calls alone: {alone:?}, beside {LONG}: {beside:?}, of which {} were decided",
        view.decided
    );
    assert!(view.decided < LONG, "the long batch was over before");
    assert!(beside <= 2 * alone + Duration::from_secs(60), "{beside:?} beside, {alone:?} alone");
    world.args(&["batch", "cancel", &long.to_string()], b"").await.ok();
    world.over(long).await;
    one_outcome_each(&world, long, LONG).await;
}

async fn short(world: &World) -> Duration {
    let begun = tokio::time::Instant::now();
    let batch = world.submit_batch("f", "short.txt", "").await;
    world.over(batch).await;
    begun.elapsed()
}
