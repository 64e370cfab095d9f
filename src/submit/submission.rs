//! The progress of a submission, and why it ended.

use super::source::BadRecord;
use crate::error::Error;
use crate::model::BatchId;
use crate::model::text::words;

/// What becomes of a record that cannot be a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnBadRecord {
    /// It takes its number and is decided `error` with the reason, without running.
    #[default]
    Record,
    /// The batch ends before it.
    Stop,
}

words!(OnBadRecord, "bad record policy": Record = "record", Stop = "stop");

/// What a submission has done so far. Reported first when the batch can be resumed, then as messages are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub batch: BatchId,
    pub calls: u64,
    pub chunks: u64,
    /// Of the records.
    pub bytes: u64,
    /// BadRecord records among the calls.
    pub refused: u64,
}

impl Progress {
    pub(super) fn none(batch: BatchId) -> Progress {
        Progress { batch, calls: 0, chunks: 0, bytes: 0, refused: 0 }
    }

    pub(super) fn add(&mut self, other: Progress) {
        self.calls += other.calls;
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.refused += other.refused;
    }
}

/// Receives the progress. Must not block.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub batch: BatchId,
    /// That belong to the batch.
    pub calls: u64,
    pub chunks: u64,
    pub bytes: u64,
    pub refused: u64,
    pub end: End,
}

/// Why a submission ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The source did; the batch is sealed.
    Source,
    /// A bad record did; the batch is sealed before it.
    BadRecord(BadRecord),
    /// The batch was cancelled; its supervisor seals it.
    Cancelled,
    /// The source broke, for this reason. All records before are stored, nothing is in flight, and the batch is open.
    Broken(Error),
}

pub(super) fn resume_hint(batch: BatchId) -> String {
    format!("`afn batch resume {batch}` goes on where it stopped")
}

impl Submitted {
    /// Adds the commands that end the open batch to the reason why its source broke.
    pub(super) fn with_ways_out(mut self, is_pipe: bool) -> Submitted {
        let End::Broken(reason) = self.end else { return self };
        let (batch, calls) = (self.batch, self.calls);
        let plural = if calls == 1 { "" } else { "s" };
        let first = reason.hint_text().map(|hint| format!("{hint}; then ")).unwrap_or_default();
        let resume = match is_pipe {
            true => String::new(),
            false => format!("`afn batch resume {batch}` goes on with the rest, "),
        };
        let hint = format!(
            "{first}{resume}`afn batch seal {batch}` ends it with the {calls} call{plural} that it has, \
             `afn batch cancel {batch}` gives it up"
        );
        self.end = End::Broken(reason.context(format!("batch {batch} is submitted in part")).with_hint(hint));
        self
    }
}
