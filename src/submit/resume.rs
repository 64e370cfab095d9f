//! Goes on with a batch that was not wholly submitted or has lost messages. Sending twice is harmless, so this may be done
//! at any time, by anybody, beside a submitter that still lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{OnProgress, Submitted, supervise};
use super::chunker::Chunker;
use super::retry::Failures;
use super::source::{self, Format, Kind, Source};
use super::standing::{Standing, ranges};
use super::stream::{StoredChunk, Stream};
use super::window::Window;
use crate::error::{Error, Result};
use crate::layout::batch::BatchSource;
use crate::model::BatchId;
use crate::planted::planted;
use crate::seam::{Seams, Store};

pub struct ResumeRequest {
    pub batch: BatchId,
    /// Instead of the source that the batch names: the same records, from wherever they lie now.
    pub source: Option<Box<dyn Source>>,
    /// The bucket of a batch whose source is `s3://`.
    pub bucket: Option<Arc<dyn Store>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    pub batch: BatchId,
    pub found: Found,
    /// Chunks that were stored and not wholly decided.
    pub sent_again: u64,
    /// What came of the rest of the source, where there was a rest to read.
    pub submitted: Option<Submitted>,
}

/// How the batch stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The source had not been read to its end.
    InPart,
    /// It was submitted whole.
    Sealed,
    /// Nothing more is submitted; what is stored is decided `cancelled`.
    Cancelled,
    /// Every call is decided.
    Over,
}

pub async fn resume(seams: &Seams, request: ResumeRequest, progress: OnProgress<'_>) -> Result<Resumed> {
    let standing = Standing::of(seams, request.batch).await?;
    let batch = request.batch;
    let resumed = |found, sent_again, submitted| Resumed { batch, found, sent_again, submitted };
    if standing.is_fired {
        return Ok(resumed(Found::Over, 0, None));
    }
    // First of all: without its supervisor a batch never ends (N5).
    if !planted!(ResumeWithoutSupervisor) {
        supervise(seams, &standing.app, batch).await?;
    }
    if standing.is_over {
        return Ok(resumed(Found::Over, 0, None));
    }
    let entries = standing.entries(seams).await?;
    if let Some(sealed) = standing.sealed(seams).await? {
        let sent_again = send_again(seams, &standing, &ranges(&sealed, &entries)).await?;
        return Ok(resumed(Found::Sealed, sent_again, None));
    }
    let mut facts = standing.facts(seams, &entries).await?;
    let chunks: Vec<(u64, u64)> = facts.iter().map(|facts| (facts.first, facts.last)).collect();
    let sent_again = send_again(seams, &standing, &chunks).await?;
    if standing.is_cancelled {
        return Ok(resumed(Found::Cancelled, sent_again, None));
    }
    let mut source = match request.source {
        Some(source) => source,
        None => open_again(seams, &standing, request.bucket).await?,
    };
    let mut chunking = standing.body.chunking;
    if planted!(RechunksOnResume) {
        facts.clear();
        chunking.calls_min += 1;
    }
    let chunker = Chunker::resume(chunking, facts.iter().map(|facts| (facts.first, facts.last)).collect())?;
    let stands: BTreeMap<u64, StoredChunk> = facts
        .into_iter()
        .map(|facts| (facts.first, StoredChunk { last: facts.last, source: facts.source }))
        .collect();
    let stream = Stream {
        seams,
        app: &standing.app,
        batch,
        on_bad_record: standing.body.source.on_bad_record.parse()?,
        progress,
    };
    let first = source.next().await?;
    if first.is_empty() && stands.is_empty() {
        return Err(Error::invalid(format!("the source `{}` has no records", source.origin().location))
            .hint(format!("`afn batch cancel {batch}` gives the batch up")));
    }
    let submitted = stream.run(chunker, Some(stands), first, source).await?;
    Ok(resumed(Found::InPart, sent_again, Some(submitted)))
}

/// Sends a message to every chunk that is not wholly decided (H9).
async fn send_again(seams: &Seams, standing: &Standing, chunks: &[(u64, u64)]) -> Result<u64> {
    if planted!(NoResume) {
        return Ok(0);
    }
    let undecided = standing.undecided(seams, chunks).await?;
    let mut window = Window::new(seams, standing.app.clone(), standing.batch);
    let mut rest = undecided.iter().peekable();
    loop {
        while let Some((first, last)) = rest.next_if(|_| window.has_room()) {
            window.send_again(*first, *last);
        }
        if rest.peek().is_none() {
            window.end();
        }
        if window.is_empty() {
            return Ok(undecided.len() as u64);
        }
        window.turn().await?;
    }
}

/// The source that a batch names.
async fn open_again(
    seams: &Seams,
    standing: &Standing,
    bucket: Option<Arc<dyn Store>>,
) -> Result<Box<dyn Source>> {
    let BatchSource { location, format, pass, .. } = &standing.body.source;
    let format: Format = format.parse()?;
    if format.kind == Kind::Failures {
        return Ok(Box::new(Failures::of(seams, Standing::of(seams, location.parse()?).await?).await?));
    }
    if location == source::STDIN {
        let batch = standing.batch;
        return Err(Error::conflict(format!(
            "batch {batch} came from the standard input, which cannot be read again"
        ))
        .hint(format!(
            "`afn batch seal {batch}` ends it with what is stored, `afn batch cancel {batch}` gives it up"
        )));
    }
    let pass = Some(pass.parse()?).filter(|pass| *pass != source::Pass::Record);
    source::open(location, Some(format), pass, bucket)
        .await
        .map_err(|error| error.context(format!("batch {} cannot be resumed", standing.batch)))
}
