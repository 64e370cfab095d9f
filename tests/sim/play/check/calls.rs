//! Single calls: one outcome each, none lost, each one that an execution gave.

use std::collections::{BTreeMap, BTreeSet};

use afn::layout::{Key, key, object};
use afn::model::{AttemptId, BatchId, CallId, Digest, Outcome, State, Stored};
use afn::seam::StoreExt as _;
use afn::seam::store::{ByteRange, ETag, List, Store as _};

use super::super::plan::Way;
use super::super::stage::{Execution, Stage};
use super::attempts::History;
use super::{Invariant, Verdict, Violation};

/// All outcomes that could be read so far, and all calls that are stored.
#[derive(Default)]
pub struct Seen {
    outcomes: BTreeMap<CallId, (ETag, Outcome)>,
    stored: BTreeSet<CallId>,
}

impl Seen {
    /// Takes in what is new. Invariant 3: once visible, an outcome never changes, nor does it go.
    pub async fn look(&mut self, stage: &Stage) -> Verdict {
        let calls = List::all(key::calls(&stage.app));
        let mut there = 0;
        for entry in stage.world.store.list_all(calls).await.expect("the store never fails").entries {
            match entry.key.parse().expect("only keys of the layout are written") {
                Key::Payload(_, call) => drop(self.stored.insert(call)),
                Key::Status(_, call) => match self.outcomes.get(&call) {
                    Some((etag, _)) if *etag == entry.etag => there += 1,
                    Some((_, was)) => {
                        let what = format!("the outcome of {call} was {was:?} and has changed");
                        return Err(Invariant::OneOutcome.broken(what));
                    }
                    None => {
                        let body = stage.world.store.get(&entry.to_key(), ByteRange::Whole(u64::MAX)).await;
                        let body = body.expect("it was just listed").body;
                        let outcome = object::decode(&entry.key, &body).expect("a status can be read");
                        self.outcomes.insert(call, (entry.etag, outcome));
                        there += 1;
                    }
                },
                _ => {}
            }
        }
        if there < self.outcomes.len() {
            return Err(Invariant::OneOutcome.broken("an outcome is gone"));
        }
        Ok(())
    }

    pub fn with(&self, status: State) -> impl Iterator<Item = CallId> + '_ {
        self.outcomes.iter().filter(move |(_, (_, outcome))| outcome.status == status).map(|(call, _)| *call)
    }

    pub fn count(&self, status: State) -> u64 {
        self.with(status).count() as u64
    }

    pub fn decided(&self) -> impl Iterator<Item = CallId> + '_ {
        self.outcomes.keys().copied()
    }

    /// Invariant 4: which calls must have an outcome once everything is healed.
    pub fn owed(&self, stage: &Stage) -> BTreeSet<CallId> {
        if stage.plan.resend {
            // Somebody looks after all that is stored, even if nobody was told that it was accepted.
            return self
                .stored
                .iter()
                .copied()
                .filter(|call| !self.outcomes.contains_key(call))
                .chain(self.lost(stage))
                .collect();
        }
        // Nobody sends again what a purge has taken.
        if stage.plan.purge { BTreeSet::new() } else { self.lost(stage).collect() }
    }

    fn lost(&self, stage: &Stage) -> impl Iterator<Item = CallId> + '_ {
        let sent: Vec<CallId> = stage.told().sent.iter().copied().collect();
        sent.into_iter().filter(|call| !self.outcomes.contains_key(call))
    }

    /// Each outcome could have been produced by the function, and is what that execution left.
    pub async fn truthful(&self, stage: &Stage) -> Verdict {
        let executions = stage.executions();
        for (index, calls) in &stage.told().accepted {
            if calls.iter().any(|call| call != &calls[0]) {
                let what = format!("two requests under the key of call {index} were accepted as {calls:?}");
                return Err(Invariant::OneOutcome.broken(what));
            }
        }
        let mut following: BTreeMap<BatchId, CallId> = BTreeMap::new();
        for call in &self.stored {
            let key = Key::Payload(stage.app.clone(), *call);
            let payload =
                stage.world.store.get(&key, ByteRange::Whole(u64::MAX)).await.expect("it was listed").body;
            let text = std::str::from_utf8(&payload).expect("all payloads are texts");
            let Ok(index) = text.parse() else {
                let batch = follows(text);
                if let Some(other) = following.insert(batch, *call) {
                    let what = format!("{batch} is followed by two calls, {other} and {call}");
                    return Err(Invariant::OneOutcome.broken(what));
                }
                continue;
            };
            if let Some((_, outcome)) = self.outcomes.get(call) {
                true_outcome(stage, &executions, index, *call, outcome).await?;
                let plan = &stage.plan.calls[index];
                let history = History::of(stage, &executions, *call, plan.function, plan.way);
                history.check(outcome.status, outcome.attempts)?;
            }
        }
        Ok(())
    }
}

/// The batch that a call follows, by its payload.
fn follows(payload: &str) -> BatchId {
    let told: serde_json::Value =
        serde_json::from_str(payload).expect("an index, or what follow-ups are told");
    told["batch_id"].as_str().and_then(|batch| batch.parse().ok()).expect("a follow-up is told its batch")
}

async fn true_outcome(
    stage: &Stage,
    executions: &[Execution],
    index: usize,
    call: CallId,
    outcome: &Outcome,
) -> Verdict {
    let plan = &stage.plan.calls[index];
    let wrong = |why: &str| Err(Invariant::Truthful.broken(format!("{call} ({plan:?}) {why}: {outcome:?}")));
    let of_attempt = |execution: &&Execution| {
        execution.call == call && Some(execution.attempt) == outcome.attempt.map(|id| id.attempt)
    };
    let mut executed = executions.iter().filter(of_attempt);
    match outcome.status {
        State::Success => {
            let Some(result) =
                read(stage, outcome, |attempt| Key::Result(stage.app.clone(), call, attempt)).await?
            else {
                return wrong("succeeded without a result");
            };
            if !executed.any(|execution| execution.ends == State::Success && execution.body == result) {
                return wrong("has a result that no execution of that attempt gave");
            }
            let log = read_log(stage, call, outcome).await?;
            if log != format!("log of {result}") {
                return wrong("has the log of another execution");
            }
        }
        State::Error if plan.way == Way::CannotStart => {
            if outcome.reason.as_deref() != Some("image not found: nosuch") {
                return wrong("does not say why");
            }
        }
        State::Error if outcome.attempt.is_some() => {
            let log = read_log(stage, call, outcome).await?;
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
            if !stage.told().cancel_asked.contains(&call) {
                return wrong("was cancelled by nobody");
            }
        }
        State::Delayed | State::Queued | State::Running => return wrong("is recorded as not final"),
    }
    if stage.told().cancelled.get(&call).is_some_and(|cancelled| cancelled != outcome) {
        return wrong("was reported as cancelled");
    }
    Ok(())
}

async fn read_log(stage: &Stage, call: CallId, outcome: &Outcome) -> Result<String, Violation> {
    let attempt = outcome
        .attempt
        .ok_or_else(|| Invariant::Truthful.broken(format!("{call} has a log but no attempt")))?;
    let stored =
        outcome.log.as_ref().ok_or_else(|| Invariant::Truthful.broken(format!("{call} has no log")))?;
    text(stage, &Key::Log(stage.app.clone(), call, attempt), stored).await
}

async fn read(
    stage: &Stage,
    outcome: &Outcome,
    key: impl Fn(AttemptId) -> Key,
) -> Result<Option<String>, Violation> {
    let (Some(attempt), Some(stored)) = (outcome.attempt, &outcome.result) else { return Ok(None) };
    text(stage, &key(attempt), stored).await.map(Some)
}

async fn text(stage: &Stage, key: &Key, stored: &Stored) -> Result<String, Violation> {
    let object = stage.world.store.get(key, ByteRange::Whole(u64::MAX)).await;
    let body = object
        .map_err(|error| Invariant::Truthful.broken(format!("{key}, which an outcome names: {error}")))?
        .body;
    if Digest::of(&body) != stored.sha256 || body.len() as u64 != stored.bytes {
        return Err(Invariant::Truthful.broken(format!("{key} is not what its outcome says")));
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
