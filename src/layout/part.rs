//! A part: outcomes of calls of one chunk, a table that DuckDB, Athena and pandas read as it lies. Persisted, keep stable.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use parquet::data_type::ByteArray;

use super::footer::Footer;
use super::table::{Budget, Group, Layout, Table, TableWriter, fill};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::id::NUMBER_MAX;
use crate::model::{AttemptId, BatchId, Digest, State, Time};

const LAYOUT: Layout<'static> = Layout {
    schema: SCHEMA,
    bulk: &["result", "result_binary", "result_sha256", "error", "log"],
    alike: &["call_id", "result_attempt"],
    looked_up: &[],
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
const GROUP_BYTES: u64 = 8 * limits::MIB;

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
    /// There is none.
    None,
    /// In the row itself.
    Inline(Bytes),
    /// In an object of its own, under the key of this attempt.
    Stored { attempt: AttemptId, bytes: u64, sha256: Digest },
}

impl Row {
    /// Of a call that ends without an execution. `worker`: the process that ends it.
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
    for rows in groups(rows) {
        let text = |of: fn(&Row) -> &str| texts(rows.iter().map(move |row| Some(of(row)))).flatten();
        table.group(|group| {
            group.column(ids(batch, rows).into_iter())?;
            group.column(rows.iter().map(|row| row.number as i64))?;
            group.column(text(|row| row.status.as_str()))?;
            group.column(rows.iter().map(|row| row.attempts as i32))?;
            group.column(rows.iter().map(|row| row.created_at.0 as i64))?;
            group.column(rows.iter().map(|row| row.queued_ms as i64))?;
            group.column(rows.iter().map(|row| row.start_ms as i64))?;
            group.column(rows.iter().map(|row| row.run_ms as i64))?;
            group.column(rows.iter().map(|row| row.started_at.map(|at| at.0 as i64)))?;
            group.column(rows.iter().map(|row| row.completed_at.0 as i64))?;
            group.column(texts(rows.iter().map(|row| row.content_type.as_deref())))?;
            group.column(rows.iter().map(|row| inline(row, true)))?;
            group.column(rows.iter().map(|row| inline(row, false)))?;
            let attempt = |row: &Row| {
                stored(row).map(|(attempt, ..)| ByteArray::from(attempt.to_string().into_bytes()))
            };
            group.column(rows.iter().map(attempt))?;
            group.column(rows.iter().map(|row| match &row.result {
                RowResult::Inline(bytes) => Some(bytes.len() as i64),
                _ => stored(row).map(|(_, bytes, _)| bytes as i64),
            }))?;
            group.column(
                rows.iter().map(|row| stored(row).map(|(.., sha256)| ByteArray::from(sha256.as_str()))),
            )?;
            group.column(rows.iter().map(|row| row.error.as_deref().map(ByteArray::from)))?;
            group.column(rows.iter().map(|row| row.log.as_deref().map(ByteArray::from)))?;
            group.column(text(|row| &row.worker))?;
            group.column(text(|row| &row.worker_version))
        })?;
    }
    table.finish(footer.encode())
}

/// The rows of as many parts as they need: on a worker of hundreds of slots more may end at once than a reader takes of one.
pub fn pieces(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let (mut pieces, mut bytes) = (Vec::new(), u64::MAX);
    for row in rows {
        bytes = bytes.saturating_add(row.bytes());
        if bytes > limits::PART_ROWS_BYTES_MAX {
            bytes = row.bytes();
            pieces.push(Vec::new());
        }
        let piece: &mut Vec<Row> = pieces.last_mut().expect("the first row begins one");
        piece.push(row);
    }
    pieces
}

/// A group is read as a whole.
fn groups(mut rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&Row| {
            let is_first = bytes == 0;
            bytes += row.bytes();
            is_first || bytes <= GROUP_BYTES
        };
        let count = rows.iter().take(GROUP_ROWS).take_while(fits).count();
        let (group, rest) = rows.split_at(count);
        rows = rest;
        (count > 0).then_some(group)
    })
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

/// A result in its row. Text goes into a column that tools show as text, all else into another.
fn inline(row: &Row, is_text: bool) -> Option<ByteArray> {
    match &row.result {
        RowResult::Inline(bytes) if std::str::from_utf8(bytes).is_ok() == is_text => {
            Some(bytes.clone().into())
        }
        _ => None,
    }
}

fn stored(row: &Row) -> Option<(AttemptId, u64, &Digest)> {
    match &row.result {
        RowResult::Stored { attempt, bytes, sha256 } => Some((*attempt, *bytes, sha256)),
        RowResult::None | RowResult::Inline(_) => None,
    }
}

/// A part that was read: its rows, group by group, and its footer.
pub struct Part {
    table: Table,
    name: String,
}

impl Part {
    pub fn open(name: impl ToString, file: Bytes) -> Result<Part> {
        let name = name.to_string();
        Ok(Part { table: Table::open(&name, file)?, name })
    }

    pub fn footer(&self) -> Result<Footer> {
        Footer::decode(&self.name, &self.table.footer()?)
    }

    pub fn groups(&self) -> usize {
        self.table.groups()
    }

    /// What rows that are held at once may come to in memory.
    pub fn budget(&self) -> Budget {
        self.table.budget()
    }

    pub fn rows(&self, group: usize) -> Result<Vec<Row>> {
        self.decode(group, true, &self.budget())
    }

    /// As [`Part::rows`], but no row has its log: where there are logs, they are most of a part. `budget`: groups that are held
    /// together share one.
    pub fn rows_without_logs(&self, group: usize, budget: &Budget) -> Result<Vec<Row>> {
        self.decode(group, false, budget)
    }

    fn decode(&self, group: usize, with_logs: bool, budget: &Budget) -> Result<Vec<Row>> {
        let group = self.table.group(group, budget)?;
        let ms = |column| group.numbers(column, limits::SIZE_MAX);
        let times = |column| group.numbers(column, Time::MAX.0);
        let unreadable =
            |why: String| Error::internal(format!("object `{}` cannot be read: {why}", self.name));
        let blank = Row::without_run(0, State::Error, None, Time(0), Time(0), Arc::default());
        let numbers = ms("number")?;
        if let Some(number) = numbers.iter().find(|number| !(1..=NUMBER_MAX).contains(*number)) {
            return Err(unreadable(format!("a call's number lies in 1 to {NUMBER_MAX}, not {number}")));
        }
        let mut rows: Vec<Row> = numbers.into_iter().map(|number| Row { number, ..blank.clone() }).collect();
        for (row, status) in rows.iter_mut().zip(group.shared_texts("status")?) {
            row.status = status.parse().map_err(|_| unreadable(format!("status `{status}` is unknown")))?;
        }
        for (row, attempts) in rows.iter_mut().zip(group.int32("attempts")?) {
            let bad = |_| unreadable(format!("call {} has {attempts} attempts", row.number));
            row.attempts = attempts.try_into().map_err(bad)?;
        }
        fill(&mut rows, times("created_at")?, |row, at| row.created_at = Time(at));
        fill(&mut rows, ms("queued_ms")?, |row, ms| row.queued_ms = ms);
        fill(&mut rows, ms("start_ms")?, |row, ms| row.start_ms = ms);
        fill(&mut rows, ms("run_ms")?, |row, ms| row.run_ms = ms);
        let started_at = group.optional_numbers("started_at", Time::MAX.0)?;
        fill(&mut rows, started_at, |row, at| row.started_at = at.map(Time));
        fill(&mut rows, times("completed_at")?, |row, at| row.completed_at = Time(at));
        fill(&mut rows, group.optional_texts("content_type")?, |row, text| row.content_type = text);
        fill(&mut rows, group.optional_texts("error")?, |row, text| row.error = text);
        if with_logs {
            fill(&mut rows, group.optional_texts("log")?, |row, text| row.log = text);
        }
        fill(&mut rows, group.shared_texts("worker")?, |row, text| row.worker = text);
        fill(&mut rows, group.shared_texts("worker_version")?, |row, text| row.worker_version = text);
        read_results(&group, &mut rows, &unreadable)?;
        Ok(rows)
    }

    /// The row of one number; only the row group that holds it is read.
    pub fn row(&self, number: u64) -> Result<Option<Row>> {
        for index in 0..self.groups() {
            if self.table.group(index, &self.budget())?.int64("number")?.contains(&(number as i64)) {
                return Ok(self.rows(index)?.into_iter().find(|row| row.number == number));
            }
        }
        Ok(None)
    }

    pub fn all_rows(&self) -> Result<Vec<Row>> {
        let (mut rows, budget) = (Vec::new(), self.budget());
        for group in 0..self.groups() {
            rows.extend(self.decode(group, true, &budget)?);
        }
        Ok(rows)
    }
}

fn read_results(group: &Group<'_>, rows: &mut [Row], unreadable: &dyn Fn(String) -> Error) -> Result<()> {
    for column in ["result_binary", "result"] {
        fill(rows, group.optional_bytes(column)?, |row, bytes| {
            if let Some(bytes) = bytes {
                row.result = RowResult::Inline(bytes);
            }
        });
    }
    let attempts = group.optional_texts("result_attempt")?;
    let sizes = group.optional_numbers("result_bytes", limits::SIZE_MAX)?;
    let digests = group.optional_texts("result_sha256")?;
    for (((row, attempt), bytes), sha256) in rows.iter_mut().zip(attempts).zip(sizes).zip(digests) {
        if let (RowResult::None, Some(attempt), Some(bytes), Some(sha256)) =
            (&row.result, attempt, bytes, sha256)
        {
            let bad = |error: Error| unreadable(error.message().to_owned());
            let (attempt, sha256) = (attempt.parse().map_err(bad)?, sha256.parse().map_err(bad)?);
            row.result = RowResult::Stored { attempt, bytes, sha256 };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::layout::decided::Decided;
    use crate::layout::footer::Writer;
    use crate::layout::runs::{PendingCall, Runs};
    use crate::layout::table::{TableEnd, end_of};
    use crate::model::{AttemptHistory, DeliveryId, MessageId};

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
            let decided = Decided::from(Runs::one(first, first + rows.len() as u64 - 1, 3));
            let footer = Footer {
                v: 2,
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
                pending: Runs::one(first + 90, first + 95, PendingCall { due: Time(7), history: AttemptHistory::default() }),
                executions: 9,
                executions_ms: 99,
                started: true,
                writer: Some(Writer { worker: "w".to_owned(), running: 2 }),
            };
            let file = encode(batch, &rows, &footer).unwrap();
            let part = Part::open("part", file.clone()).unwrap();
            prop_assert_eq!(part.all_rows().unwrap(), rows.clone());
            let last = rows.last().cloned();
            prop_assert_eq!(part.row(last.as_ref().unwrap().number).unwrap(), last);
            prop_assert_eq!(part.row(first + rows.len() as u64).unwrap(), None);
            prop_assert_eq!(part.footer().unwrap(), footer.clone());
            let TableEnd::Complete(end) = end_of("part", &file).unwrap() else { panic!("cut short") };
            prop_assert_eq!(Footer::decode("part", &end.footer().unwrap()).unwrap(), footer);
            let workers = part.all_rows().unwrap().into_iter().map(|row| row.worker);
            prop_assert_eq!(end.greatest("worker"), workers.max().as_deref().map(str::to_owned));
        }
    }

    /// As many calls may end together as run at once, each with its result and its log.
    #[test]
    fn large_rows_are_read_in_groups_that_a_reader_takes() {
        let log = Some("x".repeat(limits::ROW_LOG_BYTES_MAX as usize));
        let row = |number| Row {
            log: log.clone(),
            ..Row::without_run(number, State::Success, None, Time(1), Time(2), "w".into())
        };
        let rows: Vec<Row> = (1..=900).map(row).collect();
        let sizes: Vec<usize> = groups(&rows).map(<[Row]>::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 900);
        assert!(sizes.len() > 6 && sizes.iter().all(|size| (1..=128).contains(size)), "{sizes:?}");
        assert_eq!(groups(&rows[..1]).count(), 1);
        assert_eq!(groups(&[]).count(), 0);

        let pieces = pieces(rows.clone());
        let sizes: Vec<usize> = pieces.iter().map(Vec::len).collect();
        assert_eq!((sizes.len(), pieces.concat() == rows), (2, true), "{sizes:?}");
        assert!(super::pieces(Vec::new()).is_empty());
    }
}
