//! What must be true of the world, by the numbered invariants; told apart from what was done to it.

use std::collections::BTreeMap;

use afn::layout::{Key, key, object};
use afn::model::{CallId, Digest, Outcome, State};
use afn::seam::StoreExt as _;
use afn::seam::store::{List, Range, Store as _};

use super::workload::{Execution, Stage, Way};

/// All outcomes that can be read now, with the calls that have none.
pub struct Seen {
    pub outcomes: BTreeMap<CallId, Outcome>,
    pub open: Vec<CallId>,
}

pub async fn look(stage: &Stage) -> Seen {
    let listed =
        stage.world.store.list_all(List::all(key::calls(&stage.app))).await.expect("the store never fails");
    let mut seen = Seen { outcomes: BTreeMap::new(), open: Vec::new() };
    let mut stored = Vec::new();
    for entry in listed.entries {
        match entry.key.parse().expect("only keys of the layout are written") {
            Key::Payload(_, call) => stored.push(call),
            Key::Status(_, call) => {
                let body =
                    stage.world.store.get(&entry.key, Range::All).await.expect("it was just listed").body;
                seen.outcomes.insert(call, object::decode(&entry.key, &body).expect("a status can be read"));
            }
            _ => {}
        }
    }
    seen.open = stored.into_iter().filter(|call| !seen.outcomes.contains_key(call)).collect();
    seen
}

/// Invariant 3: once visible, an outcome never changes, nor does it go.
pub fn unchanged(before: &Seen, after: &Seen) -> Result<(), String> {
    for (call, outcome) in &before.outcomes {
        match after.outcomes.get(call) {
            Some(now) if now == outcome => {}
            now => return Err(format!("the outcome of {call} was {outcome:?} and is {now:?}")),
        }
    }
    Ok(())
}

/// Invariant 4: which calls must have an outcome once everything is healed.
pub fn owed(stage: &Stage, seen: &Seen) -> Vec<CallId> {
    let told = stage.told.lock().expect("no holder panics");
    let lost = told.sent.iter().filter(|call| !seen.outcomes.contains_key(call)).copied();
    // With the reconciler at work, a stored call is owed its outcome even if nobody was told that it was accepted, or
    // whoever was told rests on a submitter that died before its send.
    let stored = seen.open.iter().filter(|_| stage.plan.reconcile).copied();
    let mut owed: Vec<CallId> = lost.chain(stored).collect();
    owed.sort();
    owed.dedup();
    owed
}

/// Invariant 5 and the truth of outcomes: each could have been produced by the function, and is what that execution left.
pub async fn truthful(stage: &Stage, seen: &Seen) -> Result<(), String> {
    let told = stage.told.lock().expect("no holder panics").clone();
    let executions = stage.executions.lock().expect("no holder panics").clone();
    for (index, calls) in &told.accepted {
        if calls.iter().any(|call| call != &calls[0]) {
            return Err(format!("two requests under the key of call {index} were accepted as {calls:?}"));
        }
    }
    for (call, outcome) in &seen.outcomes {
        let payload = Key::Payload(stage.app.clone(), *call).to_string();
        let payload = stage
            .world
            .store
            .get(&payload, Range::All)
            .await
            .map_err(|_| format!("{call} has no payload"))?;
        // The call that follows a batch has the summary as its payload.
        let Some(index) = std::str::from_utf8(&payload.body).ok().and_then(|text| text.parse::<usize>().ok())
        else {
            continue;
        };
        let plan = &stage.plan.calls[index];
        let wrong = |why: &str| Err(format!("{call} ({plan:?}) {why}: {outcome:?}"));
        let of_attempt = |execution: &&Execution| {
            execution.call == *call && Some(execution.attempt) == outcome.attempt.map(|id| id.attempt)
        };
        let mut executed = executions.iter().filter(of_attempt);
        match outcome.status {
            State::Success => {
                let Some(result) =
                    read(stage, outcome, |attempt| Key::Result(stage.app.clone(), *call, attempt)).await?
                else {
                    return wrong("succeeded without a result");
                };
                if !executed.any(|execution| execution.ends == State::Success && execution.body == result) {
                    return wrong("has a result that no execution of that attempt gave");
                }
                let log = read_log(stage, *call, outcome).await?;
                if log != format!("log of {result}") {
                    return wrong("has the log of another execution");
                }
            }
            State::Error if plan.function == "arm" && outcome.reason.as_deref().is_some_and(mismatched) => {}
            State::Error if plan.way == Way::CannotStart => {
                if outcome.reason.as_deref() != Some("image not found: nosuch") {
                    return wrong("does not say why");
                }
            }
            State::Error if outcome.attempt.is_some() => {
                let log = read_log(stage, *call, outcome).await?;
                let fits = |execution: &Execution| {
                    let reason = format!("exit code 3 {0}: log of {0}", execution.body);
                    outcome.reason.as_ref() == Some(&reason) && log == format!("log of {}", execution.body)
                };
                if !executed.any(|execution| execution.ends == State::Error && fits(execution)) {
                    return wrong("failed as no execution of that attempt did");
                }
            }
            State::Error => return wrong("failed without an execution"),
            State::Timeout => {
                if !executed.any(|execution| execution.ends == State::Timeout) {
                    return wrong("timed out though its function does not run long");
                }
            }
            State::Killed => {
                // Three deaths or lapses that are nobody's fault may hit one call; fewer never condemn it (H4).
                if plan.way != Way::Kills && stage.plan.disturbances < 3 {
                    return wrong("is innocent");
                }
            }
            State::Cancelled => {
                if !told.cancel_asked.contains(call) {
                    return wrong("was cancelled by nobody");
                }
            }
            State::Delayed | State::Queued | State::Running => return wrong("is recorded as not final"),
        }
        if told.cancelled.get(call).is_some_and(|cancelled| cancelled != outcome) {
            return wrong("was reported as cancelled");
        }
    }
    Ok(())
}

fn mismatched(reason: &str) -> bool {
    reason.starts_with("no worker can run it: linux/arm64")
}

async fn read_log(stage: &Stage, call: CallId, outcome: &Outcome) -> Result<String, String> {
    let attempt = outcome.attempt.ok_or_else(|| format!("{call} has a log but no attempt"))?;
    let stored = outcome.log.as_ref().ok_or_else(|| format!("{call} has no log"))?;
    text(stage, &Key::Log(stage.app.clone(), call, attempt), stored).await
}

async fn read(
    stage: &Stage,
    outcome: &Outcome,
    key: impl Fn(afn::model::AttemptId) -> Key,
) -> Result<Option<String>, String> {
    let (Some(attempt), Some(stored)) = (outcome.attempt, &outcome.result) else { return Ok(None) };
    text(stage, &key(attempt), stored).await.map(Some)
}

async fn text(stage: &Stage, key: &Key, stored: &afn::model::Stored) -> Result<String, String> {
    let object = stage.world.store.get(&key.to_string(), Range::All).await;
    let body = object.map_err(|error| format!("{key}, which an outcome names: {error}"))?.body;
    if Digest::of(&body) != stored.sha256 || body.len() as u64 != stored.bytes {
        return Err(format!("{key} is not what its outcome says"));
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
