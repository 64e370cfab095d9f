//! Batches that end otherwise than with their source: sealed, cancelled, retried.

use std::sync::Mutex;
use std::time::Duration;

use afn::layout::Key;
use afn::layout::batch::Cancelled;
use afn::model::{BatchId, State};
use afn::seam::StoreExt as _;
use afn::submit::batch::{BatchOptions, End, Progress, submit};
use afn::submit::cancel_batch::{cancel, cancel_call};
use afn::submit::resume::SubmissionState;
use afn::submit::retry::{Retried, retry};
use afn::submit::seal::{Submitter, seal};
use afn::submit::source::{Origin, Pass, Source, SourceRecord, text};
use async_trait::async_trait;

use super::ground::{Ground, lines};

#[tokio::test(start_paused = true)]
async fn a_batch_is_sealed_with_what_is_stored_once_its_submitter_is_quiet() {
    let ground = Ground::new().await;
    let batch = ground.submit(lines(400)).await.unwrap().batch;
    ground.unseal(batch).await;
    for last in [64, 192, 256] {
        ground.delete(Key::Chunk(ground.app.clone(), batch, last)).await;
    }
    tokio::time::advance(Duration::from_secs(9 * 60)).await;
    let error = seal(&ground.deps, batch, "somebody", Submitter::Unknown).await.unwrap_err();
    assert!(error.message().ends_with("may still be submitted: its last chunk was stored 9m ago"), "{error}");
    assert_eq!(error.hint_text(), Some("try again in 1m"));
    tokio::time::advance(Duration::from_secs(60)).await;
    let sealed = seal(&ground.deps, batch, "somebody", Submitter::Unknown).await.unwrap();
    assert_eq!((sealed.last, &sealed.missing[..]), (400, [(1, 64), (129, 256)].as_slice()));
    assert_eq!((sealed.calls(), sealed.by.as_str()), (208, "somebody"));
    assert_eq!(seal(&ground.deps, batch, "another", Submitter::Unknown).await.unwrap(), sealed);

    // A resume needs no source now, and sends what belongs.
    ground.ranges().await;
    let request = afn::submit::resume::ResumeRequest { batch, source: None };
    let resumed = afn::submit::resume::resume(&ground.deps, request, &|_| {}).await.unwrap();
    assert_eq!(resumed.found, SubmissionState::Sealed);
    let sent: Vec<(u64, u64)> = ground
        .ranges()
        .await
        .iter()
        .map(|range| (range.calls.first().unwrap(), range.calls.last().unwrap()))
        .collect();
    assert_eq!(sent, [(65, 128), (257, 320), (321, 384), (385, 400)]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_without_a_chunk_can_be_sealed_too() {
    let ground = Ground::new().await;
    let batch = ground.submit(lines(3)).await.unwrap().batch;
    ground.unseal(batch).await;
    ground.delete(Key::Chunk(ground.app.clone(), batch, 3)).await;
    assert!(seal(&ground.deps, batch, "somebody", Submitter::Unknown).await.is_err());
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(seal(&ground.deps, batch, "somebody", Submitter::Unknown).await.unwrap().calls(), 0);
}

/// Records that come as a slow pipe gives them: a hundred at once, then the next hundred after a while.
struct Slow(u64);

#[async_trait]
impl Source for Slow {
    fn origin(&self) -> Origin {
        Origin {
            location: "-".to_owned(),
            format: "lines".to_owned(),
            pass: Pass::Record,
            delimiter: None,
            key: None,
            fetch: None,
        }
    }

    async fn next(&mut self) -> afn::Result<Vec<SourceRecord>> {
        if self.0 > 0 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let lines = self.0 + 1..=self.0 + 100;
        self.0 += 100;
        let item = |n| SourceRecord {
            payload: format!("line {n}").into(),
            line: Some(n),
            ..SourceRecord::default()
        };
        Ok(lines.map(item).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_submitter_stops_soon_after_its_batch_is_cancelled() {
    let ground = Ground::new().await;
    let batch: Mutex<Option<BatchId>> = Mutex::new(None);
    let know = |progress: Progress| *batch.lock().unwrap() = Some(progress.batch);
    let canceller = async {
        tokio::time::sleep(Duration::from_secs(150)).await;
        let id = batch.lock().unwrap().expect("it has begun");
        let first = cancel(&ground.deps, id, "somebody", "wrong file").await.unwrap();
        assert_eq!(cancel(&ground.deps, id, "another", "").await.unwrap(), first);
        tokio::time::Instant::now()
    };
    let submitter = async {
        let submitted = submit(&ground.deps, ground.request(Box::new(Slow(0))), &know).await.unwrap();
        (submitted, tokio::time::Instant::now())
    };
    let (cancelled_at, (submitted, ended_at)) = tokio::join!(canceller, submitter);
    assert_eq!(submitted.end, End::Cancelled);
    assert!(ended_at - cancelled_at <= Duration::from_secs(2), "{:?}", ended_at - cancelled_at);
    // What came in until then went out although more was awaited, full chunks at once and others after a while.
    assert_eq!((submitted.calls, submitted.chunks), (300, 6));
    let batch = submitted.batch;
    assert_eq!(ground.sealed(batch).await, None, "that is for its supervisor");
    let stands: Cancelled = ground.read(Key::Cancelled(ground.app.clone(), batch)).await.unwrap();
    assert_eq!((stands.by.as_str(), stands.reason.as_str()), ("somebody", "wrong file"));

    ground.end(batch).await;
    let error = cancel(&ground.deps, batch, "somebody", "").await.unwrap_err();
    assert!(error.message().ends_with("has finished already"), "{error}");
}

#[tokio::test]
async fn one_call_of_a_batch_is_cancelled_in_its_chunks_log() {
    let ground = Ground::new().await;
    let batch = ground.submit(lines(200)).await.unwrap().batch;
    ground.decide(batch, 128, [(70, State::Success), (71, State::Cancelled)]).await;
    let row = cancel_call(&ground.deps, batch.call(72), "somebody").await.unwrap();
    assert_eq!(
        (row.number, row.status, row.error.as_deref()),
        (72, State::Cancelled, Some("cancelled by somebody"))
    );
    let again = cancel_call(&ground.deps, batch.call(72), "another").await.unwrap();
    assert_eq!(again.error.as_deref(), Some("cancelled by somebody"), "what stands, stands");
    assert_eq!(
        cancel_call(&ground.deps, batch.call(71), "x").await.unwrap().error.as_deref(),
        Some("so it is")
    );
    let error = cancel_call(&ground.deps, batch.call(70), "x").await.unwrap_err();
    assert!(error.message().ends_with("has finished already: success"), "{error}");
    assert!(cancel_call(&ground.deps, batch.call(1), "x").await.is_ok());
    assert!(cancel_call(&ground.deps, batch.call(201), "x").await.is_err());

    ground.unseal(batch).await;
    ground.delete(Key::Chunk(ground.app.clone(), batch, 64)).await;
    let error = cancel_call(&ground.deps, batch.call(5), "x").await.unwrap_err();
    assert!(error.message().ends_with("is not submitted yet"), "{error}");
}

async fn press(ground: &Ground, batch: BatchId) -> afn::Result<Retried> {
    retry(&ground.deps, batch, BatchOptions::default(), &|_| {}).await
}

/// 200 records, of which 150 is bad; of the others those are failures that end in 7, and 11 was cancelled.
async fn finished(ground: &Ground) -> BatchId {
    let big = "x".repeat(2 << 20);
    let text_of = |n: u64| match n {
        150 => "not JSON".to_owned(),
        157 => format!("\"{big}\""),
        n => format!("{{\"n\":{n}}}"),
    };
    let all: Vec<String> = (1..=200).map(text_of).collect();
    let batch = ground.submit(text(all.join("\n"), "jsonl".parse().unwrap(), "x")).await.unwrap().batch;
    let status = |n: u64| match n {
        150 => State::Error,
        n if n % 10 == 7 => [State::Error, State::Timeout, State::Killed][n as usize % 3],
        11 => State::Cancelled,
        _ => State::Success,
    };
    for range in ground.ranges().await {
        let half = (range.calls.first().unwrap() + 20).min(range.calls.last().unwrap());
        ground
            .decide(
                batch,
                range.calls.last().unwrap(),
                (range.calls.first().unwrap()..half).map(|n| (n, status(n))),
            )
            .await;
        ground
            .decide(
                batch,
                range.calls.last().unwrap(),
                (half..=range.calls.last().unwrap()).map(|n| (n, status(n))),
            )
            .await;
    }
    assert!(press(ground, batch).await.unwrap_err().message().ends_with("has not finished yet"));
    ground.end(batch).await;
    batch
}

#[tokio::test]
async fn failures_are_retried_in_a_batch_of_their_own() {
    let ground = Ground::new().await;
    let batch = finished(&ground).await;
    let made = press(&ground, batch).await.unwrap();
    assert!(!made.repeated);
    let failed: Vec<u64> = (1..=200).filter(|n| n % 10 == 7 || *n == 11).collect();
    let records = ground.records(made.batch).await;
    let lines: Vec<u64> = records.iter().map(|record| record.source_line.unwrap()).collect();
    assert_eq!(lines, failed, "in their order, each with its number before");
    assert_eq!(records[0].payload, "{\"n\":7}");
    assert_eq!(records[0].content_type.as_deref(), Some("application/json"));
    assert!(records[16].input.is_some(), "the big one is carried over");
    assert_eq!(ground.sealed(made.batch).await.unwrap().calls(), 21);
    let body: afn::layout::batch::Batch =
        ground.read(Key::Batch(ground.app.clone(), made.batch)).await.unwrap();
    assert_eq!((body.retry_of, body.source.location), (Some(batch), batch.to_string()));

    let again = press(&ground, batch).await.unwrap();
    assert_eq!(
        (again.batch, again.repeated, again.resumed.found),
        (made.batch, true, SubmissionState::Sealed)
    );
    assert_eq!(ground.records(made.batch).await.len(), 21);
}

#[tokio::test]
async fn two_who_press_retry_at_once_make_one_batch() {
    let ground = Ground::new().await;
    let batch = finished(&ground).await;
    let (one, two) = tokio::join!(press(&ground, batch), press(&ground, batch));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.batch, two.batch);
    assert_eq!(ground.records(one.batch).await.len(), 21);
    assert_eq!(ground.sealed(one.batch).await.unwrap().calls(), 21);

    // Whoever made the link and died before the batch is made good by the next.
    let prefix = afn::layout::key::batch(&ground.app, one.batch);
    let keys: Vec<Key> = ground.keys(prefix).await.into_iter().map(Key::text).collect();
    ground.deps.store.delete(&keys).await.unwrap();
    let third = press(&ground, batch).await.unwrap();
    assert_eq!((third.batch, third.repeated), (one.batch, true));
    assert_eq!(ground.records(one.batch).await.len(), 21);
    assert!(ground.deps.store.exists(&Key::Sealed(ground.app.clone(), one.batch)).await.unwrap());
}

#[tokio::test]
async fn a_batch_in_which_nothing_failed_is_not_retried() {
    let ground = Ground::new().await;
    let batch = ground.submit(lines(2)).await.unwrap().batch;
    ground.decide(batch, 2, [(1, State::Success), (2, State::Success)]).await;
    ground.end(batch).await;
    let error = press(&ground, batch).await.unwrap_err();
    assert!(error.message().ends_with("can be retried"), "{error}");
}
