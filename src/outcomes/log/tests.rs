//! Writers that pass each other, gaps, and calls that wait for a retry.

use std::sync::Arc;

use super::*;
use crate::backend::memory::MemoryStore;
use crate::layout::part::{Part, RowResult};
use crate::model::Time;
use crate::seam::clock::SystemClock;

fn chunk() -> Chunk {
    Chunk {
        app: "app".parse().unwrap(),
        function: "fn".parse().unwrap(),
        route: "/fn".parse().unwrap(),
        version: "0.0.1-000000000000".parse().unwrap(),
        batch: BatchId::new(Time(1_700_000_000_000), 1),
        last: 64,
    }
}

fn rows(numbers: impl IntoIterator<Item = u64>, who: &str) -> Vec<Row> {
    let row = |number| Row {
        number,
        status: State::Success,
        attempts: 1,
        created_at: Time(1),
        queued_ms: 0,
        start_ms: 0,
        run_ms: 1,
        started_at: None,
        completed_at: Time(2),
        content_type: None,
        result: RowResult::None,
        error: None,
        log: None,
        worker: who.into(),
        worker_version: "".into(),
    };
    numbers.into_iter().map(row).collect()
}

fn addition(numbers: impl IntoIterator<Item = u64>, who: &str) -> Addition {
    Addition { rows: rows(numbers, who), worker: who.to_owned(), ..Addition::default() }
}

async fn who_decided(store: &MemoryStore) -> BTreeMap<u64, Vec<String>> {
    let mut decided: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let listed = store.list_all(List::all(key::log(&chunk().app, chunk().batch, 64))).await.unwrap();
    for entry in listed.entries {
        let body = store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await.unwrap().body;
        for row in Part::open(&entry.key, body).unwrap().all_rows().unwrap() {
            decided.entry(row.number).or_default().push(row.worker.to_string());
        }
    }
    decided
}

/// H1: a writer that passes a part must go on remembering what that part decides.
#[tokio::test]
async fn what_was_passed_is_not_decided_again() {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let (mut b, mut c) = (Log::fresh(chunk()), Log::fresh(chunk()));
    let spent = BTreeMap::from([("put".to_owned(), 2)]);
    b.append(&store, &Addition { spent: spent.clone(), ..addition([3, 4], "b") }).await.unwrap();
    let first = c.append(&store, &Addition { spent, ..addition([1, 2], "c") }).await.unwrap();
    assert_eq!(first, Appended { recorded: 2, adopted: 0, stood: 1 });
    let second = c.append(&store, &addition([3, 4], "c")).await.unwrap();
    assert_eq!(second, Appended { recorded: 0, adopted: 2, stood: 0 });
    let decided = who_decided(&store).await;
    assert!(decided.values().all(|by| by.len() == 1), "{decided:?}");
    let open = Log::open(&store, chunk()).await.unwrap();
    assert_eq!((open.parts(), open.decided().len(), open.counts[&State::Success]), (2, 4, 4));
    assert_eq!((open.requests["put"], open.run_ms, open.worker()), (4, 4, Some("c")));
}

#[tokio::test]
async fn many_writers_leave_each_call_one_outcome() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8u64 {
        let store = store.clone();
        writers.spawn(async move {
            let mut log = Log::fresh(chunk());
            for step in 0..8 {
                let numbers = (0..16).map(|n| (writer * 7 + step * 8 + n) % 64 + 1);
                let numbers = numbers.collect::<std::collections::BTreeSet<_>>();
                log.append(&*store, &addition(numbers, &writer.to_string())).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let decided = who_decided(&store).await;
    assert_eq!(decided.len(), 64);
    assert!(decided.values().all(|by| by.len() == 1), "{decided:?}");
    assert!(Log::open(&*store, chunk()).await.unwrap().decided().covers(1..=64));
}

#[tokio::test]
async fn a_gap_stops_everything() {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let mut log = Log::fresh(chunk());
    for number in 1..=3 {
        log.append(&store, &addition([number], "a")).await.unwrap();
    }
    let gone = Key::Part(chunk().app, chunk().batch, 64, 1);
    store.delete(&[gone]).await.unwrap();
    let error = Log::open(&store, chunk()).await.unwrap_err();
    assert!(error.message().starts_with("part 1 of the log"), "{error}");
}

fn pending(number: u64, due: u64, attempts: u32) -> BTreeMap<u64, PendingCall> {
    let history = AttemptHistory { attempts, failures: attempts, start_failures: 0 };
    BTreeMap::from([(number, PendingCall { due: Time(due), history })])
}

#[tokio::test]
async fn a_pending_call_keeps_its_attempts_and_ends_with_its_outcome() {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let (mut a, mut b) = (Log::fresh(chunk()), Log::fresh(chunk()));
    let waits = |pending| Addition { pending, worker: "w".to_owned(), ..Addition::default() };
    a.append(&store, &waits(pending(5, 10, 1))).await.unwrap();
    assert_eq!((a.parts(), a.pending()[&5].due), (1, Time(10)));
    // The same again writes nothing, and what is stored stands.
    a.append(&store, &waits(pending(5, 99, 1))).await.unwrap();
    assert_eq!((a.parts(), a.pending()[&5].due), (1, Time(10)));
    // Another writer knows of a second attempt.
    b.append(&store, &waits(pending(5, 20, 2))).await.unwrap();
    assert_eq!((b.parts(), b.pending()[&5].history.attempts), (2, 2));
    a.append(&store, &waits(pending(5, 30, 1))).await.unwrap();
    let open = Log::open(&store, chunk()).await.unwrap();
    assert_eq!(open.pending(), &pending(5, 20, 2));
    let of = |attempts| AttemptHistory { attempts, ..AttemptHistory::default() };
    assert!(open.may_run(5, &of(2)) && !open.may_run(5, &of(1)) && open.may_run(6, &of(0)));
    // Decided: never pending again.
    b.append(&store, &addition([5], "b")).await.unwrap();
    a.append(&store, &waits(pending(5, 40, 3))).await.unwrap();
    let open = Log::open(&store, chunk()).await.unwrap();
    assert!(open.pending().is_empty() && open.decided().contains(5));
    assert_eq!(who_decided(&store).await, BTreeMap::from([(5, vec!["b".to_owned()])]));
}
