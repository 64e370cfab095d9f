//! Attempts that are not their call's outcome: those that failed and were followed by another, and those that were cut
//! short. Each has left its log, and on it how it ended.

use serde::Serialize;

use super::call::{CallView, reading};
use crate::error::{Error, Result};
use crate::layout::{Key, key, note};
use crate::model::{AppName, AttemptFacts, AttemptId, CallId, State, Stored, Time};
use crate::seam::store::{List, StoreError};
use crate::seam::{Seams, StoreExt as _};

/// The field names are those of `--output json`: keep stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    pub attempt: AttemptId,
    pub number: u32,
    pub status: State,
    pub reason: String,
    /// Failures of the call until then.
    pub failures: u32,
    pub started_at: Option<Time>,
    pub ended_at: Time,
    pub run_ms: u64,
    /// About when the next one begins.
    pub retry_at: Option<Time>,
    pub worker: String,
    pub log: Stored,
}

/// Which one is meant: by its number, of which the latest counts, or by its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Number(u32),
    Id(AttemptId),
}

/// In the order in which they ended. Whatever became the outcome is not among them.
pub async fn earlier(seams: &Seams, view: &CallView) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for attempt in logs(seams, view).await?.into_iter().filter(|attempt| Some(*attempt) != view.attempt) {
        attempts.extend(load(seams, &view.app, view.id, attempt).await?);
    }
    attempts.sort_by_key(|attempt| (attempt.ended_at, attempt.attempt));
    Ok(attempts)
}

/// `None`: it ended as an outcome does, and somebody else's stands.
pub(super) async fn load(
    seams: &Seams,
    app: &AppName,
    id: CallId,
    attempt: AttemptId,
) -> Result<Option<Attempt>> {
    let key = Key::Log(app.clone(), id, attempt).to_string();
    let info = match seams.store.head(&key).await {
        Ok(info) => info,
        Err(StoreError::NotFound) => return Ok(None),
        Err(error) => return Err(reading(&key)(error)),
    };
    let Some(note) = &info.note else { return Ok(None) };
    let facts: AttemptFacts = note::decode(&format!("`{key}`"), note)?;
    Ok(Some(Attempt {
        attempt,
        number: attempt.attempt,
        status: facts.status,
        reason: facts.reason,
        failures: facts.failures,
        started_at: facts.started_at,
        ended_at: facts.ended_at,
        run_ms: facts.run_ms,
        retry_at: facts.retry_at,
        worker: facts.worker,
        log: Stored { bytes: info.bytes, sha256: facts.sha256, content_type: info.content_type },
    }))
}

/// Attempts that have left a log, the oldest first.
async fn logs(seams: &Seams, view: &CallView) -> Result<Vec<AttemptId>> {
    let mut entries = seams.store.list_all(List::all(key::logs(&view.app, view.id))).await?.entries;
    entries.sort_by_key(|entry| entry.modified_at);
    let attempts = entries.iter().filter_map(|entry| match entry.key.parse() {
        Ok(Key::Log(_, _, attempt)) => Some(attempt),
        _ => None,
    });
    Ok(attempts.collect())
}

/// The attempt that is meant, with its log as far as it is known what that should be.
pub(super) async fn find(
    seams: &Seams,
    view: &CallView,
    which: Which,
) -> Result<(AttemptId, Option<Stored>)> {
    if view.id.batch().is_some() {
        return Err(Error::invalid(format!(
            "call `{}` is of a batch, which keeps the log of one attempt",
            view.id
        ))
        .hint(format!("`afn get logs {} {}` shows it", view.app, view.id)));
    }
    let meant = |attempt: &AttemptId| match which {
        Which::Number(number) => attempt.attempt == number,
        Which::Id(id) => *attempt == id,
    };
    let logs = logs(seams, view).await?;
    let attempt = match view.attempt.filter(&meant) {
        Some(attempt) if logs.contains(&attempt) => return Ok((attempt, view.log.clone())),
        _ => logs.iter().copied().rfind(&meant),
    };
    if let Some(attempt) = attempt {
        let earlier = load(seams, &view.app, view.id, attempt).await?;
        return Ok((attempt, earlier.map(|earlier| earlier.log)));
    }
    let which = match which {
        Which::Number(number) => number.to_string(),
        Which::Id(id) => id.to_string(),
    };
    let error = Error::not_found(format!("attempt {which} at call `{}` has left no log", view.id));
    let mut there: Vec<String> = logs.iter().map(|attempt| attempt.attempt.to_string()).collect();
    there.dedup();
    Err(match there.is_empty() {
        true => error.hint("it said nothing, is not over, or was lost with its worker"),
        false => error.hint(format!("there are logs of attempt {}", there.join(", "))),
    })
}
