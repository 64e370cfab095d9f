//! Facts as types: created once, read within a bound, and never taken for what a newer program wrote.

use afn::layout::batch::{Cancelled, Sealed};
use afn::layout::object::Reconciled;
use afn::layout::{Fact, object};
use afn::limits;
use afn::model::id::NUMBER_MAX;
use afn::model::{BatchId, BatchRef, Time};
use afn::seam::fault::Fault;
use afn::seam::store::{Created, PutObject};
use afn::seam::{StoreError, StoreExt as _};
use bytes::Bytes;
use proptest::prelude::*;

use crate::conformance::faults::{Bench, Script, bench};

const HOUR: u64 = 7;

fn quiet() -> Bench {
    bench(1, Script::of(&[]))
}

fn by(worker: &str) -> Reconciled {
    Reconciled { worker: worker.to_owned(), at: Time(1_790_000_000_000) }
}

async fn write(bench: &Bench, body: impl Into<Bytes>) {
    bench.bare.put(&Reconciled::key(&HOUR), PutObject::create(body.into())).await.expect("put");
}

#[tokio::test(start_paused = true)]
async fn the_first_one_stands_and_the_others_are_told() {
    let bench = quiet();
    let store = &bench.repeated;
    assert_eq!(store.find_fact::<Reconciled>(&HOUR).await.unwrap(), None);
    assert_eq!(store.fact_exists::<Reconciled>(&HOUR).await, Ok(false));
    assert_eq!(store.create_fact(&HOUR, &by("a")).await.unwrap(), Created::New);
    assert_eq!(bench.counts.snapshot().put.requests, 1);
    assert_eq!(store.create_fact(&HOUR, &by("b")).await.unwrap(), Created::Existing(by("a")));
    assert_eq!(store.put_fact(&HOUR, &by("b")).await, Ok(false));
    assert_eq!(store.find_fact(&HOUR).await.unwrap(), Some(by("a")));
    assert_eq!(store.fact_exists::<Reconciled>(&HOUR).await, Ok(true));
    let info = store.head(&Reconciled::key(&HOUR)).await.unwrap();
    assert_eq!(info.content_type.as_deref(), Some("application/json"));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_new() {
    let bench = bench(1, Script::of(&[Fault::LoseReply]));
    assert_eq!(bench.repeated.create_fact(&HOUR, &by("a")).await.unwrap(), Created::New);
    let counts = bench.counts.snapshot();
    assert_eq!((counts.put.requests, counts.get.requests), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_version_1_is_read_as_it_was_written_before() {
    let bench = quiet();
    write(&bench, "{\n  \"v\": 1,\n  \"worker\": \"a\",\n  \"at\": \"2026-09-21T14:13:20.000Z\"\n}\n").await;
    let found: Reconciled = bench.bare.read_fact(&HOUR).await.unwrap();
    let stands = bench.bare.find(&Reconciled::key(&HOUR), 1_000).await.unwrap().unwrap().body;
    assert_eq!(object::encode(&found), stands);
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_is_an_error_that_says_so() {
    let bench = quiet();
    write(&bench, r#"{"v":2,"worker":"a","at":"2026-09-21T14:13:20.000Z"}"#).await;
    let error = bench.repeated.find_fact::<Reconciled>(&HOUR).await.unwrap_err();
    let says = "object `reconciled/00000007` has version 2, this afn reads versions up to 1";
    assert_eq!(error.message(), says);
    assert_eq!(bench.repeated.create_fact(&HOUR, &by("b")).await.unwrap_err().message(), says);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_neither_written_nor_read() {
    let bench = quiet();
    let large = "x".repeat(limits::FACT_BYTES_MAX as usize);
    let error = bench.repeated.put_fact(&HOUR, &by(&large)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { bytes_max: limits::FACT_BYTES_MAX, .. }), "{error}");
    assert_eq!(bench.bare.fact_exists::<Reconciled>(&HOUR).await, Ok(false));
    write(&bench, object::encode(&by(&large))).await;
    let error = bench.repeated.find_fact::<Reconciled>(&HOUR).await.unwrap_err();
    let bytes = object::encode(&by(&large)).len();
    assert_eq!(
        error.message(),
        format!(
            "read `reconciled/00000007`: object `reconciled/00000007` has {bytes} bytes, the most is {}",
            limits::FACT_BYTES_MAX
        )
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn facts_of_a_batch_come_back_as_they_were_written(
        ends in proptest::collection::btree_set(1..=NUMBER_MAX, 9),
        runs in 0_usize..4,
        text in ".{0,20}",
    ) {
        let ends: Vec<u64> = ends.into_iter().collect();
        let missing = ends.chunks_exact(2).take(runs).map(|run| (run[0], run[1])).collect();
        let sealed = Sealed { last: ends[8], missing, at: Time(1), by: text.clone() };
        let cancelled = Cancelled { by: text.clone(), reason: text, at: Time(2) };
        let of = BatchRef::new(&"app".parse().unwrap(), BatchId::new(Time(1_790_000_000_000), 7));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(async {
            let bench = quiet();
            assert!(bench.bare.create_fact(&of, &sealed).await.unwrap().is_new());
            assert!(bench.bare.create_fact(&of, &cancelled).await.unwrap().is_new());
            assert_eq!(bench.bare.find_fact(&of).await.unwrap(), Some(sealed));
            assert_eq!(bench.bare.find_fact(&of).await.unwrap(), Some(cancelled));
        });
    }
}
