//! The rows of a batch in the order of their numbers: every call exactly one, whichever parts of its chunk's log hold them.
//! Read part by part, so that memory stays small whatever the batch; what comes next is fetched and decoded meanwhile.

mod plan;
mod read;
#[cfg(test)]
mod tests;
mod top;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::view::Unreadable;
use crate::error::{Error, Result};
use crate::layout::batch::BatchSource;
use crate::layout::chunk::Record;
use crate::layout::part::Row;
use crate::limits;
use crate::model::{AppName, BatchId, CallId, State};
use crate::seam::Deps;

use plan::ReadPlan;
pub use top::SortColumn;

/// Objects that an error names.
const NAMED_MAX: usize = 5;

/// Selects rows and what they contain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What each call was sent with; costs a read of every chunk.
    pub input: bool,
    /// Which file or object each call is of, and which key it has, where the source has such; costs a read of every chunk then.
    pub names: bool,
    /// Only calls that ended, or stand, so; all if there is none.
    pub statuses: Vec<State>,
    /// In place of a call that failed its latest retry.
    pub latest: bool,
    pub finished: Finished,
    /// Only this call.
    pub number: Option<u64>,
    /// The largest values of this column first; then `count` is the number of rows that are kept in memory.
    pub sort: Option<SortColumn>,
    /// No more rows than this.
    pub count: Option<u64>,
}

/// What is known of the batch's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finished {
    /// One that has not finished is an error, before any row.
    #[default]
    Must,
    /// Whoever asks has seen that everything is decided: that is not looked up again.
    Is,
    /// What is not decided comes as `queued`, or `running` where others of its chunk have ended.
    NeedNot,
}

/// One call of a batch as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRow {
    /// Its place in the batch that was asked for.
    pub number: u64,
    /// With `latest`: that of the retry.
    pub call: CallId,
    pub status: State,
    /// `None`: not decided yet.
    pub outcome: Option<Row>,
    /// The file or object that it is of, if that was asked for.
    pub source: Option<String>,
    /// The key of its record, if that was asked for.
    pub key: Option<String>,
    /// What it was sent with, if that was asked for.
    pub input: Option<Record>,
}

/// A stream of rows, a chunk's at a time.
pub struct Rows {
    plan: Arc<ReadPlan>,
    blocks: mpsc::Receiver<Vec<ResultRow>>,
    reader: JoinSet<Result<Gaps>>,
    gaps: Gaps,
    /// Rows that may still come.
    left: u64,
    /// All rows, if they are in memory.
    kept: Option<Arc<Vec<ResultRow>>>,
}

/// What could not be read.
#[derive(Debug, Default)]
struct Gaps {
    objects: Vec<Unreadable>,
    /// Calls without a row: only those objects could have their outcomes.
    calls: u64,
}

impl Rows {
    pub async fn open(deps: &Deps, batch: BatchId, options: Options) -> Result<Rows> {
        let (sort, count) = (options.sort, options.count);
        let plan = Arc::new(ReadPlan::make(deps, batch, options).await?);
        match sort {
            Some(by) => Rows::start(plan).top(by, count.unwrap_or(limits::SORTED_ROWS_MAX)).await,
            None => Ok(Rows { left: count.unwrap_or(u64::MAX), ..Rows::start(plan) }),
        }
    }

    fn start(plan: Arc<ReadPlan>) -> Rows {
        let (sender, blocks) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(read::read(plan.clone(), sender));
        Rows { plan, blocks, reader, gaps: Gaps::default(), left: u64::MAX, kept: None }
    }

    /// The same rows once more from the beginning, also if others were decided meanwhile.
    pub fn again(&self) -> Rows {
        match &self.kept {
            Some(kept) => Rows::of_kept(self.plan.clone(), kept.clone()),
            None => {
                Rows { left: self.plan.options.count.unwrap_or(u64::MAX), ..Rows::start(self.plan.clone()) }
            }
        }
    }

    pub fn app(&self) -> &AppName {
        &self.plan.app
    }

    pub fn batch(&self) -> BatchId {
        self.plan.batch
    }

    /// Where the records came from; those of a retry, from where the first batch had them. `None` if no names were asked for.
    pub fn source(&self) -> Option<&BatchSource> {
        self.plan.source.as_ref()
    }

    /// Whether rows have what was sent.
    pub fn has_input(&self) -> bool {
        self.plan.options.input
    }

    /// Whether rows have the name of a file or object.
    pub fn has_names(&self) -> bool {
        self.plan.names
    }

    /// Whether rows have the key of a record.
    pub fn has_keys(&self) -> bool {
        self.plan.keys
    }

    /// The next rows, never empty; `None` after the last. After an error the rows are not to be trusted. Objects that
    /// cannot be read are an error after the last row.
    pub async fn next(&mut self) -> Result<Option<Vec<ResultRow>>> {
        let rows = self.next_readable().await?;
        if rows.is_none() {
            self.check_complete(&[])?;
        }
        Ok(rows)
    }

    /// As [`Rows::next`], without the error: after the last row [`Rows::check_complete`] gives it.
    pub(super) async fn next_readable(&mut self) -> Result<Option<Vec<ResultRow>>> {
        if self.left == 0 {
            // What else would come is not asked for.
            return Ok(None);
        }
        if let Some(mut rows) = self.blocks.recv().await {
            rows.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= rows.len() as u64;
            return Ok(Some(rows));
        }
        match self.reader.join_next().await {
            None => {}
            Some(Ok(gaps)) => self.gaps = gaps?,
            Some(Err(error)) => {
                return Err(Error::internal(format!("the reader of the rows ended: {error}")));
            }
        }
        Ok(None)
    }

    /// An error that names the objects which cannot be read, those of the rows and others, and counts the calls that have no
    /// row because of them. Only after the last row.
    pub(super) fn check_complete(&self, others: &[Unreadable]) -> Result<()> {
        let all: Vec<String> = self
            .gaps
            .objects
            .iter()
            .chain(others)
            .map(|object| format!("`{}`: {}", object.id, object.why))
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        let named = &all[..all.len().min(NAMED_MAX)];
        let more = if all.len() > NAMED_MAX {
            format!("; and {} more", all.len() - NAMED_MAX)
        } else {
            String::new()
        };
        let left_out = match self.gaps.calls {
            0 => "no call is missing, but what only they hold is left out".to_owned(),
            1 => "1 call is missing".to_owned(),
            calls => format!("{calls} calls are missing"),
        };
        Err(Error::internal(format!(
            "{} of batch `{}` cannot be read, {left_out}: {}{more}",
            if all.len() == 1 { "1 object".to_owned() } else { format!("{} objects", all.len()) },
            self.plan.batch,
            named.join("; ")
        ))
        .with_hint("everything else was read; the objects were damaged or deleted by something else"))
    }
}
