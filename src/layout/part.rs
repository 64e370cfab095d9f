//! A part: outcomes of calls of one chunk, a table that DuckDB, Athena and pandas read as it lies. Persisted, keep stable.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parquet::data_type::ByteArray;

use super::footer::Footer;
use super::table::{Layout, Table, TableWriter};
use crate::error::{Error, Result};
use crate::model::{AttemptId, BatchId, Digest, State, Time};

const LAYOUT: Layout = Layout {
    schema: SCHEMA,
    bulk: &["result", "result_binary", "result_sha256", "error", "log"],
    alike: &["call_id", "result_attempt"],
};

const SCHEMA: &str = "message part {
    required binary call_id (UTF8);
    required int64 number;
    required binary status (UTF8);
    required int32 attempts;
    required int64 created_at (TIMESTAMP(MILLIS,true));
    required int64 queued_ms;
    required int64 start_ms;
    required int64 run_ms;
    optional int64 started_at (TIMESTAMP(MILLIS,true));
    required int64 completed_at (TIMESTAMP(MILLIS,true));
    optional binary content_type (UTF8);
    optional binary result (UTF8);
    optional binary result_binary;
    optional binary result_attempt (UTF8);
    optional int64 result_bytes;
    optional binary result_sha256 (UTF8);
    optional binary error (UTF8);
    optional binary log (UTF8);
    required binary worker (UTF8);
    required binary worker_version (UTF8);
}";

const GROUP_ROWS: usize = 1_024;

/// The outcome of one call of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub number: u64,
    pub status: State,
    pub attempts: u32,
    /// When its chunk was accepted.
    pub created_at: Time,
    /// From then until the call was taken up.
    pub queued_ms: u64,
    /// From then until the function had the payload: fetching and starting a sandbox.
    pub start_ms: u64,
    /// The function's own time.
    pub run_ms: u64,
    pub started_at: Option<Time>,
    pub completed_at: Time,
    pub content_type: Option<String>,
    pub result: RowResult,
    /// Why, unless it succeeded.
    pub error: Option<String>,
    /// The end of its stdout and stderr.
    pub log: Option<String>,
    /// Shared by the rows of a worker.
    pub worker: Arc<str>,
    pub worker_version: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowResult {
    None,
    /// In the row itself.
    Inline(Bytes),
    /// In an object of its own, under the key of this attempt.
    Stored {
        attempt: AttemptId,
        bytes: u64,
        sha256: Digest,
    },
}

impl Row {
    /// Of a call that ends without an execution to tell of. `worker`: who ends it.
    pub fn without_run(
        number: u64,
        status: State,
        error: Option<String>,
        created_at: Time,
        now: Time,
        worker: Arc<str>,
    ) -> Row {
        Row {
            number,
            status,
            attempts: 0,
            created_at,
            queued_ms: now.since_ms(created_at),
            start_ms: 0,
            run_ms: 0,
            started_at: None,
            completed_at: now,
            content_type: None,
            result: RowResult::None,
            error,
            log: None,
            worker,
            worker_version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// About what it adds to a part.
    pub fn bytes(&self) -> u64 {
        let inline = if let RowResult::Inline(bytes) = &self.result { bytes.len() } else { 0 };
        let texts =
            [&self.error, &self.log, &self.content_type].map(|text| text.as_ref().map_or(0, String::len));
        (inline + texts.iter().sum::<usize>() + 160) as u64
    }
}

pub fn encode(batch: BatchId, rows: &[Row], footer: &Footer) -> Result<Bytes> {
    let mut table = TableWriter::new(&LAYOUT, rows.iter().map(Row::bytes).sum())?;
    for rows in rows.chunks(GROUP_ROWS) {
        let each = |of: fn(&Row) -> i64| rows.iter().map(of).collect::<Vec<_>>();
        let text =
            |of: fn(&Row) -> &str| texts(rows.iter().map(|row| Some(of(row)))).flatten().collect::<Vec<_>>();
        table.group(|group| {
            group.bytes(&ids(batch, rows))?;
            group.int64(&each(|row| row.number as i64))?;
            group.bytes(&text(|row| row.status.as_str()))?;
            group.int32(&rows.iter().map(|row| row.attempts as i32).collect::<Vec<_>>())?;
            group.int64(&each(|row| row.created_at.0 as i64))?;
            group.int64(&each(|row| row.queued_ms as i64))?;
            group.int64(&each(|row| row.start_ms as i64))?;
            group.int64(&each(|row| row.run_ms as i64))?;
            group.optional_int64(rows.iter().map(|row| row.started_at.map(|at| at.0 as i64)))?;
            group.int64(&each(|row| row.completed_at.0 as i64))?;
            group.optional_bytes(texts(rows.iter().map(|row| row.content_type.as_deref())))?;
            group.optional_bytes(rows.iter().map(|row| match &row.result {
                RowResult::Inline(bytes) if is_text(bytes) => Some(bytes.clone().into()),
                _ => None,
            }))?;
            group.optional_bytes(rows.iter().map(|row| match &row.result {
                RowResult::Inline(bytes) if !is_text(bytes) => Some(bytes.clone().into()),
                _ => None,
            }))?;
            group.optional_bytes(rows.iter().map(|row| match &row.result {
                RowResult::Stored { attempt, .. } => Some(attempt.to_string().into_bytes().into()),
                _ => None,
            }))?;
            group.optional_int64(rows.iter().map(|row| match &row.result {
                RowResult::None => None,
                RowResult::Inline(bytes) => Some(bytes.len() as i64),
                RowResult::Stored { bytes, .. } => Some(*bytes as i64),
            }))?;
            group.optional_bytes(rows.iter().map(|row| match &row.result {
                RowResult::Stored { sha256, .. } => Some(sha256.as_str().into()),
                _ => None,
            }))?;
            group.optional_bytes(rows.iter().map(|row| row.error.as_deref().map(Into::into)))?;
            group.optional_bytes(rows.iter().map(|row| row.log.as_deref().map(Into::into)))?;
            group.bytes(&text(|row| &row.worker))?;
            group.bytes(&text(|row| &row.worker_version))
        })?;
    }
    table.finish(footer.encode())
}

/// Pieces of one text: a million ids need not be a million allocations.
fn ids(batch: BatchId, rows: &[Row]) -> Vec<ByteArray> {
    let mut text = String::new();
    let ends: Vec<usize> = rows
        .iter()
        .map(|row| {
            let _ = write!(text, "{}", batch.call(row.number));
            text.len()
        })
        .collect();
    let (text, mut start) = (Bytes::from(text), 0);
    let id = |end| text.slice(std::mem::replace(&mut start, end)..end).into();
    ends.into_iter().map(id).collect()
}

/// Most are as the one before, which they share.
fn texts<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> impl Iterator<Item = Option<ByteArray>> {
    let mut last: Option<ByteArray> = None;
    texts.map(move |text| {
        let text = text?;
        let same = last.take().filter(|last| last.data() == text.as_bytes());
        last = Some(same.unwrap_or_else(|| ByteArray::from(text)));
        last.clone()
    })
}

/// Text goes into a column that tools show as text.
fn is_text(bytes: &Bytes) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

/// A part that was read: its rows, group by group, and its footer.
pub struct Part {
    table: Table,
    name: String,
}

impl Part {
    pub fn open(name: &str, file: Bytes) -> Result<Part> {
        Ok(Part { table: Table::open(name, file)?, name: name.to_owned() })
    }

    pub fn footer(&self) -> Result<Footer> {
        Footer::decode(&self.name, &self.table.footer()?)
    }

    pub fn groups(&self) -> usize {
        self.table.groups()
    }

    pub fn rows(&self, group: usize) -> Result<Vec<Row>> {
        self.decode(group, true)
    }

    /// As [`Part::rows`], but no row has its log: where there are logs, they are most of a part.
    pub fn rows_without_logs(&self, group: usize) -> Result<Vec<Row>> {
        self.decode(group, false)
    }

    fn decode(&self, group: usize, with_logs: bool) -> Result<Vec<Row>> {
        let group = self.table.group(group)?;
        let int = |column| Ok::<_, Error>(group.int64(column)?.into_iter().map(|value| value as u64));
        let mut statuses = Cache::new(&self.name);
        let status = group.bytes("status")?;
        let attempts = group.int32("attempts")?;
        let mut created = int("created_at")?;
        let mut queued = int("queued_ms")?;
        let mut start = int("start_ms")?;
        let mut run = int("run_ms")?;
        let mut started = group.optional_int64("started_at")?.into_iter();
        let mut completed = int("completed_at")?;
        let mut content_types = group.optional_texts("content_type")?.into_iter();
        let mut texts = group.optional_bytes("result")?.into_iter();
        let mut binaries = group.optional_bytes("result_binary")?.into_iter();
        let mut stored = group.optional_texts("result_attempt")?.into_iter();
        let mut sizes = group.optional_int64("result_bytes")?.into_iter();
        let mut digests = group.optional_texts("result_sha256")?.into_iter();
        let mut errors = group.optional_texts("error")?.into_iter();
        let logs = if with_logs { group.optional_texts("log")? } else { Vec::new() };
        let mut logs = logs.into_iter();
        let mut workers = group.shared_texts("worker")?.into_iter();
        let mut versions = group.shared_texts("worker_version")?.into_iter();
        let mut rows = Vec::with_capacity(group.rows());
        for (index, number) in int("number")?.enumerate() {
            let inline = texts.next().flatten().or(binaries.next().flatten());
            let (attempt, bytes, sha256) =
                (stored.next().flatten(), sizes.next().flatten(), digests.next().flatten());
            let result = match (inline, attempt, bytes, sha256) {
                (Some(bytes), ..) => RowResult::Inline(bytes),
                (None, Some(attempt), Some(bytes), Some(sha256)) => RowResult::Stored {
                    attempt: attempt.parse()?,
                    bytes: bytes as u64,
                    sha256: sha256.parse()?,
                },
                _ => RowResult::None,
            };
            rows.push(Row {
                number,
                status: statuses.parse(&status[index])?,
                attempts: attempts[index] as u32,
                created_at: Time(created.next().unwrap_or_default()),
                queued_ms: queued.next().unwrap_or_default(),
                start_ms: start.next().unwrap_or_default(),
                run_ms: run.next().unwrap_or_default(),
                started_at: started.next().flatten().map(|at| Time(at as u64)),
                completed_at: Time(completed.next().unwrap_or_default()),
                content_type: content_types.next().flatten(),
                result,
                error: errors.next().flatten(),
                log: logs.next().flatten(),
                worker: workers.next().unwrap_or_default(),
                worker_version: versions.next().unwrap_or_default(),
            });
        }
        Ok(rows)
    }

    /// The row of one number; only the row group that holds it is read.
    pub fn row(&self, number: u64) -> Result<Option<Row>> {
        for index in 0..self.groups() {
            if self.table.group(index)?.int64("number")?.contains(&(number as i64)) {
                return Ok(self.rows(index)?.into_iter().find(|row| row.number == number));
            }
        }
        Ok(None)
    }

    pub fn all_rows(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for group in 0..self.groups() {
            rows.extend(self.rows(group)?);
        }
        Ok(rows)
    }
}

/// Statuses by their spelling: a part has few of them and many rows.
struct Cache<'a> {
    name: &'a str,
    known: BTreeMap<Bytes, State>,
}

impl Cache<'_> {
    fn new(name: &str) -> Cache<'_> {
        Cache { name, known: BTreeMap::new() }
    }

    fn parse(&mut self, text: &Bytes) -> Result<State> {
        if let Some(state) = self.known.get(text) {
            return Ok(*state);
        }
        let state = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let state = state
            .ok_or_else(|| Error::internal(format!("object `{}` has a status unknown here", self.name)))?;
        self.known.insert(text.clone(), state);
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::decided::Decided;
    use crate::layout::table::end_of;
    use crate::model::{DeliveryId, MessageId};

    fn result() -> impl Strategy<Value = RowResult> {
        prop_oneof![
            Just(RowResult::None),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| RowResult::Inline(bytes.into())),
            ".{0,20}".prop_map(|text| RowResult::Inline(text.into())),
            (any::<u128>(), 1u32..9, 1u32..9, 0u64..1 << 40).prop_map(
                |(random, delivery, attempt, bytes)| {
                    let message = MessageId::new(Time(1), random);
                    RowResult::Stored {
                        attempt: AttemptId { delivery: DeliveryId { message, delivery }, attempt },
                        bytes,
                        sha256: Digest::of(&random.to_le_bytes()),
                    }
                }
            ),
        ]
    }

    fn row() -> impl Strategy<Value = Row> {
        let ms = || 0u64..1_000_000_000;
        let text = || proptest::option::of(".{0,12}");
        let times = (ms(), ms(), ms(), ms(), proptest::option::of(ms()), ms());
        (result(), 0usize..5, 0u32..100, times, text(), text(), text(), ".{0,9}").prop_map(
            |(result, status, attempts, times, content_type, error, log, worker)| Row {
                number: 0,
                status: State::ALL[3 + status],
                attempts,
                created_at: Time(times.0),
                queued_ms: times.1,
                start_ms: times.2,
                run_ms: times.3,
                started_at: times.4.map(Time),
                completed_at: Time(times.5),
                content_type,
                result,
                error,
                log,
                worker: worker.into(),
                worker_version: "0.1.0".into(),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn reads_back_as_written(rows in proptest::collection::vec(row(), 1..60), first in 1u64..1_000_000_000) {
            let mut rows = rows;
            for (number, row) in (first..).zip(&mut rows) {
                row.number = number;
            }
            let batch = BatchId::new(Time(1_700_000_000_000), 7);
            let decided: Decided = vec![(first, first + rows.len() as u64 - 1, 3)].into();
            let footer = Footer {
                v: 1,
                app: "app".parse().unwrap(),
                function: "fn".parse().unwrap(),
                route: "/fn".parse().unwrap(),
                version: "0.0.1-000000000000".parse().unwrap(),
                batch,
                last: first + 99,
                decided,
                counts: BTreeMap::from([(State::Success, rows.len() as u64)]),
                requests: BTreeMap::from([("put".to_owned(), 2)]),
                run_ms: 12,
            };
            let file = encode(batch, &rows, &footer).unwrap();
            let part = Part::open("part", file.clone()).unwrap();
            prop_assert_eq!(part.all_rows().unwrap(), rows.clone());
            let last = rows.last().cloned();
            prop_assert_eq!(part.row(last.as_ref().unwrap().number).unwrap(), last);
            prop_assert_eq!(part.row(first + rows.len() as u64).unwrap(), None);
            prop_assert_eq!(part.footer().unwrap(), footer.clone());
            let end = end_of("part", &file).unwrap().unwrap();
            prop_assert_eq!(Footer::decode("part", &end.footer().unwrap()).unwrap(), footer);
            let workers = part.all_rows().unwrap().into_iter().map(|row| row.worker);
            prop_assert_eq!(end.greatest("worker"), workers.max().as_deref().map(str::to_owned));
        }
    }
}
