//! Attempts that did not become the outcome: they failed and were followed by another, or they were stopped. Each has a log
//! object, whose note says how it ended.

use super::reading;
pub use super::view::Attempt;
use super::view::CallView;
use crate::error::{Error, Result};
use crate::layout::{Key, key, metadata};
use crate::model::{AppName, AttemptFacts, AttemptId, CallId, Stored};
use crate::seam::store::List;
use crate::seam::{Deps, StoreExt as _};

/// Selects an attempt: by its number (the latest with it), or by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Number(u32),
    Id(AttemptId),
}

/// In the order in which they ended, without the one that became the outcome.
pub async fn earlier(deps: &Deps, view: &CallView) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for attempt in logs(deps, view).await?.into_iter().filter(|attempt| Some(*attempt) != view.attempt) {
        attempts.extend(load(deps, &view.app, view.id, attempt).await?);
    }
    attempts.sort_by_key(|attempt| (attempt.ended_at, attempt.attempt));
    Ok(attempts)
}

/// `None`: the attempt ended with an outcome, but another outcome was recorded first.
pub(super) async fn load(
    deps: &Deps,
    app: &AppName,
    id: CallId,
    attempt: AttemptId,
) -> Result<Option<Attempt>> {
    let key = Key::Log(app.clone(), id, attempt);
    let Some(info) = deps.store.find_info(&key).await.map_err(reading(&key))? else { return Ok(None) };
    let Some(metadata) = &info.metadata else { return Ok(None) };
    let facts: AttemptFacts = metadata::decode(format_args!("`{key}`"), metadata)?;
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
async fn logs(deps: &Deps, view: &CallView) -> Result<Vec<AttemptId>> {
    let mut entries = deps.store.list_all(List::all(key::logs(&view.app, view.id))).await?.entries;
    entries.sort_by_key(|entry| entry.modified_at);
    let attempts = entries.iter().filter_map(|entry| match entry.key.parse() {
        Ok(Key::Log(_, _, attempt)) => Some(attempt),
        _ => None,
    });
    Ok(attempts.collect())
}

/// The selected attempt, and its log if size and digest are recorded.
pub(super) async fn find(deps: &Deps, view: &CallView, which: Which) -> Result<(AttemptId, Option<Stored>)> {
    if view.id.batch().is_some() {
        return Err(Error::invalid(format!(
            "call `{}` is of a batch, which keeps the log of one attempt",
            view.id
        ))
        .with_hint(format!("`afn get logs {} {}` shows it", view.app, view.id)));
    }
    let meant = |attempt: &AttemptId| match which {
        Which::Number(number) => attempt.attempt == number,
        Which::Id(id) => *attempt == id,
    };
    let logs = logs(deps, view).await?;
    let attempt = match view.attempt.filter(&meant) {
        Some(attempt) if logs.contains(&attempt) => return Ok((attempt, view.log.clone())),
        _ => logs.iter().copied().rfind(&meant),
    };
    if let Some(attempt) = attempt {
        let earlier = load(deps, &view.app, view.id, attempt).await?;
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
        true => error.with_hint("it said nothing, is not over, or was lost with its worker"),
        false => error.with_hint(format!("there are logs of attempt {}", there.join(", "))),
    })
}
