//! Chunks on their way: written into the store side by side, their messages sent ten to a request, and never more of
//! both than a bounded window. A chunk leaves the window when its message is acknowledged, so that whatever stops a
//! submission leaves at most a window of stored chunks without a message (H22).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::chunker::{Cut, Input};
use super::send;
use crate::error::{Error, Result};
use crate::layout::chunk::{self, ChunkFacts, InputFacts};
use crate::layout::{Key, Message, RangeMessage, note};
use crate::limits;
use crate::model::{AppName, BatchId};
use crate::outcomes::chunks::read_facts;
use crate::seam::queue::Outgoing;
use crate::seam::store::PutObject;
use crate::seam::{Seams, StoreError};

/// Beside what is in the window, a chunk is being cut and one waits to enter.
const BYTES_MAX: u64 = limits::SUBMIT_BYTES_IN_FLIGHT - 2 * limits::CHUNK_BYTES_MAX;

pub(super) struct Window<'a> {
    seams: &'a Seams,
    app: AppName,
    batch: BatchId,
    tasks: JoinSet<Result<Done>>,
    /// Of chunks that are being written.
    bytes: u64,
    puts: usize,
    /// Chunks that are being written, wait for their message's turn or for its acknowledgement.
    chunks: usize,
    unsent: VecDeque<OnItsWay>,
    /// When the oldest of them began to wait.
    since: Duration,
    /// Nothing more will come.
    ended: bool,
}

enum Done {
    Put(OnItsWay),
    Sent(Vec<OnItsWay>),
}

/// A chunk that is stored, and its message.
struct OnItsWay {
    message: RangeMessage,
    chunk: Chunk,
}

/// What a chunk came to, once its message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) calls: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
}

impl<'a> Window<'a> {
    pub(super) fn new(seams: &'a Seams, app: AppName, batch: BatchId) -> Window<'a> {
        Window {
            seams,
            app,
            batch,
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

    /// Begins to write a chunk. Only while there is room.
    pub(super) fn put(&mut self, cut: Cut) {
        assert!(self.has_room());
        self.bytes += cut.bytes;
        self.puts += 1;
        self.chunks += 1;
        let (seams, app, batch) = (self.seams.clone(), self.app.clone(), self.batch);
        self.tasks.spawn(async move {
            let (first, last) = (cut.first, cut.last);
            let chunk = Chunk { calls: last - first + 1, bytes: cut.bytes, refused: cut.refused };
            let again = put_chunk(&seams, &app, batch, cut).await? == Put::StoodAlready;
            Ok(Done::Put(OnItsWay { message: range(&seams, &app, batch, first, last, again), chunk }))
        });
    }

    /// Sends a message to a chunk that is stored already and may run. Only while there is room.
    pub(super) fn send_again(&mut self, first: u64, last: u64) {
        self.chunks += 1;
        let message = range(self.seams, &self.app, self.batch, first, last, true);
        self.queue(OnItsWay { message, chunk: Chunk { calls: last - first + 1, bytes: 0, refused: 0 } });
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Waits for something to happen and does what follows from it; the chunks whose messages were acknowledged. May be
    /// dropped at any time, nothing is lost by that. Never ends while the window is empty.
    pub(super) async fn turn(&mut self) -> Result<Vec<Chunk>> {
        loop {
            let wait = self.wait_before_send();
            if wait.is_some_and(|wait| wait.is_zero()) {
                self.send();
                continue;
            }
            let clock = &self.seams.clock;
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
                Done::Put(stored) => {
                    self.bytes -= stored.chunk.bytes;
                    self.puts -= 1;
                    self.queue(stored);
                    // There is room again: whoever has the next chunk is to know.
                    return Ok(Vec::new());
                }
                Done::Sent(sent) => {
                    self.chunks -= sent.len();
                    return Ok(sent.into_iter().map(|sent| sent.chunk).collect());
                }
            }
        }
    }

    fn queue(&mut self, stored: OnItsWay) {
        if self.unsent.is_empty() {
            self.since = self.seams.clock.monotonic();
        }
        self.unsent.push_back(stored);
    }

    /// Messages share a request: a full one goes at once, others wait a little, unless nothing can come that they would
    /// wait for.
    fn wait_before_send(&self) -> Option<Duration> {
        if self.unsent.is_empty() {
            return None;
        }
        let alone = self.puts == 0 && (self.ended || !self.has_room());
        if alone || self.unsent.len() >= limits::QUEUE_BATCH_MAX {
            return Some(Duration::ZERO);
        }
        let due = self.since + Duration::from_millis(limits::SUBMIT_SEND_WAIT_MS);
        Some(due.saturating_sub(self.seams.clock.monotonic()))
    }

    fn send(&mut self) {
        let count = self.unsent.len().min(limits::QUEUE_BATCH_MAX);
        let stored: Vec<OnItsWay> = self.unsent.drain(..count).collect();
        self.since = self.seams.clock.monotonic();
        let lane = self.seams.queues.chunks.clone();
        self.tasks.spawn(async move {
            let outgoing = stored.iter().map(|stored| Outgoing {
                group: Some(stored.message.app.to_string()),
                ..Outgoing::new(Message::Range(stored.message.clone()).encode())
            });
            let answers = lane.live.send(outgoing.collect()).await?;
            // Only an entry's own acknowledgement counts (H12).
            for answer in answers {
                answer?;
            }
            Ok(Done::Sent(stored))
        });
    }
}

fn lost_task(error: JoinError) -> Error {
    Error::internal(format!("a task of the submission ended: {error}"))
}

fn range(seams: &Seams, app: &AppName, batch: BatchId, first: u64, last: u64, again: bool) -> RangeMessage {
    RangeMessage {
        id: send::message_id(seams),
        app: app.clone(),
        batch,
        chunk: last,
        first,
        last,
        shares: limits::SHARES,
        again,
        suspects: Vec::new(),
        tried: Vec::new(),
        mismatch_since: None,
    }
}

#[derive(PartialEq, Eq)]
enum Put {
    New,
    /// By an earlier submitter, a rival, or ourselves if the answer was lost: it may run already.
    StoodAlready,
}

async fn put_chunk(seams: &Seams, app: &AppName, batch: BatchId, cut: Cut) -> Result<Put> {
    for input in cut.inputs {
        put_input(seams, app, batch, input).await?;
    }
    let facts = ChunkFacts { v: 1, first: cut.first, last: cut.last, source: cut.source };
    let body = chunk::encode(&cut.records)?;
    drop(cut.records);
    let key = Key::Chunk(app.clone(), batch, cut.last).to_string();
    match seams.store.put(&key, PutObject::create(body).note(note::encode(&facts)?)).await {
        Ok(_) => return Ok(Put::New),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(Error::from(error).context(format!("write records up to {}", cut.last))),
    }
    let stands = read_facts(seams, &key).await?;
    if (stands.first, &stands.source) == (facts.first, &facts.source) {
        return Ok(Put::StoodAlready);
    }
    Err(changed(batch, stands.first, stands.last))
}

/// The source that is read now is not the one that the batch was begun with.
pub(super) fn changed(batch: BatchId, first: u64, last: u64) -> Error {
    Error::conflict(format!("the source has changed: records {first} to {last} were others when they were submitted"))
        .hint(format!(
            "`afn batch seal {batch}` ends the batch with what is stored, and a new batch takes the source as it is"
        ))
}

async fn put_input(seams: &Seams, app: &AppName, batch: BatchId, input: Input) -> Result<()> {
    let Input { number, payload, sha256 } = input;
    let key = Key::Input(app.clone(), batch, number).to_string();
    let facts = InputFacts { v: 1, sha256 };
    match seams.store.put(&key, PutObject::create(payload).note(note::encode(&facts)?)).await {
        Ok(_) => return Ok(()),
        Err(StoreError::Exists) => {}
        Err(error) => return Err(Error::from(error).context(format!("write record {number}"))),
    }
    let info = seams.store.head(&key).await?;
    let stands: InputFacts = note::decode(&key, info.note.as_deref().unwrap_or_default())?;
    if stands == facts { Ok(()) } else { Err(changed(batch, number, number)) }
}
