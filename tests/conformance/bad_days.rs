//! Work that is repeated under seeded faults, and settled by identity, comes out right; and the same seed is the same
//! day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afn::layout::Key;
use afn::seam::fault::{Rates, SeededFaults};
use afn::seam::rng::SeededRng;
use afn::seam::store::{ByteRange, PutObject};
use afn::seam::{RequestError as _, StoreError};
use futures_util::future::join_all;

use super::faults::{Bench, bench, message};

const LONG: Duration = Duration::from_secs(60);

/// What a workload saw, to be compared with what it sees the next time.
type Trace = Vec<String>;

/// Writers that settle by identity: who wrote what stands is told by what is in it.
async fn creates(bench: &Bench, trace: &Mutex<Trace>) {
    let writers = (0..6).map(|writer| async move {
        let mut won = BTreeSet::new();
        for n in 0..4 {
            let key = Key::text(format!("race/{n}"));
            let body = format!("writer {writer}");
            loop {
                match bench.repeated.put(&key, PutObject::create(body.clone().into_bytes())).await {
                    Ok(_) => {
                        won.insert(n);
                    }
                    Err(StoreError::Exists) => {
                        let Ok(stands) = bench.repeated.get(&key, ByteRange::Whole(u64::MAX)).await else {
                            continue;
                        };
                        if stands.body == body {
                            won.insert(n);
                        }
                    }
                    Err(error) if error.transient().is_some() => continue,
                    Err(error) => panic!("{error}"),
                }
                break;
            }
        }
        trace.lock().unwrap().push(format!("{:?} {writer} won {won:?}", bench.clock.monotonic()));
        won
    });
    let won: Vec<BTreeSet<i32>> = join_all(writers).await;
    for n in 0..4 {
        let winners = won.iter().filter(|won| won.contains(&n)).count();
        assert_eq!(winners, 1, "{winners} believe that they wrote race/{n}");
    }
}

/// A list that grows by compare-and-swap, each entry once: a lost answer is settled by looking for one's own entry.
async fn swaps(bench: &Bench, trace: &Mutex<Trace>) {
    bench.bare.put(&Key::text("list"), PutObject::create("")).await.unwrap();
    let writers = (0..4).map(|writer| async move {
        for n in 0..3 {
            let mine = format!("{writer}.{n};");
            loop {
                let Ok(stands) = bench.repeated.get(&Key::text("list"), ByteRange::Whole(u64::MAX)).await
                else {
                    continue;
                };
                let text = String::from_utf8(stands.body.to_vec()).unwrap();
                if text.contains(&mine) {
                    break;
                }
                let swap = PutObject::replace((text + &mine).into_bytes(), stands.info.etag);
                match bench.repeated.put(&Key::text("list"), swap).await {
                    Ok(_) => break,
                    Err(StoreError::Changed) => continue,
                    Err(error) if error.transient().is_some() => continue,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        trace.lock().unwrap().push(format!("{:?} {writer} swapped", bench.clock.monotonic()));
    });
    join_all(writers).await;
    let body = bench.bare.get(&Key::text("list"), ByteRange::Whole(u64::MAX)).await.unwrap().body;
    let text = String::from_utf8(body.to_vec()).unwrap();
    let entries: Vec<&str> = text.split_terminator(';').collect();
    let distinct: BTreeSet<&str> = entries.iter().copied().collect();
    assert_eq!((entries.len(), distinct.len()), (12, 12), "{text}");
    trace.lock().unwrap().push(text);
}

/// Every message that was acknowledged is received at least once, and a queue that is worked off runs dry.
async fn messages(bench: &Bench, heal: impl Fn(), trace: &Mutex<Trace>) {
    let mut acknowledged = BTreeSet::new();
    for batch in 0..10 {
        let messages: Vec<String> = (0..5).map(|n| format!("{batch}.{n}")).collect();
        let outgoing = messages.iter().map(|body| message(body)).collect();
        let answers = bench.repeated_queue.send(outgoing).await.unwrap_or_default();
        acknowledged
            .extend(messages.into_iter().zip(answers).filter(|(_, a)| a.is_ok()).map(|(body, _)| body));
    }
    assert!(acknowledged.len() > 25, "hardly anything was acknowledged");
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0.. {
        if round == 20 {
            heal();
        }
        assert!(round < 1_000, "the queue does not run dry");
        let received =
            bench.repeated_queue.receive(10, Duration::from_secs(5), LONG).await.unwrap_or_default();
        let receipts: Vec<_> = received.iter().map(|message| message.receipt.clone()).collect();
        for message in received {
            *seen.entry(message.body).or_default() += 1;
        }
        if !receipts.is_empty() {
            let _ = bench.repeated_queue.delete(&receipts).await;
        } else if round > 20 && bench.repeated_queue.depth().await.unwrap().is_dry() {
            break;
        }
    }
    let missing: Vec<&String> = acknowledged.iter().filter(|body| !seen.contains_key(*body)).collect();
    assert!(missing.is_empty(), "never received: {missing:?}");
    trace.lock().unwrap().push(format!("{:?} {seen:?}", bench.clock.monotonic()));
}

async fn bad_day(seed: u64) -> (Trace, BTreeMap<&'static str, u64>) {
    let faults = Arc::new(SeededFaults::new(Arc::new(SeededRng::new(seed)), Rates::bad_day()));
    let bench = bench(seed, faults.clone());
    let trace = Mutex::new(Trace::new());
    creates(&bench, &trace).await;
    swaps(&bench, &trace).await;
    messages(&bench, || faults.heal(), &trace).await;
    let mut trace = trace.into_inner().unwrap();
    trace.push(format!("{:?}", bench.counts.snapshot()));
    (trace, faults.injected())
}

#[test]
fn the_outcome_is_right_on_bad_days_and_the_same_seed_is_the_same_day() {
    let run = |seed| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(bad_day(seed))
    };
    let mut injected: BTreeMap<&str, u64> = BTreeMap::new();
    let mut days = BTreeSet::new();
    for seed in 0..60 {
        let day = run(seed);
        assert_eq!(day, run(seed), "seed {seed} differs from itself");
        for (kind, count) in day.1 {
            *injected.entry(kind).or_default() += count;
        }
        days.insert(day.0);
    }
    assert_eq!(days.len(), 60, "seeds differ from one another");
    let kinds: Vec<&str> = injected.keys().copied().collect();
    let expected = [
        "busy",
        "conflict",
        "delay",
        "duplicate",
        "late",
        "lose_reply",
        "lose_request",
        "partial",
        "reorder",
        "slow",
    ];
    assert_eq!(kinds, expected, "every kind of fault was met: {injected:?}");
}
