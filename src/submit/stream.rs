//! From a source to stored chunks, messages and `sealed`: the part that a submission and a resume have in common.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::batch::{End, OnBadRecord, OnProgress, Progress, Submitted, put_sealed, resume_hint};
use super::chunker::{Chunker, Cut};
use super::source::{Bad, Item, STDIN, Source};
use super::window::{Window, changed};
use crate::error::{Code, Error, Result};
use crate::layout::batch::{SEALED_BY_SUBMITTER, Sealed};
use crate::layout::{Key, key};
use crate::limits;
use crate::model::{AppName, BatchId, Digest};
use crate::outcomes::chunks::read_facts;
use crate::planted::planted;
use crate::seam::store::List;
use crate::seam::{Clock, Seams, StoreExt as _};

pub(super) struct Stream<'a> {
    pub(super) seams: &'a Seams,
    pub(super) app: &'a AppName,
    pub(super) batch: BatchId,
    pub(super) on_bad_record: OnBadRecord,
    pub(super) progress: OnProgress<'a>,
}

/// A chunk that is stored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredChunk {
    pub(super) last: u64,
    pub(super) source: Digest,
}

/// Chunks on their way from the source to the window.
struct Intake {
    batch: BatchId,
    /// Stored ones that the source has not come to, by their first numbers: they need not be written, only be the same.
    stored: BTreeMap<u64, StoredChunk>,
    /// What lies in gaps between them waits until they are found the same. No more than a window: what a submitter had
    /// begun to write when it stopped.
    held: VecDeque<Cut>,
    /// The last numbers of all chunks, where others may have written some.
    lasts: Option<BTreeSet<u64>>,
}

impl Intake {
    fn new(batch: BatchId, stored: Option<BTreeMap<u64, StoredChunk>>) -> Intake {
        let lasts = stored.is_some().then(BTreeSet::new);
        Intake { batch, stored: stored.unwrap_or_default(), held: VecDeque::new(), lasts }
    }

    /// Takes in a chunk that was cut; gives it back as one that is stored.
    fn take(&mut self, cut: Cut) -> Result<Option<Cut>> {
        if let Some(lasts) = &mut self.lasts {
            lasts.insert(cut.last);
        }
        match self.stored.remove(&cut.first) {
            Some(stands) if (stands.last, &stands.source) == (cut.last, &cut.source) => Ok(Some(cut)),
            Some(stands) => Err(changed(self.batch, cut.first, stands.last)),
            None if planted!(ResumeTrustsListing) && !self.stored.is_empty() => Ok(Some(cut)),
            None => {
                self.held.push_back(cut);
                Ok(None)
            }
        }
    }

    /// While stored ones are still to be found the same, reading goes on: nothing of it is written.
    fn has_room(&self, window: &Window<'_>) -> bool {
        !self.stored.is_empty() || (self.held.is_empty() && window.has_room())
    }

    fn has_ready(&self) -> bool {
        self.stored.is_empty() && !self.held.is_empty()
    }

    fn next_ready(&mut self) -> Option<Cut> {
        if self.stored.is_empty() { self.held.pop_front() } else { None }
    }
}

impl Stream<'_> {
    /// `first`: items that were taken from the source already. `stored`, where it is a resume: chunks that stand, by
    /// their first numbers.
    pub(super) async fn run(
        &self,
        chunker: Chunker,
        stored: Option<BTreeMap<u64, StoredChunk>>,
        first: Vec<Item>,
        source: Box<dyn Source>,
    ) -> Result<Submitted> {
        self.stream(chunker, stored, first, source).await.map_err(|error| {
            let hint = match error.hint_text() {
                Some(hint) if error.code() != Code::Unreachable => hint.to_owned(),
                _ => resume_hint(self.batch),
            };
            error.context(format!("batch {} is submitted in part", self.batch)).hint(hint)
        })
    }

    async fn stream(
        &self,
        chunker: Chunker,
        stored: Option<BTreeMap<u64, StoredChunk>>,
        first: Vec<Item>,
        source: Box<dyn Source>,
    ) -> Result<Submitted> {
        let mut done = Progress { batch: self.batch, calls: 0, chunks: 0, bytes: 0, refused: 0 };
        (self.progress)(done);
        // Read, checked and cut beside the writing; one chunk waits for room.
        let (cuts, mut next) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        let linger = Linger::new(&*source, self.seams.clock.clone());
        reader.spawn(read(source, first, chunker, linger, self.on_bad_record, cuts));
        let mut intake = Intake::new(self.batch, stored);
        let mut window = Window::new(self.seams, self.app.clone(), self.batch);
        let look = Duration::from_millis(limits::SUBMIT_LOOK_MS);
        let mut next_look = self.seams.clock.monotonic() + look;
        let mut reading = true;
        loop {
            while window.has_room()
                && let Some(cut) = intake.next_ready()
            {
                window.put(cut);
            }
            if !reading && !intake.has_ready() {
                window.end();
                if window.is_empty() {
                    break;
                }
            }
            let wait = next_look.saturating_sub(self.seams.clock.monotonic());
            tokio::select! {
                biased;
                () = self.seams.clock.sleep(wait) => {
                    if self.is_cancelled().await? {
                        // What is on its way gets its message, or the batch waits for it until it is sent again.
                        window.end();
                        while !window.is_empty() {
                            for chunk in window.turn().await? {
                                done.add(chunk.calls, chunk.bytes, chunk.refused);
                            }
                        }
                        if planted!(SealsPrefix) {
                            put_sealed(self.seams, self.app, self.batch, &self.sealed(done.calls)).await?;
                        }
                        return Ok(submitted(done, done.calls, End::Cancelled));
                    }
                    next_look = self.seams.clock.monotonic() + look;
                }
                cut = next.recv(), if reading && intake.has_room(&window) => match cut {
                    None => reading = false,
                    Some(cut) => if let Some(stands) = intake.take(cut)? {
                        done.add(stands.last - stands.first + 1, stands.bytes, stands.refused);
                        (self.progress)(done);
                    }
                },
                acknowledged = window.turn(), if !window.is_empty() => {
                    for chunk in acknowledged? {
                        done.add(chunk.calls, chunk.bytes, chunk.refused);
                    }
                    (self.progress)(done);
                }
            }
        }
        let read = reader.join_next().await.expect("the reader was spawned");
        let read =
            read.map_err(|error| Error::internal(format!("the reader of the source ended: {error}")))??;
        // A stored chunk that the source did not come to: it has fewer records now.
        if let Some((first, stands)) = intake.stored.first_key_value() {
            return Err(changed(self.batch, *first, stands.last));
        }
        if let Some(lasts) = &intake.lasts {
            self.check_alone(lasts).await?;
        }
        put_sealed(self.seams, self.app, self.batch, &self.sealed(read.records)).await?;
        Ok(submitted(done, read.records, read.bad.map_or(End::Source, End::BadRecord)))
    }

    fn sealed(&self, last: u64) -> Sealed {
        let (at, by) = (self.seams.now(), SEALED_BY_SUBMITTER.to_owned());
        Sealed { v: 1, last, missing: Vec::new(), at, by }
    }

    /// A submitter that still reads another source than we do stores other chunks: the batch must not be sealed over them.
    async fn check_alone(&self, lasts: &BTreeSet<u64>) -> Result<()> {
        let listed = self.seams.store.list_all(List::all(key::chunks(self.app, self.batch))).await?;
        for entry in listed.entries {
            if let Key::Chunk(_, _, last) = entry.key.parse()?
                && !lasts.contains(&last)
            {
                let first = read_facts(self.seams, &entry.key).await?.first;
                return Err(changed(self.batch, first, last));
            }
        }
        Ok(())
    }

    async fn is_cancelled(&self) -> Result<bool> {
        Ok(self.seams.store.exists(&Key::Cancelled(self.app.clone(), self.batch).to_string()).await?)
    }
}

impl Progress {
    fn add(&mut self, calls: u64, bytes: u64, refused: u64) {
        self.calls += calls;
        self.chunks += 1;
        self.bytes += bytes;
        self.refused += refused;
    }
}

fn submitted(done: Progress, calls: u64, end: End) -> Submitted {
    let Progress { batch, chunks, bytes, refused, .. } = done;
    Submitted { batch, calls, chunks, bytes, refused, end }
}

/// How the reading of a source ended.
struct Read {
    records: u64,
    bad: Option<Bad>,
}

/// Reads the source to its end, or to the bad record that stops it.
async fn read(
    mut source: Box<dyn Source>,
    first: Vec<Item>,
    mut chunker: Chunker,
    mut linger: Linger,
    on_bad_record: OnBadRecord,
    cuts: mpsc::Sender<Cut>,
) -> Result<Read> {
    let mut items = first;
    let mut bad = None;
    let mut done = Vec::new();
    'source: while !items.is_empty() {
        for item in items {
            if item.bad.is_some() && on_bad_record == OnBadRecord::Stop {
                bad = item.bad.map(|bad| *bad);
                break 'source;
            }
            chunker.push(item, &mut done)?;
            for cut in done.drain(..) {
                // Nobody takes it once the submission has ended; then the reader is stopped too.
                let _ = cuts.send(cut).await;
            }
        }
        let mut next = source.next();
        items = loop {
            tokio::select! {
                biased;
                items = &mut next => break items?,
                () = linger.over(chunker.waiting()) => if let Some(cut) = chunker.finish() {
                    let _ = cuts.send(cut).await;
                }
            }
        };
    }
    if let Some(cut) = chunker.finish() {
        let _ = cuts.send(cut).await;
    }
    Ok(Read { records: chunker.records(), bad })
}

/// How long records of a pipe wait for others to share a chunk with: whoever writes to it may pause for long. A pipe cannot
/// be read again, so nobody has to cut it alike a second time (H3).
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

    /// Returns when what waits, from record `first` on, has waited long enough; the longer it all goes on, the longer.
    async fn over(&mut self, first: Option<u64>) {
        let Some(first) = first.filter(|_| self.is_pipe) else { return std::future::pending().await };
        let now = self.clock.monotonic();
        let since = self.waits.filter(|(waits, _)| *waits == first).map_or(now, |(_, since)| since);
        self.waits = Some((first, since));
        let (soonest, latest) = (limits::SUBMIT_LINGER_MS_MIN, limits::SUBMIT_LINGER_MS_MAX);
        let limit =
            ((now - self.begun) / 20).clamp(Duration::from_millis(soonest), Duration::from_millis(latest));
        self.clock.sleep((since + limit).saturating_sub(now)).await;
    }
}
