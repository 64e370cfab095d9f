//! A submitter that stops anywhere, and whoever goes on.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use afn::layout::Key;
use afn::model::{BatchId, State};
use afn::seam::fault::{FaultStore, Rates, SeededFaults};
use afn::seam::retry::{Policy, RetryStore};
use afn::seam::rng::{RngExt as _, SeededRng};
use afn::seam::store::{ByteRange, ETag, List, ListPage, Object, ObjectInfo, PutObject, Store, StoreError};
use afn::seam::{Deps, StoreExt as _};
use afn::submit::batch::{End, submit};
use afn::submit::resume::{ResumeRequest, Resumed, SubmissionState, resume};
use afn::submit::source::{Source, text};
use async_trait::async_trait;
use tokio::sync::Notify;

use super::ground::{Ground, lines, text_of};

async fn resume_with(deps: &Deps, batch: BatchId, source: Option<Box<dyn Source>>) -> afn::Result<Resumed> {
    resume(deps, ResumeRequest { batch, source }, &|_| {}).await
}

/// Dropped after so many polls: a process that dies there.
struct Mortal<F> {
    future: Option<Pin<Box<F>>>,
    polls: u64,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        self.polls -= 1;
        let future = self.future.as_mut().expect("not polled after its end");
        future.as_mut().poll(context).map(Some)
    }
}

fn mortal<F: Future>(polls: u64, future: F) -> Mortal<F> {
    Mortal { future: Some(Box::pin(future)), polls }
}

/// Killed at a random point, resumed and killed again, at last resumed: every record is stored exactly once, every chunk
/// has a message, the batch a supervisor and its seal.
#[test]
fn killed_anywhere_and_resumed_nothing_is_lost_or_doubled() {
    let (mut begun, mut killed, mut injected) = (0, 0, 0);
    for seed in 0..80u64 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rng = Arc::new(SeededRng::new(seed));
            let count = 1 + rng.below(900);
            let ground = Ground::new().await;
            let faults = Arc::new(SeededFaults::new(rng.clone(), Rates { late: 0, ..Rates::bad_day() }));
            let clock = ground.deps.clock.clone();
            let bad = FaultStore::new(ground.deps.store.clone(), clock.clone(), faults.clone());
            let deps = ground.through(RetryStore::new(Arc::new(bad), clock, rng.clone(), Policy::default()));

            let batch: Mutex<Option<BatchId>> = Mutex::new(None);
            let know = |progress: afn::submit::batch::Progress| {
                *batch.lock().unwrap() = Some(progress.batch);
            };
            let polls = 1 + rng.below(25);
            let first = mortal(polls, submit(&deps, ground.request(lines(count)), &know)).await;
            let Some(id) = *batch.lock().unwrap() else { return };
            begun += 1;
            let mut done = matches!(first, Some(Ok(_)));
            killed += u64::from(first.is_none());
            while !done && rng.below(3) > 0 {
                let polls = 1 + rng.below(25);
                let again = mortal(polls, resume_with(&deps, id, Some(lines(count)))).await;
                done = matches!(again, Some(Ok(_)));
                killed += u64::from(again.is_none());
            }
            injected += faults.injected().values().sum::<u64>();
            faults.heal();
            let messages_before = ground.ranges().await;
            let resumed = resume_with(&deps, id, Some(lines(count))).await.unwrap();
            assert_eq!(resumed.found == SubmissionState::Sealed, done, "seed {seed}");

            ground.assert_lines(id, count).await;
            let sealed = ground.sealed(id).await.unwrap();
            assert_eq!((sealed.last, sealed.calls()), (count, count), "seed {seed}");
            // Nothing is decided: all that is stored was sent again, or sent first by the last to go on.
            let messages = ground.ranges().await;
            let covered: Vec<(u64, u64)> = messages
                .iter()
                .map(|range| (range.calls.first().unwrap(), range.calls.last().unwrap()))
                .collect();
            let mut next = 1;
            for (first, last) in covered {
                assert_eq!(first, next, "seed {seed}");
                next = last + 1;
            }
            assert_eq!(next, count + 1, "seed {seed}");
            for message in messages.iter().filter(|message| !message.again) {
                let sent = messages_before
                    .iter()
                    .any(|before| before.calls.first().unwrap() == message.calls.first().unwrap());
                assert!(!sent, "seed {seed}: sent as if for the first time: {message:?}");
            }
            assert!(ground.supervisors().await >= 2, "seed {seed}");
        });
    }
    assert!(begun > 40 && killed > 60 && injected > 200, "{begun} {killed} {injected}");
}

/// Lets so many puts through, then holds everybody up until it is opened.
struct Pausing {
    inner: Arc<dyn Store>,
    puts: AtomicU64,
    reached: Notify,
    waiting: AtomicUsize,
    opened: tokio::sync::watch::Receiver<bool>,
}

#[async_trait]
impl Store for Pausing {
    async fn put(&self, key: &Key, object: PutObject) -> Result<ETag, StoreError> {
        let before = self.puts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |puts| puts.checked_sub(1));
        if before.is_err() {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.reached.notify_one();
            let mut opened = self.opened.clone();
            opened.wait_for(|opened| *opened).await.expect("it is opened");
        }
        self.inner.put(key, object).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Object, StoreError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, request: &List) -> Result<ListPage, StoreError> {
        self.inner.list(request).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_submitter_that_was_only_paused_goes_on_beside_a_resume() {
    for puts in [2, 3, 5, 9, 13] {
        let ground = Ground::new().await;
        let (open, opened) = tokio::sync::watch::channel(false);
        let pausing = Arc::new(Pausing {
            inner: ground.deps.store.clone(),
            puts: puts.into(),
            reached: Notify::new(),
            waiting: 0.into(),
            opened,
        });
        let deps = Deps { store: pausing.clone(), ..ground.deps.clone() };
        let request = ground.request(lines(1_000));
        let batch: Mutex<Option<BatchId>> = Mutex::new(None);
        let know = |progress: afn::submit::batch::Progress| {
            *batch.lock().unwrap() = Some(progress.batch);
        };
        let submitter = submit(&deps, request, &know);
        let other = async {
            pausing.reached.notified().await;
            // Until nothing of it moves.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let id = batch.lock().unwrap().expect("it has begun");
            assert!(ground.records(id).await.len() < 1_000);
            let (one, two) = tokio::join!(
                resume_with(&ground.deps, id, Some(lines(1_000))),
                resume_with(&ground.deps, id, Some(lines(1_000))),
            );
            assert_eq!(
                (one.unwrap().found, two.unwrap().found),
                (SubmissionState::Partial, SubmissionState::Partial)
            );
            ground.assert_lines(id, 1_000).await;
            open.send_replace(true);
        };
        let (submitted, ()) = tokio::join!(submitter, other);
        let submitted = submitted.unwrap();
        assert_eq!((submitted.calls, submitted.end), (1_000, End::Source));
        assert!(pausing.waiting.load(Ordering::SeqCst) > 0);
        ground.assert_lines(submitted.batch, 1_000).await;
        // Whoever came second to a chunk says so: it may run already.
        let ranges = ground.ranges().await;
        for (first, last) in
            ranges.iter().map(|range| (range.calls.first().unwrap(), range.calls.last().unwrap()))
        {
            let to_it = ranges
                .iter()
                .filter(|range| (range.calls.first().unwrap(), range.calls.last().unwrap()) == (first, last));
            assert_eq!(to_it.filter(|range| !range.again).count(), 1);
        }
    }
}

#[tokio::test]
async fn a_changed_source_is_found_out_and_nothing_of_it_is_stored() {
    let text_with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut all: Vec<String> = text_of(400).lines().map(str::to_owned).collect();
        change(&mut all);
        text(all.join("\n"), "lines".parse().unwrap(), "x.txt")
    };
    type Change = &'static dyn Fn(&mut Vec<String>);
    let changes: [(&str, Change); 5] = [
        ("edited", &|lines| lines[140] = "edited".to_owned()),
        ("inserted in the gap", &|lines| lines.insert(70, "new".to_owned())),
        ("removed", &|lines| drop(lines.remove(0))),
        ("cut short in a chunk", &|lines| lines.truncate(150)),
        ("cut short before a chunk", &|lines| lines.truncate(128)),
    ];
    for (what, change) in changes {
        let ground = Ground::new().await;
        let batch = ground.submit(lines(400)).await.unwrap().batch;
        ground.unseal(batch).await;
        ground.delete(Key::Chunk(ground.app.clone(), batch, 128)).await;
        let error = resume_with(&ground.deps, batch, Some(text_with(change))).await.unwrap_err();
        assert!(error.message().contains("the source has changed: records "), "{what}: {error}");
        assert!(error.hint_text().unwrap().contains("afn batch seal"), "{what}");
        assert_eq!(ground.records(batch).await.len(), 400 - 64, "{what}");
        assert_eq!(ground.sealed(batch).await, None, "{what}");
        // With the source as it was the batch goes on.
        resume_with(&ground.deps, batch, Some(lines(400))).await.unwrap();
        ground.assert_lines(batch, 400).await;
    }
}

#[tokio::test]
async fn what_is_not_wholly_decided_is_sent_again() {
    let ground = Ground::new().await;
    let batch = ground.submit(lines(256)).await.unwrap().batch;
    assert_eq!((ground.ranges().await.len(), ground.supervisors().await), (4, 1));
    ground.decide(batch, 64, (1..=64).map(|number| (number, State::Success))).await;
    ground.decide(batch, 128, (65..=100).map(|number| (number, State::Success))).await;
    ground.decide(batch, 256, (193..=200).map(|number| (number, State::Error))).await;
    ground.decide(batch, 256, (201..=256).map(|number| (number, State::Error))).await;
    for sealed in [true, false] {
        if !sealed {
            ground.unseal(batch).await;
        }
        let resumed = resume_with(&ground.deps, batch, Some(lines(256))).await.unwrap();
        assert_eq!(
            (resumed.found, resumed.sent_again),
            (if sealed { SubmissionState::Sealed } else { SubmissionState::Partial }, 2)
        );
        assert_eq!(resumed.submitted.is_some(), !sealed);
        let ranges = ground.ranges().await;
        let sent: Vec<(u64, u64, bool)> = ranges
            .iter()
            .map(|range| (range.calls.first().unwrap(), range.calls.last().unwrap(), range.again))
            .collect();
        assert_eq!(sent, [(65, 128, true), (129, 192, true)]);
        assert_eq!(ground.supervisors().await, 1);
        assert_eq!(ground.sealed(batch).await.unwrap().last, 256);
    }
    ground.end(batch).await;
    let resumed = resume_with(&ground.deps, batch, None).await.unwrap();
    assert_eq!(
        (resumed.found, resumed.sent_again, ground.supervisors().await),
        (SubmissionState::Finished, 0, 1)
    );
}

#[tokio::test]
async fn nothing_is_opened_because_a_batch_in_the_store_names_it() {
    let ground = Ground::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.txt");
    std::fs::write(&file, text_of(300)).unwrap();
    let source =
        afn::submit::source::open(file.to_str().unwrap(), afn::submit::source::OpenOptions::default(), None)
            .await
            .unwrap();
    let batch = ground.submit(source).await.unwrap().batch;
    ground.unseal(batch).await;
    ground.delete(Key::Chunk(ground.app.clone(), batch, 192)).await;
    let error = resume_with(&ground.deps, batch, None).await.unwrap_err();
    assert!(error.message().contains("which was not submitted from here"), "{error}");
    let hint = format!("`afn batch resume {batch} --input {}`", file.display());
    assert!(error.hint_text().unwrap().ends_with(&hint), "{error:?}");
    assert!(ground.sealed(batch).await.is_none());
    let source =
        afn::submit::source::open(file.to_str().unwrap(), afn::submit::source::OpenOptions::default(), None)
            .await
            .unwrap();
    resume_with(&ground.deps, batch, Some(source)).await.unwrap();
    ground.assert_lines(batch, 300).await;
    assert!(ground.sealed(batch).await.is_some());

    let piped = ground.submit(text("a\n", "lines".parse().unwrap(), "-")).await.unwrap().batch;
    ground.unseal(piped).await;
    let error = resume_with(&ground.deps, piped, None).await.unwrap_err();
    assert!(error.message().contains("came from the standard input"), "{error}");
    assert!(error.hint_text().unwrap().contains(&format!("afn batch seal {piped}")));
    assert!(!ground.deps.store.exists(&Key::Sealed(ground.app.clone(), piped)).await.unwrap());

    let nobody: BatchId = BatchId::new(ground.deps.now(), 5);
    assert!(resume_with(&ground.deps, nobody, None).await.is_err());
}

/// Its range lies in the batch, so nothing on this machine is read.
#[tokio::test]
async fn an_array_is_gone_on_with_from_anywhere() {
    let ground = Ground::new().await;
    let source = afn::submit::source::array("5-1004".parse().unwrap());
    let batch = ground.submit(source).await.unwrap().batch;
    ground.unseal(batch).await;
    for last in [64, 1_000] {
        ground.delete(Key::Chunk(ground.app.clone(), batch, last)).await;
    }
    let request = afn::submit::resume::ResumeRequest { batch, source: None };
    let resumed = afn::submit::resume::resume(&ground.deps, request, &|_| {}).await.unwrap();
    assert_eq!(resumed.submitted.unwrap().calls, 1_000);
    let records = ground.records(batch).await;
    assert!(records.iter().all(|record| record.payload == (record.number + 4).to_string()));
}
