//! Resumes a batch that was submitted in part or has lost messages. A second message is harmless, so a resume is safe at
//! any time, also beside a submitter that still runs.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::batch::{OnProgress, Submitted, tell_notice};
use super::chunker::Chunker;
use super::failures::Failures;
use super::send;
use super::snapshot::{BatchSnapshot, ranges};
use super::source::{self, Format, Kind, Source};
use super::stream::{StoredChunks, Stream};
use super::supervisor::supervise;
use crate::error::{Error, Result};
use crate::layout::Message;
use crate::layout::batch::{BatchSource, Dispatched};
use crate::limits;
use crate::model::BatchId;
use crate::outcomes::{chunks, dispatched};
use crate::planted::planted;
use crate::seam::Deps;

pub struct ResumeRequest {
    pub batch: BatchId,
    /// The records that the batch was begun with, wherever they are now. The location in the batch's definition is a label:
    /// a resume opens nothing because an object in the store names it.
    pub source: Option<Box<dyn Source>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    pub batch: BatchId,
    pub found: SubmissionState,
    /// The number of chunks with undecided calls that were sent again.
    pub sent_again: u64,
    /// The submission of the rest of the source, if there was a rest to read.
    pub submitted: Option<Submitted>,
}

/// The state of a submission before the resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmissionState {
    /// The source had not been read to its end.
    Partial,
    /// The source was submitted to its end.
    Sealed,
    /// The batch was cancelled. Its stored calls are decided `cancelled`.
    Cancelled,
    /// Every call is decided.
    Finished,
}

pub async fn resume(deps: &Deps, request: ResumeRequest, progress: OnProgress<'_>) -> Result<Resumed> {
    let snapshot = BatchSnapshot::of(deps, request.batch).await?;
    let batch = request.batch;
    let resumed = |found, sent_again, submitted| Resumed { batch, found, sent_again, submitted };
    if snapshot.facts.fired.is_there() {
        return Ok(resumed(SubmissionState::Finished, 0, None));
    }
    // First of all: without its supervisor a batch never ends (N5).
    planted!(supervise(deps, &snapshot.of).await?, ResumeWithoutSupervisor => ());
    if snapshot.is_over() {
        return Ok(resumed(SubmissionState::Finished, 0, None));
    }
    let entries = chunks::entries(deps, &snapshot.of).await?;
    if let Some(sealed) = snapshot.sealed(deps).await? {
        let sent_again = send_again(deps, &snapshot, &ranges(&sealed, &entries)).await?;
        return Ok(resumed(SubmissionState::Sealed, sent_again, None));
    }
    let facts = chunks::facts(deps, &snapshot.of, &entries).await?;
    let chunks: Vec<(u64, u64)> = facts.iter().map(|facts| (facts.first, facts.last)).collect();
    let sent_again = send_again(deps, &snapshot, &chunks).await?;
    if snapshot.facts.cancelled.is_there() {
        return Ok(resumed(SubmissionState::Cancelled, sent_again, None));
    }
    let mut source = match request.source {
        Some(source) => source,
        None => stored_source(deps, &snapshot).await?,
    };
    let chunking = snapshot.body.chunking;
    let (facts, chunking) =
        planted!((facts, chunking), RechunksOnResume => crate::planted::cut_otherwise(chunking));
    let chunker = Chunker::resume(chunking, facts.iter().map(|facts| (facts.first, facts.last)).collect())?;
    let stored: StoredChunks = facts.into_iter().map(|facts| (facts.first, facts)).collect();
    let stream = Stream {
        deps,
        of: &snapshot.of,
        first_calls: chunking.first_calls,
        on_bad_record: snapshot.body.source.on_bad_record.parse()?,
        progress,
    };
    let first = source.next().await?;
    tell_notice(deps, &*source);
    let submitted = stream.run(chunker, Some(stored), first, source).await?;
    Ok(resumed(SubmissionState::Partial, sent_again, Some(submitted)))
}

/// Sends a message to every chunk that had one and is not wholly decided (H9). The others are the supervisor's to send, which
/// has just been called.
async fn send_again(deps: &Deps, snapshot: &BatchSnapshot, chunks: &[(u64, u64)]) -> Result<u64> {
    let first_calls = snapshot.body.chunking.first_calls;
    let dispatched = match chunks.last() {
        Some((_, last)) if *last > first_calls => dispatched::last(&*deps.store, &snapshot.of).await?.0,
        _ => None,
    };
    // What has a part was sent, though the entry may have been written before.
    let was_sent = |last: u64, parts: u64| {
        let by_supervisor = |dispatched: &Dispatched| {
            dispatched.sent.contains(last) || (last <= dispatched.through && parts > 0)
        };
        last <= first_calls || dispatched.as_ref().is_some_and(by_supervisor)
    };
    let undecided = planted!(snapshot.undecided(deps, chunks, was_sent).await?, NoResume => Vec::new());
    let messages =
        undecided.iter().map(|(first, last)| send::chunk_message(deps, &snapshot.of, *first, *last, true));
    let messages: Vec<Message> = messages.collect();
    // Gathered first: a future that holds the closure cannot be sent to another thread.
    let sends: Vec<_> = messages
        .chunks(limits::QUEUE_BATCH_MAX)
        .map(|messages| send::send_all(&deps.queues.chunks, messages, Duration::ZERO))
        .collect();
    stream::iter(sends).buffered(limits::READ_AHEAD_MAX).try_collect::<()>().await?;
    Ok(undecided.len() as u64)
}

/// The records of a batch that are in the store itself: the failures of another one.
async fn stored_source(deps: &Deps, snapshot: &BatchSnapshot) -> Result<Box<dyn Source>> {
    let (batch, BatchSource { location, format, .. }) = (snapshot.of.batch, &snapshot.body.source);
    if format.parse::<Format>()?.kind == Kind::Failures {
        let parent = BatchSnapshot::of(deps, location.parse()?).await?;
        // Whoever may write to one app could have another's records resumed into it.
        if parent.of.app != snapshot.of.app || snapshot.body.retry_of != Some(parent.of.batch) {
            return Err(Error::conflict(format!(
                "batch {batch} says that its records are the failures of batch {}, which it does not retry",
                parent.of.batch
            ))
            .with_hint(format!("`afn batch cancel {batch}` gives it up")));
        }
        return Ok(Box::new(Failures::of(deps, parent).await?));
    }
    if format.parse::<Format>()?.kind == Kind::Array {
        return Ok(source::array(location.parse()?));
    }
    if location == source::STDIN {
        return Err(Error::conflict(format!(
            "batch {batch} came from the standard input, which cannot be read again"
        ))
        .with_hint(format!(
            "`afn batch seal {batch}` ends it with what is stored, `afn batch cancel {batch}` gives it up"
        )));
    }
    Err(Error::conflict(format!(
        "batch {batch} says that it came from `{location}`, which was not submitted from here"
    ))
    .with_hint(format!("if these are its records, name them: `afn batch resume {batch} --input {location}`")))
}
