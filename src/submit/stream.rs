//! From a source to stored chunks, messages and `sealed`: the part that a submission and a resume have in common.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::chunker::{Chunker, Cut};
use super::in_flight::{InFlight, changed};
use super::seal::put_sealed;
use super::source::{STDIN, Source, SourceRecord};
use super::submission::{End, OnBadRecord, OnProgress, Progress, Submitted, resume_hint};
use super::supervisor::call_supervisor;
use crate::error::{Code, Error, Result};
use crate::layout::batch::{Cancelled, SEALED_BY_SUBMITTER, Sealed};
use crate::layout::chunk::ChunkFacts;
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{BatchId, BatchRef};
use crate::outcomes::chunks::read_facts;
use crate::planted::planted;
use crate::seam::store::List;
use crate::seam::{Clock, Deps, StoreExt as _};

pub(super) struct Stream<'a> {
    pub(super) deps: &'a Deps,
    pub(super) of: &'a BatchRef,
    /// The submitter puts chunks up to this number on the queue.
    pub(super) first_calls: u64,
    pub(super) on_bad_record: OnBadRecord,
    pub(super) progress: OnProgress<'a>,
}

/// The chunks of an earlier submission, by their first numbers.
pub(super) type StoredChunks = BTreeMap<u64, ChunkFacts>;

/// Chunks between the source and those in flight.
struct Intake {
    batch: BatchId,
    /// Stored chunks that the source has not come to. They are compared, not written.
    stored: StoredChunks,
    /// New chunks from the gaps between stored ones. They wait until every stored chunk was found to be the same. No more
    /// than can be in flight: an earlier submitter had begun to write them when it stopped.
    held: VecDeque<Cut>,
    /// The last numbers of all chunks, where another submitter may have written some.
    lasts: Option<BTreeSet<u64>>,
}

impl Intake {
    fn new(batch: BatchId, stored: Option<StoredChunks>) -> Intake {
        let lasts = stored.is_some().then(BTreeSet::new);
        Intake { batch, stored: stored.unwrap_or_default(), held: VecDeque::new(), lasts }
    }

    /// Takes a chunk from the source. Returns its progress if it is stored already.
    fn add(&mut self, cut: Cut) -> Result<Option<Progress>> {
        if let Some(lasts) = &mut self.lasts {
            lasts.insert(cut.last);
        }
        match self.stored.remove(&cut.first) {
            Some(stored) if (stored.last, &stored.source) != (cut.last, &cut.source) => {
                Err(changed(self.batch, cut.first, stored.last))
            }
            Some(_) => Ok(Some(cut.progress(self.batch))),
            None => {
                planted!((), ResumeTrustsListing => if !self.stored.is_empty() {
                    return Ok(Some(cut.progress(self.batch)));
                });
                self.held.push_back(cut);
                Ok(None)
            }
        }
    }

    /// Chunks are compared without room among those in flight, because none of them is written meanwhile.
    fn has_room(&self, in_flight: &InFlight<'_>) -> bool {
        !self.stored.is_empty() || (self.held.is_empty() && in_flight.has_room())
    }

    fn next_ready(&mut self) -> Option<Cut> {
        if self.stored.is_empty() { self.held.pop_front() } else { None }
    }
}

impl Stream<'_> {
    /// `stored`: the chunks of an earlier submission, for a resume. `first`: items that were read from the source already.
    pub(super) async fn run(
        &self,
        chunker: Chunker,
        stored: Option<StoredChunks>,
        first: Vec<SourceRecord>,
        source: Box<dyn Source>,
    ) -> Result<Submitted> {
        // The reader checks and cuts records while others are written; one chunk waits for room.
        let (cuts, next) = mpsc::channel(1);
        let linger = Linger::new(&*source, self.deps.clock.clone());
        let is_pipe = linger.is_pipe;
        let mut reader = JoinSet::new();
        reader.spawn(read(source, first, chunker, linger, self.on_bad_record, cuts));
        let submitted = self.write(stored, next, reader).await.map_err(|error| {
            let hint = match error.hint_text() {
                Some(hint) if error.code() != Code::Unreachable => hint.to_owned(),
                _ => resume_hint(self.of.batch),
            };
            error.context(format!("batch {} is submitted in part", self.of.batch)).with_hint(hint)
        })?;
        Ok(submitted.with_ways_out(is_pipe))
    }

    async fn write(
        &self,
        stored: Option<StoredChunks>,
        mut next: mpsc::Receiver<Cut>,
        mut reader: JoinSet<Result<Read>>,
    ) -> Result<Submitted> {
        let mut done = Progress::none(self.of.batch);
        (self.progress)(done);
        let mut intake = Intake::new(self.of.batch, stored);
        let mut in_flight = InFlight::new(self.deps, self.of.clone(), self.first_calls);
        let clock = &self.deps.clock;
        let mut next_look = clock.monotonic() + limits::SUBMIT_LOOK;
        let mut pause = Pause { stored_at: clock.monotonic(), was_long: false };
        let mut reading = true;
        loop {
            while in_flight.has_room()
                && let Some(cut) = intake.next_ready()
            {
                pause.end(clock.monotonic());
                in_flight.put(cut);
            }
            if !reading && (!intake.stored.is_empty() || intake.held.is_empty()) {
                in_flight.end();
                if in_flight.is_empty() {
                    break;
                }
            }
            tokio::select! {
                biased;
                () = clock.sleep(next_look.saturating_sub(clock.monotonic())) => {
                    if self.deps.store.fact_exists::<Cancelled>(self.of).await? {
                        // Chunks in flight still get their messages: without one a chunk waits until a worker resends it.
                        in_flight.end();
                        while !in_flight.is_empty() {
                            done.add(in_flight.turn().await?);
                        }
                        return Ok(submitted(done, done.calls, End::Cancelled));
                    }
                    next_look = clock.monotonic() + limits::SUBMIT_LOOK;
                }
                cut = next.recv(), if reading && intake.has_room(&in_flight) => match cut {
                    None => reading = false,
                    Some(cut) => if let Some(stored) = intake.add(cut)? {
                        done.add(stored);
                        (self.progress)(done);
                    }
                },
                acknowledged = in_flight.turn(), if !in_flight.is_empty() => {
                    let acknowledged = acknowledged?;
                    if acknowledged.chunks > 0 && std::mem::take(&mut pause.was_long) {
                        call_supervisor(self.deps, self.of).await?;
                    }
                    done.add(acknowledged);
                    (self.progress)(done);
                }
            }
        }
        let read = reader.join_next().await.expect("the reader was spawned");
        let Read { records, end } =
            read.map_err(|error| Error::internal(format!("the reader of the source ended: {error}")))??;
        if matches!(end, End::Broken(_)) {
            return Ok(submitted(done, done.calls, end));
        }
        self.seal(&intake, records).await?;
        pause.end(clock.monotonic());
        if pause.was_long {
            call_supervisor(self.deps, self.of).await?;
        }
        Ok(submitted(done, records, end))
    }

    /// Seals the batch after its last record.
    async fn seal(&self, intake: &Intake, last: u64) -> Result<()> {
        // The source ended before a stored chunk: it has fewer records now.
        if let Some((first, stored)) = intake.stored.first_key_value() {
            return Err(changed(self.of.batch, *first, stored.last));
        }
        if let Some(lasts) = &intake.lasts {
            self.check_alone(lasts).await?;
        }
        let (at, by) = (self.deps.now(), SEALED_BY_SUBMITTER.to_owned());
        let sealed = Sealed { last, missing: Vec::new(), at, by };
        put_sealed(self.deps, self.of, &sealed).await
    }

    /// An error if another submitter, which reads another source, has stored chunks: the batch must not be sealed over
    /// them.
    async fn check_alone(&self, lasts: &BTreeSet<u64>) -> Result<()> {
        let listed = self.deps.store.list_all(List::all(key::chunks(&self.of.app, self.of.batch))).await?;
        for entry in listed.entries {
            if let Key::Chunk(_, _, last) = entry.key.parse()?
                && !lasts.contains(&last)
            {
                let first = read_facts(self.deps, &entry.to_key()).await?.first;
                return Err(changed(self.of.batch, first, last));
            }
        }
        Ok(())
    }
}

/// The time since a chunk was stored. After a long pause the supervisor may be resting.
struct Pause {
    stored_at: Duration,
    was_long: bool,
}

impl Pause {
    fn end(&mut self, now: Duration) {
        self.was_long |= now.saturating_sub(self.stored_at) >= limits::SUPERVISOR_CALL;
        self.stored_at = now;
    }
}

fn submitted(done: Progress, calls: u64, end: End) -> Submitted {
    let Progress { batch, chunks, bytes, refused, .. } = done;
    Submitted { batch, calls, chunks, bytes, refused, end }
}

/// What was read of a source, and why no more.
struct Read {
    records: u64,
    end: End,
}

/// Reads the source to its end, or to the bad record or the error that stops it.
async fn read(
    mut source: Box<dyn Source>,
    first: Vec<SourceRecord>,
    mut chunker: Chunker,
    mut linger: Linger,
    on_bad_record: OnBadRecord,
    cuts: mpsc::Sender<Cut>,
) -> Result<Read> {
    let mut items = first;
    let mut end = End::Source;
    let mut complete = Vec::new();
    'source: while !items.is_empty() {
        for item in items {
            match item.bad {
                Some(bad) if on_bad_record == OnBadRecord::Stop => {
                    end = End::BadRecord(*bad);
                    break 'source;
                }
                _ => {}
            }
            chunker.push(item, &mut complete)?;
            for cut in complete.drain(..) {
                // Fails only when the submission has ended, which stops this task too.
                let _ = cuts.send(cut).await;
            }
        }
        let mut next = source.next();
        items = loop {
            tokio::select! {
                biased;
                items = &mut next => match items {
                    Ok(items) => break items,
                    Err(error) => {
                        end = End::Broken(error);
                        break 'source;
                    }
                },
                () = linger.over(chunker.waiting()) => if let Some(cut) = chunker.finish() {
                    let _ = cuts.send(cut).await;
                }
            }
        };
    }
    if let Some(cut) = chunker.finish() {
        let _ = cuts.send(cut).await;
    }
    Ok(Read { records: chunker.records(), end })
}

/// Limits how long records of a pipe wait for others to share a chunk, because the writer of a pipe may pause for long. A
/// pipe cannot be read again, so its chunks need not be cut the same way twice (H3).
struct Linger {
    clock: Arc<dyn Clock>,
    is_pipe: bool,
    begun: Duration,
    /// The first record that waits, and since when.
    waits: Option<(u64, Duration)>,
}

impl Linger {
    fn new(source: &dyn Source, clock: Arc<dyn Clock>) -> Linger {
        let (is_pipe, begun) = (source.origin().location == STDIN, clock.monotonic());
        Linger { clock, is_pipe, begun, waits: None }
    }

    /// Returns when the records from `first` on have waited long enough. The limit grows with the age of the submission.
    async fn over(&mut self, first: Option<u64>) {
        let Some(first) = first.filter(|_| self.is_pipe) else { return std::future::pending().await };
        let now = self.clock.monotonic();
        let since = self.waits.filter(|(waits, _)| *waits == first).map_or(now, |(_, since)| since);
        self.waits = Some((first, since));
        let limit = ((now - self.begun) / 20).clamp(limits::SUBMIT_LINGER_MIN, limits::SUBMIT_LINGER_MAX);
        self.clock.sleep((since + limit).saturating_sub(now)).await;
    }
}
