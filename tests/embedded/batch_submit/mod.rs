//! Batches as they are submitted: what lies in the store and on the queues afterwards.

mod damage;
mod end;
mod flat;
mod ground;
mod resume;

use std::sync::Mutex;

use afn::error::Code;
use afn::layout::Key;
use afn::layout::Message;
use afn::layout::batch::Batch;
use afn::model::Digest;
use afn::seam::StoreExt as _;
use afn::seam::store::List;
use afn::submit::batch::{End, OnBadRecord, Progress, submit};
use afn::submit::source::{self, text};

use ground::{Ground, lines};

#[tokio::test]
async fn a_batch_lies_in_chunks_each_with_its_message() {
    let ground = Ground::new().await;
    let told = Mutex::new(Vec::new());
    let tell = |progress: Progress| told.lock().unwrap().push(progress);
    let submitted = submit(&ground.deps, ground.request(lines(1_000)), &tell).await.unwrap();
    assert_eq!((submitted.calls, submitted.chunks, &submitted.end), (1_000, 12, &End::Source));
    let batch = submitted.batch;

    let records = ground.records(batch).await;
    let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (1..=1_000).collect::<Vec<u64>>());
    assert!(records.iter().all(|record| record.payload == format!("line {}", record.number)));
    assert!(records.iter().all(|record| record.source_line == Some(record.number)));

    let ranges = ground.ranges().await;
    let covered: Vec<(u64, u64)> =
        ranges.iter().map(|range| (range.calls.first().unwrap(), range.calls.last().unwrap())).collect();
    let widths = [64, 64, 64, 64, 64, 64, 64, 64, 128, 128, 128, 104];
    let mut next = 1;
    let expected: Vec<(u64, u64)> = widths
        .iter()
        .map(|width| {
            next += width;
            (next - width, next - 1)
        })
        .collect();
    assert_eq!(covered, expected);
    assert!(ranges.iter().all(|range| range.chunk == range.calls.last().unwrap() && !range.again));

    let supervise = ground.messages(&ground.deps.queues.batches).await;
    assert!(matches!(&supervise[..], [Message::Supervise(message)] if message.batch == batch));
    let sealed = ground.sealed(batch).await.unwrap();
    assert_eq!((sealed.last, sealed.calls()), (1_000, 1_000));
    let body: Batch = ground.read(Key::Batch(ground.app.clone(), batch)).await.unwrap();
    assert_eq!((body.source.location.as_str(), body.source.format.as_str()), ("x.txt", "lines"));
    assert!(ground.deps.store.exists(&Key::Pointer(batch)).await.unwrap());

    let told = told.into_inner().unwrap();
    assert_eq!((told[0].batch, told[0].calls), (batch, 0));
    let last = told.last().unwrap();
    assert_eq!((last.calls, last.chunks, last.bytes), (1_000, 12, submitted.bytes));
}

#[tokio::test]
async fn one_record_is_a_batch_and_so_is_none() {
    let ground = Ground::new().await;
    let one = ground.submit(lines(1)).await.unwrap();
    assert_eq!((one.calls, one.chunks), (1, 1));
    assert_eq!(ground.ranges().await.len(), 1);

    let before = ground.deps.store.list_all(List::all("")).await.unwrap().entries.len();
    for (format, empty) in [("lines", ""), ("jsonl", " \n\n"), ("csv", "a,b\n")] {
        let mut request = ground.request(text(empty, format.parse().unwrap(), "x"));
        request.options.fail_if_empty = true;
        let error = submit(&ground.deps, request, &|_| {}).await.unwrap_err();
        assert_eq!(error.message(), "the source `x` has no records", "{format}");
    }
    let after = ground.deps.store.list_all(List::all("")).await.unwrap().entries.len();
    assert_eq!(before, after, "nothing is left behind");
    assert!(ground.messages(&ground.deps.queues.batches).await.len() == 1);

    let none = ground.submit(text("a,b\n", "csv".parse().unwrap(), "x")).await.unwrap();
    assert_eq!((none.calls, none.chunks, &none.end), (0, 0, &End::Source));
    assert_eq!(ground.sealed(none.batch).await.unwrap().last, 0);
    assert!(ground.messages(&ground.deps.queues.batches).await.len() == 1);
    assert!(ground.ranges().await.is_empty());
}

#[tokio::test]
async fn a_webhook_with_a_password_is_refused_before_anything_is_stored() {
    let ground = Ground::new().await;
    let before = ground.keys(String::new()).await;
    for url in ["https://me:secret@x.example/done", "https://me@x.example", "x.example"] {
        let mut request = ground.request(lines(1));
        request.options.on_complete = Some(url.to_owned());
        let error = submit(&ground.deps, request, &|_| {}).await.unwrap_err();
        assert_eq!(error.code(), Code::Invalid, "{error}");
        assert!(error.message().contains("URL") && !error.message().contains("secret"), "{error}");
    }
    assert_eq!(ground.keys(String::new()).await, before);
}

#[tokio::test]
async fn a_bad_record_is_recorded_or_stops() {
    let ground = Ground::new().await;
    let source = || text("1\n2\nx\n4\n", "jsonl".parse().unwrap(), "x.jsonl");
    let submitted = ground.submit(source()).await.unwrap();
    assert_eq!((submitted.calls, submitted.refused), (4, 1));
    let records = ground.records(submitted.batch).await;
    let refused: Vec<Option<&str>> = records.iter().map(|record| record.refused.as_deref()).collect();
    assert_eq!(refused, [None, None, Some("x.jsonl:3:1: not JSON: expected value"), None]);

    let mut request = ground.request(source());
    request.options.on_bad_record = OnBadRecord::Stop;
    let stopped = submit(&ground.deps, request, &|_| {}).await.unwrap();
    let End::BadRecord(bad) = &stopped.end else { panic!("{stopped:?}") };
    assert_eq!((stopped.calls, bad.line), (2, Some(3)));
    assert_eq!(ground.records(stopped.batch).await.len(), 2);
    assert_eq!(ground.sealed(stopped.batch).await.unwrap().last, 2);

    let mut request = ground.request(text("x\n1\n", "jsonl".parse().unwrap(), "x.jsonl"));
    request.options.on_bad_record = OnBadRecord::Stop;
    let error = submit(&ground.deps, request, &|_| {}).await.unwrap_err();
    assert_eq!(error.message(), "x.jsonl:1:1: not JSON: expected value");
}

#[tokio::test]
async fn a_payload_too_big_for_its_chunk_lies_beside_it() {
    let ground = Ground::new().await;
    let big = "x".repeat(2 << 20);
    let source = text(format!("a\n{big}\nb\n"), "lines".parse().unwrap(), "x");
    let batch = ground.submit(source).await.unwrap().batch;
    let records = ground.records(batch).await;
    assert_eq!(records[1].input, Some(Digest::of(big.as_bytes())));
    assert_eq!(
        (records[0].payload.as_ref(), records[1].payload.len(), &records[2].input),
        (b"a".as_slice(), 0, &None)
    );
    let key = Key::Input(ground.app.clone(), batch, 2);
    assert_eq!(ground.deps.store.find(&key, u64::MAX).await.unwrap().unwrap().body, big);
}

#[tokio::test]
async fn a_folder_and_a_compressed_file_are_sources() {
    let ground = Ground::new().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.bin"), [0, 255]).unwrap();
    std::fs::write(folder.path().join("a.txt"), "text").unwrap();
    let location = folder.path().to_str().unwrap();
    let batch = ground
        .submit(source::open(location, source::OpenOptions::default(), None).await.unwrap())
        .await
        .unwrap()
        .batch;
    let records = ground.records(batch).await;
    let seen: Vec<(&str, &[u8])> = records
        .iter()
        .map(|record| (record.headers[source::NAME_HEADER].as_str(), record.payload.as_ref()))
        .collect();
    assert_eq!(seen, [("a.txt", b"text".as_slice()), ("b.bin", &[0, 255])]);

    let file = folder.path().join("rows.csv.gz");
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(&file).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, b"id,name\n1,\"a\nb\"\n2\n").unwrap();
    gzip.finish().unwrap();
    let source = source::open(file.to_str().unwrap(), source::OpenOptions::default(), None).await.unwrap();
    let submitted = ground.submit(source).await.unwrap();
    let records = ground.records(submitted.batch).await;
    assert_eq!(records[0].payload, r#"{"id":"1","name":"a\nb"}"#);
    let refused = records[1].refused.as_deref().unwrap();
    assert_eq!(refused, format!("{}:4:2: 1 field, the header has 2", file.display()));
    let body: Batch = ground.read(Key::Batch(ground.app.clone(), submitted.batch)).await.unwrap();
    assert_eq!(
        (body.source.location.as_str(), body.source.format.as_str()),
        (file.to_str().unwrap(), "csv.gz")
    );
}

/// A person's commands run on many threads.
#[tokio::test]
async fn all_of_it_can_move_between_threads() {
    fn moves<T: Send>(value: T) -> T {
        value
    }
    let ground = Ground::new().await;
    let submitted = moves(submit(&ground.deps, ground.request(lines(3)), &|_| {})).await.unwrap();
    let batch = submitted.batch;
    let request = afn::submit::resume::ResumeRequest { batch, source: Some(lines(3)) };
    moves(afn::submit::resume::resume(&ground.deps, request, &|_| {})).await.unwrap();
    moves(afn::submit::seal::seal(&ground.deps, batch, "x", afn::submit::seal::Submitter::Unknown))
        .await
        .unwrap();
    moves(afn::submit::cancel_batch::cancel_call(&ground.deps, batch.call(1), "x")).await.unwrap();
    let options = afn::submit::batch::BatchOptions::default();
    moves(afn::submit::retry::retry(&ground.deps, batch, options, &|_| {})).await.unwrap_err();
    moves(afn::submit::cancel_batch::cancel(&ground.deps, batch, "x", "x")).await.unwrap();
}
