//! The rows of a batch in the order of their numbers: every call exactly one, whichever parts of its chunk's log hold them.
//! Read part by part, so that memory stays small whatever the batch; what comes next is fetched and decoded meanwhile.

mod plan;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::layout::chunk::Record;
use crate::layout::part::Row;
use crate::model::{AppName, BatchId, CallId, State};
use crate::seam::Seams;

pub use plan::Plan;

/// Which rows are wanted, and what of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// What each call was sent with; costs a read of every chunk.
    pub input: bool,
    /// Which file or object each call is of, where the source has such; costs a read of every chunk then.
    pub names: bool,
    /// Only calls that ended, or stand, so; all if there is none.
    pub statuses: Vec<State>,
    /// In place of a call that failed its latest retry.
    pub latest: bool,
    pub finished: Finished,
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
    /// What it was sent with, if that was asked for.
    pub input: Option<Record>,
}

/// A stream of rows, a chunk's at a time.
pub struct Rows {
    plan: Arc<Plan>,
    blocks: mpsc::Receiver<Vec<ResultRow>>,
    reader: JoinSet<Result<()>>,
}

impl Rows {
    pub async fn open(seams: &Seams, batch: BatchId, options: Options) -> Result<Rows> {
        Ok(Rows::start(Arc::new(Plan::make(seams, batch, options).await?)))
    }

    fn start(plan: Arc<Plan>) -> Rows {
        let (sender, blocks) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(read::read(plan.clone(), sender));
        Rows { plan, blocks, reader }
    }

    /// The same rows once more from the beginning, also if others were decided meanwhile.
    pub fn again(&self) -> Rows {
        Rows::start(self.plan.clone())
    }

    pub fn app(&self) -> &AppName {
        &self.plan.app
    }

    pub fn batch(&self) -> BatchId {
        self.plan.batch
    }

    /// Whether rows have what was sent.
    pub fn has_input(&self) -> bool {
        self.plan.options.input
    }

    /// Whether rows have the name of a file or object.
    pub fn has_names(&self) -> bool {
        self.plan.names
    }

    /// How many rows there are before any is left out for its status.
    pub fn len(&self) -> u64 {
        self.plan.rows
    }

    pub fn is_empty(&self) -> bool {
        self.plan.rows == 0
    }

    /// The next rows, never none; `None` after the last. Whatever follows an error is not to be trusted.
    pub async fn next(&mut self) -> Result<Option<Vec<ResultRow>>> {
        if let Some(rows) = self.blocks.recv().await {
            return Ok(Some(rows));
        }
        match self.reader.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(None),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(Error::internal(format!("the reader of the rows ended: {error}"))),
        }
    }
}
