//! Chunks in flight: written to the store in parallel, the messages of the first ones sent ten to a request; both bounded. A
//! chunk stays until its message is acknowledged, so that a submission that stops leaves a bounded number of stored chunks
//! without a message (H22). One that the supervisor sends stays until it is stored.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::chunker::{Cut, Input};
use super::send;
use super::submission::Progress;
use crate::error::{Error, Result};
use crate::layout::chunk::{self, ChunkFacts, InputFacts};
use crate::layout::{Key, Message, metadata};
use crate::limits;
use crate::model::{BatchId, BatchRef};
use crate::outcomes::chunks::read_facts;
use crate::seam::store::PutObject;
use crate::seam::{Deps, StoreExt as _};

/// Beside what is in flight, a chunk is being cut and one waits to enter.
const BYTES_MAX: u64 = limits::SUBMIT_BYTES_IN_FLIGHT - 2 * limits::CHUNK_BYTES_MAX;

pub(super) struct InFlight<'a> {
    deps: &'a Deps,
    of: BatchRef,
    /// Chunks that end past this number are the supervisor's to send.
    first_calls: u64,
    tasks: JoinSet<Result<Done>>,
    /// Of chunks that are being written.
    bytes: u64,
    puts: usize,
    /// Chunks that are being written, or whose message is not acknowledged.
    chunks: usize,
    /// Stored chunks whose message is not sent.
    unsent: VecDeque<(Message, Progress)>,
    /// When the oldest of them was stored.
    since: Duration,
    /// No more chunks will be put.
    ended: bool,
}

enum Done {
    Put(Message, Progress),
    /// Stored, and the supervisor will send its message.
    LeftToSupervisor(Progress),
    Sent(Progress),
}

impl<'a> InFlight<'a> {
    pub(super) fn new(deps: &'a Deps, of: BatchRef, first_calls: u64) -> InFlight<'a> {
        InFlight {
            deps,
            of,
            first_calls,
            tasks: JoinSet::new(),
            bytes: 0,
            puts: 0,
            chunks: 0,
            unsent: VecDeque::new(),
            since: Duration::ZERO,
            ended: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks == 0
    }

    pub(super) fn has_room(&self) -> bool {
        self.chunks < limits::SUBMIT_CHUNKS_IN_FLIGHT && self.bytes + limits::CHUNK_BYTES_MAX <= BYTES_MAX
    }

    /// Starts to write a chunk. Only while there is room.
    pub(super) fn put(&mut self, cut: Cut) {
        assert!(self.has_room());
        self.bytes += cut.bytes;
        self.puts += 1;
        self.chunks += 1;
        let (deps, of, first_calls) = (self.deps.clone(), self.of.clone(), self.first_calls);
        self.tasks.spawn(async move {
            let progress = cut.progress(of.batch);
            match put_chunk(&deps, &of, first_calls, cut).await? {
                Some(message) => Ok(Done::Put(message, progress)),
                None => Ok(Done::LeftToSupervisor(progress)),
            }
        });
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Waits until a chunk is stored or messages are acknowledged, and returns the progress by acknowledged messages.
    /// Cancel safe. Never returns while nothing is in flight.
    pub(super) async fn turn(&mut self) -> Result<Progress> {
        loop {
            let wait = self.wait_before_send();
            if wait.is_some_and(|wait| wait.is_zero()) {
                self.send();
                continue;
            }
            let clock = &self.deps.clock;
            let timer = async {
                match wait {
                    Some(wait) => clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                biased;
                Some(done) = self.tasks.join_next() => done,
                () = timer => continue,
                else => std::future::pending().await,
            };
            match done.unwrap_or_else(|error| Err(lost_task(error)))? {
                Done::Put(message, progress) => {
                    self.bytes -= progress.bytes;
                    self.puts -= 1;
                    if self.unsent.is_empty() {
                        self.since = self.deps.clock.monotonic();
                    }
                    self.unsent.push_back((message, progress));
                    // The caller may put the next chunk now.
                    return Ok(Progress::none(self.of.batch));
                }
                Done::LeftToSupervisor(progress) => {
                    self.bytes -= progress.bytes;
                    self.puts -= 1;
                    self.chunks -= 1;
                    return Ok(progress);
                }
                Done::Sent(progress) => {
                    self.chunks -= progress.chunks as usize;
                    return Ok(progress);
                }
            }
        }
    }

    /// A full request is sent at once. Fewer messages wait a little for others, unless none can come.
    fn wait_before_send(&self) -> Option<Duration> {
        if self.unsent.is_empty() {
            return None;
        }
        let alone = self.puts == 0 && (self.ended || !self.has_room());
        if alone || self.unsent.len() >= limits::QUEUE_BATCH_MAX {
            return Some(Duration::ZERO);
        }
        let due = self.since + limits::SUBMIT_SEND_WAIT;
        Some(due.saturating_sub(self.deps.clock.monotonic()))
    }

    fn send(&mut self) {
        let count = self.unsent.len().min(limits::QUEUE_BATCH_MAX);
        let mut progress = Progress::none(self.of.batch);
        let messages = self.unsent.drain(..count).map(|(message, of)| {
            progress.add(of);
            message
        });
        let messages: Vec<Message> = messages.collect();
        self.since = self.deps.clock.monotonic();
        let pair = self.deps.queues.chunks.clone();
        self.tasks.spawn(async move {
            send::send_all(&pair, &messages, Duration::ZERO).await?;
            Ok(Done::Sent(progress))
        });
    }
}

fn lost_task(error: JoinError) -> Error {
    Error::internal(format!("a task of the submission ended: {error}"))
}

/// Writes a chunk, or checks that the stored one is the same. Returns its message, if the submitter sends it.
async fn put_chunk(deps: &Deps, of: &BatchRef, first_calls: u64, cut: Cut) -> Result<Option<Message>> {
    for input in cut.inputs {
        put_input(deps, of, input).await?;
    }
    let facts = ChunkFacts { first: cut.first, last: cut.last, source: cut.source };
    let body = chunk::encode(&cut.records)?;
    drop(cut.records);
    let key = Key::Chunk(of.app.clone(), of.batch, cut.last);
    let object = PutObject::create(body).metadata(metadata::encode(&facts)?);
    let unwritten = |error| Error::from(error).context(format!("write records up to {}", cut.last));
    let is_new = deps.store.create(&key, object).await.map_err(unwritten)?;
    if !is_new {
        // An earlier submitter, a rival, or this one, if the answer was lost, wrote the chunk: it may run already.
        let stored = read_facts(deps, &key).await?;
        if (stored.first, &stored.source) != (facts.first, &facts.source) {
            return Err(changed(of.batch, stored.first, stored.last));
        }
    }
    let is_mine = facts.last <= first_calls;
    Ok(is_mine.then(|| send::chunk_message(deps, of, facts.first, facts.last, !is_new)))
}

/// The source is not the one that the batch was begun with.
pub(super) fn changed(batch: BatchId, first: u64, last: u64) -> Error {
    Error::conflict(format!("the source has changed: records {first} to {last} were others when they were submitted"))
        .with_hint(format!(
            "`afn batch seal {batch}` ends the batch with what is stored, and a new batch takes the source as it is"
        ))
}

async fn put_input(deps: &Deps, of: &BatchRef, input: Input) -> Result<()> {
    let Input { number, payload, sha256 } = input;
    let key = Key::Input(of.app.clone(), of.batch, number);
    let facts = InputFacts { sha256 };
    let object = PutObject::create(payload).metadata(metadata::encode(&facts)?);
    let unwritten = |error| Error::from(error).context(format!("write record {number}"));
    if deps.store.create(&key, object).await.map_err(unwritten)?
        || deps.store.read_metadata::<InputFacts>(&key).await?.0 == facts
    {
        return Ok(());
    }
    Err(changed(of.batch, number, number))
}
