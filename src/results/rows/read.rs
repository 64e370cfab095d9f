//! Reads what a plan names, in its order, and merges it: the rows of a chunk by number, the lowest part that names a number
//! wins (R2), and what a retry says of a failed call in place of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;

use super::plan::{ChunkPlan, Plan, Step};
use super::{Finished, ResultRow, Rows};
use crate::error::{Error, Result};
use crate::layout::Key;
use crate::layout::chunk::{self, Record};
use crate::layout::part::{Part, Row};
use crate::limits;
use crate::model::State;
use crate::results::call::reading;
use crate::seam::store::Range;

pub(super) async fn read(plan: Arc<Plan>, sender: mpsc::Sender<Vec<ResultRow>>) -> Result<()> {
    let mut ahead = Ahead::new(&plan);
    let mut overlay = plan.overlay.clone().map(Overlay::new);
    let mut sent = Sent::default();
    let mut rows: Vec<Row> = Vec::new();
    let mut read = 0;
    while let Some((place, step, name, body)) = ahead.next().await? {
        match step {
            Step::Payloads => {
                for record in chunk::decode(&name, body)? {
                    sent.take_in(&plan, record);
                }
            }
            Step::Part { .. } => {
                let part = Part::open(&name, body)?;
                for group in 0..part.groups() {
                    rows.extend(part.rows_without_logs(group)?);
                }
            }
            Step::End => {
                // Waited for before the rows are made: one chunk's are on their way, one's are made, no more.
                let Ok(place_for_rows) = sender.reserve().await else { return Ok(()) };
                let chunk = &plan.chunks[place];
                let merged = merge(&plan, chunk, std::mem::take(&mut rows), std::mem::take(&mut sent))?;
                read += merged.len() as u64;
                let mut block = match &mut overlay {
                    Some(overlay) => overlay.over(merged).await?,
                    None => merged,
                };
                let wanted = &plan.options.statuses;
                if !wanted.is_empty() {
                    block.retain(|row| wanted.contains(&row.status));
                }
                if !block.is_empty() {
                    place_for_rows.send(block);
                }
            }
        }
    }
    match plan.options.finished {
        Finished::Must | Finished::Is if read < plan.rows => Err(missing(&plan, plan.rows)),
        Finished::Must | Finished::Is | Finished::NeedNot => Ok(()),
    }
}

/// What the calls of a chunk were sent with, by number, as far as it is wanted.
#[derive(Default)]
struct Sent {
    names: BTreeMap<u64, String>,
    records: BTreeMap<u64, Record>,
}

impl Sent {
    fn take_in(&mut self, plan: &Plan, record: Record) {
        if plan.names {
            self.names.extend(record.name().map(|name| (record.number, name.into_owned())));
        }
        if plan.keeps_records() {
            self.records.insert(record.number, record);
        }
    }
}

fn missing(plan: &Plan, number: u64) -> Error {
    Error::conflict(format!(
        "call {number} of batch `{}` has no outcome, though the batch was said to be finished",
        plan.batch
    ))
    .hint(format!(
        "`afn batch results {}` takes what there is; if the batch has its summary, its objects were tampered with",
        plan.batch
    ))
}

/// Every number of a chunk that belongs, once, in order.
fn merge(plan: &Plan, chunk: &ChunkPlan, mut rows: Vec<Row>, mut sent: Sent) -> Result<Vec<ResultRow>> {
    // Stable: of one number the row of the lowest part comes first, and stays.
    rows.sort_by_key(|row| row.number);
    rows.dedup_by_key(|row| row.number);
    let mut rows = rows.into_iter().peekable();
    let undecided = if chunk.parts.is_empty() { State::Queued } else { State::Running };
    let mut merged = Vec::with_capacity(rows.len());
    for number in (chunk.first..=chunk.last).filter(|number| plan.belongs(*number)) {
        while rows.next_if(|row| row.number < number).is_some() {}
        let outcome = rows.next_if(|row| row.number == number);
        if outcome.is_none() && plan.options.finished != Finished::NeedNot {
            return Err(missing(plan, number));
        }
        merged.push(ResultRow {
            number,
            call: plan.batch.call(number),
            status: outcome.as_ref().map_or(undecided, |row| row.status),
            outcome,
            source: sent.names.remove(&number),
            input: sent.records.remove(&number),
        });
    }
    Ok(merged)
}

/// The rows of a retry, by their numbers in the batch that it retries.
struct Overlay {
    rows: Rows,
    next: VecDeque<ResultRow>,
}

impl Overlay {
    fn new(plan: Arc<Plan>) -> Overlay {
        Overlay { rows: Rows::start(plan), next: VecDeque::new() }
    }

    async fn over(&mut self, rows: Vec<ResultRow>) -> Result<Vec<ResultRow>> {
        let mut covered = Vec::with_capacity(rows.len());
        for row in rows {
            covered.push(match self.of(row.number).await? {
                Some(retried) => {
                    ResultRow { number: row.number, source: row.source, input: row.input, ..retried }
                }
                None => row,
            });
        }
        Ok(covered)
    }

    /// Both come in ascending order.
    async fn of(&mut self, number: u64) -> Result<Option<ResultRow>> {
        loop {
            let Some(row) = self.next.front() else {
                match self.rows.next().await? {
                    Some(rows) => self.next = rows.into(),
                    None => return Ok(None),
                }
                continue;
            };
            let line = row.input.as_ref().and_then(|record| record.source_line).unwrap_or_default();
            if line > number {
                return Ok(None);
            }
            let row = self.next.pop_front();
            if line == number {
                return Ok(row);
            }
        }
    }
}

/// Fetches objects side by side and hands them on in order, as far ahead as memory allows.
struct Ahead {
    plan: Arc<Plan>,
    steps: VecDeque<(usize, Step, Key)>,
    fetches: FuturesOrdered<Fetch>,
    bytes: u64,
}

type Fetched = (usize, Step, String, Bytes);
type Fetch = std::pin::Pin<Box<dyn Future<Output = Result<Fetched>> + Send>>;

impl Ahead {
    fn new(plan: &Arc<Plan>) -> Ahead {
        Ahead { plan: plan.clone(), steps: plan.steps(), fetches: FuturesOrdered::new(), bytes: 0 }
    }

    async fn next(&mut self) -> Result<Option<Fetched>> {
        while let Some((_, step, _)) = self.steps.front() {
            let bytes = step.bytes();
            let has_room =
                self.fetches.len() < limits::READ_AHEAD_MAX && self.bytes + bytes <= limits::ROWS_AHEAD_BYTES;
            if !has_room && !self.fetches.is_empty() {
                break;
            }
            self.bytes += bytes;
            let Some((place, step, key)) = self.steps.pop_front() else { break };
            self.fetches.push_back(fetch(self.plan.clone(), place, step, key.to_string()));
        }
        let Some(fetched) = self.fetches.next().await.transpose()? else { return Ok(None) };
        self.bytes -= fetched.1.bytes();
        Ok(Some(fetched))
    }
}

impl Step {
    /// About what it takes while it waits.
    fn bytes(&self) -> u64 {
        match self {
            Step::Payloads => limits::CHUNK_BYTES_MAX / 4,
            Step::Part { bytes } => *bytes,
            Step::End => 0,
        }
    }
}

fn fetch(plan: Arc<Plan>, place: usize, step: Step, key: String) -> Fetch {
    Box::pin(async move {
        let body = match step {
            Step::End => Bytes::new(),
            Step::Payloads | Step::Part { .. } => {
                plan.seams.store.get(&key, Range::All).await.map_err(reading(&key))?.body
            }
        };
        Ok((place, step, key, body))
    })
}
