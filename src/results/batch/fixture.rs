//! Batches as a submitter and workers leave them, for the tests of this folder and its neighbours.

use std::collections::BTreeMap;

use super::super::fixture::{NOW, World};
use crate::layout::batch::{Batch, BatchSource, Chunking, Pointer, SEALED_BY_SUBMITTER, Sealed, Summary};
use crate::layout::chunk::{self, ChunkFacts, Record};
use crate::layout::part::{Row, RowResult};
use crate::layout::{Fact, Key, metadata};
use crate::model::{BatchId, BatchLimits, BatchRef, Digest, State, Time};
use crate::outcomes::log::Addition;
use crate::outcomes::{Chunk, Log};
use crate::seam::store::PutObject;

/// A batch in a world, and what is known of its logs.
pub struct Made<'a> {
    pub world: &'a World,
    pub id: BatchId,
    pub body: Batch,
}

pub fn batch_at(time: Time, number: u64) -> BatchId {
    BatchId::new(time, u128::from(number) << 40)
}

pub fn row(number: u64, status: State) -> Row {
    Row {
        number,
        status,
        attempts: 1,
        created_at: NOW,
        queued_ms: number,
        start_ms: 2,
        run_ms: 10,
        started_at: Some(NOW.plus_ms(number)),
        completed_at: NOW.plus_ms(number + 10),
        content_type: None,
        result: match status {
            State::Success => RowResult::Inline(format!("{{\"n\":{number}}}").into()),
            _ => RowResult::None,
        },
        error: (status != State::Success).then(|| "exit code 3".to_owned()),
        log: number.is_multiple_of(2).then(|| format!("log of {number}")),
        worker: "worker-1".into(),
        worker_version: "0.1.0".into(),
    }
}

pub fn rows(numbers: impl IntoIterator<Item = u64>) -> Vec<Row> {
    numbers.into_iter().map(|number| row(number, State::Success)).collect()
}

impl<'a> Made<'a> {
    /// Pointer and definition.
    pub async fn begun(world: &'a World, id: BatchId) -> Made<'a> {
        let source = BatchSource {
            location: "x.txt".to_owned(),
            format: "lines".to_owned(),
            pass: "record".to_owned(),
            on_bad_record: "record".to_owned(),
            ..BatchSource::default()
        };
        Made::of_source(world, id, source).await
    }

    pub async fn of_source(world: &'a World, id: BatchId, source: BatchSource) -> Made<'a> {
        let body = Batch {
            function: "asyncfn".parse().expect("a name"),
            version: "0.0.2-0123456789ab".parse().expect("a version"),
            route: "/asyncfn".parse().expect("a route"),
            source,
            chunking: Chunking::default(),
            then: None,
            on_complete: None,
            max_failures: None,
            attempts_max: None,
            retry_backoff_ms: None,
            limits: BatchLimits::default(),
            retention: None,
            array: None,
            retry_of: None,
            fetch: None,
            created_at: id.time(),
            nonce: world.deps.nonce(),
        };
        let pointer = Pointer { app: world.app.clone(), nonce: world.deps.nonce() };
        world.put_fact(&id, &pointer).await;
        let made = Made { world, id, body };
        made.put(&made.body).await;
        made
    }

    pub async fn put<T: Fact<Id = BatchRef>>(&self, fact: &T) {
        self.world.put_fact(&BatchRef::new(&self.world.app, self.id), fact).await;
    }

    pub async fn chunk(&self, first: u64, last: u64) {
        let record = |number| Record {
            number,
            payload: format!("line {number}").into(),
            content_type: Some("text/plain".to_owned()),
            headers: BTreeMap::new(),
            refused: None,
            source_line: Some(number),
            input: None,
            key: None,
            object: None,
        };
        self.records(&(first..=last).map(record).collect::<Vec<_>>()).await;
    }

    pub async fn records(&self, records: &[Record]) {
        let (first, last) = (records[0].number, records[records.len() - 1].number);
        let facts = ChunkFacts { first, last, source: Digest::of(b"") };
        let object = PutObject::create(chunk::encode(records).expect("a chunk"))
            .metadata(metadata::encode(&facts).expect("small facts"));
        self.world.put(Key::Chunk(self.world.app.clone(), self.id, last), object).await;
    }

    /// Appends a part to the log of the chunk that ends with `last`.
    pub async fn part(&self, last: u64, rows: &[Row]) {
        let chunk = Chunk::of(&self.world.app, self.id, &self.body, last);
        let store = &*self.world.deps.store;
        let mut log = Log::open(store, chunk).await.expect("a log");
        let addition = Addition {
            rows: rows.to_vec(),
            spent: BTreeMap::from([("put".to_owned(), 1)]),
            worker: rows.last().map(|row| row.worker.to_string()).unwrap_or_default(),
            ..Addition::default()
        };
        assert!(log.append(store, &addition).await.expect("appended").recorded > 0);
    }

    pub async fn sealed(&self, last: u64, missing: &[(u64, u64)]) {
        let by = SEALED_BY_SUBMITTER.to_owned();
        let sealed = Sealed { last, missing: missing.to_vec(), at: NOW, by };
        self.put(&sealed).await;
    }

    pub async fn summary(&self, counts: &[(State, u64)], cancelled: Option<&str>) {
        let summary = Summary {
            calls: counts.iter().map(|(_, count)| count).sum(),
            counts: counts.iter().copied().collect(),
            run_ms: 10,
            requests: BTreeMap::from([("put".to_owned(), 7)]),
            parts: 3,
            cancelled: cancelled.map(str::to_owned),
        };
        self.put(&summary).await;
    }
}
