//! What workers have left in the store: panics of their tasks, and batches for which none of them suits.

use super::Check;
use crate::cli::format::plural;
use crate::embedded::Engine;
use crate::error::Result;
use crate::layout::object::{TaskPanic, Unsuited};
use crate::limits;
use crate::results::list::Unreadable;
use crate::results::panics::{self, RecentPanics};
use crate::results::unsuited::{self, UnsuitedBatch, UnsuitedBatches};

/// Part of the document; `None` for what could not be read.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub panics: Option<RecentPanics>,
    pub unsuited: Option<UnsuitedBatches>,
}

pub(super) struct Look {
    panics: Result<RecentPanics>,
    unsuited: Result<UnsuitedBatches>,
}

pub(super) async fn look(engine: &Engine) -> Look {
    let (panics, unsuited) = tokio::join!(panics::recent(&engine.deps), unsuited::open_batches(&engine.deps));
    Look { panics, unsuited }
}

impl Look {
    /// `store_answers`: the store's own check found no error. Otherwise that check says what is wrong.
    pub fn checks(&self, store_answers: bool) -> Vec<Check> {
        let checks = [
            ("panics", self.panics.as_ref().map(panicked)),
            ("capabilities", self.unsuited.as_ref().map(missing)),
        ];
        let check = |(name, check): (&str, Result<Check, &crate::error::Error>)| match check {
            Ok(check) => Some(check),
            Err(_) if !store_answers => None,
            // Calls can be made without it.
            Err(error) => Some(Check::warning(
                name,
                error.message(),
                "a role for one app cannot look at those of the whole context: let an operator run `afn doctor`",
            )),
        };
        checks.into_iter().filter_map(check).collect()
    }

    pub fn fleet(self) -> Fleet {
        Fleet { panics: self.panics.ok(), unsuited: self.unsuited.ok() }
    }
}

fn panicked(recent: &RecentPanics) -> Check {
    let RecentPanics { panics, more, unreadable } = recent;
    let hours = limits::PANICS_SHOWN_WITHIN.as_secs() / 3_600;
    let count = panics.len() + unreadable.len() + more;
    if count == 0 {
        return Check::ok("panics", format!("no task of a worker panicked in the last {hours} hours"));
    }
    let tasks = plural(count as u64, "task");
    let mut check = Check::warning(
        "panics",
        format!("{tasks} of workers panicked in the last {hours} hours"),
        "a panic is a bug of afn: upgrade the workers, or report it with these lines. The work of the task is done \
         again, and a worker ends after its third panic: see that enough workers run",
    );
    let line = |panic: &TaskPanic| {
        let TaskPanic { worker, task, message, at } = panic;
        format!("{at} worker {worker}, {task}: {message}")
    };
    check.details.extend(panics.iter().map(line));
    check.details.extend(unreadable_lines("panic", unreadable));
    check.details.extend((*more > 0).then(|| format!("and {more} more")));
    check
}

fn missing(found: &UnsuitedBatches) -> Check {
    let UnsuitedBatches { batches, looked_at, has_more, unreadable } = found;
    let only = format!("only the newest {} were looked at", plural(*looked_at as u64, "batch"));
    let only = has_more.then_some(only);
    let mut check = match batches.len() {
        0 => Check::ok("capabilities", "no open batch waits for a worker that suits"),
        count => Check::warning(
            "capabilities",
            format!(
                "{} found no worker that suits, as far as workers have reported",
                plural(count as u64, "open batch")
            ),
            "start a worker that suits, on a machine that has what is missing; `afn batch status` tells when the batch goes on",
        ),
    };
    check.details.extend(batches.iter().flat_map(batch_lines));
    check.details.extend(unreadable_lines("batch", unreadable));
    check.details.extend(only);
    check
}

fn batch_lines(batch: &UnsuitedBatch) -> impl Iterator<Item = String> {
    batch.reasons.iter().map(move |reason| {
        let Unsuited { worker, at, .. } = reason;
        format!("batch {} of {}: {reason} (first reported by {worker} at {at})", batch.batch, batch.app)
    })
}

fn unreadable_lines(what: &str, unreadable: &[Unreadable]) -> impl Iterator<Item = String> {
    unreadable.iter().map(move |Unreadable { id, why }| format!("{what} {id} cannot be looked at: {why}"))
}
